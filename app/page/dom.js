// Elements, made in one expression. Text is always text: nothing here takes HTML.

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
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Show `code` as the API's descriptions mark it. */
export function prose(text) {
  return text.split(/`([^`]+)`/).map((part, place) => (place % 2 ? h("code", {}, part) : part));
}

export function title(text, ...beside) {
  return h("div", { class: "title" }, h("h1", {}, text), ...beside);
}

export function notice(text, ...beside) {
  return h("div", { class: "notice" }, h("p", {}, text), ...beside);
}

export function facts(pairs) {
  const told = pairs.filter(([, value]) => value !== null && value !== undefined);
  return h("dl", { class: "facts" }, told.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

export function button(text, onclick, attributes = {}) {
  return h("button", { type: "button", onclick: guarded(onclick), ...attributes }, text);
}

/** Whatever goes wrong in what was asked for is told in a sentence; meanwhile the button takes no second press. */
function guarded(action) {
  return async (event) => {
    const pressed = event.currentTarget;
    pressed.setAttribute("aria-busy", "true");
    try {
      await action(event);
    } catch (error) {
      say(error);
    } finally {
      pressed.removeAttribute("aria-busy");
    }
  };
}

let silence;

/** Say what went wrong, where everybody sees and hears it. */
export function say(error) {
  if (error.name === "AbortError") return;
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: hush }, "×");
  document.getElementById("said").replaceChildren(h("div", { class: "toast" }, h("p", {}, error.message), close));
  clearTimeout(silence);
  silence = setTimeout(hush, 15000);
}

export function hush() {
  document.getElementById("said").replaceChildren();
}

/** Tell those who listen, and nobody else. */
export function whisper(text) {
  document.getElementById("whispered").textContent = text;
}

/** Wait, unless whoever waits leaves. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("left", "AbortError"));
    });
  });
}
