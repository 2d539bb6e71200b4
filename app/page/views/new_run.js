// The form that starts a run. It is built from the API's schema and shows an estimate of the time.

import { get, onlyLatest, post } from "../common/api.js";
import { h, prose, showError, title, trouble } from "../common/dom.js";
import { go, name, note } from "../main.js";
import { count, duration, isUnreadable, knownClasses, listed, number } from "../common/format.js";

const FIRST = ["name", "recipe", "dataset", "epochs"]; // the others are under "More options"
const ALL = 60000; // training images of MNIST
const MOST = 5; // runs that an estimate is based on
const UNKNOWN_PACES = [500, 125]; // images per second: an epoch of 60,000 takes two to eight minutes on two processor cores
const GREY = 100000; // training images after which digits are recognisable (docs/quality.md); before that they are grey clouds
const FAST = 1000; // images per second with which 15 epochs of MNIST take 15 minutes

export async function show(root, { query }, signal) {
  name("Train a network");
  const [document_, recent] = await Promise.all([get("page/schemas", signal), get("jobs?limit=20&epochs=last", signal).catch(() => ({ jobs: [] }))]);
  const { properties } = document_.components.schemas.TrainingOrder;
  const presets = document_.paths["/train"].post.requestBody.content["application/json"].examples;

  const suggestion = [...query.keys()].every((key) => ["name", "dataset"].includes(key)) ? suggested(recent.jobs) : {};
  const chosen = query.get("recipe") ?? suggestion.recipe ?? properties.recipe.default;
  const given = (key, schema) => { // a value that is the default of the recipe follows the recipe
    const value = query.get(key) ?? suggestion[key];
    return String(value) === String(byDefault(schema, chosen)) ? undefined : value;
  };
  const sizes = new Map(); // of training data: [numbers of training and test images], by name
  const fields = Object.entries(properties).map(([key, schema]) => field(key, schema, given(key, schema)));
  const byName = new Map(fields.map((one) => [one.key, one]));
  const cost = h("p", { class: "cost", "aria-live": "polite" });
  const wrong = h("div");
  const about = h("section", { class: "preview", "aria-label": "Example images" }); // filled late: no control is below it, or below the estimate
  const send = h("button", { class: "primary big" }, "Start the run");
  const presetButtons = Object.entries(presets).map(([text, { value }]) => ({ value, button: h("button", { type: "button", onclick: () => preset(value) }, text[0].toUpperCase() + text.slice(1)) }));
  const form = h("form", { novalidate: true }, h("div", {},
    h("fieldset", { class: "presets" }, h("legend", {}, "Presets"),
      presetButtons.map(({ button }) => button)),
    FIRST.map((key) => byName.get(key)?.element),
    h("details", { open: fields.some(({ key }) => !FIRST.includes(key) && query.has(key)) },
      h("summary", {}, "More options"), h("div", { class: "fields" }, fields.filter(({ key }) => !FIRST.includes(key)).map(({ element }) => element)))),
    h("div", { class: "beside" }, h("div", { class: "bill" }, send, wrong, h("h2", {}, "Estimated time"), cost), about));
  root.append(title("Train a network"), form);

  const body = () => Object.fromEntries(fields.map(({ key, read }) => [key, read()]).filter(([, value]) => value !== undefined));
  let once = random(); // a request that is sent twice starts one run
  const changed = () => {
    once = random();
    note({ ...Object.fromEntries(fields.map(({ key, text }) => [key, text()])), recipe: byName.get("recipe").input.value }); // always the recipe: without it, a reload would suggest one
    update();
  };
  const update = () => {
    const recipe = byName.get("recipe").input.value || properties.recipe.default; // it is empty if the address names none of them
    for (const { showDefault } of fields) showDefault(recipe);
    for (const { button, value } of presetButtons) button.setAttribute("aria-pressed", fields.every(({ key, is }) => key === "name" || is(value[key])));
    cost.replaceChildren(...(form.querySelector(":invalid") ? ["Some fields are invalid."] : estimate({ ...defaults(properties, recipe), ...body() }, recent.jobs, sizes)));
  };
  let presetName = ""; // given by a preset; a name that the user typed stays
  const preset = (values) => {
    const before = byName.get("dataset").input.value, typed = byName.get("name").input.value;
    const keepsName = typed !== "" && typed !== presetName;
    for (const { key, write } of fields) if (key !== "name" || !keepsName) write(values[key]);
    presetName = keepsName ? "" : values.name ?? "";
    if (byName.get("dataset").input.value !== before) byName.get("dataset").input.dispatchEvent(new Event("change"));
    changed();
  };
  offerTrainingData(byName.get("dataset"), about, query.has("dataset"), sizes, update, signal).catch(showError);
  form.addEventListener("input", changed);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    fields.forEach(({ showMistake }) => showMistake(""));
    wrong.replaceChildren();
    try {
      const job = await post("train", body(), { "Idempotency-Key": once });
      go(`/runs/${job.id}`);
    } catch (problem) {
      const named = (problem.mistakes ?? []).map((mistake) => placed(mistake, byName)).filter(([input]) => input);
      const sentences = named.map(([input, message]) => input.showMistake(message));
      if (named.length) named[0][0].focus();
      else wrong.replaceChildren(trouble(problem));
      showError(sentences.length ? new Error(sentences.join(" ")) : problem);
    } finally {
      send.disabled = false;
    }
  });
  update();
}

