// Calls of the API. Every error becomes a Problem with one sentence; if a key is needed, a dialog asks for it once.

const KEY = "acgan.key";
const READING = "acgan.reading"; // set if a read request was answered with 401

export class Problem extends Error {
  constructor(status, detail, mistakes = []) {
    super(detail);
    this.status = status;
    this.mistakes = mistakes;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  forget: () => sessionStorage.removeItem(KEY),
  readingNeedsIt: () => sessionStorage.getItem(READING) !== null,
};

async function ask(path, { method = "GET", body, headers = {}, signal } = {}) {
  const sent = { ...headers };
  if (key.get()) sent.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers: sent, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The service does not answer. Check that it is running and that this browser can reach it.");
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Problem(answer.status, problem.detail || `The service returned the status ${answer.status}.`, problem.errors);
}

async function call(path, options = {}) {
  for (;;) {
    const used = key.get();
    try {
      const answer = await ask(path, options);
      return answer;
    } catch (problem) {
      if (problem.status !== 401) throw problem;
      if ((options.method ?? "GET") === "GET") sessionStorage.setItem(READING, "yes");
      if (key.get() === used && !(await wanted(problem.message))) throw problem;
    }
  }
}

export async function get(path, signal) {
  return (await call(path, { signal })).json();
}

export async function post(path, body, headers) {
  return (await call(path, { method: "POST", body, headers })).json();
}

export async function put(path, body) {
  return (await call(path, { method: "PUT", body })).json();
}

/** Fetch a file. An <img> cannot send the key and does not expose the headers. */
export async function file(path, signal) {
  const answer = await call(path, { signal });
  return { blob: await answer.blob(), headers: answer.headers };
}

let asking = null;

/** Open the key dialog. Resolves to true if a key was entered. Concurrent calls share one dialog. */
export function wanted(why) {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("ask");
    const field = document.getElementById("ask-key");
    document.getElementById("ask-why").textContent = why;
    field.value = "";
    dialog.returnValue = "";
    dialog.addEventListener(
      "close",
      () => {
        asking = null;
        const given = dialog.returnValue === "use" && field.value.trim() !== "";
        if (given) sessionStorage.setItem(KEY, field.value.trim());
        field.value = "";
        document.dispatchEvent(new Event("key"));
        resolve(given);
      },
      { once: true },
    );
    dialog.showModal();
  });
  return asking;
}

/** Follow a run: calls `onChange` with the whole record now and after every change, until the run ends or `signal` aborts. */
export async function follow(id, onChange, signal) {
  if (!key.readingNeedsIt() && (await stream(id, onChange, signal))) return;
  await poll(id, onChange, signal);
}

export const ENDED = ["succeeded", "failed", "cancelled"];

/** Resolves to true when the run has ended, to false if the event stream is not available. */
function stream(id, onChange, signal) {
  return new Promise((resolve) => {
    const source = new EventSource(`/jobs/${id}/events`);
    let job = null;
    const end = (answer) => {
      source.close();
      resolve(answer);
    };
    signal.addEventListener("abort", () => end(true));
    source.onerror = () => source.readyState === EventSource.CLOSED && end(job !== null && ENDED.includes(job.status));
    const on = (kind, change) =>
      source.addEventListener(kind, async (event) => {
        if (kind !== "job" && job === null) return;
        job = change(JSON.parse(event.data));
        if (!ENDED.includes(job.status)) return onChange(job);
        source.close();
        try {
          if (kind !== "job") job = await get(`/jobs/${id}`, signal); // the error and the time of the end
          onChange(job);
          resolve(true);
        } catch {
          resolve(signal.aborted);
        }
      });
    on("job", (data) => data);
    on("progress", (progress) => ({ ...job, progress }));
    on("status", ({ status }) => ({ ...job, status, trouble: status === "cancelling" ? job.trouble : null }));
    on("trouble", (data) => ({ ...job, ...data }));
    on("epoch", (epoch) => ({ ...job, epochs: [...job.epochs.filter((other) => other.epoch < epoch.epoch), epoch] }));
  });
}

async function poll(id, onChange, signal) {
  while (!signal.aborted) {
    try {
      const job = await get(`/jobs/${id}`, signal);
      onChange(job);
      if (ENDED.includes(job.status)) return;
    } catch (error) {
      if (error.status === 401 || error.status === 404 || signal.aborted) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}
