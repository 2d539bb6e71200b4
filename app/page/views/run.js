// One run, live. The selected epoch determines the digits, losses and metrics on the page.

import { ENDED, follow, get, keepUp, key, onlyLatest } from "../common/api.js";
import { board, boardControls } from "../parts/chart.js";
import { REAL, classCharts, figureCharts, lossCharts, labelsOf, lossTable, otherWeights, rangeOf } from "../parts/curves.js";
import { button, exchange, facts, fileLink, h, notice, pause, prose, showError, title, trouble, announce } from "../common/dom.js";
import { livePanel, phase } from "../parts/live.js";
import { plotCanvas } from "../parts/canvas.js";
import { go, name, note, noteSoon } from "../main.js";
import { badge, progress, controls } from "../parts/run_row.js";
import { KINDS, ago, areDigits, done, duration, figure, isUnreadable, knownClasses, listed, named, number, percent, plotOf, sentence, standing, when } from "../common/format.js";

const STEP = 450; // milliseconds per epoch during playback
const CLASSES = 10; // until their names are known
const HEARD = 5000; // milliseconds between updates of the time of the last message
const PATIENCE = 3000; // milliseconds until a stream without a record is explained
const AGAIN = 5000, RUNNING = 3; // milliseconds between two looks at what events do not have; while it runs, in every third round

