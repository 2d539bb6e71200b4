// Helpers that create elements. Strings become text nodes; no helper accepts HTML.

import { file, key } from "./api.js";

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  return add(element, children);
}

/** Append to an element what there is of `children`: the browser's own `append` shows null and false as words. */
export function add(element, ...children) {
  element.append(...children.flat(4).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Convert text with `backticks` to text nodes and <code> elements. */
export function prose(text) {
  return text.split(/`([^`]+)`/).map((part, place) => (place % 2 ? h("code", {}, part) : part));
}

export function title(text, ...beside) {
  return h("div", { class: "title" }, h("h1", {}, text), ...beside);
}

/** Replace the children of an element. The focus stays on the same text, or moves to the last link or button, which is the most harmless. */
export function exchange(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.textContent : null;
  element.replaceChildren(...children);
  if (focused === null) return;
  const all = [...element.querySelectorAll("a[href], button:not(:disabled)")];
  (all.find((other) => other.textContent === focused) ?? all.at(-1))?.focus({ preventScroll: true });
}

export function notice(text, ...beside) {
  return h("div", { class: "notice" }, h("p", {}, text), ...beside);
}

/** Describe a problem, with a link to what helps if there is one. */
export function trouble({ message, next }, ...beside) {
  return notice(prose(message), next && h("a", { class: "button", href: next[1] }, next[0]), ...beside);
}

export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined);
  return h("dl", { class: "facts" }, known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

export function button(text, onclick, attributes = {}) {
  return h("button", { type: "button", onclick: guarded(onclick), ...attributes }, text);
}

/** Wrap a click handler: errors are shown as a message, and the button is marked busy until it finishes. */
function guarded(action) {
  return async (event) => {
    const pressed = event.currentTarget;
    if (pressed.hasAttribute("aria-busy")) return; // pressed with the keyboard: the pointer cannot
    pressed.setAttribute("aria-busy", "true");
    try {
      await action(event);
    } catch (error) {
      showError(error);
    } finally {
      pressed.removeAttribute("aria-busy");
    }
  };
}

/** Ask in a dialog. Resolves to true if the button `verb` was pressed. */
export function confirmed(question, detail, verb) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "confirm-title" }, h("form", { method: "dialog" },
      h("h2", { id: "confirm-title" }, question), h("p", {}, detail),
      h("p", { class: "actions" }, h("button", { value: "yes", class: "primary" }, verb), h("button", { value: "no", autofocus: true }, "Keep"))));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    }, { once: true });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Save a blob as a file of the user. */
export function save(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/** Create a button that fetches a file of the API and saves it under a name. */
export function saving(text, address, saved, signal, attributes = {}) {
  const fetched = async () => save((await file(address, signal)).blob, saved);
  return button(text, fetched, { title: `Download ${saved}`, ...attributes });
}

/**
 * Create a link to a file of the API; if reading needs a key, which a link cannot send, a button that saves the file.
 * Views call it after their first request, which tells whether reading needs a key.
 */
export function fileLink(text, address, saved, signal, attributes = { download: saved }) {
  if (key.readingNeedsIt()) return saving(text, address, saved, signal, { class: "link", "aria-label": attributes["aria-label"] });
  return h("a", { href: address, ...attributes }, text);
}

const alerts = document.getElementById("alert"), announcement = document.getElementById("announcement");
const MOVED = 100; // milliseconds: a change right after a move would not be read
let silence;

/** Move an element to where it is shown and read: an open dialog makes the page below it inert. */
function inReach(element) {
  const top = document.querySelector("#ask[open]") ?? [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  if (element.parentElement !== top) top.append(element);
  return element;
}

document.addEventListener("close", ({ target }) => target.contains(alerts) && inReach(alerts), true);

/** Show an error as a message that screen readers announce. */
export function showError(error) {
  if (error.name === "AbortError") return;
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: clearError }, "×");
  const { next } = error;
  const toast = h("div", { class: "toast" }, h("p", {}, error.message, next && [" ", h("a", { href: next[1] }, next[0])]), close);
  clearError();
  inReach(alerts);
  silence = setTimeout(() => {
    inReach(alerts).append(toast);
    silence = setTimeout(clearError, 15000);
  }, MOVED);
}

export function clearError() {
  clearTimeout(silence);
  alerts.replaceChildren();
}

/** Announce a text to screen readers only. */
export function announce(text) {
  inReach(announcement);
  setTimeout(() => { inReach(announcement).textContent = text; }, MOVED);
}

/** Wait; rejects with an AbortError if `signal` aborts. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("left", "AbortError"));
    });
  });
}
