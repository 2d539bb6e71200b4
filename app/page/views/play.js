// Draw a number in the style that a seed chooses, and morph one digit into another with the latent vector of the seed, which is in the URL.

import { h, notice, tabs, title, announce } from "../common/dom.js";
import { DRAWINGS, freshSeed, seedField, sheet } from "../parts/canvas.js";
import { name, note } from "../main.js";

const SETTLE = 150; // milliseconds after the last key press
const AGAIN = 5000; // milliseconds: a new generator's handwriting is measured first, which takes seconds
const DIGITS = [..."0123456789"];

export async function show(root, { query }, signal) {
  name("Draw numbers");
  const wanted = {
    number: query.get("number") ?? "31415926",
    first: query.get("first") ?? "3",
    last: query.get("last") ?? "8",
    seed: query.get("seed") ?? freshSeed(),
    index: query.get("index"), // of the latent vector, for a morph that starts from a digit of a sheet
    checkpoint: query.get("checkpoint"),
  };
  const number = h("input", { type: "text", id: "number", inputmode: "numeric", maxlength: 40, pattern: "[0-9]{1,40}", autocomplete: "off", value: wanted.number, oninput: () => set({ number: number.value.trim() }) });
  const first = choice("first", "From", wanted.first, (value) => set({ first: value }));
  const last = choice("last", "To", wanted.last, (value) => set({ last: value }));
  const line = drawing(), film = drawing();

  root.append(
    title("Draw"), tabs("Draw", DRAWINGS, "play"),
    h("form", { class: "controls", onsubmit: (event) => event.preventDefault() },
      seedField(wanted.seed, (seed) => set({ seed, index: null }))),
    h("section", {}, h("h2", {}, "Number"),
      h("div", { class: "field" }, h("label", { for: "number" }, "Up to 40 digits"), number), line.element),
    h("section", {}, h("h2", {}, "Morph"),
      h("div", { class: "actions" }, first, last), film.element));
  draw();

  function set(changes) {
    Object.assign(wanted, changes);
    draw();
  }

  /** Draw both pictures, after a short delay; a later call replaces an earlier one. */
  async function draw() {
    note(wanted);
    const request = (draw.newest = Symbol("request"));
    await new Promise((resolve) => setTimeout(resolve, SETTLE));
    if (request !== draw.newest || signal.aborted) return;
    const seed = encodeURIComponent(wanted.seed) + (wanted.index ? `&index=${encodeURIComponent(wanted.index)}` : "");
    const by = wanted.checkpoint ? `&checkpoint=${encodeURIComponent(wanted.checkpoint)}` : "";
    await Promise.all([
      line.draw(`numbers/${encodeURIComponent(wanted.number || " ")}?seed=${seed}&scale=3${by}`, `The number ${wanted.number}, drawn with seed ${wanted.seed}`, signal),
      film.draw(`morph/${wanted.first}/${wanted.last}?seed=${seed}&scale=6&format=webp${by}`, `A ${wanted.first} that changes into a ${wanted.last} and back`, signal),
    ]);
    announce(`Drawn with seed ${wanted.seed}.`);
  }
}

/** Create a picture with its permanent link below, or with the error message. */
function drawing() {
  const picture = sheet();
  const paper = h("div", { class: "paper" }, picture);
  const link = h("a", { target: "_blank", rel: "noopener" });
  const under = h("p", { class: "hint" }, "Permanent link: ", link);
  const trouble = h("div");
  let newest = null;
  const element = h("div", { class: "drawing" }, paper, under, trouble);
  return {
    element,
    async draw(path, text, signal) {
      newest = Symbol("request");
      try {
        const headers = await picture.draw(path, text, signal);
        const fixed = new URL(`${path.replace(/&checkpoint=.*/, "")}&checkpoint=${headers.get("X-Checkpoint")}`, document.baseURI).href;
        link.href = link.textContent = fixed;
        trouble.replaceChildren();
        paper.hidden = under.hidden = false;
      } catch (problem) {
        if (signal.aborted) return;
        paper.hidden = under.hidden = true;
        trouble.replaceChildren(notice(problem.message));
        if (problem.code !== "style-bank-not-ready") return;
        const request = newest;
        setTimeout(() => request === newest && !signal.aborted && this.draw(path, text, signal), AGAIN);
      }
    },
  };
}

function choice(id, text, chosen, chose) {
  const select = h("select", { id, onchange: () => chose(select.value) }, DIGITS.map((digit) => h("option", { value: digit }, digit)));
  select.value = chosen;
  return h("div", { class: "field" }, h("label", { for: id }, text), select);
}
