// Real images by class, from the preview of the training data: the plot of an epoch has them in order of their labels, but
// not where each class begins.

import { bitmapOf } from "./canvas.js";

const CELL = 28, PADDING = 2; // pixels

/** Request real images: { count, draw(context, label, place, left, top) }, with at most `count` of each class. Rejects with a Problem. */
export async function realImages(dataset, classes, signal) {
  const bitmap = await bitmapOf(`training-data/${encodeURIComponent(dataset)}/preview.png`, signal);
  const inColumns = bitmap.width === classes * CELL; // of a built-in set; one that a user brought has a row for each class
  const pitch = inColumns ? CELL : CELL + PADDING, first = inColumns ? 0 : PADDING;
  return {
    count: Math.floor((inColumns ? bitmap.height : bitmap.width) / pitch),
    draw(context, label, place, left, top) {
      const [column, row] = inColumns ? [label, place] : [place, label];
      context.drawImage(bitmap, first + column * pitch, first + row * pitch, CELL, CELL, left, top, CELL, CELL);
    },
  };
}
