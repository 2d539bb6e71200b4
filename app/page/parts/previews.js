// The preview of training data: some of its images, by class.

import { h } from "../common/dom.js";
import { sheet } from "./canvas.js";
import { listed } from "../common/format.js";

/** Show the preview of a set in an element; if the service has none yet, the sentence that says why. */
export async function preview(element, set, signal) {
  const picture = sheet();
  try {
    if (!set.links.preview) return element.replaceChildren();
    await picture.draw(set.links.preview, `Images of ${set.name}: the classes ${listed(set.classes)}`, signal);
    element.replaceChildren(picture);
  } catch (problem) {
    if (!signal.aborted) element.replaceChildren(h("p", { class: "hint" }, problem.message));
  }
}
