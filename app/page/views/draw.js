// Draw images of a class: digits by the current model, or by a model of other training data. Every picture has a
// permanent link that returns the same images.

import { file, get } from "../api.js";
import { button, h, notice, save, showError, tabs, title, announce } from "../dom.js";
import { DRAWINGS, freshSeed, seedField, sheet } from "../canvas.js";
import { name, note } from "../main.js";
import { areDigits, classesOf, listed, nameOf } from "../format.js";

const MOST = 1000; // images in a response
const DIGITS = [..."0123456789"];

export async function show(root, { query }, left, isChange = false) {
  name("Draw");
  const here = new AbortController(); // aborted too if the user chooses other training data
  const { signal } = here;
  left.addEventListener("abort", () => here.abort());
  const data = query.get("data") ?? ""; // a name of training data; empty for the digits that the service draws
  const classes = data ? await classesFor(data, query.get("checkpoint"), signal) : DIGITS;
  const nouns = data && !areDigits(classes) ? "images" : "digits";
  const wanted = {
    label: data ? classes.find((text) => text === query.get("label")) ?? classes[0] : query.get("label") ?? "7",
    all: data ? query.has("all") : query.get("label") === "all",
    n: query.get("n") ?? "40",
    seed: query.get("seed") ?? freshSeed(),
    checkpoint: query.get("checkpoint") ?? "latest",
  };
  let address = "";

  const picture = sheet();
  const trouble = h("div");
  const paper = h("div", { class: "paper sheet" }, picture);
  const by = h("p", { class: "hint" });
  const link = h("input", { type: "text", id: "address", readonly: true, spellcheck: "false", onfocus: () => link.select() });
  const radio = (text, checked, chosen) => h("label", {}, h("input", { type: "radio", name: "label", checked, onchange: () => set(chosen) }), h("span", {}, text));
  const labels = h("fieldset", { class: "digits" }, h("legend", {}, data ? "Class" : "Digit"),
    classes.map((label) => radio(label, !wanted.all && label === wanted.label, { label, all: false })),
    radio("all", wanted.all, { all: true }));
  const many = h("input", { type: "number", id: "n", min: 1, value: wanted.n, oninput: () => set({ n: many.value }) });
  const checkpoints = h("select", { id: "checkpoint", onchange: () => set({ checkpoint: checkpoints.value }) },
    ["latest", "best"].map((value) => h("option", { value }, value === "latest" ? (data ? "Newest model" : "Current model") : "Best model")));
  const source = h("select", { id: "data", onchange: () => change(source.value).catch(showError) },
    h("option", { value: "" }, "digits that are served"));
  const sources = h("div", { class: "field", hidden: true }, h("label", { for: "data" }, "Training data"), source);

  const form = h("form", { class: "controls", onsubmit: (event) => event.preventDefault() },
    sources,
    labels,
    h("div", { class: "field" }, h("label", { for: "n" }, `Number of ${nouns}`), many),
    seedField(wanted.seed, (seed) => set({ seed })),
    h("div", { class: "field" }, h("label", { for: "checkpoint" }, "Checkpoint"), checkpoints));
  const copy = button("Copy", async () => {
    await copied(link);
    copy.textContent = "Copied";
    announce("The link is copied.");
    setTimeout(() => { copy.textContent = "Copy"; }, 2000);
  });
  const downloads = h("div", { class: "actions" }, "Download:");
  const fixed = h("div", { class: "field" }, h("label", { for: "address" }, `Permanent link to these ${nouns}`), h("div", { class: "row" }, link, copy));
  const drawn = h("div", { class: "drawn" }, paper, h("div", {}, fixed, downloads, by));
  root.append(title("Draw"), !data && tabs("Draw", DRAWINGS, "draw"), form, trouble, drawn);

  fillCheckpoints(checkpoints, wanted.checkpoint, data, signal).catch(showError);
  fillSources(sources, source, data, signal).then(() => isChange && source.focus()).catch(showError);
  formats(signal).then((names) => downloads.append(...names.map((format) => button(format.toUpperCase(), () => download(format))))).catch(showError);
  draw();

  async function change(to) {
    here.abort();
    root.replaceChildren();
    await show(root, { query: new URLSearchParams({ data: to, n: wanted.n, seed: wanted.seed }) }, left, true);
  }

  function set(changes) {
    Object.assign(wanted, changes);
    draw();
  }

  async function download(form_) {
    const { blob } = await file(`${address}&format=${form_}`, signal);
    const what = data ? `${data}${wanted.all ? "" : `-${wanted.label}`}` : wanted.all ? "digits" : `${wanted.label}s`;
    save(blob, `${what}-${wanted.seed}.${form_}`);
  }

  /** Draw the current selection, after a short delay; a later call replaces an earlier one. */
  async function draw() {
    const { label, all, n, seed, checkpoint } = wanted;
    many.max = all ? Math.floor(MOST / classes.length) : MOST;
    note({ data, ...(data ? { label: all ? null : label, all: all ? "yes" : null } : { label: all ? "all" : label, all: null }), n, seed, checkpoint: checkpoint === "latest" ? null : checkpoint });
    const request = (draw.newest = Symbol("request"));
    await new Promise((resolve) => setTimeout(resolve, 120)); // until the user has typed the whole number
    if (request !== draw.newest || signal.aborted) return;
    const path = [data ? `images/${encodeURIComponent(data)}` : "digits", ...(all ? [] : [encodeURIComponent(inPath(label, classes))])].join("/");
    const parameters = new URLSearchParams({ n, seed });
    const text = all
      ? `${n} times the ${nouns === "digits" ? "digits" : "classes"} ${listed(classes)}, one latent vector per row`
      : `${n} times the ${nouns === "digits" ? "digit" : "class"} ${label}`;
    try {
      const headers = await picture.draw(`${path}?${parameters}&checkpoint=${encodeURIComponent(checkpoint)}`, text, signal);
      if (request !== draw.newest) return;
      const drawnBy = headers.get("X-Checkpoint");
      address = `${path}?n=${n}&seed=${headers.get("X-Seed")}&checkpoint=${drawnBy}`;
      link.value = new URL(address, document.baseURI).href;
      by.replaceChildren("Drawn by ", h("a", { href: "#/checkpoints" }, drawnBy), ".");
      ready(true);
      trouble.replaceChildren();
      announce(`${text}, drawn by ${drawnBy}.`);
    } catch (problem) {
      if (signal.aborted || request !== draw.newest) return;
      ready(false);
      const start = problem.code === "nothing-published" ? h("a", { class: "button primary", href: "#/new" }, "Start a run") : null;
      const fields = { "query.n": `Number of ${nouns}`, "query.seed": "Seed" }; // labels on this page
      const mistakes = (problem.mistakes ?? []).map(({ field, message }) => `${fields[field] ?? field} ${message}.`);
      trouble.replaceChildren(notice(mistakes.join(" ") || problem.message, start));
    }
  }

  function ready(is) {
    drawn.hidden = !is;
  }
}

