// Keyboard shortcuts of a view, and the sheet that lists them, which `?` opens.

import { h } from "./dom.js";

const NAMES = { ArrowLeft: "←", ArrowRight: "→", " ": "Space" };

/**
 * Listen for keys until `signal` aborts. `keys` are rows of: the keys, what they do, a function of the pressed key and its
 * event. Space presses the button that has the focus, if one has.
 */
export function shortcuts(keys, signal) {
  addEventListener("keydown", (event) => {
    const isTyping = event.target.closest?.("input:not([type=radio]):not([type=checkbox]), select, textarea, dialog");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === " " && event.target.closest?.("button, a, summary")) return;
    if (event.key === "?") return list(keys);
    const found = keys.find(([those]) => those.includes(event.key));
    if (!found) return;
    event.preventDefault();
    found[2](event.key, event);
  }, { signal });
}

function list(keys) {
  const close = h("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Close");
  const row = ([those, text]) => h("div", {}, h("dt", {}, those.length > 2 ? `${those[0]} to ${those.at(-1)}` : NAMES[those] ?? those), h("dd", {}, text));
  const dialog = h("dialog", { "aria-labelledby": "keys-title" }, h("h2", { id: "keys-title" }, "Keyboard shortcuts"),
    h("dl", { class: "keys" }, keys.map(row), row(["?", "this list"])), h("p", { class: "actions" }, close));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
