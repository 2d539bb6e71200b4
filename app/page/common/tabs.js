// Links between the views of one subject.

import { h } from "./dom.js";

/** The two views of data: what runs learn from, and what generators made. */
export const dataTabs = (current) => tabs("Data", { "training-data": "Training data", datasets: "Generated data sets" }, current);

/** The two views that draw. */
export const drawTabs = (current) => tabs("Draw", { draw: "Digits", play: "Numbers and morphs" }, current);

/** Links to the views of one subject: their names in addresses, and their texts. */
function tabs(subject, views, current) {
  const tab = ([view, text]) => h("a", { href: `#/${view}`, "aria-current": view === current && "page" }, text);
  return h("nav", { class: "tabs", "aria-label": subject }, Object.entries(views).map(tab));
}
