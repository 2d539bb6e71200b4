// Any number of runs next to each other, aligned by epoch or by time: their images, losses, quality and differences.

import { ENDED, get, keepUp } from "../common/api.js";
import { EPOCHS, board, boardControls, chart, legend } from "../parts/chart.js";
import { FIGURES, LOSSES, ROWS, belowZero, hue, otherWeights, points } from "../parts/curves.js";
import { button, exchange, h, notice, showError, title } from "../common/dom.js";
import { plotCanvas } from "../parts/canvas.js";
import { go, name, note, noteSoon, place as here } from "../main.js";
import { badge } from "../parts/run_row.js";
import { duration, figure, knownClasses, named, percent, plotOf, spent, standing } from "../common/format.js";

const AGAIN = 3000; // milliseconds between requests of running runs: event streams are limited
const TIME = { first: 0, whole: false, text: (seconds) => short(seconds), at: (seconds) => `after ${duration(seconds)}` };

/** The ids in the address: `runs=ID,ID`, or `a=ID&b=ID`. */
export function chosen(query) {
  const listed = (query.get("runs") ?? "").split(",");
  return [...new Set([...listed, query.get("a"), query.get("b")].filter(Boolean))];
}

export async function show(root, { query }, signal) {
  name("Compare runs");
  const wanted = chosen(query), deleted = [];
  const state = { byTime: query.get("by") === "time", at: Number(query.get("epoch") ?? query.get("seconds")) || null };
  const reach = (runs, by = state.byTime) => go(`/compare?runs=${runs.join(",")}${by ? "&by=time" : ""}`);
  const read = (id) => get(`jobs/${id}`, signal).catch((problem) => {
    if (problem.code !== "job-not-found") throw problem;
    deleted.push(id);
  });
  const [{ jobs: recent }, ...all] = await Promise.all([get("jobs?limit=100&epochs=last", signal), ...wanted.map(read)]);
  const found = all.filter(Boolean), ids = wanted.filter((id) => !deleted.includes(id));
  root.append(title("Compare runs"), chooser(recent, ids, reach), ...deleted.map((id) => notice(`${id} was deleted.`)));
  if (!ids.length) return root.append(notice("Select the runs to compare."));

  const runs = found.map((job, place) => ({ job, ...hue(place), picture: plotCanvas(20), caption: h("figcaption"), state: h("p", { class: "hint" }), others: h("p", { class: "hint" }) }));
  const nameRuns = () => distinct(runs.map(({ job }) => named(job))).forEach((text, place) => { runs[place].called = text; });
  nameRuns();
  const axis = state.byTime ? TIME : EPOCHS;
  const choose = (at) => {
    if (state.at === at) return;
    state.at = at;
    noteSoon(state.byTime ? { seconds: at.toFixed(1) } : { epoch: at }, signal);
    look();
  };
  const shared = board(choose, axis);
  const place = (job, epoch) => (state.byTime ? elapsed(job)(epoch) : epoch);
  let row = ROWS.find(({ name: text }) => text === query.get("row")) ?? ROWS[1];
  const rows = h("select", { id: "row", onchange: () => {
    row = ROWS.find(({ name: text }) => text === rows.value);
    note({ row: rows.value });
    look();
  } }, ROWS.map(({ name: text }) => h("option", {}, text)));
  rows.value = row.name;
  const slider = h("input", { type: "range", min: axis.first, value: axis.first, step: axis.whole ? 1 : "any", "aria-label": axis.whole ? "Epoch" : "Seconds", oninput: () => choose(Number(slider.value)) });
  const heading = h("h2", { id: "epoch-title" });
  const charts = h("div", { class: "charts" });
  const table = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Differences" });
  const align = (text, by) => button(text, () => reach(ids, by), { "aria-pressed": String(by === state.byTime) });
  root.append(
    legend(runs.map(({ called, look, dashed }) => ({ name: called, look, dashed }))),
    h("section", { "aria-labelledby": "epoch-title" }, h("div", { class: "epoch" }, h("div", {}, heading), slider),
      h("div", { class: "pair" }, runs.map(({ picture, caption, others }) => h("figure", {}, caption, h("div", { class: "paper" }, picture), others)))),
    h("section", {}, h("div", { class: "title" }, h("h2", {}, "Quality and losses"), align("By epoch", false), align("By time", true),
      boardControls(shared), h("span", { class: "filter" }, h("label", { for: "row" }, "Losses of"), rows)), charts),
    h("section", {}, h("h2", {}, "Differences"), table));

  const add = (text, hint, options, of) => {
    const made = chart(text, hint, shared, options);
    made.show = (last, at) => made.draw(runs.map(({ job, called, look, dashed }) => ({ name: called, look, dashed, points: of(job).map(([epoch, value]) => [place(job, epoch), value]) })), last, at);
    charts.append(made);
    return made;
  };
  const explained = found.map(({ config }) => belowZero(config.recipe)).find(Boolean);
  const curves = [
    ...FIGURES.map(({ title: text, hint, name: of, options }) => add(text, hint, options, (job) => points(job.epochs, of))),
    ...LOSSES.map((loss) => add(loss.title, loss.hint, { note: loss.name === "auxiliary_loss" && explained && h("p", { class: "hint" }, explained) },
      (job) => job.epochs.map((record) => [record.epoch, record.losses[row.network][row.split][loss.name]]))),
  ];

  function look() {
    const longest = Math.max(axis.whole ? 1 : 0, ...runs.map(({ job }) => (job.epochs.length ? place(job, job.epochs.at(-1).epoch) : 0)));
    const at = Math.min(state.at ?? longest, longest);
    slider.max = longest;
    slider.value = at;
    slider.disabled = longest <= axis.first;
    slider.setAttribute("aria-valuetext", axis.at(at));
    heading.textContent = axis.whole ? `Epoch ${at}` : `After ${duration(at)}`;
    nameRuns();
    for (const made of curves) made.show(longest, at);
    for (const run of runs) showPicture(run, at);
    table.replaceChildren(differences(runs));
  }

  /** Show the picture of the epoch; with another axis, of the last one that had finished. Without one, the place is blank. */
  function showPicture({ job, called, picture, caption, others, state: standingOf }, at) {
    const { epochs } = job;
    const record = axis.whole ? epochs.find((one) => one.epoch === at) : epochs.findLast((one) => place(job, one.epoch) <= at);
    const last = epochs.at(-1)?.epoch;
    const text = record ? `, epoch ${record.epoch}` : last ? `: no epoch ${axis.whole ? at : "so early"}, it has ${last}` : ": no epoch yet";
    const words = JSON.stringify([called, text, job.status]);
    if (caption.dataset.words !== words) exchange(caption, h("a", { href: `#/runs/${job.id}` }, called), text, " ", badge(job.status), standingOf);
    caption.dataset.words = words;
    standingOf.textContent = standing(job);
    picture.hidden = !record;
    others.textContent = record ? otherWeights(record) : "";
    if (record) picture.draw(plotOf(job, record), { text: `${knownClasses(job.config.dataset) ? "Digits" : "Images"} of ${called}, epoch ${record.epoch}` }, signal).catch(showError);
  }

  const unfinished = () => runs.filter(({ job }) => !ENDED.includes(job.status));
  look();
  if (!unfinished().length) return;
  await keepUp(async () => {
    for (const run of unfinished()) run.job = await get(`jobs/${run.job.id}`, signal);
    look();
    return !unfinished().length;
  }, AGAIN, signal).catch((problem) => {
    if (problem.code !== "job-not-found") throw problem;
    root.replaceChildren();
    return show(root, here(), signal); // the others
  });
}

