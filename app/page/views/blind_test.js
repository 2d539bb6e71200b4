// Compare two checkpoints blindly: which of two sheets looks more real? The sides are random, and the names hidden.

import { get } from "../common/api.js";
import { announce, button, confirmed, h, notice, save, showError, title, trouble } from "../common/dom.js";
import { areDigits, classesOf, count, nameOf, percent } from "../common/format.js";
import { wilson } from "../common/intervals.js";
import { shortcuts } from "../common/keys.js";
import { sheet } from "../parts/canvas.js";
import { freshSeed } from "../parts/options.js";
import { runNames } from "../parts/run_names.js";
import { NEITHER, counts, differs, tallyOf } from "../parts/tally.js";
import { go, name } from "../main.js";

const IMAGES = 20; // about, on a sheet
const FEW = 10; // classes that are shown in five columns

export async function show(root, { query }, signal) {
  name("Compare checkpoints");
  const [{ checkpoints }, { serving }] = await Promise.all([get("checkpoints", signal), get("serving", signal)]);
  const usable = checkpoints.filter(({ refused }) => refused === null);
  const names = runNames();
  await names.read(usable, true, signal);
  const [first, second] = pairOf(usable, query.get("a"), query.get("b"), serving);
  const why = (dataset) => notPassed(checkpoints.filter(({ refused, config }) => refused !== null && (!dataset || nameOf(config.dataset) === dataset)));
  root.append(title("Which looks more real?", h("a", { class: "button", href: "#/checkpoints" }, "All checkpoints")));
  if (!first) return root.append(notice(why() || "No checkpoint has been published yet.", h("a", { class: "button primary", href: "#/new" }, "Train")));
  root.append(choosers(usable, first, second, names));
  const data = nameOf(first.config.dataset);
  if (!second) return root.append(notice(`There is no other checkpoint of ${data} to compare. ${why(data) || "A run publishes one after each epoch."}`, h("a", { class: "button", href: "#/checkpoints" }, "Show checkpoints")));
  await compare(root, first, second, signal);
}

/** Say how many checkpoints, newest first, did not pass the quality check, and why; empty if there are none. */
function notPassed(refused) {
  if (!refused.length) return "";
  return `${count(refused.length, "checkpoint")} did not pass the quality check${refused.length > 1 ? "; the newest" : ""}: ${refused[0].refused}.`;
}

/** The checkpoints to compare: those in the address; by default the one being served, and the newest other one like it. */
function pairOf(usable, a, b, serving) {
  const of = (id) => usable.find((checkpoint) => checkpoint.id === id);
  const first = of(a) ?? of(serving) ?? usable[0];
  const others = first ? alike(usable, first) : [];
  return [first, others.find(({ id }) => id === b) ?? others[0]];
}

/** The other checkpoints of the same training data, newest first. */
function alike(usable, { id, config, ...rest }) {
  const classes = String(classesOf(rest));
  return usable.filter((other) => other.id !== id && nameOf(other.config.dataset) === nameOf(config.dataset) && String(classesOf(other)) === classes);
}

function choosers(usable, first, second, names) {
  // A narrow field cuts the end off.
  const text = (checkpoint) => `${names.of(checkpoint) || nameOf(checkpoint.config.dataset)}, epoch ${checkpoint.epoch} (${checkpoint.id})`;
  const choice = (id, label, among, chosen, reach) => {
    const select = h("select", { id, onchange: () => go(`/compare-checkpoints?${reach(select.value)}`) }, among.map((each) => h("option", { value: each.id, selected: each.id === chosen?.id }, text(each))));
    return h("div", { class: "field" }, h("label", { for: id }, label), select);
  };
  const others = alike(usable, first);
  return h("div", { class: "controls" },
    choice("first", "One checkpoint", usable, first, (id) => `a=${id}${second ? `&b=${second.id}` : ""}`),
    others.length > 0 && choice("second", "The other checkpoint", others, second, (id) => `a=${first.id}&b=${id}`));
}

