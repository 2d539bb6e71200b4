// Generated data sets: a form to order one, and a list with progress and files.

import { ENDED, get, keepUp, key, post, remove } from "../common/api.js";
import { button, confirmed, h, notice, prose, showError, title, announce } from "../common/dom.js";
import { dataTabs } from "../common/tabs.js";
import { isBusy, placeOf, refocus } from "../common/refocus.js";
import { name, note } from "../main.js";
import { ago, areDigits, bytes, isUnreadable, left, number, sentence } from "../common/format.js";

const CLASSES = 10, BYTES = 410, AGAIN = 1500, SHOWN = 100; // bytes of a digit, compressed; milliseconds between requests
const SURE = { "": "none", 0.5: "probability at least 0.5", 0.99: "probability at least 0.99" };

export async function show(root, { query }, signal) {
  name("Data sets");
  const many = field("per_class", "Training digits per class", query.get("per_class") ?? "6000");
  const tests = field("test_per_class", "Test digits per class", query.get("test_per_class") ?? "1000");
  const seed = field("seed", "Seed", query.get("seed") ?? "1", 0);
  const sure = h("select", { id: "verify", onchange: changed }, Object.entries(SURE).map(([value, text]) => h("option", { value }, text)));
  sure.value = query.get("verify") ?? "";
  let sets = []; // of training data that has a checkpoint and other classes than the digits
  const source = h("select", { id: "source", onchange: changed }, h("option", { value: "" }, "the digits that are served"));
  const sources = h("div", { class: "field", hidden: true }, h("label", { for: "source" }, "Generate"), source);
  const size = h("p", { class: "hint", "aria-live": "polite" });
  const send = h("button", { class: "primary" }, "Generate data set");
  const form = h("form", { class: "controls", novalidate: true, oninput: changed, onsubmit: order },
    sources, many.element, tests.element, seed.element,
    h("div", { class: "field" }, h("label", { for: "verify" }, "Verification"), sure), h("div", { class: "actions" }, send));
  const list = h("div"), states = new Map();
  let shown = "", begun = 0, applied = 0;
  root.append(title("Generated data sets"), dataTabs("datasets"),
    h("p", {}, "Generate images with the current model, as four files in the MNIST format."),
    form, size, list);
  changed();
  offerSources().catch(showError);
  await update();
  await keepUp(() => update(true), AGAIN, signal);

  function changed() {
    note({ per_class: many.input.value, test_per_class: tests.input.value, seed: seed.input.value, verify: sure.value });
    if (sources.hidden === false) note({ data: source.value });
    const images = (chosen()?.classes.length ?? CLASSES) * (Number(many.input.value) + Number(tests.input.value));
    size.textContent = `${number(images)} ${chosen() ? "images" : "digits"}, about ${bytes(images * BYTES)}.`;
  }

  function chosen() {
    return sets.find((set) => set.name === source.value);
  }

  async function offerSources() {
    const { training_data: all } = await get("training-data", signal);
    sets = all.filter((set) => set.newest_checkpoint && !areDigits(set.classes));
    source.append(...sets.map((set) => h("option", { value: set.name }, `images of ${set.name}`)));
    sources.hidden = !sets.length;
    if (sets.some((set) => set.name === query.get("data"))) source.value = query.get("data");
    changed();
    shown = ""; // the numbers of classes are known now
  }

  async function order(event) {
    event.preventDefault();
    send.disabled = true;
    try {
      const body = { per_class: Number(many.input.value), test_per_class: Number(tests.input.value), seed: Number(seed.input.value) };
      if (sure.value) body.verify = Number(sure.value);
      if (chosen()) body.checkpoint = chosen().newest_checkpoint;
      const { id } = await post("datasets", body);
      announce(`Data set ${id} is queued.`);
      await update();
    } catch (problem) {
      showError(problem);
      const [field] = (problem.mistakes ?? []).map((mistake) => form.querySelector(`#${mistake.field.split(".")[1]}`));
      field?.focus();
    } finally {
      send.disabled = false;
    }
  }

  /** Show the list. With `mayWait`, not while a request of a button in it has not ended. */
  async function update(mayWait = false) {
    const turn = ++begun;
    const { datasets, next } = await get(`datasets?limit=${SHOWN}`, signal);
    const now = JSON.stringify(datasets);
    if (turn < applied || (mayWait && isBusy(list))) return;
    applied = turn;
    if (now === shown) return;
    shown = now;
    for (const { id, status } of datasets) {
      if (states.has(id) && states.get(id) !== status) announce(`Data set ${id} is ${status}.`);
      states.set(id, status);
    }
    const focused = placeOf(document.activeElement, list);
    const entries = datasets.map((dataset) => entry(dataset, update, sets));
    if (!entries.length) entries.push(h("p", { class: "nothing" }, "No data sets yet."));
    if (next) entries.push(h("p", { class: "hint" }, `These are the newest ${SHOWN}. `, h("code", {}, "GET /datasets"), " lists all."));
    list.replaceChildren(...entries);
    refocus(focused, list);
  }
}

