// Draw a number in the style that a seed chooses, and morph one digit into another with the latent vector of the seed, which is in the URL.

import { file, key, onlyLatest } from "../common/api.js";
import { button, exchange, fileLink, h, save, showError, title, trouble, announce } from "../common/dom.js";
import { drawTabs } from "../common/tabs.js";
import { sheet } from "../parts/canvas.js";
import { drawNumber } from "./runs.js";
import { choiceField, fillCheckpoints, freshSeed, numberField, seedField } from "../parts/options.js";
import { name, note } from "../main.js";

const SETTLE = 150; // milliseconds after the last key press
const AGAIN = 5000; // milliseconds: a new generator's handwriting is measured first, which takes seconds
const WAITS = "The first number of a generator takes about ten seconds, in which the service measures the styles of its digits. Until then, they are drawn from one latent vector.";
const DIGITS = Object.fromEntries([..."0123456789"].map((digit) => [digit, digit]));
const LARGEST = { number: "3", morph: "6" }; // scale of the pictures, unless the user chooses another
const STYLES = { hand: "one style of writing", latent: "one latent vector" };
const FORMATS = { webp: "animation (WebP)", gif: "animation (GIF)", png: "strip (PNG)" };
const COMMON = ["index", "scale", "padding", "invert"]; // parameters of both pictures, which are empty for the defaults
const OF_NUMBER = ["style"], OF_MORPH = ["to_seed", "steps", "milliseconds"];

export async function show(root, { query }, signal) {
  name("Draw numbers");
  const wanted = {
    number: query.get("number") ?? "31415926",
    first: query.get("first") ?? "3",
    last: query.get("last") ?? "8",
    seed: query.get("seed") ?? freshSeed(),
    checkpoint: query.get("checkpoint"),
    format: query.get("format") ?? "webp",
    ...Object.fromEntries([...COMMON, ...OF_NUMBER, ...OF_MORPH].map((key) => [key, query.get(key) ?? ""])),
  };
  const number = h("input", { type: "text", id: "number", inputmode: "numeric", maxlength: 40, pattern: "[0-9]{1,40}", autocomplete: "off", value: wanted.number, oninput: () => set({ number: number.value.trim() }) });
  const chosen = (key) => (value) => set({ [key]: value });
  const field = (key, text, limits) => numberField(key, text, limits, wanted[key], chosen(key));
  const checkpoint = choiceField("checkpoint", "Checkpoint", { latest: "Current model", best: "Best model" }, wanted.checkpoint ?? "latest", (value) => set({ checkpoint: value === "latest" ? null : value }));
  const invert = h("input", { type: "checkbox", id: "invert", checked: wanted.invert !== "", onchange: () => set({ invert: invert.checked ? "true" : "" }) });
  const download = (format) => button(format.toUpperCase(), async () => {
    const { address, saved } = line;
    const { blob } = await file(`${address}&format=${format}`, signal);
    save(blob, saved.replace(/png$/, format));
  }, { "aria-label": `Download the number as ${format.toUpperCase()}` });
  const downloadFilm = button("Morph", async () => {
    const { address, saved } = film;
    save((await file(address, signal)).blob, saved);
  }, { "aria-label": "Download the morph" });
  const line = drawing([download("png"), download("npy")], signal), film = drawing([downloadFilm], signal), begin = onlyLatest(signal);

  root.append(
    title("Draw"), drawTabs("play"),
    h("form", { class: "controls", onsubmit: (event) => event.preventDefault() },
      seedField(wanted.seed, chosen("seed")), checkpoint,
      h("details", { class: "more", open: COMMON.some((key) => wanted[key] !== "") }, h("summary", {}, "More options"), h("div", { class: "controls" },
        field("index", "Index", { min: 0, max: 2 ** 40 }), field("scale", "Scale", { min: 1, max: 8 }), field("padding", "Padding", { min: 0, max: 8 }),
        h("label", { class: "inline" }, invert, "Black on white, in the file")))),
    h("section", {}, h("h2", {}, "Number"),
      h("div", { class: "controls" },
        h("div", { class: "field" }, h("label", { for: "number" }, "Up to 40 digits"), number),
        choiceField("style", "Digits in", STYLES, wanted.style || "hand", (value) => set({ style: value === "hand" ? "" : value }))),
      line.element, line.actions),
    h("section", {}, h("h2", {}, "Morph"),
      h("div", { class: "controls" },
        choiceField("first", "From", DIGITS, wanted.first, chosen("first")), choiceField("last", "To", DIGITS, wanted.last, chosen("last")),
        field("to_seed", "Seed of the last digit", { min: 0, max: Number.MAX_SAFE_INTEGER }), field("steps", "Steps", { min: 2, max: 60 }),
        field("milliseconds", "Milliseconds per digit", { min: 20, max: 1000, step: 10 }),
        choiceField("format", "Format", FORMATS, wanted.format, chosen("format"))), film.element, film.actions));
  fillCheckpoints(checkpoint.querySelector("select"), wanted.checkpoint ?? "latest", "", signal).catch(showError);
  draw();

  function set(changes) {
    Object.assign(wanted, changes);
    draw();
  }

  /** The parameters of a picture that the user chose, as a query. */
  function options(keys, scale) {
    const pairs = ["seed", ...keys, ...COMMON].map((key) => [key, wanted[key] || (key === "scale" ? scale : "")]);
    return new URLSearchParams([...pairs.filter(([, value]) => value !== ""), ...(wanted.checkpoint ? [["checkpoint", wanted.checkpoint]] : [])]);
  }

  /** Draw both pictures, after a short delay; a later call replaces an earlier one. */
  async function draw() {
    note({ ...wanted, format: wanted.format === "webp" ? null : wanted.format });
    const current = begin();
    await new Promise((resolve) => setTimeout(resolve, SETTLE));
    if (current.aborted) return;
    const way = `${wanted.first} that changes into a ${wanted.last}`;
    await Promise.all([
      line.draw(`numbers/${encodeURIComponent(wanted.number || " ")}?${options(OF_NUMBER, LARGEST.number)}`,
        `The number ${wanted.number}, drawn with seed ${wanted.seed}`, `${wanted.number}.png`, current, wanted.style !== "latent"),
      film.draw(`morph/${wanted.first}/${wanted.last}?${options(OF_MORPH, LARGEST.morph)}&format=${wanted.format}`,
        wanted.format === "png" ? `A ${way}, step by step` : `A ${way} and back`,
        `${wanted.first}-to-${wanted.last}.${wanted.format}`, current),
    ]);
    if (!current.aborted) announce(`Drawn with seed ${wanted.seed}.`);
  }
}

