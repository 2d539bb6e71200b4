// What a running job shows between two epochs: its phase, losses of its last iterations, and ten digits from fixed latents.

import { get, key } from "../common/api.js";
import { board, chart } from "./chart.js";
import { h, pause } from "../common/dom.js";
import { number } from "../common/format.js";

const SPREAD = 800; // milliseconds: an event reaches all followers of a run at the same moment, and this spreads their requests
const SHOWN = 300; // entries, of about a second each
const LINES = [
  { name: "generator", look: "accent" },
  { name: "discriminator", look: "ink" },
];
const PHASES = {
  loading: "Loading the training data", training: "Training", testing: "Computing the test losses",
  judging: "Judging the images of the epoch", saving: "Saving",
};

/** Describe what a run does now, in a few words; null if it does not run or its worker does not say. */
export function phase(job) {
  if (job.status !== "running") return null;
  return job.progress ? PHASES[job.progress.phase] ?? null : PHASES.loading;
}

/** Create the live part of a run's view; `live.update(job, noun)` requests what is new, if anything is. */
export function livePanel(id, signal) {
  const axis = { first: 0, whole: false, text: number, at: (at) => `at iteration ${number(Math.round(at))}` };
  const shared = board(() => {}, axis);
  const losses = chart("Live losses", "means of the last iterations", shared);
  const picture = h("img", { class: "ink", width: 280, height: 28, alt: "" });
  const under = h("figcaption", { class: "hint" });
  const sample = h("figure", { class: "sample", hidden: true }, picture, under);
  const element = h("section", { class: "live", hidden: true }, h("h2", {}, "Now"), h("div", { class: "now" }, sample, losses));
  let entries = [], newest = 0, busy = false, again = false, isRunning = false;

  async function request(noun) {
    const live = await get(`jobs/${id}/live?after=${newest}&limit=${SHOWN}`, signal);
    if (!isRunning) return; // it has been stopped in the meantime
    if (live.newest < newest) entries = []; // the run began again
    newest = live.newest;
    entries = [...entries, ...live.losses].slice(-SHOWN);
    element.hidden = !entries.length && sample.hidden && !live.sample;
    if (live.sample) {
      const address = URL.createObjectURL(new Blob([Uint8Array.from(atob(live.sample.png), (one) => one.charCodeAt(0))], { type: "image/png" }));
      picture.src = address;
      picture.decode().catch(() => {}).then(() => URL.revokeObjectURL(address));
      under.textContent = `After ${number(live.sample.batch)} iterations of epoch ${live.sample.epoch}, with the weights of that moment`;
      picture.alt = `${noun === "digits" ? "The digits 0 to 9" : "Images of the first classes"}. ${under.textContent}`;
      sample.hidden = false;
    }
    const places = entries.map(({ epoch, batch, batches }) => (epoch - 1) * batches + batch);
    axis.first = places[0] ?? 0;
    const last = places.at(-1) ?? 0;
    losses.draw(LINES.map((line) => ({ ...line, points: entries.map((entry, place) => [places[place], entry[line.name].loss]) })), last, last);
    losses.hidden = entries.length < 2;
  }

  element.update = async (job, noun) => {
    isRunning = job.status === "running";
    if (!isRunning) {
      element.hidden = true;
      [entries, newest] = [[], 0];
      return;
    }
    const told = job.progress?.live ?? 0;
    if (!told || told === newest || document.hidden || key.isWithheld()) return;
    if (busy) return void (again = true);
    if (!newest) element.hidden = sample.hidden = losses.hidden = false; // so that nothing moves later
    busy = true;
    try {
      do {
        again = false;
        if (newest) await pause(Math.random() * SPREAD, signal);
        await request(noun);
      } while (again);
    } finally {
      busy = false;
    }
  };
  return element;
}
