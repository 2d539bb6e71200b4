// Checkpoints: list them, show which one is served, and change it.

import { get, keepUp, put, remove } from "../common/api.js";
import { button, confirmed, facts, h, notice, showError, title, announce } from "../common/dom.js";
import { isBusy, placeOf, refocus } from "../common/refocus.js";
import { name } from "../main.js";
import { listDownloads } from "../common/downloads.js";
import { ago, areDigits, bytes, classesOf, figure, nameOf, percent } from "../common/format.js";
import { runNames } from "../parts/run_names.js";
import { evaluationOf } from "./evaluation.js";

const AGAIN = 3000, ALL_AGAIN = 10; // milliseconds between two looks at what other tabs and runs change, and looks until all names are read

const POLICIES = {
  newest: (dataset, until) => `Every new checkpoint of ${dataset} that passes the quality check is served${until}.`,
  best: (dataset, until, by) => `The checkpoint of ${dataset} with the best ${by === "evaluation" ? "evaluation" : "metrics"} is served${until}.${by === "evaluation" ? " While there is no evaluation, the metrics decide." : ""}`,
  pinned: () => "This checkpoint is pinned: new ones are not served.",
};

export async function show(root, _at, signal) {
  name("Checkpoints");
  const standing = h("div"), source = datasetSelect((order) => serve(order));
  const served = h("section", { class: "served", "aria-live": "polite" }, standing, source);
  const list = h("div");
  const names = runNames();
  root.append(title("Checkpoints", h("a", { class: "button", href: "#/compare-checkpoints" }, "Compare two blindly")), served, list);

  let shown = "", lastServed = null, begun = 0, applied = 0;
  const update = async (mayWait = false, all = false) => {
    const turn = ++begun;
    const answers = await Promise.all([get("serving", signal), get("checkpoints", signal)]);
    await names.read(answers[1].checkpoints, all, signal);
    const now = JSON.stringify([answers, answers[1].checkpoints.map(names.of)]);
    if (signal.aborted || turn < applied || (mayWait && isBusy(root))) return;
    applied = turn;
    if (now === shown) return;
    const focused = placeOf(document.activeElement, root);
    shown = now;
    const [choice, { checkpoints, unusable = [] }] = answers;
    standing.replaceChildren(...serving(choice, checkpoints, serve));
    source.update(choice, checkpoints);
    const open = new Set([...list.querySelectorAll("details[open]")].map((group) => group.dataset.job));
    const parts = [...list.querySelectorAll(".weights[open]")].map((details) => `[data-id="${CSS.escape(details.closest("[data-id]").dataset.id)}"] .weights${details.matches(".evaluation") ? ".evaluation" : ":not(.evaluation)"}`);
    const groups = grouped(checkpoints).map(([job, ofJob], at) => group(names.of(ofJob[0]) ?? job, ofJob, choice, { serve, erase, signal }, list.children.length ? open.has(job) : at === 0 || ofJob.some(({ id }) => id === choice.serving)));
    const others = unusable.map(({ id, reason, written_by_another_version: foreign }) => notice(`${id} cannot be used: ${reason}`, !foreign && button("Delete", () => erase(id))));
    list.replaceChildren(...others, ...(groups.length ? groups : [notice("No checkpoint has been published yet. A run publishes one after each epoch.", h("a", { class: "button primary", href: "#/new" }, "Train"))]));
    for (const part of parts) list.querySelector(part)?.setAttribute("open", "");
    refocus(focused, root);
    if (mayWait && choice.serving && choice.serving !== lastServed) announce(`${choice.serving} is served now.`);
    lastServed = choice.serving;
  };
  const serve = async (order) => {
    const now = await put("serving", order);
    announce(`${now.serving} is served.`);
    await update();
  };
  const erase = async (id) => {
    if (!(await confirmed("Delete this checkpoint?", `${id} is deleted with all its files. This cannot be undone.`, "Delete checkpoint"))) return;
    await remove(`checkpoints/${id}`);
    announce(`${id} is deleted.`);
    await update();
  };
  await update(false, true);
  document.addEventListener("visibilitychange", () => document.hidden || update(true).catch(() => {}), { signal });
  let round = 0;
  keepUp(() => update(true, ++round % ALL_AGAIN === 0), AGAIN, signal).catch(showError);
}

