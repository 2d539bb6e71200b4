// The first screen, and all runs, newest first.

import { ENDED, get, post, remove } from "../api.js";
import { announce, button, confirmed, h, pause, prose, title } from "../dom.js";
import { sheet } from "../canvas.js";
import { go, name, note } from "../main.js";
import { ago, done, knownClasses, named, percent, recipe, sentence, standing } from "../format.js";

const PAGE = 10, AGAIN = 2500;
const FIRST = "31415926", SEED = 3; // a fixed seed: browsers keep the picture
const SETTLE = 150; // milliseconds after the last key press
const PATIENCE = 1000, LATER = 5000; // milliseconds: a new generator's handwriting is measured first, which takes seconds
const WORDS = "A neural network that learned to write digits";
const STATES = ["queued", "running", "succeeded", "failed", "cancelled"];

export async function show(root, { query }, signal) {
  name("");
  const chosen = new Set((query.get("compare") ?? "").split(",").filter(Boolean));
  const list = h("ol", { class: "jobs" });
  const more = h("div", { class: "actions" });
  const compare = h("a", { class: "button", id: "compare" }, "Compare");
  const filter = h("select", { id: "status", onchange: () => go(filter.value ? `/?status=${filter.value}` : "/") },
    h("option", { value: "" }, "all"), STATES.map((state) => h("option", {}, state)));
  filter.value = query.get("status") ?? "";
  const rows = new Map();
  const pick = (id, box) => {
    if (box.checked) chosen.add(id);
    else chosen.delete(id);
    for (const first of [...chosen].slice(0, -2)) {
      chosen.delete(first);
      const other = rows.get(first);
      if (other) other.box.checked = false;
    }
    note({ compare: [...chosen].join(",") });
    offer();
  };
  const offer = () => {
    const [a, b] = [...chosen];
    compare.textContent = b ? "Compare selected runs" : "Select two runs to compare";
    if (b) compare.href = `#/compare?a=${a}&b=${b}`;
    else compare.removeAttribute("href");
    compare.classList.toggle("primary", Boolean(b));
  };
  offer();

  const status = query.get("status") ? `&status=${query.get("status")}` : "";
  const first = `jobs?limit=${PAGE}&epochs=last${status}`;
  let older = [];
  const update = async (answer) => {
    const shown = [...answer.jobs, ...older];
    const known = new Set(shown.map((job) => job.id));
    for (const [id, row] of rows) if (!known.has(id)) row.remove(), rows.delete(id);
    shown.forEach((job, at) => {
      if (!rows.has(job.id)) rows.set(job.id, entry(job, chosen.has(job.id), pick, gone));
      const row = rows.get(job.id);
      row.update(job);
      if (list.children[at] !== row) list.insertBefore(row, list.children[at] ?? null);
    });
    if (!shown.length) list.replaceChildren(nothing(status));
    else list.querySelector(".nothing")?.remove();
  };
  const gone = (id) => {
    [newest, older] = [newest, older].map((jobs) => jobs.filter((job) => job.id !== id));
    chosen.delete(id);
    note({ compare: [...chosen].join(",") });
    offer();
    update({ jobs: newest });
  };
  let next = null;
  const offerMore = () => more.replaceChildren(...(next ? [button("Older runs", async () => {
    const answer = await get(next, signal);
    older.push(...answer.jobs);
    next = answer.next;
    await update({ jobs: newest });
    offerMore();
  })] : []));

  let answer = await get(first, signal);
  let newest = answer.jobs;
  next = answer.next;
  offerMore();
  await update(answer);
  root.append( // not before: the first screen is one row tall if there are runs, and nothing moves later
    firstScreen(Boolean(status || newest.length), signal),
    title("Runs", h("span", { class: "filter" }, h("label", { for: "status" }, "Show"), filter), compare),
    list,
    more,
  );
  keepUp();

  async function keepUp() {
    while (!signal.aborted) {
      await pause(AGAIN, signal).catch(() => {});
      if (signal.aborted || document.hidden) continue;
      try {
        answer = await get(first, signal);
      } catch {
        continue; // the list keeps its last state; the next action of the user reports the error
      }
      const fresh = new Set(answer.jobs.map((job) => job.id));
      older = [...newest.filter((job) => !fresh.has(job.id) && older.length), ...older].filter((job) => !fresh.has(job.id));
      newest = answer.jobs;
      await update(answer);
    }
  }
}

function entry(job, chosen, pick, gone) {
  const box = h("input", { type: "checkbox", checked: chosen, "aria-label": `Compare ${named(job)}`, onchange: () => pick(job.id, box) });
  const link = h("a", { href: `#/runs/${job.id}` }, named(job));
  const state = h("span", { class: "state" });
  const line = h("p", {});
  const bar = progress();
  const figures = h("p", { class: "hint" });
  const actions = h("div", { class: "actions" });
  const row = h("li", { class: "job" }, box, h("div", { class: "what" }, h("h2", {}, link, state), line, bar, figures), actions);
  row.box = box;
  let shown = "";
  row.update = (now) => {
    row.dataset.status = now.status;
    if (state.dataset.status !== now.status) state.replaceChildren(badge(now.status));
    state.dataset.status = now.status;
    const wrong = now.trouble ?? now.error;
    line.replaceChildren(...(wrong ? prose(sentence(wrong)) : [standing(now)]));
    bar.set(done(now), `${named(now)}: progress`);
    bar.hidden = ENDED.includes(now.status);
    figures.textContent = [recipe(now.config), last(now), ago(now.created_at)].filter(Boolean).join(" · ");
    if (shown !== now.status) actions.replaceChildren(...controls(now, row.update, () => gone(now.id)));
    shown = now.status;
  };
  return row;
}