/** Return the field that an error refers to. An error about two fields starts with the name of the first. */
function placed({ field: where, message }, byName) {
  const input = byName.get(where.split(".").at(-1));
  if (input) return [input, message];
  const [first, ...rest] = message.split(" ");
  return [byName.get(first), rest.join(" ")];
}

/** Offer the sets that users brought. `about` shows images of the chosen set as soon as the user looks at the field. */
async function offerTrainingData({ input }, about, isGiven, sizes, changed, signal) {
  const text = h("p", { class: "hint", "aria-live": "polite" });
  const picture = h("div");
  about.append(text, picture);
  const { training_data: sets } = await get("training-data", signal);
  for (const { name: set, train_images: train } of sets) sizes.set(set, train);
  const chosen = input.value;
  const known = new Set([...input.options].map(({ value }) => value));
  input.append(...sets.filter((set) => !known.has(set.name)).map((set) => h("option", { value: set.name }, set.name)));
  input.value = chosen;
  const begin = onlyLatest(signal);
  let shown = "";
  const describe = async () => {
    if (shown === input.value) return;
    shown = input.value;
    const current = begin();
    const set = sets.find(({ name: other }) => other === shown) ?? (await get(`training-data/${encodeURIComponent(shown)}`, current));
    sizes.set(shown, set.train_images);
    text.textContent = `${set.classes.length} classes: ${listed(set.classes)}. ${number(set.train_images)} training images, ${number(set.test_images)} for tests.`;
    const { preview } = await import("../parts/previews.js");
    if (!current.aborted) await preview(picture, set, current);
  };
  const look = () => describe().then(changed).catch((problem) => {
    if (problem.name === "AbortError") return;
    text.textContent = problem.message;
    picture.replaceChildren();
  });
  input.addEventListener("focus", look, { once: true });
  input.addEventListener("change", look);
  if (isGiven) await look();
  else changed();
}

/** Return the order that gives good digits soonest: on fast devices, the one whose digits vary as real ones do. */
function suggested(jobs) {
  const paces = jobs.map((job) => job.progress?.images_per_second).filter(Boolean);
  return { recipe: "sharp", epochs: paces.length && median(paces) >= FAST ? 15 : 5 };
}

function defaults(properties, recipe) {
  return Object.fromEntries(Object.entries(properties).map(([key, schema]) => [key, byDefault(schema, recipe)]));
}

/** Return the default of a property. That of some properties depends on the recipe. */
function byDefault(schema, recipe) {
  return schema["x-default-of-recipe"]?.[recipe] ?? schema.default;
}