export async function show(root, { id, query }, signal) {
  const live = livePanel(id, signal);
  const view = layout(live), begin = onlyLatest(signal);
  let job = null;
  let wanted = Number(query.get("epoch")) || null; // null follows the newest
  let real = query.has("real");
  view.real.checked = real;
  let names = null; // of the classes, by label; null if unknown
  let unnamed = ""; // why they stay unknown
  const noun = () => (names && areDigits(names) ? "digits" : "images");

  const known = () => job?.epochs ?? [];
  const epoch = () => Math.min(wanted ?? Infinity, known().at(-1)?.epoch ?? 0);
  const choose = (at) => {
    const before = epoch();
    wanted = at >= (known().at(-1)?.epoch ?? 0) && !ENDED.includes(job.status) ? null : at;
    noteSoon({ epoch: wanted }, signal);
    if (epoch() !== before) look();
  };
  const shared = board(choose);
  const charts = [];
  view.quality.append(boardControls(shared));
  const makeCharts = () => {
    const figures = figureCharts(shared, REAL[job.config.dataset]), losses = lossCharts(shared, job.config.recipe);
    view.figures.append(...figures);
    view.losses.append(...losses);
    charts.push(...figures, ...losses);
  };
  let ofClasses = [];
  const makeClassCharts = (metrics) => {
    const labels = labelsOf(metrics);
    if (!labels.length || ofClasses.length) return;
    ofClasses = classCharts(shared, names, labels);
    view.perClass.append(...ofClasses);
    charts.push(...ofClasses);
  };
  let reals = null; // a promise of the real images

  view.slider.addEventListener("input", () => choose(Number(view.slider.value)));
  view.real.addEventListener("change", () => {
    real = view.real.checked;
    if (!view.noReal.hidden) reals = null; // requested again
    note({ real: real ? "1" : null });
    look();
  });
  let playing = null;
  const stop = () => {
    clearInterval(playing);
    playing = null;
    view.play.textContent = "Play";
  };
  view.play.addEventListener("click", () => {
    if (playing) return stop();
    if (epoch() >= known().at(-1).epoch) choose(1);
    view.play.textContent = "Pause";
    playing = setInterval(() => {
      if (epoch() >= known().at(-1).epoch) return stop();
      choose(epoch() + 1);
    }, STEP);
  });
  signal.addEventListener("abort", stop);
  let width = 0;
  const observer = new ResizeObserver(() => {
    const now = view.picture.parentElement.clientWidth;
    if (Math.abs(now - width) > 20 && job) draw();
    width = now;
  });
  observer.observe(view.picture.parentElement);
  signal.addEventListener("abort", () => observer.disconnect());

  function draw() {
    const at = known().find((record) => record.epoch === epoch());
    if (!at) return;
    const which = names ? `the classes ${listed(names)}` : "one class per row";
    const text = `${noun() === "digits" ? "Digits" : "Images"} of epoch ${at.epoch}: ${which} from top to bottom, one latent vector per column${real ? `; on the right, real ${noun()}` : ""}.`;
    const show = async (current) => {
      if (real && names) reals ??= import("../parts/real.js").then(({ realImages }) => realImages(job.config.dataset, names.length, signal));
      const [beside, missing] = real && reals ? await reals.then((found) => [found, ""], (problem) => [null, problem.message]) : [null, real ? unnamed : ""];
      if (current.aborted) return;
      view.noReal.textContent = missing;
      view.noReal.hidden = !missing;
      await view.picture.draw(plotOf(job, at), { real: beside, text: beside || !real ? text : text.replace(/; on the right.*/, "."), classes: names?.length ?? CLASSES }, signal);
    };
    show(begin()).catch(showError);
  }

  /** Show the selected epoch. */
  function look() {
    const epochs = known(), at = epoch(), shown = epochs.find((record) => record.epoch === at);
    view.learned.hidden = !shown;
    view.later.hidden = Boolean(shown);
    for (const place of view.nouns) place.textContent = noun();
    view.later.textContent = ENDED.includes(job.status) ? "No epoch has finished." : `Curves and ${noun()} appear after the first epoch.`;
    if (!shown) return;
    const total = Math.max(job.progress?.epochs ?? 0, job.config.epochs) || epochs.at(-1).epoch; // unreadable: any `epochs`
    view.slider.max = epochs.at(-1).epoch;
    view.slider.value = at;
    view.slider.hidden = view.play.hidden = epochs.length < 2;
    view.slider.setAttribute("aria-valuetext", `epoch ${at} of ${total}`);
    view.epoch.textContent = `Epoch ${at}`;
    view.took.textContent = `of ${total}, in ${duration(shown.seconds)}`;
    exchange(view.plot, fileLink("Full plot", plotOf(job, shown), `${shown.checkpoint}.png`, signal, {}));
    exchange(view.film, filmOf(0, "Film", id));
    view.film.hidden = epochs.length < 2 || isUnreadable(job);
    view.draw.href = `#/draw?${noun() === "digits" ? "" : `data=${encodeURIComponent(job.config.dataset)}&`}checkpoint=${shown.checkpoint}`;
    view.draw.hidden = shown.refused !== null || isUnreadable(job);
    offerWeights(shown.checkpoint);
    view.others.textContent = otherWeights(shown);
    view.refused.replaceChildren(...(shown.refused ? [notice(`Epoch ${at} is not served: ${shown.refused}.`)] : []));
    makeClassCharts(shown.metrics);
    for (const chart of charts) chart.show(epochs, Math.min(total, Math.max(epochs.at(-1).epoch, 2)), at);
    view.table.replaceChildren(lossTable(shown));
    const judged = epochs.some(({ metrics }) => Object.keys(metrics).length);
    view.judged.hidden = !judged;
    view.unjudged.hidden = judged;
    view.ofClasses.hidden = shown.metrics.label_accuracy === undefined;
    view.certainty.textContent = view.ofClasses.hidden ? "" : certainty(shown, noun());
    if (view.ofClasses.open) tellClasses().catch(showError);
    draw();
  }

  function filmOf(label, text, name, attributes = {}) {
    return fileLink(text, `jobs/${id}/evolution/${label}?seed=${job.config.seed}&format=gif&scale=6`, `${name}.gif`, signal, attributes);
  }

  /** Show the table of the classes, whose code is loaded when the user opens it. */
  async function tellClasses() {
    const { classTable } = await import("../parts/class_table.js");
    const shown = known().find((record) => record.epoch === epoch());
    if (!view.ofClasses.hidden) view.classes.replaceChildren(classTable(shown.metrics, names, !view.film.hidden && ((label, about) => filmOf(label, "GIF", `${id}-${label}`, { "aria-label": about }))));
  }
  view.ofClasses.addEventListener("toggle", () => view.ofClasses.open && tellClasses().catch(showError));

  /** Offer the downloads of a checkpoint, which are listed when the user opens them. */
  function offerWeights(checkpoint) {
    if (view.weights.dataset.id === checkpoint) return;
    view.weights.dataset.id = checkpoint;
    const details = h("details", {}, h("summary", {}, "Download weights"));
    const list = () => import("../common/downloads.js").then(({ listDownloadsOf }) => listDownloadsOf(checkpoint, details, signal));
    details.addEventListener("toggle", () => list().catch(showError), { once: true });
    view.weights.replaceChildren(details);
  }

  /** Request the names of the classes, unless the training data has digits. */
  async function nameClasses() {
    if (isUnreadable(job)) return;
    names = knownClasses(job.config.dataset);
    names ??= (await get(`training-data/${encodeURIComponent(job.config.dataset)}`, signal)).classes;
    const digits = areDigits(names);
    view.names.replaceChildren(...(digits ? [] : names.map((text) => h("li", { title: text }, text))));
    for (const made of ofClasses) { // their lines have names now
      charts.splice(charts.indexOf(made), 1);
      shared.charts.splice(shared.charts.indexOf(made), 1);
      made.remove();
    }
    ofClasses = [];
    if (status) look();
  }

  let status = "", labels = "", seen = 0, heard = Date.now(), told = {};
  const showHeard = () => {
    view.heard.textContent = ["running", "cancelling"].includes(job?.status) ? `Last heard of ${ago(job.last_seen_at ?? heard)}.` : "";
  };
  const clock = setInterval(showHeard, HEARD);
  signal.addEventListener("abort", () => clearInterval(clock));
  const update = (now) => {
    const first = job === null;
    job = { ...now, ...told };
    if (first) nameClasses().catch((problem) => (problem.code === "training-data-not-found" ? (unnamed = problem.message, look()) : showError(problem)));
    if (first) makeCharts(), root.replaceChildren(...view.all); // not before, so that nothing moves
    showHeard();
    view.standing.textContent = isUnreadable(job) ? "" : [phase(job), standing(job)].filter(Boolean).join(" · ");
    live.update(job, noun()).catch((problem) => problem.code === "job-not-found" || showError(problem));
    view.bar.set(done(job), "Progress of the run");
    const share = ENDED.includes(job.status) ? "" : `${Math.floor(100 * done(job))} % · `;
    name(share + named(job));
    const troubles = [job.trouble, job.error, ...(job.warnings ?? [])].filter(Boolean);
    if (view.trouble.dataset.text !== troubles.join()) view.trouble.replaceChildren(...troubles.map((text) => notice(prose(sentence(text)))));
    view.trouble.dataset.text = troubles.join();
    const { name: called, tags, notes, archived } = job;
    const words = JSON.stringify([called, tags, notes, archived]);
    if (status !== job.status || labels !== words) exchange(view.head, ...head(job, changed));
    labels = words;
    if (status !== job.status) {
      view.recipe.replaceChildren(about(job, signal));
      announce(`The run is ${job.status}.`);
    }
    const last = known().at(-1)?.epoch ?? 0;
    if (seen !== last && seen) announce(`Epoch ${last} is done.`);
    if (seen !== last || status !== job.status) look();
    seen = last;
    status = job.status;
  };
  let wake = () => {};
  const changed = (now) => {
    const over = ENDED.includes(job.status) && !ENDED.includes(now.status);
    told = untold(now);
    update(now.status === job.status ? { ...job, trouble: now.trouble, last_seen_at: now.last_seen_at } : now); // its events may be newer
    if (over) wake();
  };
  /** Follow the run to its end, and again after it is resumed. */
  async function watch(shown) {
    while (!signal.aborted) {
      await follow(id, (now) => (heard = Date.now(), update(now), shown()), signal);
      await new Promise((resolve) => { wake = resolve; });
    }
  }
  let round = 0;
  /** Request what events do not have, and whether an ended run was resumed or deleted elsewhere. */
  async function refresh() {
    if (job.status === "running" && ++round % RUNNING) return;
    changed(await get(`jobs/${id}`, signal));
  }
  const failed = (problem) => {
    if (problem.code === "job-not-found") root.replaceChildren(notice(`${named(job)} was deleted.`, h("a", { href: "#/" }, "Show runs")));
    else showError(problem);
  };
  await new Promise((resolve, reject) => {
    watch(resolve).catch((problem) => (job ? failed(problem) : reject(problem)));
    pause(PATIENCE, signal).then(() => job ?? get(`jobs/${id}`, signal).then((now) => job ?? resolve(update(now)))).catch((problem) => {
      if (job || problem.name === "AbortError") return;
      root.replaceChildren(trouble(problem));
      announce(problem.message);
    });
  });
  keepUp(refresh, AGAIN, signal).catch(failed);
}

