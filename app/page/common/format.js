// Formatting of numbers, times and names.

const whole = new Intl.NumberFormat("en");

export function count(number, noun) {
  return `${whole.format(number)} ${noun}${number === 1 ? "" : "s"}`;
}

export function number(value) {
  return whole.format(value);
}

/** Format seconds as a readable duration. */
export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return count(Math.round(seconds), "second");
  if (seconds < 90 * 60) return count(Math.round(seconds / 60), "minute");
  if (seconds < 36 * 3600) {
    const all = Math.round(seconds / 60), hours = Math.floor(all / 60), minutes = all % 60;
    return minutes && hours < 10 ? `${hours} h ${minutes} min` : count(hours, "hour");
  }
  return count(Math.round(seconds / 86400), "day");
}

/** Describe the estimated rest of a job, in seconds. */
export function left(seconds) {
  return seconds < 1 ? "nearly done" : `about ${duration(seconds)} left`;
}

export function ago(time) {
  const seconds = (Date.now() - new Date(time)) / 1000;
  if (seconds < 5) return "just now";
  return seconds >= 60 && seconds < 90 ? "a minute ago" : `${duration(seconds)} ago`;
}

export function when(time) {
  return new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

export function bytes(size) {
  return size >= 1e9 ? `${(size / 1e9).toFixed(1)} GB` : size >= 1e6 ? `${(size / 1e6).toFixed(0)} MB` : `${Math.ceil(size / 1e3)} kB`;
}

const UNKNOWN = "–"; // of a figure that cannot be measured

export function percent(share, digits = 1) {
  return !Number.isFinite(share) ? UNKNOWN : `${(100 * share).toFixed(digits)} %`;
}

export function figure(value) {
  if (!Number.isFinite(value)) return UNKNOWN;
  const size = Math.abs(value);
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 0.1 || size === 0 ? value.toFixed(2) : value.toPrecision(2);
}

export function named(job) {
  return (job.name === undefined ? job.config.name : job.name) || `Run ${job.id}`;
}

/** Whether the service cannot read the record of a job, data set or evaluation. `trouble` says why; few fields are known. */
export function isUnreadable(record) {
  return record.name === undefined && "trouble" in record; // readable jobs have a name or null; the others, no trouble
}

/** Convert a message to a sentence: a capital letter first, a full stop last. */
export function sentence(text) {
  return text[0].toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");
}

const DATA = { mnist: "MNIST", printed: "printed digits" };
const DIGITS = [..."0123456789"];

/** Return the names of the classes of training data that certainly has digits; null for any other. */
export function knownClasses(dataset) {
  return dataset in DATA ? DIGITS : null;
}

/** Return the name of training data without its version. */
export function nameOf(dataset) {
  return dataset.split("@")[0];
}

/** Return the names of the classes that the generator of a checkpoint draws. */
export function classesOf({ classes }) {
  return classes ?? DIGITS; // null in those of earlier versions
}

/** Whether these are the classes that /digits draws. */
export function areDigits(classes) {
  return classes.length === DIGITS.length && classes.every((name, label) => name === DIGITS[label]);
}

/** List the names of classes, in a form that fits into a sentence. */
export function listed(classes, most = 30) {
  if (areDigits(classes)) return "0 to 9";
  return classes.length > most ? `${classes.slice(0, most).join(", ")} and ${classes.length - most} more` : classes.join(", ");
}

/** Summarize the configuration of a run in one line. */
export function recipe(config) {
  const parts = [count(config.epochs, "epoch"), DATA[config.dataset] ?? config.dataset];
  if (config.recipe !== "seed") parts.unshift(`recipe ${config.recipe}`);
  if (config.train_examples) parts.push(`${number(config.train_examples)} images`);
  return parts.join(" · ");
}

/** Return the address of the plot of an epoch; the record of an unreadable job has none. */
export function plotOf(job, { epoch }) {
  return `jobs/${job.id}/epochs/${epoch}/samples.png`;
}

/** Return the progress of a run, 0 to 1. */
export function done(job) {
  if (job.status === "succeeded") return 1;
  const at = job.progress;
  if (!at) return Math.min(1, (job.epochs.at(-1)?.epoch ?? 0) / job.config.epochs) || 0; // `epochs` may be unreadable
  return Math.min(1, (at.epoch - 1 + at.batch / at.batches) / at.epochs);
}

/** Describe how long a run worked on its epochs, without the time that it waited or was stopped. Lists have only its last epoch. */
export function spent(job) {
  const known = job.epochs.reduce((sum, { seconds }) => sum + seconds, 0), last = job.epochs.at(-1)?.epoch ?? 0;
  return job.epochs.length === last ? duration(known) : `about ${duration((known / job.epochs.length) * last)}`;
}

/** The workers that may run a job, by its `runs_on`. */
export const KINDS = { any: "a worker", cpu: "a worker without a GPU", gpu: "a worker with a GPU" };

/** Describe the place of a waiting run. */
function place(queue) {
  if (!queue) return "";
  const starts = queue.starts_in_seconds;
  const words = starts === null ? "" : starts < 5 ? " · starts within seconds" : ` · starts in about ${duration(starts)}`;
  return ` · ${queue.position === 1 ? "next" : `number ${number(queue.position)}`} in the queue${words}`;
}

/** Describe the state of a run in a sentence. */
export function standing(job) {
  if (isUnreadable(job)) return sentence(job.trouble);
  const at = job.progress;
  if (job.status === "queued") return `Waiting for ${KINDS[job.runs_on]}${at ? " to resume it" : ""}${place(job.queue)}.`;
  if (job.status === "running" && !at) return "Starting.";
  if (job.status === "running") {
    const speed = at.images_per_second ? ` · ${number(Math.round(at.images_per_second))} images per second` : "";
    return `Epoch ${at.epoch} of ${at.epochs} · ${number(at.batch)} of ${number(at.batches)} iterations${speed} · ${left(at.eta_seconds)}`;
  }
  const epochs = job.epochs.length ? job.epochs.at(-1).epoch : 0;
  if (job.status === "succeeded") {
    return `All ${count(epochs, "epoch")} done, in ${spent(job)}.`;
  }
  const so = `${epochs} of ${count(job.config.epochs, "epoch")} done`;
  if (job.status === "cancelling") return `Stopping within seconds; ${so}.`;
  return `${job.status === "failed" ? "Failed" : "Cancelled"} with ${so}; you can resume it.`;
}
