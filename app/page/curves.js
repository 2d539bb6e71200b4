// Charts of a run's epochs: the three losses in the four rows of the original Keras script, and the quality metrics.

import { chart } from "./chart.js";

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

const share = (value) => `${Number((100 * value).toFixed(1))} %`;

export const FIGURES = [
  {
    title: "Label accuracy", hint: "share of images that are recognised",
    options: { format: share, bounds: [0, 1] },
    lines: [
      { name: "all classes", figure: "label_accuracy", look: "accent" },
      { name: "the worst class", figure: "label_accuracy_worst", look: "ink" },
    ],
  },
  {
    title: "Variety", hint: "1 for real images",
    options: {},
    lines: [
      { name: "all classes", figure: "variety", look: "accent" },
      { name: "the least varied class", figure: "variety_least", look: "ink" },
    ],
  },
  {
    title: "Fréchet distance", hint: "smaller is better",
    options: {},
    lines: [
      { name: "last weights", figure: "frechet_distance_raw", look: "ink" },
      { name: "averaged weights", figure: "frechet_distance_averaged", look: "accent" },
    ],
  },
];

export function lossCharts(pick) {
  return LOSSES.map((loss) => {
    const made = chart(loss.title, loss.hint, pick);
    made.show = (epochs, total, epoch) =>
      made.draw(ROWS.map((row) => ({ ...row, points: epochs.map((record) => [record.epoch, record.losses[row.network][row.split][loss.name]]) })), total, epoch);
    return made;
  });
}

export function points(epochs, figure) {
  return epochs.filter(({ metrics }) => metrics?.[figure] !== undefined).map(({ epoch, metrics }) => [epoch, metrics[figure]]);
}

export function figureCharts(pick) {
  return FIGURES.map(({ title, hint, options, lines }) => {
    const made = chart(title, hint, pick, { ...options, showValues: true });
    made.show = (epochs, total, epoch) => made.draw(lines.map((line) => ({ ...line, points: points(epochs, line.figure) })), total, epoch);
    return made;
  });
}