/** Create the form field of a schema property, with functions that read and write its value. */
export function field(key, schema, given) {
  const kind = schema.anyOf?.find(({ type }) => type !== "null") ?? schema;
  const id = `field-${key}`;
  const common = { id, name: key, "aria-describedby": `${id}-about ${id}-wrong` };
  const initial = given ?? (schema.default === undefined ? "" : String(schema.default));
  let input;
  const choices = kind.enum ?? (key === "dataset" ? kind.examples : undefined);
  if (choices) {
    input = h("select", common, choices.map((value) => h("option", { value }, value)));
    if (key === "dataset" && given && !choices.includes(given)) input.append(h("option", { value: given }, given));
  } else if (kind.type === "string") {
    input = h("input", { ...common, type: "text", maxlength: kind.maxLength, autocomplete: "off" });
  } else {
    const step = kind.type === "integer" ? 1 : "any";
    input = h("input", { ...common, type: "number", step, min: kind.minimum ?? kind.exclusiveMinimum, max: kind.maximum, inputmode: step === 1 ? "numeric" : "decimal" });
  }
  const empty = h("span"); // shows the default while the field is empty
  let ofRecipe; // the recipe that is chosen
  const showDefault = (recipe = ofRecipe) => {
    ofRecipe = recipe;
    if (input.type !== "number") return;
    input.placeholder = byDefault(schema, recipe) ?? "all";
    empty.textContent = input.value === "" && !input.validity.badInput ? ` Empty means ${input.placeholder}.` : "";
  };
  input.value = initial;
  input.addEventListener("input", () => showDefault());
  showDefault();
  const wrong = h("p", { class: "wrong", id: `${id}-wrong` });
  const label = key === "adam_lr" ? "Learning rate" : key === "adam_beta_1" ? "Adam's beta 1" : key[0].toUpperCase() + key.slice(1).replaceAll("_", " ");
  const element = h("div", { class: "field" }, h("label", { for: id }, label), input, h("p", { class: "hint", id: `${id}-about` }, prose(schema.description ?? ""), empty), wrong);
  const isDefault = () => (input.value === "" && !input.validity.badInput) || input.value === String(schema.default);
  return {
    key, element, input, showDefault,
    focus() {
      element.closest("details")?.setAttribute("open", "");
      input.focus();
    },
    text: () => (isDefault() ? null : input.value),
    read() {
      if (isDefault()) return undefined;
      return input.type === "number" && input.value !== "" ? Number(input.value) : input.value;
    },
    is: (value) => input.value === String(value ?? schema.default ?? ""),
    write(value) {
      input.value = value ?? schema.default ?? "";
      showDefault();
    },
    showMistake(message) {
      wrong.textContent = message && `${label} ${message}.`;
      input.setAttribute("aria-invalid", Boolean(message));
      return wrong.textContent;
    },
  };
}

/** Estimate the time: the median speed of the last runs that are most similar, on the device of the newest of them. */
function estimate(config, jobs, sizes) {
  const all = (dataset) => sizes.get(dataset) ?? sizes.get(dataset.split("@")[0]) ?? ALL;
  const images = Math.min(config.train_examples ?? Infinity, all(config.dataset));
  const total = config.epochs * images;
  const timed = jobs.filter((job) => job.epochs.length && !isUnreadable(job)).map((job) => {
    const seen = job.config.train_examples ?? all(job.config.dataset);
    const whole = seen / job.epochs.at(-1).seconds; // includes the work at the end of an epoch, a smaller share in longer epochs
    const pace = seen >= images / 4 ? whole : Math.max(whole, 0.9 * (job.progress?.images_per_second ?? 0));
    const like = (job.config.recipe === config.recipe) + (job.config.batch_size === config.batch_size) + (seen >= images / 4);
    return { job, like, pace };
  }).sort((a, b) => b.like - a.like);
  const waiting = jobs.filter((job) => job.status === "queued" || job.status === "running").length;
  const what = `${count(config.epochs, "epoch")} of ${number(images)} images`;
  const grey = total < GREY ? [h("strong", { class: "caution" }, `A short try: its ${knownClasses(config.dataset) ? "digits" : "images"} will be grey clouds. It only shows that training works.`)] : [];
  const ahead = waiting ? ` ${count(waiting, "unfinished run")} ${waiting === 1 ? "is" : "are"} ahead of it.` : "";
  if (!timed.length) {
    const [least, most] = UNKNOWN_PACES.map((pace) => duration(total / pace));
    return [h("b", {}, `Perhaps ${least} to ${most}`), `for ${what} on two processor cores. A GPU is faster. No run has finished an epoch yet, so this is a guess.${ahead}`, ...grey];
  }
  const { job, like } = timed[0];
  const alike = timed.filter((other) => other.like === like && other.job.device === job.device).slice(0, MOST);
  const pace = median(alike.map((other) => other.pace));
  const by = alike.length === 1 ? ["based on ", h("a", { href: `#/runs/${job.id}` }, job.name || job.id)] : [`based on the last ${alike.length} similar runs`];
  return [h("b", {}, `About ${duration(total / pace)}`), `for ${what}, `, ...by, ` (${number(Math.round(pace))} images per second).${ahead}`, ...grey];
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

export function random() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (value) => value.toString(36)).join("-");
}
