// The router. The URL holds the whole state of a view, as in #/runs/ID?epoch=3, so a reload loses nothing.

import { key, wanted } from "./common/api.js";
import { h, clearError, fileLink, notice, trouble, announce } from "./common/dom.js";

const VIEWS = { "": "runs", new: "new_run", runs: "run", compare: "compare", draw: "draw", play: "play", datasets: "datasets", "training-data": "training_data", checkpoints: "checkpoints", "compare-checkpoints": "blind_test" };

// The modules of each view besides the common ones: loaded in parallel, because each round trip takes time.
const PARTS = {
  runs: ["parts/canvas", "parts/run_row"],
  run: ["parts/chart", "parts/curves", "parts/canvas", "parts/live", "parts/run_row"],
  compare: ["parts/chart", "parts/curves", "parts/canvas", "parts/run_row"],
  draw: ["parts/canvas", "parts/digit", "parts/explore", "parts/neighbours", "parts/options", "common/keys", "common/tabs"],
  play: ["parts/canvas", "parts/options", "parts/run_row", "views/runs", "common/tabs"],
  checkpoints: ["common/downloads", "common/refocus", "parts/run_names", "views/evaluation"],
  blind_test: ["common/intervals", "common/keys", "parts/canvas", "parts/options", "parts/run_names", "parts/tally"],
  datasets: ["common/refocus", "common/tabs"],
  training_data: ["parts/canvas", "parts/previews", "common/refocus", "common/tabs", "common/upload", "common/tar", "views/new_run"],
};

export function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view = "", id = ""] = path.split("/").map(decodeURIComponent);
  return { view, id, query: new URLSearchParams(query) };
}

/** Change query parameters of the URL without navigation; null removes one. */
export function note(changes) {
  const { query } = place();
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") query.delete(name);
    else query.set(name, value);
  }
  const path = location.hash.split("?")[0] || "#/";
  history.replaceState(history.state, "", query.size ? `${path}?${query}` : path);
}

const SOON = 250; // milliseconds
let soon;

/** Do as `note` after a moment without another call: browsers limit how often a page may change its address. */
export function noteSoon(changes, signal) {
  clearTimeout(soon);
  soon = setTimeout(() => signal.aborted || note(changes), SOON);
}

export function go(address) {
  location.hash = address;
}

let current = new AbortController();

async function show() {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  const at = place();
  const main = document.getElementById("main");
  mark(at.view);
  clearError();
  name("");
  if (!(at.view in VIEWS)) return main.replaceChildren(notice("This page does not exist.", h("a", { href: "#/" }, "Show runs")));
  try {
    for (const part of PARTS[VIEWS[at.view]] ?? []) import(`./${part}.js`).catch(() => {}); // importing the view reports the error
    const view = await import(`./views/${VIEWS[at.view]}.js`);
    if (signal.aborted) return;
    const root = h("div", { class: `view ${VIEWS[at.view]}` });
    main.replaceChildren(root);
    scrollTo(0, 0);
    await view.show(root, at, signal);
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    announce(error.message);
    const again = h("button", { type: "button", onclick: show }, "Try again");
    main.replaceChildren(trouble(error, again));
  }
}

function mark(view) {
  const section = { runs: "", compare: "", datasets: "training-data", play: "draw", "compare-checkpoints": "checkpoints" }[view] ?? view;
  for (const link of document.querySelectorAll("header a[href^='#/']")) {
    const target = link.getAttribute("href").slice(2);
    if (target === section && !link.classList.contains("mark")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Set the title of the document. */
export function name(text) {
  document.title = text ? `${text} · acgan` : "acgan";
}

const button = document.getElementById("key"), docs = document.querySelector("header a[href=docs]");
const showKey = () => {
  button.hidden = key.get() === null;
  if (key.readingNeedsIt()) docs.replaceWith(fileLink("API", "openapi.json", "openapi.json")); // docs/ sends no key
};
button.addEventListener("click", async () => {
  key.forget();
  await wanted("The key was removed. Enter another key, or cancel.");
  showKey();
});
document.addEventListener("key", showKey);
showKey();

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the router uses the hash
  document.getElementById("main").focus();
});
addEventListener("hashchange", () => {
  show();
  document.getElementById("main").focus({ preventScroll: true });
});
show();
