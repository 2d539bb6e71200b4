// The preview of training data: some of its images, by class.

import { h } from "../common/dom.js";
import { sheet } from "./canvas.js";
import { listed } from "../common/format.js";

const CELL = 30; // pixels: a row of the preview of an own set, one for each class

/** Show the preview of a set in an element; if the service has none yet, the sentence that says why. */
export async function preview(element, set, signal) {
  const picture = sheet();
  const rows = !set.built_in && set.links.preview ? set.classes.length : 0; // the size of a built-in set's preview is not known
  element.style.minHeight = rows ? `min(30rem, ${CELL * rows + 2}px)` : ""; // so that nothing below moves when it arrives
  try {
    if (!set.links.preview) return element.replaceChildren();
    await picture.draw(set.links.preview, `Images of ${set.name}: the classes ${listed(set.classes)}`, signal);
    element.replaceChildren(picture);
  } catch (problem) {
    if (signal.aborted) return;
    element.style.minHeight = "";
    element.replaceChildren(h("p", { class: "hint" }, problem.message));
  }
}
