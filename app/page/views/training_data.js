// Training data: the sets that a run can name, and a form that brings images of one's own.

import { ENDED, get, poll, post, remove } from "../common/api.js";
import { button, confirmed, facts, h, notice, prose, showError, title, trouble, announce } from "../common/dom.js";
import { dataTabs } from "../common/tabs.js";
import { placeOf, refocus } from "../common/refocus.js";
import { name } from "../main.js";
import { MOST_FILES, NO_FILE, filesIn, ofDrop, ofFolder, packed, send } from "../common/upload.js";
import { preview } from "../parts/previews.js";
import { field, random } from "./new_run.js";
import { ago, bytes, count, isUnreadable, left, number, sentence } from "../common/format.js";

const AGAIN = 1000; // milliseconds between requests of a job
const SHOWN = 10; // jobs
const ACCEPTED = ".zip,.tar,.tgz,.tar.gz,.tar.bz2,.tar.xz,.npz,.csv,.csv.gz,.gz,.bz2,.xz,.parquet";
const CONTROLS = { cancel: "Cancel", resume: "Resume" };

export async function show(root, _at, signal) {
  name("Training data");
  const list = h("div");
  const update = async () => {
    const { training_data: sets } = await get("training-data", signal);
    const focused = placeOf(document.activeElement, list);
    const open = [...list.querySelectorAll("details[open]")].map((details) => details.closest("article").dataset.name);
    list.replaceChildren(...sets.sort((a, b) => a.built_in - b.built_in).map((set) => entry(set, update, signal)));
    for (const each of list.children) each.querySelector("details").open = open.includes(each.dataset.name);
    refocus(focused, list);
  };
  const jobs = h("div", { class: "imports" });
  const follow = (id, first = false) => jobs[first ? "prepend" : "append"](importing(id, update, signal));
  root.append(title("Training data"), dataTabs("training-data"),
    h("p", {}, "What a run learns from: labelled images of 2 to 100 classes. Your own images become grey images of 28 x 28 pixels, in the way that MNIST was made."),
    await bring(follow, signal), jobs,
    h("section", {}, h("h2", {}, "Sets"), list));
  const [{ jobs: earlier }] = await Promise.all([get(`jobs?kind=training_data&limit=${SHOWN}`, signal), update()]);
  earlier.filter(({ status }) => status !== "succeeded").forEach(({ id }) => follow(id));
}

