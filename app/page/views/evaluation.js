// The evaluation of a checkpoint: a button that orders one, its progress, and its figures with their intervals.

import { get, poll, post } from "../common/api.js";
import { announce, button, facts, fileLink, h, showError } from "../common/dom.js";
import { figure, isUnreadable, percent, sentence } from "../common/format.js";

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
  const body = h("div");
  const details = h("details", { class: "weights evaluation" }, h("summary", {}, "Evaluate"), body);
  const begin = () => details.open && followNewest(body, checkpoint, signal).catch(showError);
  details.addEventListener("toggle", begin, { once: true });
  return details;
}

/** Show the newest evaluation until it ends, or until the list of checkpoints is made again. */
function followNewest(body, checkpoint, signal) {
  return poll(async () => !body.isConnected || !(await showNewest(body, checkpoint, signal)), POLL_MS, signal);
}

/** Show the newest evaluation once. Resolves to whether it is still open. */
async function showNewest(body, checkpoint, signal) {
  const hint = (text) => h("p", { class: "hint" }, text);
  const { evaluations } = await get(`evaluations?limit=1&checkpoint=${checkpoint.id}`, signal).catch((problem) => {
    if (!body.hasChildNodes()) body.append(hint(problem.message)); // until a later request succeeds
    throw problem;
  });
  if (signal.aborted) return false;
  const order = async (effort) => {
    await post("evaluations", { checkpoint: checkpoint.id, effort });
    announce(`The evaluation of ${checkpoint.id} is ordered.`);
    await followNewest(body, checkpoint, signal);
  };
  const [newest] = evaluations;
  const isOpen = Boolean(newest) && !newest.ended_at && !isUnreadable(newest);
  const now = JSON.stringify(evaluations);
  if (body.dataset.shown === now) return isOpen;
  if (newest && "shown" in body.dataset && body.dataset.status !== newest.status) announce(`The evaluation of ${checkpoint.id} is ${newest.status}.`);
  Object.assign(body.dataset, { shown: now, status: newest?.status ?? "" });
  body.replaceChildren(...[
    newest ? standing(newest, signal) : hint(
      "This checkpoint has not been evaluated. An evaluation takes minutes and starts after all waiting runs."),
    newest?.result && table(newest),
    !isOpen && h("div", { class: "actions" }, button("Evaluate", () => order("full")), button("Evaluate quickly", () => order("quick"))),
  ].filter(Boolean));
  return isOpen;
}

function standing(evaluation, signal) {
  const { id, status, effort, error, progress, links, trouble } = evaluation;
  if (isUnreadable(evaluation)) return h("p", { class: "hint" }, `Evaluation ${id}: ${status}. ${sentence(trouble)}`);
  const done = progress && status === "running" ? `, ${Math.floor((100 * progress.done) / progress.steps)} %` : "";
  return h("p", { class: "hint" }, `Evaluation (${effort}): ${status}${done}${error ? `: ${error}` : ""}. `,
    links.picture && fileLink("Charts", links.picture, `${id}-picture.png`, signal, {}), " ",
    links.result && fileLink("All figures", links.result, `${id}-result.json`, signal, {}));
}

/** Each figure with its 95 % interval, and that of real digits. */
function table({ result }) {
  const shown = (figures, field, form) => `${form(figures[field])} (${figures[`${field}_interval`].map((value) => form(value)).join(" to ")})`;
  return h("div", {}, facts(FIGURES.map(([title, field, form]) => [title, `${shown(result.generator, field, form)}; real: ${shown(result.real, field, form)}`])),
    h("p", { class: "hint" }, "In parentheses: 95 % intervals."));
}
