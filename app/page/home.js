// The first screen: what this is, a number in the network's handwriting, and the two things to do here.

import { get } from "./api.js";
import { announce, h } from "./dom.js";
import { sheet } from "./canvas.js";

const FIRST = "31415926", SEED = 3; // a fixed seed: browsers keep the picture
const SETTLE = 150; // milliseconds after the last key press
const PATIENCE = 400, AGAIN = 5000; // milliseconds: a new generator's handwriting is measured first, which takes seconds
const WORDS = "A neural network that learned to write digits";

/** Create the first screen; `isShort` makes it one row tall. */
export function firstScreen(isShort, signal) {
  const picture = sheet();
  const trouble = h("p", { class: "wrong", id: "written-wrong" });
  const number = h("input", { type: "text", id: "written", inputmode: "numeric", maxlength: 40, autocomplete: "off", value: FIRST, "aria-label": "Type a number", "aria-describedby": "written-wrong", oninput: () => write() });
  const draw = h("a", { class: "button primary", href: "#/draw" }, "Draw"), train = h("a", { class: "button", href: "#/new" }, "Train");
  const element = h("section", { class: `home ${isShort ? "short" : ""}`, "aria-label": "Handwritten numbers" },
    h("h1", { class: "headline" }, WORDS),
    h("div", { class: "try" }, !isShort && h("p", {}, "Type a number. The network writes it."), number, trouble),
    h("div", { class: "written" }, picture),
    h("div", { class: "actions" }, draw, train));
  begin().catch(fail);
  return element;

  async function begin() {
    const { serving } = await get("serving", signal);
    if (serving !== null) return write(0);
    number.disabled = true;
    draw.classList.remove("primary");
    train.classList.add("primary");
    trouble.textContent = "No network has learned to write yet.";
  }

  /** Write the number, after a short delay; a later call replaces an earlier one. */
  async function write(delay = SETTLE) {
    const request = (write.newest = Symbol("request"));
    await new Promise((resolve) => setTimeout(resolve, delay));
    if (request !== write.newest || signal.aborted) return;
    const digits = number.value.replaceAll(/\s/g, "");
    if (!/^[0-9]{0,40}$/.test(digits)) return fail(new Error("Digits only: 0 to 9."));
    trouble.textContent = "";
    number.setAttribute("aria-invalid", "false");
    if (!digits) return;
    const path = `numbers/${digits}?seed=${SEED}&scale=4`, text = `${digits}, written by the network`;
    const isNewest = () => request === write.newest && !signal.aborted;
    let isWritten = false;
    setTimeout(() => { // digits of several styles until those of one style are there
      if (!isWritten && isNewest()) picture.draw(`${path}&style=latent`, text, signal, () => !isWritten && isNewest()).catch(() => {});
    }, PATIENCE);
    try {
      await picture.draw(path, text, signal, isNewest);
      isWritten = true;
      if (delay && isNewest()) announce(`${digits} is written.`);
    } catch (problem) {
      if (!isNewest()) return;
      if (problem.code !== "style-bank-not-ready") return fail(problem);
      setTimeout(() => isNewest() && write(0), AGAIN);
    }
  }

  function fail(problem) {
    if (problem.name === "AbortError") return;
    trouble.textContent = problem.message;
    number.setAttribute("aria-invalid", "true");
  }
}