/** The form: a file or folder, the name, and how the images are made. */
async function bring(follow, signal) {
  const { parameters } = await get("page/schemas/training-data", signal);
  const options = parameters.filter(({ name: key }) => key !== "file");
  let chosen = null; // { name, files }
  let choices = 0; // number of them so far
  let once = random(); // a file that is sent twice makes one job
  const fields = options.map(({ name: key, description, schema }) => field(key, { ...schema, description: schema.description ?? description }, null));
  const label = h("input", { type: "text", id: "data-name", maxlength: 40, pattern: "[a-z0-9_\\-]{1,40}", autocomplete: "off", spellcheck: "false", "aria-describedby": "data-name-about" });
  const file = h("input", { type: "file", id: "data-file", class: "unseen", accept: ACCEPTED, tabindex: -1, "aria-label": "File", onchange: () => take({ name: file.files[0]?.name ?? "", files: [...file.files].map((each) => [each.name, each]) }) });
  const folder = h("input", { type: "file", id: "data-folder", class: "unseen", webkitdirectory: true, tabindex: -1, "aria-label": "Folder", onchange: () => take(ofFolder(folder.files)) });
  const what = h("p", { class: "hint", "aria-live": "polite" }, "A zip or tar archive with one folder per class; or npz, csv (label, pixels), parquet or IDX files.");
  const zone = h("div", { class: "drop" },
    h("p", {}, h("b", {}, "Drop a file or a folder here"), ", or ",
      button("Choose file", () => file.click()), " ", button("Choose folder", () => folder.click())),
    what, file, folder);
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Upload", hidden: true });
  const state = h("p", { class: "hint" });
  const wrong = h("div");
  const submit = h("button", { class: "primary" }, "Add training data");
  const stop = h("button", { type: "button", hidden: true }, "Cancel upload");
  const form = h("form", { class: "bring", novalidate: true, oninput: () => { once = random(); }, onsubmit: start }, zone,
    h("div", { class: "field" }, h("label", { for: "data-name" }, "Name of the training data"), label,
      h("p", { class: "hint", id: "data-name-about" }, "1 to 40 of the characters a-z, 0-9, ", h("code", {}, "_"), " and ", h("code", {}, "-"), ". A name that exists gets a new version.")),
    h("details", {}, h("summary", {}, "More options"), h("div", { class: "fields" }, fields.map(({ element }) => element))),
    wrong, h("div", { class: "actions" }, submit, stop), bar, state);

  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    const choice = ++choices;
    try {
      const found = await ofDrop(event.dataTransfer);
      if (choice !== choices) return;
      if (!filesIn(found).length) throw new Error(NO_FILE);
      take(found);
    } catch (error) {
      showError(error);
    }
  });

  function take(found) {
    if (!found.files.length) return;
    choices++;
    chosen = found;
    once = random();
    const size = found.files.reduce((sum, [, each]) => sum + each.size, 0);
    what.textContent = filesIn(found).length === 1 ? `${found.name}, ${bytes(size)}.` : `${found.name}: ${count(filesIn(found).length, "file")}, ${bytes(size)}. They are sent as one tar archive.`;
    if (found.files.length > MOST_FILES) what.textContent = `${found.name} has more than ${number(MOST_FILES)} files.`;
    if (!label.value) label.value = suggested(found.name);
    wrong.replaceChildren();
  }

  async function start(event) {
    event.preventDefault();
    fields.forEach(({ showMistake }) => showMistake(""));
    wrong.replaceChildren();
    const leave = new AbortController();
    signal.addEventListener("abort", () => leave.abort());
    stop.onclick = () => leave.abort();
    try {
      if (!chosen) throw new Error("Choose a file or a folder first.");
      if (!label.value || !label.validity.valid) {
        label.focus();
        throw new Error("The name has 1 to 40 of the characters a-z, 0-9, _ and -.");
      }
      const sent = chosen, blob = packed(sent);
      submit.disabled = true;
      bar.hidden = stop.hidden = false;
      const given = new URLSearchParams(fields.map(({ key, read }) => [key, read()]).filter(([, value]) => value !== undefined));
      given.set("file", fileName(sent, blob));
      const progress = (share) => {
        bar.value = share;
        state.textContent = share < 1 ? `Sending ${bytes(blob.size)}: ${Math.floor(100 * share)} %. Stay in this view until it is sent.` : "The service stores the file.";
      };
      progress(0);
      announce("The file is being sent.");
      const job = await send("PUT", `training-data/${label.value}?${given}`, blob, { "Content-Type": "application/octet-stream", "Idempotency-Key": once }, progress, leave.signal);
      follow(job.id, true);
      announce("The file was sent. A worker reads it.");
      state.textContent = "";
      if (chosen !== sent) return; // the user has chosen the next one
      once = random();
      chosen = null;
      label.value = file.value = folder.value = "";
      what.textContent = "The file was sent. You can choose another.";
    } catch (problem) {
      state.textContent = problem.name === "AbortError" ? "The upload was cancelled." : "";
      if (problem.name === "AbortError") return signal.aborted || announce(state.textContent);
      const known = (problem.mistakes ?? []).map(({ field: where, message }) => [fields.find(({ key }) => where.endsWith(`.${key}`)), message]).filter(([one]) => one);
      for (const [one, message] of known) one.showMistake(message);
      if (known.length) known[0][0].focus();
      else wrong.replaceChildren(trouble(problem));
      announce(problem.message);
    } finally {
      submit.disabled = false;
      bar.hidden = stop.hidden = true;
    }
  }
  return form;
}

/** A name for messages of the service: letters, digits, dots, hyphens and underscores. */
function fileName(sent, blob) {
  const plain = sent.name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 90) || "upload";
  return sent.files.some(([, one]) => one === blob) ? plain : `${plain}.tar`;
}

/** A name of training data that is like the name of a file. */
function suggested(text) {
  return text.toLowerCase().replace(/(\.(zip|tar|tgz|gz|bz2|xz|npz|csv|parquet))+$/, "").replace(/[^a-z0-9_-]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 40);
}

/** The job that makes training data of a file, until it ends. */
function importing(id, ended, signal) {
  const state = h("span", { class: "state" });
  const bar = h("progress", { max: 1, value: 0 });
  const line = h("p", { class: "hint" });
  const report = h("div");
  const actions = h("div", { class: "actions" });
  const heading = h("h2", {}, "Training data ", state);
  const element = h("article", { class: "job dataset", "data-id": id }, h("div", {}, heading, bar, line, report), actions);
  let status = "";
  const look = async () => {
    const job = await get(`jobs/${id}`, signal);
    render(job);
    return ENDED.includes(job.status);
  };
  const render = (job) => {
    const wanted = job.training_data?.name ?? "Training data";
    const at = job.progress;
    bar.hidden = isUnreadable(job) || ENDED.includes(job.status);
    bar.value = at?.batches ? at.batch / at.batches : 0;
    bar.setAttribute("aria-label", `Progress of ${wanted}`);
    line.textContent = standing(job);
    if (job.status === status) return;
    status = job.status;
    heading.replaceChildren(`${job.result?.dataset ?? wanted} `, h("span", { class: `badge ${job.status}` }, job.status));
    const problems = [job.error, job.trouble].filter(Boolean);
    report.replaceChildren(...problems.map((text) => notice(prose(sentence(text)))), ...warnings(job.warnings));
    const control = (verb) => button(CONTROLS[verb], async () => {
      await post(`jobs/${id}/${verb}`);
      if (verb === "resume") begin(); // otherwise it is being watched
    });
    const erase = button("Dismiss", async () => {
      if (job.status !== "succeeded") await remove(`jobs/${id}`);
      element.remove();
    }, { title: job.status === "succeeded" ? "Remove this message" : "Delete the job and the file that was sent" });
    const next = job.result && h("a", { class: "button primary", href: `#/new?dataset=${encodeURIComponent(job.result.dataset)}` }, "Start a run on it");
    const mayResume = job.status !== "succeeded" && !isUnreadable(job);
    const offered = ENDED.includes(job.status) ? [next, mayResume && control("resume"), erase]
      : [job.status !== "cancelling" && control("cancel")];
    actions.replaceChildren(...offered.filter(Boolean));
    announce(`${wanted}: ${job.status}.`);
    if (job.status === "succeeded") poll(() => ended().then(() => true), AGAIN, signal).catch(showError);
  };
  const begin = () => poll(look, AGAIN, signal).catch((error) => error.name === "AbortError" || report.replaceChildren(notice(error.message)));
  begin();
  return element;
}