function field(id, text, value, least = 1) {
  const input = h("input", { type: "number", id, min: least, value, inputmode: "numeric" });
  return { input, element: h("div", { class: "field" }, h("label", { for: id }, text), input) };
}

function entry(dataset, update, sets) {
  const { id, status } = dataset;
  const unreadable = isUnreadable(dataset), running = !ENDED.includes(status);
  const made = Object.keys(dataset.files ?? {}).length > 0;
  const control = (verb, text) => button(text, async () => { await post(`jobs/${id}/${verb}`); await update(); });
  const erase = async () => {
    const rest = unreadable ? "Its record and its files are deleted." : "The order is removed from this list.";
    const detail = made ? "The files are deleted. The order stays in this list." : `${rest} This cannot be undone.`;
    const question = made ? "Delete the files of this data set?" : "Remove this data set?";
    if (!(await confirmed(question, detail, made ? "Delete files" : "Remove data set"))) return;
    await remove(made ? `datasets/${id}` : `jobs/${id}`);
    announce(`Data set ${id} is deleted.`);
    await update();
  };
  return h("article", { class: "job dataset", "data-id": id },
    h("div", {},
      unreadable ? describeUnreadable(dataset) : known(dataset, sets),
      dataset.error && notice(prose(sentence(dataset.error))),
      made && files(dataset)),
    h("div", { class: "actions" },
      running && status !== "cancelling" && control("cancel", "Cancel"),
      !unreadable && (status === "failed" || status === "cancelled") && control("resume", "Resume"),
      !running && button(made ? "Delete files" : "Remove", erase)));
}

/** What was ordered, and how much of it is drawn. */
function known({ order, status, progress, created_at: created }, sets) {
  const each = order.per_class + order.test_per_class;
  const source = sets.find((set) => set.newest_checkpoint === order.checkpoint);
  const images = progress?.digits ?? each * (source?.classes.length ?? CLASSES);
  const noun = images === CLASSES * each && !source ? "digits" : "images";
  const verified = order.verify === null ? "" : `, verified with probability ${order.verify}`;
  const running = !ENDED.includes(status) && progress;
  return [
    h("h2", {}, `${number(images)} ${noun} `, h("span", { class: `badge ${status}` }, status)),
    h("p", { class: "hint" }, `Seed ${order.seed}, checkpoint `, h("code", {}, order.checkpoint),
      `${verified}. Created ${ago(created)}.`),
    running && h("progress", { max: progress.digits, value: progress.drawn, "aria-label": "Images drawn" }),
    running && h("p", { class: "hint" }, `${number(progress.drawn)} of ${number(progress.digits)}, ${left(progress.eta_seconds)}.`),
  ];
}

/** What is known of a data set whose record the service cannot read. */
function describeUnreadable({ id, status, trouble, created_at: created }) {
  return [
    h("h2", {}, `Data set ${id} `, h("span", { class: `badge ${status}` }, status)),
    created && h("p", { class: "hint" }, `Created ${ago(created)}.`),
    notice(prose(sentence(trouble))),
  ];
}

/** Links to the files; if reading needs a key, which a link cannot send, the command that downloads them. */
function files({ id, files: made }) {
  if (key.readingNeedsIt()) return h("p", { class: "hint" }, "Download with ", h("code", {}, `acgan download ${id}`));
  return h("p", { class: "under" }, Object.entries(made).map(([file, address]) => h("a", { href: address, download: file }, file)));
}
