// Fields for the parameters of what is drawn.

import { get } from "../common/api.js";
import { button, h } from "../common/dom.js";
import { areDigits, classesOf, nameOf } from "../common/format.js";

const SEEDS = 1e6; // random seeds are below this; users can enter any other

/** Create a number field for a parameter; `chosen` is called with each value, which is empty for the default of the service. */
export function numberField(key, text, { min, max, step = 1 }, value, chosen) {
  const input = h("input", { type: "number", id: key, min, max, step, value, oninput: () => chosen(input.value) });
  return h("div", { class: "field" }, h("label", { for: key }, text), input);
}

/** Create a field with a choice; `choices` are the values and their texts. */
export function choiceField(key, text, choices, value, chosen) {
  const select = h("select", { id: key, onchange: () => chosen(select.value) }, Object.entries(choices).map(([each, its]) => h("option", { value: each }, its)));
  select.value = value;
  return h("div", { class: "field" }, h("label", { for: key }, text), select);
}

/** Add the checkpoints of the training data; without a name, of all that has digits. */
export async function fillCheckpoints(select, chosen, data, signal) {
  if (![...select.options].some((option) => option.value === chosen)) select.append(h("option", { value: chosen }, chosen));
  select.value = chosen;
  const { checkpoints } = await get("checkpoints", signal);
  const known = new Set([...select.options].map((option) => option.value));
  const fits = (checkpoint) => (data ? [checkpoint.config.dataset, nameOf(checkpoint.config.dataset)].includes(data) : areDigits(classesOf(checkpoint)));
  const others = checkpoints.filter((checkpoint) => checkpoint.refused === null && !known.has(checkpoint.id) && fits(checkpoint));
  select.append(...others.map(({ id }) => h("option", { value: id }, id)));
}

/** Create a field for the seed; calls `chosen` with each seed that the user enters or generates. */
export function seedField(seed, chosen) {
  const input = h("input", { type: "number", id: "seed", min: 0, max: Number.MAX_SAFE_INTEGER, value: seed, oninput: () => chosen(input.value) });
  const another = button("New seed", () => { input.value = freshSeed(); chosen(input.value); });
  return h("div", { class: "field" }, h("label", { for: "seed" }, "Seed"), h("div", { class: "row" }, input, another));
}

export function freshSeed() {
  return String(Math.floor(Math.random() * SEEDS));
}