function layout(live) {
  const view = {
    head: h("div", { class: "head" }),
    bar: progress(), standing: h("p", { class: "standing" }), heard: h("p", { class: "hint" }), trouble: h("div", { class: "troubles" }), refused: h("div", { class: "refused" }),
    later: h("p", { class: "hint" }), learned: h("div", { hidden: true }),
    epoch: h("h2", { id: "epoch-title" }), took: h("span", { class: "hint" }),
    picture: plotCanvas(), names: h("ol", { class: "names", "aria-hidden": "true" }), nouns: [h("span"), h("span")], play: h("button", { type: "button" }, "Play"),
    slider: h("input", { type: "range", min: 1, max: 1, value: 1, "aria-label": "Epoch" }),
    real: h("input", { type: "checkbox", id: "real" }),
    weights: h("div", { class: "weights" }), plot: h("span"), film: h("span", { hidden: true }),
    noReal: h("p", { class: "hint", hidden: true }), others: h("p", { class: "hint" }), quality: h("div", { class: "title" }, h("h2", {}, "Quality")), perClass: h("div", { class: "charts" }), draw: h("a", {}, "Draw with this checkpoint"),
    losses: h("div", { class: "charts" }), figures: h("div", { class: "charts" }),
    table: h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Losses of the epoch" }),
    judged: h("div"), unjudged: h("p", { class: "hint" }, "Quality metrics are disabled (ACGAN_JUDGE=false)."),
    certainty: h("p", { class: "hint" }), classes: h("div"), recipe: h("div"),
  };
  view.ofClasses = h("details", { class: "of-classes" }, h("summary", {}, "Each class"), view.perClass, view.classes, h("p", { class: "hint" },
    "Which classes are taken for which others is not recorded with each epoch: ", h("code", {}, "acgan evaluate"), " computes the confusion of a checkpoint."));
  view.judged.append(view.figures, view.certainty, view.ofClasses);
  view.learned.append(
    h("section", { "aria-labelledby": "epoch-title" },
      h("div", { class: "epoch" }, h("div", {}, view.epoch, view.took), view.slider, view.play),
      h("div", { class: "paper named" }, view.names, h("div", {}, view.picture)),
      h("p", { class: "under" }, h("span", {}, "The latent vectors are the same in every epoch, so you can watch the ", view.nouns[0], " improve."),
        h("label", { for: "real" }, view.real, " show real ", view.nouns[1]), view.draw, view.plot, view.film), view.others, view.noReal, view.weights),
    view.refused,
    h("section", { "aria-label": "Quality" }, view.quality, view.judged, view.unjudged),
    h("section", { "aria-label": "Losses" }, h("h2", {}, "Losses"), view.losses, view.table));
  view.all = [view.head, view.bar, view.standing, view.heard, view.trouble, live, view.later, view.learned,
    h("section", {}, h("h2", {}, "Configuration"), view.recipe)];
  return view;
}

