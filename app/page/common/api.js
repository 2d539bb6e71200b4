// Calls of the API. Every error becomes a Problem with one sentence; if a key is needed, a dialog asks for it once.

const KEY = "acgan.key";
const READING = "acgan.reading"; // set if a read request needed a key

const TYPES = "/problems/"; // the beginning of a problem's `type`, whose end is the code of the error
export const NEEDS_KEY = ["key-required", "key-unknown"];
const FINAL = [...NEEDS_KEY, "not-allowed", "job-not-found"]; // a later request would have the same answer

const NEXT = { // the views that help, by the code of a problem: its hint names requests of the API instead
  "checkpoint-not-found": ["Show checkpoints", "#/checkpoints"],
  "checkpoint-refused": ["Show checkpoints", "#/checkpoints"],
  "job-not-found": ["Show runs", "#/"],
  "nothing-published": ["Start a run", "#/new"],
  "training-data-not-found": ["Show training data", "#/training-data"],
};

export class Problem extends Error {
  constructor(detail, code = "", mistakes = [], answered = false) {
    super(detail);
    this.code = code;
    this.next = NEXT[code]; // the text and the address of a link
    this.mistakes = mistakes;
    this.answered = answered; // whether the service sent it; otherwise the connection failed
  }
}

let isWithheld = false; // the user closed the dialog without a key

export const key = {
  get: () => sessionStorage.getItem(KEY),
  forget: () => sessionStorage.removeItem(KEY),
  readingNeedsIt: () => sessionStorage.getItem(READING) !== null,
  isWithheld: () => isWithheld && key.readingNeedsIt(),
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
    throw problemOf(0, {});
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  signal?.throwIfAborted();
  throw problemOf(answer.status, problem);
}

/** The Problem of a response with an error status; the status is 0 if there was no response. */
export function problemOf(status, body) {
  if (!status) return new Problem("The service does not answer. Check that it is running and that this browser can reach it.");
  const code = String(body.type ?? "").replace(TYPES, "");
  const { detail = "", hint } = body;
  const text = code in NEXT && hint && detail.endsWith(hint) ? detail.slice(0, -hint.length).replace(/[: ]+$/, "").replace(/[^.?!]$/, "$&.") : detail;
  const named = text.replace(/(^|[.?!] )(?:body|query|path)\.(\w)(\w*)\S*:( should)? /g, (_, before, first, rest, verb = ":") => `${before}${first.toUpperCase()}${rest.replaceAll("_", " ")}${verb} `);
  return new Problem(named || `The service returned the status ${status}.`, code, body.errors, true);
}

async function call(path, options = {}) {
  for (;;) {
    const used = key.get();
    try {
      const answer = await ask(path, options);
      return answer;
    } catch (problem) {
      if (!NEEDS_KEY.includes(problem.code)) throw problem;
      if ((options.method ?? "GET") === "GET") sessionStorage.setItem(READING, "yes");
      if (key.get() === used && !(await wanted(problem.message))) throw problem;
    }
  }
}

export async function get(path, signal) {
  const answer = await call(path, { signal });
  const content = await answer.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Problem("The answer of the service ended too early, or is no JSON.");
  });
  signal?.throwIfAborted();
  return content;
}

export async function post(path, body, headers) {
  return (await call(path, { method: "POST", body, headers })).json();
}

export async function put(path, body) {
  return (await call(path, { method: "PUT", body })).json();
}

export async function patch(path, body) {
  return (await call(path, { method: "PATCH", body })).json();
}

/** Delete something; if it is deleted already, that is no error. */
export async function remove(path) {
  await call(path, { method: "DELETE" }).catch((problem) => {
    if (!/-not-found$/.test(problem.code) || problem.code === "path-not-found") throw problem;
  });
}

/** Fetch a file. An <img> cannot send the key and does not expose the headers. */
export async function file(path, signal) {
  const answer = await call(path, { signal });
  const blob = await answer.blob();
  signal?.throwIfAborted();
  return { blob, headers: answer.headers };
}

/**
 * Create a function that begins the requests for one thing on the page, such as a picture. Each call aborts the request
 * before it, so that a late answer cannot replace a newer one, and returns the signal of the new request. `signal` aborts
 * them all. `get` and `file` reject after an abort even if the answer had arrived.
 */