/** Return the texts with " (2)" and so on appended to those that are equal to one before. */
function distinct(texts) {
  const taken = new Set();
  return texts.map((text) => {
    let made = text;
    for (let number = 2; taken.has(made); number++) made = `${text} (${number})`;
    taken.add(made);
    return made;
  });
}

/** Return a function that gives the seconds of work until an epoch of a run had finished. */
function elapsed(job) {
  let sum = 0;
  const until = new Map(job.epochs.map(({ epoch, seconds }) => [epoch, (sum += seconds)]));
  return (epoch) => until.get(epoch);
}

function short(seconds) {
  if (seconds >= 3600) return `${Number((seconds / 3600).toFixed(1))} h`;
  return seconds >= 120 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds)} s`;
}

/** The runs that are compared, each with a button that removes it, and a field to add one. */
function chooser(recent, ids, reach) {
  const text = (job) => (job.name ? `${job.name} (${job.id})` : job.id);
  const of = (id) => recent.find((job) => job.id === id);
  const select = h("select", { id: "add-run", onchange: () => reach([...ids, select.value]) }, h("option", { value: "" }, "select a run"),
    recent.filter((job) => !ids.includes(job.id)).map((job) => h("option", { value: job.id }, text(job))));
  const listed = ids.map((id) => h("li", {}, h("a", { href: `#/runs/${id}` }, of(id) ? text(of(id)) : id), " ",
    button("Remove", () => reach(ids.filter((other) => other !== id)), { class: "quiet small", "aria-label": `Remove ${of(id) ? text(of(id)) : id}` })));
  return h("div", { class: "chosen" }, h("ul", {}, listed), h("div", { class: "field" }, h("label", { for: "add-run" }, "Add a run"), select));
}

/** A table of what differs between runs, in configuration, device and outcome. */
function differences(runs) {
  const jobs = runs.map(({ job }) => job);
  const best = (job, of, choice) => {
    const values = job.epochs.map(({ metrics }) => metrics?.[of]).filter((value) => value !== undefined);
    return values.length ? choice(...values) : null;
  };
  const shown = (value, text) => (value === null ? null : text(value));
  const columns = jobs.map((job) => ({
    ...job.config, device: job.device, status: job.status, "epochs done": job.epochs.at(-1)?.epoch ?? 0,
    "best Fréchet distance": shown(best(job, "frechet_distance", Math.min), figure), "best label accuracy": shown(best(job, "label_accuracy", Math.max), percent),
    "time of its epochs": job.epochs.length ? spent(job) : null, "seconds per epoch": job.epochs.at(-1)?.seconds.toFixed(1),
  }));
  const names = [...new Set(columns.flatMap(Object.keys))].filter((key) => key !== "name" && columns.some((column) => column[key] !== columns[0][key]));
  if (!names.length) return h("p", { class: "hint" }, "None.");
  const cell = (value) => h("td", {}, value === null || value === undefined ? "–" : String(value));
  const body = names.map((key) => h("tr", {}, h("th", { scope: "row" }, key.replaceAll("_", " ")), columns.map((column) => cell(column[key]))));
  return h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, ""), runs.map(({ called }) => h("th", { scope: "col" }, called)))), h("tbody", {}, body));
}