/** What events do not have. */
function untold({ name: called, notes, tags, archived, queue }) {
  return { name: called, notes, tags, archived, queue };
}

/** The title with what can be done, and the labels that users gave the run. */
function head(job, changed) {
  const beside = h("a", { class: "button", href: `#/compare?runs=${job.id}` }, "Compare");
  const fields = Object.entries({ ...job.config, priority: job.priority, runs_on: job.runs_on }).filter(([, value]) => value !== null && value !== undefined);
  const edit = h("a", { class: "button", href: `#/new?${new URLSearchParams(fields)}` }, "Edit and run again");
  const label = button("Name and notes", async () => {
    const { relabelled } = await import("../parts/run_labels.js");
    const now = await relabelled(job);
    if (now) changed(now);
  });
  const tags = (job.tags ?? []).map((tag) => h("a", { class: "button tag", href: `#/?tag=${encodeURIComponent(tag)}`, title: `Show runs tagged ${tag}` }, tag));
  return [
    title(named(job), badge(job.status), h("div", { class: "actions" }, controls(job, changed, () => go("/")),
      isUnreadable(job) ? beside : [edit, beside, label])), // its configuration and labels are not known here
    (tags.length || job.archived) && h("p", { class: "labels" }, tags, job.archived && h("span", { class: "hint" }, "archived")),
    job.notes && h("p", { class: "notes" }, job.notes),
  ].filter(Boolean);
}

