// The current names of runs: a run can be renamed, and its checkpoints keep the name that it had when it was accepted.

import { get } from "../common/api.js";

const AT_ONCE = 100, PAGES = 10; // runs of a request, and requests at most

/** Return an object that remembers names. Those in the checkpoints count until it has read others. */
export function runNames() {
  const known = new Map();
  return {
    /** The name of a checkpoint's run; null if it has none. */
    of: ({ job, config }) => (known.has(job) ? known.get(job) : config.name) ?? null,
    /** Read the names of the newest runs; with `all`, of the runs of all these checkpoints. After an error, they stay as they are. */
    async read(checkpoints, all, signal) {
      const missing = new Set(checkpoints.filter(({ links }) => links.job).map(({ job }) => job));
      let path = `jobs?limit=${AT_ONCE}&epochs=last`;
      try {
        for (let page = 0; path && missing.size && page < (all ? PAGES : 1); page++) {
          const { jobs, next } = await get(path, signal);
          for (const job of jobs) {
            known.set(job.id, "name" in job ? job.name : job.config?.name);
            missing.delete(job.id);
          }
          path = next;
        }
      } catch (problem) {
        if (signal.aborted) throw problem;
      }
    },
  };
}
