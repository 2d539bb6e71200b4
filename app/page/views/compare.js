// Two runs next to each other: their digits, losses, quality and differences.

import { follow, get } from "../api.js";
import { chart, legend } from "../chart.js";
import { FIGURES, LOSSES, ROWS, points } from "../curves.js";
import { h, notice, showError, title } from "../dom.js";
import { plotCanvas } from "../canvas.js";
import { go, name, note } from "../main.js";
import { badge } from "./runs.js";
import { knownClasses, named, standing } from "../format.js";

const LOOKS = ["accent", "ink"];

export async function show(root, { query }, signal) {
  name("Compare runs");
  const { jobs } = await get("jobs?limit=100&epochs=last", signal);
  const ids = ["a", "b"].map((side) => query.get(side) ?? "");
  const choosers = ids.map((id, side) => chooser(jobs, id, side, (chosen) => {
    const both = ids.map((other, at) => (at === side ? chosen : other));
    go(`/compare?a=${both[0]}&b=${both[1]}`);
  }));
  root.append(title("Compare runs"), h("div", { class: "pair" }, choosers));
  if (ids.some((id) => !id)) return root.append(notice("Select two runs to compare."));

  const pair = [null, null];
  let epoch = Number(query.get("epoch")) || null;
  let row = ROWS.find(({ name: text }) => text === query.get("row")) ?? ROWS[1];
  const slider = h("input", { type: "range", min: 1, value: 1, "aria-label": "Epoch", oninput: () => choose(Number(slider.value)) });
  const at = h("h2", { id: "epoch-title" });
  const rows = h("select", { id: "row", onchange: () => {
    row = ROWS.find(({ name: text }) => text === rows.value);
    note({ row: rows.value });
    look();
  } }, ROWS.map(({ name: text }) => h("option", {}, text)));
  rows.value = row.name;
  const pictures = ids.map(() => plotCanvas(20));
  const names = h("div");
  const charts = h("div", { class: "charts" });
  const table = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Differences" });
  root.append(
    names,
    h("section", { "aria-labelledby": "epoch-title" }, h("div", { class: "epoch" }, at, slider),
      h("div", { class: "pair" }, pictures.map((picture) => h("div", { class: "paper" }, picture)))),
    h("section", {}, h("div", { class: "title" }, h("h2", {}, "Losses and quality"), h("span", { class: "filter" }, h("label", { for: "row" }, "Losses of"), rows)), charts),
    h("section", {}, h("h2", {}, "Differences"), table));

  const choose = (wanted) => {
    epoch = wanted;
    note({ epoch });
    look();
  };
  const curves = [
    ...LOSSES.map((loss) => curve(loss.title, loss.hint, {}, (job) => job.epochs.map((record) => [record.epoch, record.losses[row.network][row.split][loss.name]]))),
    ...FIGURES.map(({ title: text, hint, options, lines }) => {
      const figure = lines[0].figure === "frechet_distance_raw" ? "frechet_distance" : lines[0].figure;
      return curve(text, hint, options, (job) => points(job.epochs, figure));
    }),
  ];
  function curve(text, hint, options, of) {
    const made = chart(text, hint, choose, options);
    made.show = (total, shown) => made.draw(pair.map((job, side) => ({ name: named(job), look: LOOKS[side], points: of(job) })), total, shown);
    return made;
  }
  charts.append(...curves);

  function look() {
    if (pair.some((job) => job === null)) return;
    const longest = Math.max(1, ...pair.map((job) => job.epochs.at(-1)?.epoch ?? 0));
    const shown = Math.min(epoch ?? longest, longest);
    slider.max = longest;
    slider.value = shown;
    slider.disabled = longest < 2;
    at.textContent = `Epoch ${shown}`;
    names.replaceChildren(legend(pair.map((job, side) => ({ name: named(job), look: LOOKS[side] }))));
    for (const diagram of curves) diagram.show(longest, shown);
    pair.forEach((job, side) => {
      const record = job.epochs.find((one) => one.epoch === shown) ?? job.epochs.at(-1);
      const text = record ? `${knownClasses(job.config.dataset) ? "Digits" : "Images"} of ${named(job)}, epoch ${record.epoch}` : "";
      if (record) pictures[side].draw(record.samples, { text }, signal).catch(showError);
    });
    table.replaceChildren(differences(pair));
  }

  ids.forEach((id, side) => follow(id, (job) => {
    const before = pair[side];
    pair[side] = job;
    choosers[side].state.replaceChildren(badge(job.status), " ", standing(job));
    if (before?.epochs.length !== job.epochs.length || before?.status !== job.status) look();
  }, signal).catch(showError));
}

function chooser(jobs, id, side, chosen) {
  const known = jobs.some((job) => job.id === id) || !id ? [] : [h("option", { value: id }, id)];
  const options = jobs.map((job) => h("option", { value: job.id }, job.config.name ? `${job.config.name} (${job.id})` : job.id));
  const select = h("select", { id: `run-${side}`, onchange: () => chosen(select.value) }, h("option", { value: "" }, "select a run"), known, options);
  select.value = id;
  const state = h("p", { class: "hint" });
  const label = h("label", { for: `run-${side}` }, side ? "and" : "Compare");
  const element = h("div", { class: "field" }, label, select, id && h("p", {}, h("a", { href: `#/runs/${id}` }, "Show run")), state);
  element.state = state;
  return element;
}

/** A table of the differences between two runs in configuration, device and outcome. */
function differences(pair) {
  const sides = pair.map((job) => ({
    ...job.config, device: job.device, status: job.status, "epochs done": job.epochs.at(-1)?.epoch ?? 0,
    "seconds per epoch": job.epochs.at(-1)?.seconds.toFixed(1),
  }));
  const names = Object.keys(sides[0]).filter((key) => key !== "name" && sides[0][key] !== sides[1][key]);
  const cell = (value) => h("td", {}, value === null || value === undefined ? "–" : String(value));
  const body = names.map((key) => h("tr", {}, h("th", { scope: "row" }, key.replaceAll("_", " ")), cell(sides[0][key]), cell(sides[1][key])));
  if (!body.length) return h("p", { class: "hint" }, "None.");
  return h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, ""), pair.map((job) => h("th", { scope: "col" }, named(job))))), h("tbody", {}, body));
}
