// The evaluation of a checkpoint: a button that orders one, its progress, and its figures with their intervals.

import { get, post } from "../common/api.js";
import { announce, button, facts, h, pause, showError } from "../common/dom.js";
import { figure, percent } from "../common/format.js";

const POLL_MS = 2000;
const FIGURES = [
  ["label accuracy", "label_accuracy", percent],
  ["GAN-train", "gan_train", percent],
  ["Fréchet distance", "frechet_distance", figure],
  ["variety", "variety_mean", figure],
  ["coverage", "coverage", figure],
  ["copies", "copies", percent],
];

/** A disclosure that lists the newest evaluation when it is opened. */
export function evaluationOf(checkpoint, signal) {
  const body = h("div", { "aria-live": "polite" });
  const details = h("details", { class: "weights evaluation" }, h("summary", {}, "Evaluate"), body);
  details.addEventListener("toggle", () => details.open && showNewest(body, checkpoint, signal).catch(showError), { once: true });
  return details;
}

async function showNewest(body, checkpoint, signal) {
  const { evaluations } = await get(`evaluations?limit=1&checkpoint=${checkpoint.id}`, signal);
  if (signal.aborted) return;
  const order = async (effort) => {
    await post("evaluations", { checkpoint: checkpoint.id, effort });
    announce(`The evaluation of ${checkpoint.id} is ordered.`);
    await showNewest(body, checkpoint, signal);
  };
  const [newest] = evaluations;
  const isOpen = newest && !newest.ended_at;
  body.replaceChildren(...[
    newest ? standing(newest) : h("p", { class: "hint" }, "This checkpoint has not been evaluated. An evaluation takes minutes and starts after all waiting runs."),
    newest?.result && table(newest),
    !isOpen && h("div", { class: "actions" }, button("Evaluate", () => order("full")), button("Evaluate quickly", () => order("quick"))),
  ].filter(Boolean));
  if (!isOpen) return;
  await pause(POLL_MS, signal);
  if (!signal.aborted && body.isConnected) await showNewest(body, checkpoint, signal);
}

function standing({ status, effort, error, progress, links }) {
  const done = progress && status === "running" ? `, ${Math.floor((100 * progress.done) / progress.steps)} %` : "";
  return h("p", { class: "hint" }, `Evaluation (${effort}): ${status}${done}${error ? `: ${error}` : ""}. `,
    links.picture && h("a", { href: links.picture.replace(/^\//, "") }, "Charts"), " ",
    links.result && h("a", { href: links.result.replace(/^\//, "") }, "All figures"));
}

/** Each figure with its 95 % interval, and that of real digits. */
function table({ result }) {
  const shown = (figures, field, form) => `${form(figures[field])} (${figures[`${field}_interval`].map((value) => form(value)).join(" to ")})`;
  return h("div", {}, facts(FIGURES.map(([title, field, form]) => [title, `${shown(result.generator, field, form)}; real: ${shown(result.real, field, form)}`])),
    h("p", { class: "hint" }, "In parentheses: 95 % intervals."));
}
