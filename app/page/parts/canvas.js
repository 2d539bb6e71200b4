// Pictures of digits or other images: sheets from the API, and the plots of epochs rearranged for the screen.

import { file } from "../common/api.js";
import { button, h } from "../common/dom.js";

export const DRAWINGS = { draw: "Digits", play: "Numbers and morphs" }; // views, and the texts of their tabs
const SEEDS = 1e6; // random seeds are below this; users can enter any other
const CELL = 28; // pixels; a plot has a column of generated images for each of K classes, a white one, and K of real images

/** Create an <img>. `await sheet.draw(path, text, signal)` loads it with `text` as alt, and resolves to the response headers. */
export function sheet() {
  const picture = h("img", { class: "ink", alt: "" });
  picture.draw = async (path, text, signal) => {
    const { blob, headers } = await file(path, signal);
    const address = URL.createObjectURL(blob);
    picture.alt = text;
    picture.src = address;
    await picture.decode().catch(() => {});
    URL.revokeObjectURL(address);
    signal.throwIfAborted();
    return headers;
  };
  return picture;
}

const KEPT = 120; // plots, about 200 kB each
const plots = new Map();

/** Request a picture; the newest ones are kept. */
export async function bitmapOf(path, signal) {
  if (!plots.has(path)) {
    const { blob } = await file(path, signal);
    plots.set(path, await createImageBitmap(blob));
    if (plots.size > KEPT) {
      plots.delete(plots.keys().next().value); // not closed: a view may still draw parts of it
    }
  }
  return plots.get(path);
}

/**
 * Create a canvas of an epoch's plot: one class per row, one latent vector per column.
 * `await canvas.draw(path, { real, text }, signal)`: with `real`, as real.js returns it, the right side shows real images.
 * With `classes`, their number, the first picture has its place before it is loaded.
 */
export function plotCanvas(most = 40) {
  const canvas = h("canvas", { class: "ink", role: "img", width: 1, height: 1 });
  let newest = 0;
  const columnsIn = (room) => Math.max(8, Math.min(most, Math.floor(room / (room < 600 ? 24 : CELL))));
  canvas.draw = async (path, { real = null, text, classes: rows = 0 }, signal) => {
    const request = ++newest;
    if (rows && canvas.width === 1) {
      [canvas.width, canvas.height] = [columnsIn(canvas.parentElement.clientWidth) * CELL, rows * CELL];
      canvas.setAttribute("aria-label", text);
    }
    const bitmap = await bitmapOf(path, signal);
    if (request !== newest || signal.aborted) return;
    const classes = (bitmap.width / CELL - 1) / 2;
    const columns = columnsIn(canvas.parentElement.clientWidth);
    const generated = real ? columns - Math.min(real.count, Math.floor(columns / 2)) : columns;
    canvas.width = columns * CELL + (real ? CELL / 2 : 0);
    canvas.height = classes * CELL;
    const context = canvas.getContext("2d");
    for (let column = 0; column < columns; column++) {
      const isReal = column >= generated;
      const from = isReal ? column - generated : column;
      const left = column * CELL + (isReal ? CELL / 2 : 0);
      for (let label = 0; label < classes; label++) {
        if (isReal) real.draw(context, label, from, left, label * CELL);
        else context.drawImage(bitmap, label * CELL, from * CELL, CELL, CELL, left, label * CELL, CELL, CELL);
      }
    }
    canvas.setAttribute("aria-label", text);
  };
  return canvas;
}

/** Create a field for the seed; calls `chosen` with each seed that the user enters or generates. */
export function seedField(seed, chosen) {
  const input = h("input", { type: "number", id: "seed", min: 0, max: Number.MAX_SAFE_INTEGER, value: seed, oninput: () => chosen(input.value) });
  const another = button("New seed", () => { input.value = freshSeed(); chosen(input.value); });
  return h("div", { class: "field" }, h("label", { for: "seed" }, "Seed"), h("div", { class: "row" }, input, another));
}

export function freshSeed() {
  return String(Math.floor(Math.random() * SEEDS));
}