/** Return what names a class in a path: its name; or its label, if the name would be read as parts of the path. */
function inPath(name_, classes) {
  return /^[.]{1,2}$|[/]/.test(name_) ? String(classes.indexOf(name_)) : name_;
}

/** Return the names of the classes: those of a given checkpoint, which may outlive its training data. */
async function classesFor(data, checkpoint, signal) {
  if (checkpoint && !["latest", "best"].includes(checkpoint)) return classesOf(await get(`checkpoints/${encodeURIComponent(checkpoint)}`, signal));
  return (await get(`training-data/${encodeURIComponent(data)}`, signal)).classes;
}

/** Return the names of the file formats, from the API's schema. */
async function formats(signal) {
  const { paths } = await get("page/schemas", signal);
  const { schema } = paths["/digits"].get.parameters.find(({ name: parameter }) => parameter === "format");
  return schema.enum;
}

/** Add the checkpoints of the training data; without a name, of all that has digits. */
async function fillCheckpoints(select, chosen, data, signal) {
  if (![...select.options].some((option) => option.value === chosen)) select.append(h("option", { value: chosen }, chosen));
  select.value = chosen;
  const { checkpoints } = await get("checkpoints", signal);
  const known = new Set([...select.options].map((option) => option.value));
  const fits = (checkpoint) => (data ? [checkpoint.config.dataset, nameOf(checkpoint.config.dataset)].includes(data) : areDigits(classesOf(checkpoint)));
  const others = checkpoints.filter((checkpoint) => checkpoint.refused === null && !known.has(checkpoint.id) && fits(checkpoint));
  select.append(...others.map(({ id }) => h("option", { value: id }, id)));
  select.value = chosen;
}

/** Offer the training data that has a checkpoint, unless all of it is what /digits draws. */
async function fillSources(element, select, chosen, signal) {
  const { training_data: sets } = await get("training-data", signal);
  const names = [...new Set(sets.filter(({ checkpoints }) => checkpoints > 0).map((set) => set.name))];
  if (chosen && !names.includes(chosen)) names.push(chosen);
  select.append(...names.map((value) => h("option", { value }, value)));
  select.value = chosen;
  element.hidden = names.length < 2 && !chosen && sets.every(({ name: text, classes }) => !names.includes(text) || areDigits(classes));
}

/** Copy the text of a field. `navigator.clipboard` exists on secure origins only. */
async function copied(input) {
  if (navigator.clipboard) return navigator.clipboard.writeText(input.value);
  input.focus();
  input.select();
  if (!document.execCommand("copy")) throw new Error("This browser does not allow the page to copy: press Ctrl-C.");
}
