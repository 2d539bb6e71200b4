// Draw images of a class: digits by the current model, or by a model of other training data. Every picture has a
// permanent link that returns the same images.

import { file, get, onlyLatest } from "../common/api.js";
import { add, button, h, notice, save, showError, title, trouble, announce } from "../common/dom.js";
import { drawTabs } from "../common/tabs.js";
import { showDigit } from "../parts/digit.js";
import { shortcuts } from "../common/keys.js";
import { sheet } from "../parts/canvas.js";
import { name, note } from "../main.js";
import { areDigits, classesOf, listed } from "../common/format.js";
import { fillCheckpoints, freshSeed, numberField, seedField } from "../parts/options.js";

const MOST = 1000, MOST_OF_ALL = 100; // images in a response, and of each class if all are drawn
const DIGITS = [..."0123456789"];
const LARGE = 56, SMALL = 28; // pixels of an image on the page
const FEW = 100; // images that are shown large
const OPTIONS = { index: "First index", columns: "Columns", scale: "Scale", padding: "Padding", verify: "Least probability by the judge" };

export async function show(root, { query }, left, isChange = false) {
  name("Draw");
  const here = new AbortController(); // aborted too if the user chooses other training data
  const { signal } = here;
  left.addEventListener("abort", () => here.abort());
  const data = query.get("data") ?? ""; // a name of training data; empty for the digits that the service draws
  const classes = data ? await classesFor(data, query.get("checkpoint"), signal) : DIGITS;
  const nouns = data && !areDigits(classes) ? "images" : "digits";
  const isAll = data ? query.has("all") : query.get("label") === "all";
  const most = (all) => (all ? Math.min(MOST_OF_ALL, Math.floor(MOST / classes.length)) : MOST);
  const wanted = {
    label: data ? classes.find((text) => text === query.get("label")) ?? classes[0] : query.get("label") ?? "7",
    all: isAll,
    n: query.get("n") ?? String(Math.min(40, most(isAll))),
    seed: query.get("seed") ?? freshSeed(),
    checkpoint: query.get("checkpoint") ?? "latest",
    ...Object.fromEntries([...Object.keys(OPTIONS), "invert"].map((key) => [key, query.get(key) ?? ""])),
  };
  const begin = onlyLatest(signal);
  let address = "", saved = "", find = null;

  const picture = sheet();
  const wrong = h("div");
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
  const limits = { index: { min: 0, max: 2 ** 40 }, columns: { min: 1, max: 1000 }, scale: { min: 1, max: 8 }, padding: { min: 0, max: 8 }, verify: { min: 0, max: 1, step: "any" } };
  const option = (key) => numberField(key, OPTIONS[key], limits[key], wanted[key], (value) => set({ [key]: value }));
  const invert = h("input", { type: "checkbox", id: "invert", checked: wanted.invert !== "", onchange: () => set({ invert: invert.checked ? "true" : "" }) });
  const more = h("details", { class: "more", open: [...Object.keys(OPTIONS), "invert"].some((key) => wanted[key] !== "") },
    h("summary", {}, "More options"), h("div", { class: "controls" }, Object.keys(OPTIONS).map(option), h("label", { class: "inline" }, invert, "Black on white, in the file")));
  const source = h("select", { id: "data", onchange: () => change(source.value).catch(showError) },
    h("option", { value: "" }, "digits that are served"));
  const sources = h("div", { class: "field", hidden: true }, h("label", { for: "data" }, "Training data"), source);

  const form = h("form", { class: "controls", onsubmit: (event) => event.preventDefault() },
    sources,
    labels,
    h("div", { class: "field" }, h("label", { for: "n" }, `Number of ${nouns}`), many),
    seedField(wanted.seed, (seed) => set({ seed })),
    h("div", { class: "field" }, h("label", { for: "checkpoint" }, "Checkpoint"), checkpoints), more);
  const seed = form.querySelector("#seed");
  const about = button("Details of a digit", () => find && showDigit(find, 0, find.count, signal));
  if (nouns !== "digits") about.textContent = "Details of an image";
  picture.addEventListener("click", (event) => find && showDigit(find, find.at(event), find.count, signal));
  const copy = button("Copy", async () => {
    await copied(link);
    copy.textContent = "Copied";
    announce("The link is copied.");
    setTimeout(() => { copy.textContent = "Copy"; }, 2000);
  });
  const downloads = h("div", { class: "actions" }, "Download:");
  const fixed = h("div", { class: "field" }, h("label", { for: "address" }, `Permanent link to these ${nouns}`), h("div", { class: "row" }, link, copy));
  const drawn = h("div", { class: "drawn", hidden: true }, paper, h("div", {}, h("p", { class: "hint" }, about, ` Or click one of the ${nouns}. Press ? for keyboard shortcuts.`), fixed, downloads, by));
  add(root, title("Draw"), !data && drawTabs("draw"), form, wrong, drawn);

  fillCheckpoints(checkpoints, wanted.checkpoint, data, signal).catch(showError);
  fillSources(sources, source, data, signal).then(() => isChange && source.focus()).catch(showError);
  formats(signal).then((names) => downloads.append(...names.map((format) => button(format.toUpperCase(), () => download(format))))).catch(showError);
  draw();
  let width = root.clientWidth;
  addEventListener("resize", () => root.clientWidth !== width && (width = root.clientWidth, draw()), { signal });
  const choose = (label) => [...labels.querySelectorAll("label")].find((each) => each.textContent === label)?.click();
  shortcuts([
    ...(data ? [] : [["0123456789", "draw this digit", choose]]),
    ["a", "draw all", () => choose("all")],
    ["n", "new seed", () => seed.closest(".row").querySelector("button").click()],
    ["d", "details of the first one", () => about.click()],
    ["c", "copy the permanent link", () => copy.click()],
  ], signal);

  async function change(to) {
    here.abort();
    root.replaceChildren();
    await show(root, { query: new URLSearchParams({ data: to, n: wanted.n, seed: wanted.seed }) }, left, true);
  }

  function set(changes) {
    Object.assign(wanted, changes);
    if (changes.all && wanted.n > most(true)) wanted.n = many.value = String(most(true));
    draw();
  }

  async function download(form_) {
    const called = `${saved}.${form_}`;
    const { blob } = await file(`${address}&format=${form_}`, signal);
    save(blob, called);
  }

  /** Draw the current selection, after a short delay; a later call replaces an earlier one. */
  async function draw() {
    const { label, all, n, seed, checkpoint } = wanted;
    many.max = most(all);
    note({ data, ...(data ? { label: all ? null : label, all: all ? "yes" : null } : { label: all ? "all" : label, all: null }), n, seed, checkpoint: checkpoint === "latest" ? null : checkpoint, ...chosen() });
    const current = begin();
    await new Promise((resolve) => setTimeout(resolve, 120)); // until the user has typed the whole number
    if (current.aborted) return;
    const path = [data ? `images/${encodeURIComponent(data)}` : "digits", ...(all ? [] : [encodeURIComponent(inPath(label, classes))])].join("/");
    const options = new URLSearchParams(chosen());
    const given = options.size ? `&${options}` : "";
    const total = all ? n * classes.length : Number(n);
    const size = total > FEW ? SMALL : LARGE;
    const fitting = Math.max(1, Math.floor(root.clientWidth / size));
    const columns = Number(options.get("columns")) || Math.min(total, all && fitting > classes.length ? fitting - (fitting % classes.length) : fitting) || 1;
    const shown = new URLSearchParams({ n, seed, columns, ...Object.fromEntries(["index", "verify"].filter((key) => options.has(key)).map((key) => [key, options.get(key)])) });
    picture.style.width = `${columns * size}px`;
    const text = all
      ? `${n} times the ${nouns === "digits" ? "digits" : "classes"} ${listed(classes)}, one latent vector per row`
      : `${n} times the ${nouns === "digits" ? "digit" : "class"} ${label}`;
    try {
      const headers = await picture.draw(`${path}?${shown}&checkpoint=${encodeURIComponent(checkpoint)}`, text, current);
      const refused = Number(headers.get("X-Refused"));
      const drawnBy = headers.get("X-Checkpoint");
      address = `${path}?n=${n}&seed=${headers.get("X-Seed")}&checkpoint=${drawnBy}${given}`;
      saved = `${data ? `${data}${all ? "" : `-${label}`}` : all ? "digits" : `${label}s`}-${headers.get("X-Seed")}`;
      link.value = new URL(address, document.baseURI).href;
      by.replaceChildren(...["Drawn by ", h("a", { href: "#/checkpoints" }, drawnBy), ".", refused > 0 && ` In place of ${refused} that the judge refused, there are later ${nouns} of the same seed.`].filter(Boolean));
      find = options.has("verify") ? null : finder({ data, classes, all, total, columns, label, seed: headers.get("X-Seed"), first: Number(options.get("index") ?? 0), checkpoint: drawnBy }, picture);
      about.disabled = find === null;
      ready(true);
      wrong.replaceChildren();
      announce(`${text}, drawn by ${drawnBy}.`);
    } catch (problem) {
      if (current.aborted) return;
      ready(false);
      const fields = { "query.n": `Number of ${nouns}`, "query.seed": "Seed", ...Object.fromEntries(Object.entries(OPTIONS).map(([key, text_]) => [`query.${key}`, text_])) }; // labels on this page
      const mistakes = (problem.mistakes ?? []).map(({ field, message }) => `${fields[field] ?? field} ${message}.`);
      wrong.replaceChildren(mistakes.length ? notice(mistakes.join(" ")) : trouble(problem));
      announce(wrong.textContent);
    }
  }

  /** The options that the user chose. */
  function chosen() {
    const pairs = [...Object.keys(OPTIONS), "invert"].map((key) => [key, key === "verify" && wanted.all ? "" : wanted[key]]);
    return Object.fromEntries(pairs.filter(([, value]) => value !== ""));
  }

  function ready(is) {
    drawn.hidden = !is;
  }
}

/** Return a function that finds the image at a position of the sheet, for the dialog about it. */
function finder({ data, classes, all, total, columns, label, seed, first, checkpoint }, picture) {
  const find = (position) => {
    const name_ = all ? classes[position % classes.length] : label;
    const path = `${data ? `images/${encodeURIComponent(data)}` : "digits"}/${encodeURIComponent(inPath(name_, classes))}`;
    return { path, label: name_, seed, index: first + (all ? Math.floor(position / classes.length) : position), checkpoint, classes, digit: data ? null : name_ };
  };
  find.count = total;
  find.at = ({ offsetX, offsetY }) => {
    const size = picture.clientWidth / columns;
    return Math.min(total - 1, Math.floor(offsetY / size) * columns + Math.min(columns - 1, Math.floor(offsetX / size)));
  };
  return find;
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