function serving(choice, checkpoints, serve) {
  const now = checkpoints.find(({ id }) => id === choice.serving);
  const dataset = servedData(choice);
  const until = choice.dataset === null && dataset !== "mnist" ? " until one of mnist is published" : "";
  const before = now && checkpoints.slice(checkpoints.indexOf(now) + 1).find(({ refused, config }) => refused === null && nameOf(config.dataset) === dataset);
  const policyButton = (policy, text, by = "epoch") => {
    const isChosen = choice.policy === policy && (policy !== "best" || choice.by === by);
    return button(text, () => serve({ policy, dataset: choice.dataset, by }), { "aria-pressed": String(isChosen), disabled: isChosen });
  };
  const back = before && button("Roll back: serve the previous one", () => serve({ policy: "pinned", checkpoint: before.id }), { "aria-describedby": "rollback" });
  return [
    h("p", { class: "standing" }, "Current model: ", choice.serving ? h("b", {}, choice.serving) : "none", ". ", POLICIES[choice.policy](dataset, until, choice.by)),
    h("div", { class: "actions" }, policyButton("newest", "Serve the newest"), policyButton("best", "Serve the best"), policyButton("best", "Serve the best by evaluation", "evaluation"), back),
    back && h("p", { class: "hint", id: "rollback" }, `Rolling back pins ${before.id}: new checkpoints are not served until you choose the newest or the best again. Requests in progress are not interrupted.`),
  ].filter(Boolean);
}

/** The name of the training data whose generator is served. */
function servedData(choice) {
  return nameOf(choice.serving_dataset ?? choice.dataset ?? "mnist");
}

/** A choice of the training data whose newest checkpoint is served, if there are several. It stays when the rest is made again. */
function datasetSelect(serve) {
  const select = h("select", { onchange: () => serve({ policy: "newest", dataset: select.value }).catch(showError) });
  const element = h("label", { class: "inline", hidden: true }, "Training data ", select);
  element.update = (choice, checkpoints) => {
    const servable = checkpoints.filter((checkpoint) => checkpoint.refused === null && areDigits(classesOf(checkpoint)));
    const names = [...new Set(servable.map(({ config }) => nameOf(config.dataset)))].sort();
    if (String(names) !== String([...select.options].map(({ value }) => value))) select.replaceChildren(...names.map((each) => h("option", {}, each)));
    select.value = servedData(choice);
    element.hidden = names.length < 2;
  };
  return element;
}

function grouped(checkpoints) {
  const runs = new Map();
  for (const checkpoint of checkpoints) runs.set(checkpoint.job, [...(runs.get(checkpoint.job) ?? []), checkpoint]);
  return [...runs];
}

function group(called, checkpoints, choice, actions, open) {
  const { job } = checkpoints[0];
  const isBundled = job === "pretrained";
  const heading = isBundled ? "Bundled model" : called;
  const link = !checkpoints[0].links.job ? null : h("p", {}, h("a", { href: `#/runs/${job}` }, "Show run"));
  return h("details", { class: "group", open, "data-job": job },
    h("summary", {}, h("b", {}, heading), h("span", { class: "hint" }, ` ${checkpoints[0].config.dataset} · ${checkpoints.length} · ${ago(checkpoints[0].created_at)}`)),
    link, h("ol", {}, checkpoints.map((checkpoint) => entry(checkpoint, choice, isBundled, actions))));
}

function entry(checkpoint, choice, isBundled, { serve, erase, signal }) {
  const isServed = checkpoint.id === choice.serving;
  const isPinned = choice.policy === "pinned" && choice.checkpoint === checkpoint.id;
  const { metrics } = checkpoint;
  const state = isServed ? h("span", { class: "badge running" }, isPinned ? "served, pinned" : "served") : checkpoint.refused ? h("span", { class: "badge failed" }, "refused") : null;
  const may = checkpoint.refused === null, digits = areDigits(classesOf(checkpoint));
  const data = digits ? "" : `data=${encodeURIComponent(checkpoint.config.dataset)}&`;
  const downloads = h("details", { class: "weights" }, h("summary", {}, "Download"));
  downloads.addEventListener("toggle", () => listDownloads(downloads, checkpoint, signal), { once: true });
  return h("li", { class: "checkpoint", "data-id": checkpoint.id },
    h("div", { class: "what" },
      h("h3", {}, `Epoch ${checkpoint.epoch} `, state), h("p", { class: "hint" }, h("code", {}, checkpoint.id)),
      checkpoint.refused && h("p", {}, `Not served: ${checkpoint.refused}.`),
      facts([
        ["recognised", metrics.label_accuracy === undefined ? null : percent(metrics.label_accuracy)],
        ["variety", metrics.variety === undefined ? null : figure(metrics.variety)],
        ["Fréchet distance", metrics.frechet_distance === undefined ? null : figure(metrics.frechet_distance)],
        ["size", bytes(checkpoint.size)],
      ]), downloads, evaluationOf(checkpoint, signal)),
    h("div", { class: "actions" },
      may && digits && !isPinned && button(isServed ? "Pin" : "Serve this", () => serve({ policy: "pinned", checkpoint: checkpoint.id })),
      may && h("a", { class: "button", href: `#/draw?${data}checkpoint=${checkpoint.id}` }, "Draw"),
      !isBundled && !isServed && !isPinned && button("Delete", () => erase(checkpoint.id))));
}
