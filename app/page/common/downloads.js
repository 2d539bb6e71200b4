// Downloads of a checkpoint: its files, and its generator in formats of other programs.

import { get } from "./api.js";
import { fileLink, h, saving } from "./dom.js";
import { bytes } from "./format.js";

const EXPORTS = { ONNX: "generator.onnx", "Keras 2": "generator.hdf5", "Keras 3": "generator.weights.h5" };

/** Request a checkpoint by its id, and add its downloads to an element. */
export async function listDownloadsOf(id, element, signal) {
  listDownloads(element, await get(`checkpoints/${id}`, signal), signal);
}

/** Add the downloads of a checkpoint to an element. */
export function listDownloads(element, { id, files }, signal) {
  const listed = [["manifest.json", null], ...Object.entries(files)];
  const stored = (name) => fileLink(name, `checkpoints/${id}/${name}`, `${id}-${name}`, signal);
  const size = (known) => known && h("span", { class: "hint" }, ` ${bytes(known.size)}`);
  const row = ([name, known]) => h("li", {}, stored(name), size(known));
  const exported = ([text, name]) => saving(text, `checkpoints/${id}/exports/${name}`, `${id}-${name}`, signal);
  element.append(
    h("ul", {}, listed.map(row)),
    h("div", { class: "actions" }, h("span", {}, "Generator for"), Object.entries(EXPORTS).map(exported)),
    h("p", { class: "hint" }, "The first conversion to ONNX takes some seconds."));
}
