// Line charts over epochs as SVG, with a text alternative for screen readers.

import { h, svg } from "./dom.js";
import { figure } from "./format.js";

const WIDTH = 360, HEIGHT = 200, LEFT = 38, RIGHT = 10, TOP = 10, BOTTOM = 24;

/** Return round tick values from low to high, at most about `most`. */
export function ticks(low, high, most = 5) {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const values = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) values.push(at * step);
  return values;
}

/**
 * Create a chart; `chart.draw(lines, epochs, epoch)` updates it.
 * lines: [{ name, look: "accent" | "ink", dashed, points: [[epoch, value], ...] }].
 * `pick(epoch)` is called when the user clicks or drags to an epoch. With `showValues`, a legend below the chart shows the
 * lines and their values in that epoch.
 */
export function chart(title, hint, pick, { format = figure, bounds = null, showValues = false } = {}) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  const values = h("div");
  const element = h("figure", { class: "chart" }, h("figcaption", {}, h("b", {}, title), hint && h("span", {}, hint)), picture, values);
  let last = 1;

  const choose = (event) => {
    const box = picture.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
    pick(Math.max(1, Math.min(last, Math.round(1 + share * (last - 1)))));
  };
  picture.addEventListener("pointerdown", (event) => {
    picture.setPointerCapture(event.pointerId);
    choose(event);
  });
  picture.addEventListener("pointermove", (event) => event.buttons && choose(event));

  element.draw = (lines, epochs, epoch) => {
    last = Math.max(1, epochs);
    lines = lines.filter((line) => line.points.length);
    const all = lines.flatMap((line) => line.points.map((point) => point[1]));
    if (showValues) values.replaceChildren(legend(lines, (line) => value(line, epoch, format)));
    picture.setAttribute("aria-label", description(title, lines, epoch, format));
    if (!all.length) return picture.replaceChildren();
    const [low, high] = range(all, bounds);
    const x = (at) => LEFT + (last === 1 ? 0.5 : (at - 1) / (last - 1)) * (WIDTH - LEFT - RIGHT);
    const y = (value) => TOP + (1 - (value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    picture.replaceChildren(
      ...grid(low, high, last, x, y, format),
      svg("line", { class: "cursor", x1: x(epoch), x2: x(epoch), y1: TOP, y2: HEIGHT - BOTTOM }),
      ...lines.flatMap((line) => curve(line, epoch, x, y)),
    );
  };
  return element;
}

function range(values, bounds) {
  let low = Math.min(...values), high = Math.max(...values);
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 0.1;
  low = low >= 0 ? Math.max(0, low - room) : low - room;
  high += room;
  return bounds ? [Math.max(bounds[0], low), Math.min(bounds[1], high)] : [low, high];
}

function grid(low, high, last, x, y, format) {
  const steps = ticks(low, high);
  const places = steps.length > 1 ? Math.max(0, Math.ceil(-Math.log10(steps[1] - steps[0]) - 1e-6)) : 2;
  const across = steps.flatMap((at) => [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(at), y2: y(at) }),
    svg("text", { x: LEFT - 6, y: y(at) + 4, "text-anchor": "end" }, format === figure ? at.toFixed(places) : format(at)),
  ]);
  const epochs = last < 3 ? Array.from({ length: last }, (_, i) => i + 1) : [...new Set([1, ...ticks(1, last, 4).filter((at) => Number.isInteger(at) && at > 1 + (last - 1) / 9)])];
  return [...across, ...epochs.map((at) => svg("text", { x: x(at), y: HEIGHT - 6, "text-anchor": "middle" }, at))];
}

function curve(line, epoch, x, y) {
  const look = `${line.look}${line.dashed ? " dashed" : ""}`;
  const points = line.points.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const point = line.points.find(([at]) => at === epoch);
  return [
    svg("polyline", { class: look, points }),
    point && svg("circle", { class: look, cx: x(point[0]), cy: y(point[1]), r: 3.2 }),
  ].filter(Boolean);
}

function value(line, epoch, format) {
  const point = line.points.find(([at]) => at === epoch);
  return point ? format(point[1]) : "unknown";
}

function description(title, lines, epoch, format) {
  const values = lines.map((line) => `${line.name} ${value(line, epoch, format)}`);
  return lines.length ? `${title}, in epoch ${epoch}: ${values.join(", ")}.` : `${title}: no data yet.`;
}

/** Create a legend of the lines [{ name, look, dashed }]; `of(line)` returns the text after each name. */
export function legend(lines, of = () => null) {
  return h("ul", { class: "legend" }, lines.map((line) => h("li", {},
    svg("svg", { viewBox: "0 0 28 8", "aria-hidden": "true" }, svg("line", { class: `${line.look}${line.dashed ? " dashed" : ""}`, x1: 0, x2: 28, y1: 4, y2: 4 })),
    line.name, h("b", {}, of(line)))));
}