async function compare(root, first, second, signal) {
  const pair = [first, second];
  const ids = pair.map(({ id }) => id);
  const tally = tallyOf(...ids);
  let shown = null, upcoming = null, isRevealed = false; // `shown` is null while a pair is being drawn

  const place = h("div", { class: "sides" });
  const answers = [["Left", "←", "left"], ["No difference", "Space", null], ["Right", "→", "right"]].map(([text, key, side]) =>
    button(text, (event) => answer(side).then(() => event.detail > 0 && event.target.blur()), { title: `Key: ${key}` })); // after a click, Space is a shortcut again
  const reveal = button("Reveal", () => (isRevealed ? proceed() : uncover()));
  const result = h("div");
  const clear = button("Clear", async () => {
    if (!(await confirmed("Clear the tally?", `${count(tally.answers().length, "answer")} about this pair will be deleted from this browser.`, "Clear tally"))) return;
    tally.clear();
    look();
  });
  const exported = button("Download CSV", () => save(new Blob([tally.csv()], { type: "text/csv" }), `blind-test-${ids.join("-")}.csv`));
  root.append(
    h("section", { "aria-label": "Two sheets" }, place, h("div", { class: "answers" }, answers),
      h("p", { class: "hint" }, "The sides are random, and the seeds differ. Keys: ← and → choose a side, Space means no difference, ? lists them all.")),
    h("section", { class: "tally" }, h("div", { class: "title" }, h("h2", {}, "Tally"), reveal, exported, clear), result,
      h("p", { class: "hint" }, "Answers stay in this browser. Shares leave out answers without a difference, and have 95 % intervals (Wilson). The intervals hold for a number of answers that you decide on before: do not stop at the moment that suits you.")));
  shortcuts([
    [["ArrowLeft"], "the left sheet looks more real", press("left")],
    [["ArrowRight"], "the right sheet looks more real", press("right")],
    [[" "], "no difference", press(null)],
    ["r", "reveal which is which, or continue", () => reveal.click()],
  ], signal);
  addEventListener("storage", ({ key }) => (key === tally.place || key === null) && look(), { signal }); // another tab added an answer
  await proceed();

  function press(side) {
    return (_key, event) => !event.repeat && answer(side).catch(showError);
  }

  /** Begin to draw the next pair. Resolves to its sides when both sheets can be shown. */
  function prepare() {
    const order = Math.random() < 0.5 ? pair : [second, first];
    const seeds = [freshSeed()];
    do seeds[1] = freshSeed(); while (seeds[1] === seeds[0]);
    const made = Promise.all(["Left", "Right"].map(async (text, side) => {
      const picture = sheet();
      await picture.draw(pathOf(order[side], seeds[side]), `${text} sheet`, signal);
      return { id: order[side].id, seed: Number(seeds[side]), text, picture };
    }));
    made.catch(() => {}); // whoever waits for it reports the error
    return made;
  }

  /** Show the next pair, and draw the one after it. */
  async function proceed() {
    const next = upcoming ?? prepare();
    shown = upcoming = null;
    isRevealed = false;
    try {
      shown = await next;
    } catch (problem) {
      if (signal.aborted) return;
      announce(problem.message);
      return place.replaceChildren(trouble(problem, button("Try again", proceed)));
    }
    upcoming = prepare();
    place.replaceChildren(...shown.map(({ text, picture }) => h("figure", {}, h("figcaption", {}, text), h("div", { class: "paper" }, picture))));
    look();
  }

  /** Count the answer, and show the next pair. */
  async function answer(side) {
    if (isRevealed || !shown) return;
    const [left, right] = shown;
    const chosen = side === null ? NEITHER : (side === "left" ? left : right).id;
    try {
      tally.add({ at: new Date().toISOString(), left: left.id, left_seed: left.seed, right: right.id, right_seed: right.seed, chosen });
    } catch {
      throw new Error("This browser stores no more answers: download them, and clear the tally.");
    }
    announce(`${count(tally.answers().length, "answer")}.`);
    await proceed();
  }

  function uncover() {
    if (!shown) return;
    isRevealed = true;
    announce(`Left: ${shown[0].id}. Right: ${shown[1].id}.`);
    for (const [side, figure] of [...place.children].entries()) {
      figure.querySelector("figcaption").append(": ", h("a", { href: `#/draw?${drawn(pair.find(({ id }) => id === shown[side].id))}` }, shown[side].id));
    }
    look();
  }

  function look() {
    const found = counts(tally.answers(), ids);
    for (const each of answers) each.disabled = isRevealed;
    reveal.textContent = isRevealed ? "Continue" : "Reveal";
    exported.disabled = clear.disabled = !found.total;
    result.replaceChildren(h("p", {}, summary(found)), ...(isRevealed ? [table(found, ids)] : []));
  }
}

/** Describe a tally without saying which checkpoint is ahead. */
function summary(found) {
  const { total, neither, chosen, decided } = found;
  if (!total) return "No answers yet.";
  const first = `${count(total, "answer")}, ${neither} without a difference. `;
  if (!decided) return `${first}No difference is shown yet.`;
  const most = Math.max(...chosen);
  const verdict = differs(found) ? "A difference is shown." : "No difference is shown yet.";
  return `${first}One of the two was chosen in ${most} of ${decided}: ${shareOf(most, decided)}. ${verdict}`;
}

function shareOf(hits, total) {
  const [low, high] = wilson(hits, total);
  return `${percent(hits / total, 0)} (${percent(low, 0)} to ${percent(high, 0)})`;
}

function table({ chosen, decided }, ids) {
  const row = (id, at) => h("tr", {}, h("th", { scope: "row" }, id), h("td", {}, chosen[at]), h("td", {}, decided ? shareOf(chosen[at], decided) : "–"));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Tally by checkpoint" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Checkpoint", "chosen", "share (95 % interval)"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, ids.map(row))));
}

/** The path of a sheet with about as many images for any number of classes. */
function pathOf(checkpoint, seed) {
  const classes = classesOf(checkpoint);
  const each = Math.max(1, Math.floor(IMAGES / classes.length));
  const place = areDigits(classes) ? "digits" : `images/${encodeURIComponent(checkpoint.config.dataset)}`;
  return `${place}?n=${each}&columns=${classes.length <= FEW ? 5 : 8}&seed=${seed}&checkpoint=${checkpoint.id}`;
}

/** The part of an address of the view Draw that names a checkpoint. */
function drawn(checkpoint) {
  const data = areDigits(classesOf(checkpoint)) ? "" : `data=${encodeURIComponent(checkpoint.config.dataset)}&`;
  return `${data}checkpoint=${checkpoint.id}`;
}