export function onlyLatest(signal) {
  let current = new AbortController();
  signal.addEventListener("abort", () => current.abort());
  return () => {
    current.abort();
    current = new AbortController();
    if (signal.aborted) current.abort();
    return current.signal;
  };
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
        isWithheld = !given;
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

export const ENDED = ["succeeded", "failed", "cancelled"];
const SILENT_MS = 45000; // without an event or a comment: the service sends one every 15 s, so the connection is dead
const LONGEST_PAUSE_MS = 10000;
const POLL_MS = 2000;

/** Follow a run: calls `onChange` with the whole record now and after every change, until the run ends or `signal` aborts. */
export async function follow(id, onChange, signal) {
  if (await stream(id, onChange, signal)) return;
  await poll(async () => {
    const job = await get(`jobs/${id}`, signal);
    onChange(job);
    return ENDED.includes(job.status);
  }, POLL_MS, signal);
}

/** Resolves to true when the run has ended, to false if the event stream is not available. */
async function stream(id, onChange, signal) {
  let job = null;
  let lastId = "";
  let pause = 0;
  while (!signal.aborted) {
    try {
      for await (const event of events(`jobs/${id}/events`, lastId, signal)) {
        pause = 0;
        lastId = event.id || lastId;
        job = changed(job, event.kind, event.data);
        if (job === null) continue;
        const ended = ENDED.includes(job.status) || event.kind === "over";
        if (ended && event.kind !== "job") job = await get(`jobs/${id}`, signal); // with the error and the time of the end
        onChange(job);
        if (ended) return true;
      }
    } catch (error) {
      if (signal.aborted) return true;
      if (!(error instanceof Problem) || FINAL.includes(error.code)) throw error;
      if (error.answered) return false;
    }
    pause = Math.min(2 * pause || 500, LONGEST_PAUSE_MS);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  return true;
}

/** The record of a job after an event; null before the first whole record. */
function changed(job, kind, data) {
  if (kind === "job") return data;
  if (job === null) return null;
  switch (kind) {
    case "progress":
      return { ...job, progress: data };
    case "status":
      return { ...job, status: data.status, trouble: data.status === "cancelling" ? job.trouble : null };
    case "trouble":
      return { ...job, ...data };
    case "epoch":
      return { ...job, epochs: [...job.epochs.filter((other) => other.epoch < data.epoch), data] };
    default:
      return job;
  }
}

/** Server-sent events, read with `fetch`: EventSource cannot send the key as a header. */
async function* events(path, lastId, signal) {
  const headers = { Accept: "text/event-stream", ...(lastId && { "Last-Event-ID": lastId }) };
  const answer = await call(path, { headers, signal });
  if (answer.status === 204) return yield { kind: "over" }; // the run has ended, and `lastId` is its last event
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let timer;
  let text = "";
  try {
    for (;;) {
      timer = setTimeout(() => reader.cancel(), SILENT_MS);
      const { value, done } = await reader.read();
      clearTimeout(timer);
      if (done) return;
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split("\n").map((line) => [line.split(":", 1)[0], line.replace(/^[^:]*: ?/, "")]));
        if (fields.data) yield { id: fields.id, kind: fields.event, data: JSON.parse(fields.data) };
      }
    }
  } catch (error) {
    throw signal.aborted || error instanceof Problem ? error : new Problem("The connection to the service was lost.");
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => {});
  }
}

/** Call `look` at once, and then as `keepUp` does, also while the page is hidden. */
export const poll = (look, milliseconds, signal) => keepUp(look, milliseconds, signal, true);

/**
 * Call `look` again and again until it resolves to true or `signal` aborts. After a failed request, the view keeps its last
 * state and `look` is called again, unless a later request would have the same answer. It waits while the page is hidden,
 * and while the user withholds a key that reading needs.
 */
export async function keepUp(look, milliseconds, signal, isPoll = false) {
  for (let isFirst = isPoll;; isFirst = false) {
    if (!isFirst) await new Promise((resolve) => setTimeout(resolve, milliseconds));
    if (signal.aborted) return;
    if (!isPoll && (document.hidden || key.isWithheld())) continue;
    try {
      if (await look()) return;
    } catch (error) {
      if (signal.aborted) return;
      if (!isPoll && NEEDS_KEY.includes(error.code)) continue;
      if (!(error instanceof Problem) || FINAL.includes(error.code)) throw error;
    }
  }
}
