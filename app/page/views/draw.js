// Draw digits. Every picture has a permanent link that returns the same digits.

import { file, get } from "../api.js";
import { button, h, notice, save, showError, title, announce } from "../dom.js";
import { freshSeed, seedField, sheet } from "../canvas.js";
import { name, note } from "../main.js";

const MOST = { one: 1000, all: 100 };
const FIELDS = { "query.n": "Number of digits", "query.seed": "Seed" }; // labels on this page

export async function show(root, { query }, signal) {
  name("Draw");
  const wanted = {
    label: query.get("label") ?? "7",
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
  const labels = h("fieldset", { class: "digits" }, h("legend", {}, "Digit"),
    [..."0123456789", "all"].map((label) => h("label", {}, h("input", { type: "radio", name: "label", value: label, checked: label === wanted.label, onchange: () => set({ label }) }), h("span", {}, label))));
  const many = h("input", { type: "number", id: "n", min: 1, value: wanted.n, oninput: () => set({ n: many.value }) });
  const checkpoints = h("select", { id: "checkpoint", onchange: () => set({ checkpoint: checkpoints.value }) },
    ["latest", "best"].map((value) => h("option", { value }, value === "latest" ? "Current model" : "Best model")));

  const form = h("form", { class: "controls", onsubmit: (event) => event.preventDefault() },
    labels,
    h("div", { class: "field" }, h("label", { for: "n" }, "Number of digits"), many),
    seedField(wanted.seed, (seed) => set({ seed })),
    h("div", { class: "field" }, h("label", { for: "checkpoint" }, "Checkpoint"), checkpoints));
  const copy = button("Copy", async () => {
    await copied(link);
    copy.textContent = "Copied";
    announce("The link is copied.");
    setTimeout(() => { copy.textContent = "Copy"; }, 2000);
  });
  const downloads = h("div", { class: "actions" }, "Download:");
  const fixed = h("div", { class: "field" }, h("label", { for: "address" }, "Permanent link to these digits"), h("div", { class: "row" }, link, copy));
  const drawn = h("div", { class: "drawn" }, paper, h("div", {}, fixed, downloads, by));
  root.append(title("Draw"), form, trouble, drawn);

  fill(checkpoints, wanted.checkpoint, signal).catch(showError);
  formats(signal).then((names) => downloads.append(...names.map((format) => button(format.toUpperCase(), () => download(format))))).catch(showError);
  draw();

  function set(changes) {
    Object.assign(wanted, changes);
    draw();
  }

  async function download(form_) {
    const { blob } = await file(`${address}&format=${form_}`, signal);
    save(blob, `${wanted.label === "all" ? "digits" : `${wanted.label}s`}-${wanted.seed}.${form_}`);
  }

  /** Draw the current selection, after a short delay; a later call replaces an earlier one. */
  async function draw() {
    const { label, n, seed, checkpoint } = wanted;
    many.max = label === "all" ? MOST.all : MOST.one;
    note({ label, n, seed, checkpoint: checkpoint === "latest" ? null : checkpoint });
    const request = (draw.newest = Symbol("request"));
    await new Promise((resolve) => setTimeout(resolve, 120)); // until the user has typed the whole number
    if (request !== draw.newest || signal.aborted) return;
    const path = label === "all" ? "digits" : `digits/${label}`;
    const parameters = new URLSearchParams({ n, seed });
    const text = label === "all" ? `${n} times the digits 0 to 9, one latent vector per row` : `${n} times the digit ${label}`;
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
      const mistakes = (problem.mistakes ?? []).map(({ field, message }) => `${FIELDS[field] ?? field} ${message}.`);
      trouble.replaceChildren(notice(mistakes.join(" ") || problem.message, start));
    }
  }

  function ready(is) {
    drawn.hidden = !is;
  }
}

/** Return the names of the file formats, from the API's schema. */
async function formats(signal) {
  const { paths } = await get("page/schemas", signal);
  const { schema } = paths["/digits"].get.parameters.find(({ name: parameter }) => parameter === "format");
  return schema.enum;
}

async function fill(select, chosen, signal) {
  if (![...select.options].some((option) => option.value === chosen)) select.append(h("option", { value: chosen }, chosen));
  select.value = chosen;
  const { checkpoints } = await get("checkpoints", signal);
  const known = new Set([...select.options].map((option) => option.value));
  const others = checkpoints.filter(({ id, refused }) => refused === null && !known.has(id));
  select.append(...others.map(({ id }) => h("option", { value: id }, id)));
  select.value = chosen;
}

/** Copy the text of a field. `navigator.clipboard` exists on secure origins only. */
async function copied(input) {
  if (navigator.clipboard) return navigator.clipboard.writeText(input.value);
  input.focus();
  input.select();
  if (!document.execCommand("copy")) throw new Error("This browser does not allow the page to copy: press Ctrl-C.");
}
