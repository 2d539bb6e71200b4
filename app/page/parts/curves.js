// Charts of a run's epochs: the three losses in the four rows of the original Keras script, and the quality metrics.

import { chart } from "./chart.js";
import { h } from "../common/dom.js";
import { figure } from "../common/format.js";

export const ROWS = [
  { name: "generator (train)", network: "generator", split: "train", look: "accent" },
  { name: "generator (test)", network: "generator", split: "test", look: "accent", dashed: true },
  { name: "discriminator (train)", network: "discriminator", split: "train", look: "ink" },
  { name: "discriminator (test)", network: "discriminator", split: "test", look: "ink", dashed: true },
];

export const LOSSES = [
  { name: "loss", title: "Loss", hint: "sum of the two others, in nats" },
  { name: "generation_loss", title: "Generation loss", hint: "real or fake" },
  { name: "auxiliary_loss", title: "Auxiliary loss", hint: "class of the image" },
];

/** Explains an auxiliary loss below 0, which a cross-entropy cannot be; null for `seed`, whose losses are never below 0. */
export function belowZero(recipe) {
  if (recipe === "seed") return null;
  return "With every recipe but seed, the generator's auxiliary loss is the difference of two cross-entropies: one for its images as real images of their "
    + "class, minus one for them as generated images. Below 0, the discriminator more often takes them for real ones.";
}

const share = (value) => `${Number((100 * value).toFixed(1))} %`;

/** Figures of real test images, by the judge that reports: models/judges/*-real-6000-3.json. */
export const REAL = { mnist: { label_accuracy: 0.9954 } };

export const FIGURES = [
  {
    title: "Label accuracy", hint: "share of images that are recognised", name: "label_accuracy",
    options: { format: share, bounds: [0, 1] },
    lines: [
      { name: "all classes", figure: "label_accuracy", look: "accent" },
      { name: "the worst class", figure: "label_accuracy_worst", look: "ink" },
    ],
  },
  {
    title: "Variety", hint: "relative to real images", name: "variety",
    options: { reference: { name: "real images", value: 1 } },
    lines: [
      { name: "all classes", figure: "variety", look: "accent" },
      { name: "the least varied class", figure: "variety_least", look: "ink" },
    ],
  },
  {
    title: "Fréchet distance", hint: "smaller is better", name: "frechet_distance",
    options: { log: true },
    lines: [
      { name: "last weights", figure: "frechet_distance_raw", look: "ink" },
      { name: "averaged weights", figure: "frechet_distance_averaged", look: "accent" },
    ],
  },
];

export function lossCharts(board, recipe) {
  return LOSSES.map((loss) => {
    const explained = loss.name === "auxiliary_loss" ? belowZero(recipe) : null;
    const made = chart(loss.title, loss.hint, board, { note: explained && h("p", { class: "hint" }, explained) });
    made.show = (epochs, total, epoch) =>
      made.draw(ROWS.map((row) => ({ ...row, points: epochs.map((record) => [record.epoch, record.losses[row.network][row.split][loss.name]]) })), total, epoch);
    return made;
  });
}

export function points(epochs, figure) {
  return epochs.filter(({ metrics }) => metrics?.[figure] !== undefined).map(({ epoch, metrics }) => [epoch, metrics[figure]]);
}

/** Create the charts of quality. `real` has figures of real images, by name. */
export function figureCharts(board, real = {}) {
  return FIGURES.map(({ title, hint, name, options, lines }) => {
    const reference = name in real ? { name: "real images", value: real[name] } : options.reference;
    const made = chart(title, hint, board, { ...options, reference });
    made.show = (epochs, total, epoch) => made.draw(lines.map((line) => ({ ...line, points: points(epochs, line.figure) })), total, epoch);
    return made;
  });
}

/** Create the charts of each class, one line each. */
export function classCharts(board, names, labels) {
  const figures = [["Recognised", "share of the images of a class", "label_accuracy", { format: share, bounds: [0, 1] }], ["Variety of a class", "relative to real images", "variety", {}]];
  return figures.map(([title, hint, figure, options]) => {
    const made = chart(title, hint, board, options);
    made.show = (epochs, total, epoch) =>
      made.draw(labels.map((label, place) => ({ name: names?.[label] ?? String(label), ...hue(place), points: points(epochs, `${figure}_${label}`) })), total, epoch);
    return made;
  });
}

const HUES = 6;

/** Return the look of one of many lines: a colour, and dashes after the first six. */
export function hue(place) {
  return { look: `hue-${place % HUES}`, dashed: Math.floor(place / HUES) % 2 === 1 };
}

/** The table of losses, as the original Keras script prints it. */
export function lossTable(epoch) {
  const body = ROWS.map((row) => {
    const losses = epoch.losses[row.network][row.split];
    return h("tr", {}, h("th", { scope: "row" }, row.name), h("td", {}, losses.loss.toFixed(2)),
      h("td", {}, losses.generation_loss.toFixed(4)), h("td", {}, losses.auxiliary_loss.toFixed(4)));
  });
  const columns = ["epoch " + epoch.epoch, ...LOSSES.map((loss) => loss.name)];
  return h("table", {}, h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col" }, column)))), h("tbody", {}, body));
}

/** Say that the picture of an epoch is drawn with other weights than the service uses; empty if it is drawn with the same. */
export function otherWeights({ metrics, refused }) {
  const { frechet_distance_raw: last, frechet_distance_averaged: averaged } = metrics ?? {};
  if (!(averaged < last)) return "";
  const use = refused ? "The averaged weights are better" : "The service draws with the averaged weights, which are better";
  return `The picture is drawn with the weights of the last iteration. ${use}: Fréchet distance ${figure(averaged)} instead of ${figure(last)}.`;
}

/** Return the labels of the classes that these metrics judge. */
export function labelsOf(metrics) {
  return Object.keys(metrics).map((name) => name.match(/^label_accuracy_(\d+)$/)?.[1]).filter((label) => label !== undefined).map(Number).sort((a, b) => a - b);
}

/** Return the 95 % interval of a figure as text; empty for an epoch of an earlier version. */
export function rangeOf(metrics, name, form) {
  const ends = [metrics[`${name}_low`], metrics[`${name}_high`]];
  return ends.includes(undefined) ? "" : ends.map((end) => form(end)).join(" to ");
}