function standing(job) {
  const { progress: at, result } = job;
  if (isUnreadable(job)) return ""; // its trouble is shown
  if (job.status === "queued") return "Waiting for a worker.";
  if (job.status === "running") return at?.batches ? `${number(at.batch)} of ${count(at.batches, "image")} read${at.eta_seconds ? `, ${left(at.eta_seconds)}` : ""}.` : "The worker reads the file.";
  if (job.status === "cancelling") return "Stopping.";
  if (!result) return "";
  const made = `${count(result.train_images, "training image")} and ${count(result.test_images, "test image")} of ${count(result.classes.length, "class").replace("classs", "classes")}.`;
  return result.is_new ? made : `${made} The newest version had the same content already.`;
}

function warnings(texts = []) {
  if (!texts.length) return [];
  return [h("ul", { class: "warnings" }, texts.map((text) => h("li", {}, prose(sentence(text)))))];
}

/** One set, in its newest version. */
function entry(set, update, signal) {
  const newest = set.version === null ? set.name : `${set.name}@${set.version}`;
  const picture = h("div", { class: "preview" });
  const draw = () => preview(picture, set, signal);
  if (!set.built_in) draw();
  const erase = (reference) => async () => {
    if (!(await confirmed(`Remove ${reference}?`, "Its images are deleted. Checkpoints that were trained on it stay. This cannot be undone.", "Remove training data"))) return;
    await remove(`training-data/${encodeURIComponent(reference)}`);
    announce(`${reference} is removed.`);
    await update();
  };
  const details = h("details", {}, h("summary", {}, "Classes and details"), classTable(set),
    facts([["source", set.source || null], ["added", set.created_at && ago(set.created_at)], ["size", set.size && bytes(set.size)],
      ...Object.entries(set.options ?? {}).map(([key, value]) => [key.replaceAll("_", " "), value === null ? null : String(value)])]),
    warnings(set.warnings),
    set.versions.length > 1 && h("div", { class: "actions" }, "Versions:", set.versions.map((version) => button(`Remove ${set.name}@${version}`, erase(`${set.name}@${version}`)))));
  if (set.built_in) details.addEventListener("toggle", () => draw(), { once: true });
  const heading = set.built_in ? `${set.title} ` : `${set.name} `;
  return h("article", { class: "job dataset training", "data-name": set.name },
    h("div", {},
      h("h3", {}, heading, h("code", {}, newest), set.built_in ? " · built in" : set.versions.length > 1 && ` · ${set.versions.length} versions`),
      h("p", { class: "hint" }, `${count(set.train_images, "training image")}, ${number(set.test_images)} for tests · ${set.classes.length} classes · ${checkpointsOf(set)}`),
      picture, details),
    h("div", { class: "actions" },
      h("a", { class: "button", href: `#/new?dataset=${encodeURIComponent(set.name)}` }, "Start a run"),
      set.newest_checkpoint && h("a", { class: "button", href: `#/draw?data=${encodeURIComponent(set.name)}` }, "Draw"),
      !set.built_in && button("Remove", erase(set.versions.length > 1 ? set.name : newest), { title: "Remove all versions" })));
}

function checkpointsOf({ checkpoints, newest_checkpoint: newest }) {
  if (!checkpoints) return "no checkpoint yet";
  return `${count(checkpoints, "checkpoint")}${newest ? "" : ", of which none passed the quality check"}`;
}

function classTable({ classes, train_counts: train, test_counts: test }) {
  if (!train) return h("p", {}, classes.join(", "));
  const row = (text, values) => h("tr", {}, h("th", { scope: "row" }, text), values.map((value) => h("td", {}, number(value))));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Images of each class" },
    h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "class"), classes.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, row("training images", train), row("test images", test))));
}
