// The training images nearest to one image.

import { onlyLatest } from "../common/api.js";
import { h } from "../common/dom.js";
import { sheet } from "./canvas.js";

const missing = new Map(); // by checkpoint, why its training images cannot be searched: asked once

/** Create the figure. `await figure.draw(subject)` fills it; `subject` is what the dialog about an image finds. */
export function neighbours(signal) {
  const picture = sheet(), text = h("figcaption", { class: "hint" });
  const figure = h("figure", { class: "neighbours" }, picture, text);
  const begin = onlyLatest(signal);
  figure.draw = async ({ path, label, seed, index, checkpoint, classes }) => {
    const current = begin();
    picture.hidden = true;
    text.textContent = missing.get(checkpoint) ?? "Searching the nearest training images …";
    if (missing.has(checkpoint)) return;
    try {
      const query = `seed=${seed}&index=${index}&checkpoint=${checkpoint}&n=3&scale=2&padding=2`;
      const headers = await picture.draw(`${path}/neighbours?${query}`, `${label}, and the three nearest training images`, current);
      const found = headers.get("X-Neighbours").split(",").map((each) => each.split(":"));
      picture.hidden = false;
      text.textContent = `Nearest training images, and their distances in pixel values: ${found.map(([of, , distance]) => `${classes[of]} (${Math.round(distance)})`).join(", ")}.`;
    } catch (problem) {
      if (problem.code === "training-data-not-found") missing.set(checkpoint, problem.message);
      if (!current.aborted) text.textContent = problem.message;
    }
  };
  return figure;
}