/**
 * Create a picture with its permanent link and buttons that download it below, or with the error message: `address`, and
 * the name of the `saved` file.
 */
function drawing(downloads, left) {
  const picture = sheet();
  const paper = h("div", { class: "paper" }, picture);
  const link = h("span");
  const under = h("p", { class: "hint", hidden: true }, "Permanent link: ", link);
  const waiting = h("p", { class: "hint" }, "Drawing …");
  const wrong = h("div");
  let address = "", saved = "";
  const element = h("div", { class: "drawing" }, paper, under, waiting, wrong);
  const show = (what) => {
    for (const part of [under, waiting, wrong]) part.hidden = part !== what;
    paper.hidden = what === wrong;
    if (what !== wrong) wrong.replaceChildren();
    if (what !== under) address = "";
    for (const each of downloads) each.disabled = !address;
  };
  const measuring = () => {
    waiting.textContent = WAITS;
    announce(WAITS);
    show(waiting);
  };
  show(waiting);
  return {
    element,
    actions: h("p", { class: "actions" }, "Download:", downloads),
    get address() {
      return address;
    },
    get saved() {
      return saved;
    },
    async draw(path, text, called, signal, inOneStyle = false) {
      try {
        const headers = inOneStyle ? await drawNumber(picture, path, text, signal, measuring) : await picture.draw(path, text, signal);
        const fixed = new URL(path, document.baseURI);
        fixed.searchParams.set("checkpoint", headers.get("X-Checkpoint"));
        [address, saved] = [fixed.href, called];
        exchange(link, fileLink(address, address, saved, left, { target: "_blank", rel: "noopener" }));
        show(under);
      } catch (problem) {
        if (signal.aborted) return;
        if (problem.code === "style-bank-not-ready") {
          measuring();
          setTimeout(() => !signal.aborted && !key.isWithheld() && this.draw(path, text, called, signal, inOneStyle), AGAIN);
          return;
        }
        wrong.replaceChildren(trouble(problem));
        announce(problem.message);
        show(wrong);
      }
    },
  };
}
