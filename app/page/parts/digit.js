// The dialog about one image of a sheet: its address, how to get it again, the training images nearest to it, a grid of
// images around it, and a morph that starts from it.

import { file, onlyLatest } from "../common/api.js";
import { announce, button, h, save, showError } from "../common/dom.js";
import { sheet } from "./canvas.js";
import { explorer, HERE } from "./explore.js";
import { neighbours } from "./neighbours.js";

const PICTURE = "scale=6";

/**
 * Show one image. `find(position)` returns its `path` (without a query), `label`, `seed`, `index`, `checkpoint`, the names
 * of all `classes`, and the digit to morph from, or null for images that are no digits. `count` images can be looked through.
 */
export function showDigit(find, position, count, signal) {
  const picture = sheet(), near = neighbours(signal), grid = explorer(move, signal);
  const address = h("code", {}), curl = h("code", {}), python = h("code", {});
  const name = h("h2", { id: "digit-title" });
  const morph = h("a", { class: "button", href: "#/play", onclick: () => dialog.close() }, "Morph from here");
  const before = button("Previous", () => look(position - 1)), after = button("Next", () => look(position + 1));
  const explore = button("Explore", open, { "aria-expanded": "false" });
  const line = (text, code) => [h("dt", {}, text), h("dd", {}, code, button("Copy", () => copy(code, text), { "aria-label": `Copy ${text}` }))];
  const dialog = h("dialog", { class: "digit", "aria-labelledby": "digit-title" },
    name, h("div", { class: "paper beside" }, picture, near),
    h("p", { class: "actions" }, before, after, explore, morph, button("Download", download), h("button", { type: "button", onclick: () => dialog.close() }, "Close")),
    grid,
    h("dl", {}, line("Permanent link", address), line("curl", curl), line("Python", python)));
  const begin = onlyLatest(signal);
  let found = null, point = HERE;
  dialog.addEventListener("close", () => {
    grid.release();
    dialog.remove();
  });
  signal.addEventListener("abort", () => dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return look(position).catch(showError);

  async function look(to) {
    position = Math.max(0, Math.min(count - 1, to));
    before.disabled = position === 0;
    after.disabled = position === count - 1;
    found = find(position);
    await move(HERE);
  }

  /** Show the image at a point around the one that was found. */
  async function move(to) {
    point = to;
    const { path, label, seed, index, checkpoint, digit } = found;
    const isMoved = point.x !== 0 || point.y !== 0;
    const query = `seed=${seed}&index=${index}&checkpoint=${checkpoint}`;
    const place = isMoved ? `${path}/traversal?${query}&x=${point.x}&y=${point.y}&directions=${point.directions}&rows=1&columns=1` : `${path}?${query}`;
    const url = new URL(place, document.baseURI).href;
    name.textContent = `${label}: seed ${seed}, index ${index}${isMoved ? `, moved to ${point.x}, ${point.y}` : ""}`;
    address.textContent = url;
    curl.textContent = `curl -o image.png '${url}'`;
    python.textContent = `import io, urllib.request\nimport numpy as np\npixels = np.load(io.BytesIO(urllib.request.urlopen("${url}&format=npy").read()))`;
    morph.hidden = digit === null || isMoved;
    morph.href = `#/play?first=${digit}&seed=${seed}&index=${index}&checkpoint=${checkpoint}`;
    near.hidden = isMoved;
    if (!isMoved) near.draw(found);
    await Promise.all([
      picture.draw(`${place}&${PICTURE}`, name.textContent.replace(":", ","), begin()),
      grid.hidden ? null : grid.draw(found, point),
    ]);
  }

  async function open() {
    grid.hidden = !grid.hidden;
    explore.setAttribute("aria-expanded", String(!grid.hidden));
    if (grid.hidden) return;
    const focused = document.activeElement;
    await grid.draw(found, point);
    if (!grid.hidden && document.activeElement === focused) grid.enter(); // on the button, Enter would close the grid
  }

  async function download() {
    const { blob } = await file(new URL(address.textContent).href, signal);
    save(blob, `${found.label}-${found.seed}-${found.index}.png`);
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