/** The figures of an epoch with their 95 % intervals; epochs of an earlier version have none. */
function certainty({ epoch, metrics }, noun) {
  if (metrics.judged_per_class === undefined) return "";
  const between = (name, form) => {
    const range = rangeOf(metrics, name, form);
    return range ? `${form(metrics[name])} (${range})` : form(metrics[name]);
  };
  const images = number(metrics.judged_per_class * labelsOf(metrics).length);
  return `Epoch ${epoch}, with the range in which other ${noun} of the same generator would give the figure in 95 of 100 cases: label accuracy `
    + `${between("label_accuracy", percent)}, of the worst class ${between("label_accuracy_worst", percent)}, variety ${between("variety", figure)}, of the lowest class ${between("variety_least", figure)}, `
    + `Fréchet distance ${between("frechet_distance", figure)}. From ${images} ${noun}.`;
}

function about(job, signal) {
  const { id, config } = job, unreadable = isUnreadable(job);
  const download = (text, address, saved, attributes) => fileLink(text, address, `${id}-${saved}`, signal, attributes);
  return h("div", {}, facts([
    ["recipe", config.recipe], ["data", config.dataset], ["images", config.train_examples ? number(config.train_examples) : unreadable ? null : "all"],
    ["batch", config.batch_size], ["latent size", config.latent_size], ["learning rate", config.adam_lr], ["beta 1", config.adam_beta_1],
    ["seed", config.seed], ["precision", config.precision], ["runs on", job.runs_on === "any" ? null : KINDS[job.runs_on]],
    ["device", job.device], ["worker", job.worker], ["started by", job.caller],
    ["accepted", job.created_at && when(job.created_at)], ["ended", job.ended_at && when(job.ended_at)],
    ["duplicate of", job.retry_of && h("a", { href: `#/runs/${job.retry_of}` }, job.retry_of)],
  ]), h("p", { class: "hint" }, "Record: ", download("JSON", job.links.self, "record.json", {}),
    unreadable ? "" : [", history: ", download("JSON", `jobs/${id}/history.json`, "history.json"), ", ", download("CSV", `jobs/${id}/history.csv`, "history.csv")],
    ", events: ", key.readingNeedsIt() ? h("code", {}, `acgan follow ${id}`) : h("a", { href: job.links.events }, "stream")));
}
