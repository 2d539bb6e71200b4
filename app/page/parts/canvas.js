// Pictures of digits or other images: sheets from the API, and the plots of epochs rearranged for the screen.

import { file } from "../common/api.js";
import { h } from "../common/dom.js";

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

const KEPT = 40e6; // pixels of plots, of 4 bytes each
const plots = new Map();

/** Request a picture; those that were used last are kept. */
export async function bitmapOf(path, signal) {
  const known = plots.get(path);
  if (known) {
    plots.delete(path);
    plots.set(path, known);
  } else {
    const { blob } = await file(path, signal);
    plots.set(path, await createImageBitmap(blob));
    let room = KEPT;
    [...plots].reverse().forEach(([old, { width, height }], age) => {
      if ((room -= width * height) < 0 && age > 1) plots.delete(old); // not closed: a view may still draw parts of it
    });
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
    const bitmap = await bitmapOf(path, signal).catch((problem) => {
      if (request === newest) { // what it shows is another epoch
        canvas.width += 0; // clears it
        canvas.setAttribute("aria-label", problem.message);
      }
      throw problem;
    });
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
