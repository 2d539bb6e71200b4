// The dialog about one image of a sheet: its address, how to get it again, and a morph that starts from it.

import { announce, button, h, showError } from "../common/dom.js";
import { sheet } from "./canvas.js";

const PICTURE = "scale=6";

/**
 * Show one image. `find(position)` returns its `path` (without a query), `seed`, `index`, `checkpoint`, and the digit to
 * morph from, or null for images that are no digits. `count` images can be looked through.
 */
export function showDigit(find, position, count, signal) {
  const picture = sheet();
  const address = h("code", {}), curl = h("code", {}), python = h("code", {});
  const name = h("h2", { id: "digit-title" });
  const morph = h("a", { class: "button", href: "#/play", onclick: () => dialog.close() }, "Morph from here");
  const before = button("Previous", () => look(position - 1)), after = button("Next", () => look(position + 1));
  const line = (text, code) => [h("dt", {}, text), h("dd", {}, code, button("Copy", () => copy(code, text), { "aria-label": `Copy ${text}` }))];
  const dialog = h("dialog", { class: "digit", "aria-labelledby": "digit-title" },
    name, h("div", { class: "paper" }, picture),
    h("dl", {}, line("Permanent link", address), line("curl", curl), line("Python", python)),
    h("p", { class: "actions" }, before, after, morph, h("button", { type: "button", onclick: () => dialog.close() }, "Close")));
  dialog.addEventListener("close", () => dialog.remove());
  signal.addEventListener("abort", () => dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return look(position).catch(showError);

  async function look(to) {
    position = Math.max(0, Math.min(count - 1, to));
    before.disabled = position === 0;
    after.disabled = position === count - 1;
    const { path, label, seed, index, checkpoint, digit } = find(position);
    const query = `seed=${seed}&index=${index}&checkpoint=${checkpoint}`;
    const url = new URL(`${path}?${query}`, document.baseURI).href;
    name.textContent = `${label}: seed ${seed}, index ${index}`;
    address.textContent = url;
    curl.textContent = `curl -o image.png '${url}'`;
    python.textContent = `import io, urllib.request\nimport numpy as np\npixels = np.load(io.BytesIO(urllib.request.urlopen("${url}&format=npy").read()))`;
    morph.hidden = digit === null;
    morph.href = `#/play?first=${digit}&seed=${seed}&index=${index}&checkpoint=${checkpoint}`;
    await picture.draw(`${path}?${query}&${PICTURE}`, `${label}, seed ${seed}, index ${index}`, signal);
  }
}

/** Copy a text. `navigator.clipboard` exists on secure origins only. */
async function copy(code, what) {
  if (navigator.clipboard) await navigator.clipboard.writeText(code.textContent);
  else {
    getSelection().selectAllChildren(code);
    if (!document.execCommand("copy")) throw new Error("This browser does not allow the page to copy: press Ctrl-C.");
  }
  announce(`${what} is copied.`);
}
