// The table of the classes of an epoch.

import { labelsOf, rangeOf } from "./curves.js";
import { h, prose } from "../common/dom.js";
import { figure, percent } from "../common/format.js";
import { wilson } from "../common/intervals.js";

/** Accuracy and variety of each class; with `animationOf(label, title)`, which returns a link, also its animation. */
export function classTable(metrics, names, animationOf) {
  const row = (text, figures) => h("tr", {}, h("th", { scope: "row" }, text), figures.map((value) => h("td", {}, value)));
  const labels = labelsOf(metrics);
  const nameOf = (label) => names?.[label] ?? label;
  const of = (figure, format) => labels.map((label) => format(metrics[`${figure}_${label}`] ?? NaN));
  const n = metrics.judged_per_class;
  const varieties = labels.map((label) => rangeOf(metrics, `variety_${label}`, figure));
  const range = (share) => wilson(share * n, n).map((end) => (100 * end).toFixed(1)).join(" to ");
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Metrics per class" },
    h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "class"), labels.map((label) => h("th", { scope: "col" }, nameOf(label))))),
      h("tbody", {}, row("recognised", of("label_accuracy", (value) => percent(value))), n && row("recognised, 95 % interval", of("label_accuracy", range)),
        row("variety", of("variety", figure)),
        varieties.some(Boolean) && row("variety, 95 % interval", varieties),
        animationOf && row("all epochs", labels.map((label) => animationOf(label, `Animation of ${nameOf(label)}`))))),
    h("p", { class: "hint" }, `Fréchet distance of the better weights, last or averaged: ${figure(metrics.frechet_distance)}. `, prose("The policy `best` serves the checkpoint with the smallest one, of those that were judged in the same way.")));
}
