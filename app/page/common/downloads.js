// Downloads of a checkpoint: its files, and its generator in formats of other programs.

import { file, get, key } from "./api.js";
import { button, h, save } from "./dom.js";
import { bytes } from "./format.js";

const EXPORTS = { ONNX: "generator.onnx", "Keras 2": "generator.hdf5", "Keras 3": "generator.weights.h5" };

/** Request a checkpoint by its id. */
export const getCheckpoint = (id, signal) => get(`checkpoints/${id}`, signal);

/** Add the downloads of a checkpoint to an element. */
export function listDownloads(element, { id, files }, signal) {
  const listed = [["manifest.json", null], ...Object.entries(files)];
  const row = ([name, known]) => h("li", {}, stored(id, name, signal), known && h("span", { class: "hint" }, ` ${bytes(known.size)}`));
  const exported = ([text, name]) => saving(text, `checkpoints/${id}/exports/${name}`, `${id}-${name}`, signal);
  element.append(
    h("ul", {}, listed.map(row)),
    h("div", { class: "actions" }, h("span", {}, "Generator for"), Object.entries(EXPORTS).map(exported)),
    h("p", { class: "hint" }, "The first conversion to ONNX takes some seconds."));
}

/** A link to a stored file. If reading needs a key, which a link cannot send, a button that fetches the file. */
function stored(id, name, signal) {
  const address = `checkpoints/${id}/${name}`, saved = `${id}-${name}`;
  return key.readingNeedsIt() ? saving(name, address, saved, signal) : h("a", { href: address, download: saved }, name);
}

function saving(text, address, saved, signal) {
  return button(text, async () => save((await file(address, signal)).blob, saved), { title: `Download ${saved}` });
}