function last(job) {
  const metrics = job.epochs.at(-1)?.metrics;
  const noun = knownClasses(job.config.dataset) ? "digits" : "images";
  return metrics?.label_accuracy === undefined ? null : `${percent(metrics.label_accuracy)} of its ${noun} recognised`;
}

export function badge(status) {
  return h("span", { class: `badge ${status}` }, status);
}

/** Create a progress bar. */
export function progress() {
  const bar = h("progress", { max: 1, value: 0 });
  bar.set = (share, text) => {
    bar.value = share;
    bar.setAttribute("aria-label", text);
  };
  return bar;
}

/** Create the buttons for a run in its status; `changed` is called with the new record, `deleted` without one. */
export function controls(job, changed, deleted) {
  const control = (verb, text, attributes = {}) => button(text, async () => changed(await post(`jobs/${job.id}/${verb}`)), attributes);
  const again = button("Duplicate", async () => go(`/runs/${(await post(`jobs/${job.id}/retry`)).id}`), { title: "Start a new run with the same configuration" });
  const erase = button("Delete", async () => {
    if (!(await confirmed(`Delete ${named(job)}?`, "Its record, checkpoints and files are deleted. This cannot be undone.", "Delete run"))) return;
    await remove(`jobs/${job.id}`);
    announce(`${named(job)} is deleted.`);
    deleted();
  });
  switch (job.status) {
    case "queued":
      return [control("front", "Move to front", { title: "Run this job next, regardless of its priority" }), control("cancel", "Cancel")];
    case "running":
      return [control("cancel", "Cancel")];
    case "failed":
    case "cancelled":
      return [control("resume", "Resume", { class: "primary" }), again, erase];
    case "succeeded":
      return [again, erase];
  }
  return [];
}

function nothing(status) {
  const text = status ? "No run has this status." : "No runs yet. A first run takes minutes, and you can watch it learn.";
  return h("li", { class: "nothing" }, h("p", {}, text), !status && h("a", { class: "button", href: "#/new" }, "Train"));
}

/** Create the first screen; `isShort` makes it one row tall. */
function firstScreen(isShort, signal) {
  const picture = sheet();
  const trouble = h("p", { class: "wrong", id: "written-wrong" });
  const number = h("input", { type: "text", id: "written", inputmode: "numeric", maxlength: 40, autocomplete: "off", value: FIRST, "aria-label": "Type a number", "aria-describedby": "written-wrong", oninput: () => write() });
  const draw = h("a", { class: "button primary", href: "#/draw" }, "Draw"), train = h("a", { class: "button", href: "#/new" }, "Train");
  const element = h("section", { class: `home ${isShort ? "short" : ""}`, "aria-label": "Handwritten numbers" },
    h("h1", { class: "headline" }, WORDS),
    h("div", { class: "try" }, !isShort && h("p", {}, "Type a number. The network writes it."), number, trouble),
    h("div", { class: "written" }, picture),
    h("div", { class: "actions" }, draw, train));
  begin().catch(fail);
  return element;

  async function begin() {
    const { serving } = await get("serving", signal);
    if (serving !== null) return write(0);
    number.disabled = true;
    draw.classList.remove("primary");
    train.classList.add("primary");
    trouble.textContent = "No network has learned to write yet.";
  }

  /** Write the number, after a short delay; a later call replaces an earlier one. */
  async function write(delay = SETTLE) {
    const request = (write.newest = Symbol("request"));
    await new Promise((resolve) => setTimeout(resolve, delay));
    if (request !== write.newest || signal.aborted) return;
    const digits = number.value.replaceAll(/\s/g, "");
    if (!/^[0-9]{0,40}$/.test(digits)) return fail(new Error("Digits only: 0 to 9."));
    trouble.textContent = "";
    number.setAttribute("aria-invalid", "false");
    if (!digits) return;
    const path = `numbers/${digits}?seed=${SEED}&scale=4`, text = `${digits}, written by the network`;
    const isNewest = () => request === write.newest && !signal.aborted;
    let isWritten = false;
    setTimeout(() => { // digits of several styles until those of one style are there
      if (!isWritten && isNewest()) picture.draw(`${path}&style=latent`, text, signal, () => !isWritten && isNewest()).catch(() => {});
    }, PATIENCE);
    try {
      await picture.draw(path, text, signal, isNewest);
      isWritten = true;
      if (delay && isNewest()) announce(`${digits} is written.`);
    } catch (problem) {
      if (!isNewest()) return;
      if (problem.code !== "style-bank-not-ready") return fail(problem);
      setTimeout(() => isNewest() && write(0), LATER);
    }
  }

  function fail(problem) {
    if (problem.name === "AbortError") return;
    trouble.textContent = problem.message;
    number.setAttribute("aria-invalid", "true");
  }
}
