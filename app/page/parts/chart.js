// Line charts as SVG, with a text alternative for screen readers. The charts of a board share the pointer, smoothing and
// the lines that are shown.

import { h, svg } from "../common/dom.js";
import { figure } from "../common/format.js";

const WIDTH = 360, HEIGHT = 200, LEFT = 38, RIGHT = 10, TOP = 10, BOTTOM = 24;

/** The horizontal axis of epochs. Others have another first value, `whole: false`, and a text for each value. */
export const EPOCHS = { first: 1, whole: true, text: String, at: (epoch) => `in epoch ${epoch}` };

/** Create a board. `pick(at)` is called when the user clicks or drags to a place on the horizontal axis. */
export function board(pick, axis = EPOCHS) {
  return { pick, axis, hovered: null, smoothing: 0, off: new Set(), charts: [] };
}

/** Create the controls of a board. */
export function boardControls(board) {
  const id = `smoothing-${Math.random().toString(36).slice(2)}`;
  const slider = h("input", { type: "range", id, min: 0, max: 0.95, step: 0.05, value: 0, oninput: () => {
    board.smoothing = Number(slider.value);
    redraw(board);
  } });
  return h("div", { class: "smoothing" }, h("label", { for: id }, "Smoothing"), slider);
}

function redraw(board) {
  for (const chart of board.charts) chart.redraw();
}

/** Return round tick values from low to high, at most about `most`. */
export function ticks(low, high, most = 5) {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const values = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) values.push(at * step);
  return values;
}

/** Return an exponential moving average of points, with its bias at the beginning divided out. */
export function smoothed(points, weight) {
  let sum = 0, mass = 0;
  return points.map(([at, value]) => {
    sum = weight * sum + (1 - weight) * value;
    mass = weight * mass + 1 - weight;
    return [at, sum / mass];
  });
}

/**
 * Create a chart on a board; `chart.draw(lines, last, at)` updates it, where `last` is the end of the horizontal axis.
 * lines: [{ name, look: a class, dashed, points: [[place, value], ...] }].
 * `reference`: { name, value }, a horizontal line. With `log`, the user can choose a logarithmic scale, which is used from
 * the beginning if the values differ by more than a factor of 20.
 */
export function chart(title, hint, board, { format = figure, bounds = null, reference = null, log = false, note = null } = {}) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  const values = h("div");
  let scale = null; // until the user chooses one
  const scaling = log && h("button", { type: "button", class: "quiet small", "aria-pressed": "false", onclick: () => {
    scale = scaling.getAttribute("aria-pressed") !== "true";
    element.redraw();
  } }, "log scale");
  const element = h("figure", { class: "chart" }, h("figcaption", {}, h("b", {}, title), hint && h("span", {}, hint), scaling), picture, values, note);
  const { axis } = board;
  let shown = { lines: [], last: axis.first, at: axis.first };
  board.charts.push(element);

  const place = (event) => {
    const box = picture.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
    const at = axis.first + Math.max(0, Math.min(1, share)) * (shown.last - axis.first);
    return axis.whole ? Math.round(at) : at;
  };
  picture.addEventListener("pointerdown", (event) => {
    picture.setPointerCapture(event.pointerId);
    board.pick(place(event));
  });
  picture.addEventListener("pointermove", (event) => {
    if (event.buttons) return board.pick(place(event));
    const at = place(event);
    if (board.hovered === at) return;
    board.hovered = at;
    redraw(board);
  });
  picture.addEventListener("pointerleave", () => {
    board.hovered = null;
    redraw(board);
  });

  element.redraw = () => {
    const { last } = shown;
    const at = board.hovered === null ? shown.at : Math.min(board.hovered, last);
    const lines = shown.lines.filter((line) => line.points.length);
    const visible = lines.filter((line) => !board.off.has(line.name));
    const names = JSON.stringify(lines.map((line) => line.name));
    if (values.dataset.names !== names) values.replaceChildren(legend(lines, board)); // otherwise a focused button stays
    values.dataset.names = names;
    lines.forEach((line, place) => {
      const item = values.firstChild.children[place];
      item.querySelector("b").textContent = value(line, at, axis, format);
      item.firstChild.setAttribute("aria-pressed", String(!board.off.has(line.name)));
    });
    picture.setAttribute("aria-label", description(title, lines, at, axis, format));
    const all = visible.flatMap((line) => line.points.map((point) => point[1]));
    if (reference) all.push(reference.value);
    if (!visible.length) return picture.replaceChildren();
    const positive = all.every((one) => one > 0);
    const logarithmic = log && positive && (scale ?? Math.max(...all) > 20 * Math.min(...all));
    if (scaling) scaling.setAttribute("aria-pressed", String(logarithmic)), (scaling.disabled = !positive);
    const of = logarithmic ? Math.log10 : Number;
    const [low, high] = range(all.map(of), bounds, logarithmic);
    const x = (at) => LEFT + (last === axis.first ? 0.5 : (at - axis.first) / (last - axis.first)) * (WIDTH - LEFT - RIGHT);
    const y = (value) => TOP + (1 - (of(value) - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    picture.replaceChildren(
      ...grid(logarithmic ? powers(low, high) : ticks(low, high), y, format, logarithmic),
      ...below(last, axis, x),
      ...(reference ? [
        svg("line", { class: "reference", x1: LEFT, x2: WIDTH - RIGHT, y1: y(reference.value), y2: y(reference.value) }),
        svg("text", { x: WIDTH - RIGHT, y: y(reference.value) + (y(reference.value) < TOP + 14 ? 12 : -4), "text-anchor": "end" }, reference.name),
      ] : []),
      svg("line", { class: "cursor", x1: x(at), x2: x(at), y1: TOP, y2: HEIGHT - BOTTOM }),
      ...visible.flatMap((line) => curve(line, at, board, x, y)),
    );
  };
  element.draw = (lines, last, at) => {
    shown = { lines, last: Math.max(axis.first, last), at };
    element.redraw();
  };
  return element;
}

function range(values, bounds, logarithmic) {
  let low = Math.min(...values), high = Math.max(...values);
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 0.1;
  low = low >= 0 && !logarithmic ? Math.max(0, low - room) : low - room;
  high += room;
  return bounds && !logarithmic ? [Math.max(bounds[0], low), Math.min(bounds[1], high)] : [low, high];
}

/** Values 1, 2 and 5 times powers of ten between two logarithms; only powers if there are many. */
function powers(low, high) {
  const factors = high - low > 2.5 ? [1] : [1, 2, 5];
  const values = [];
  for (let power = Math.floor(low); power <= high; power++) values.push(...factors.map((factor) => factor * 10 ** power));
  return values.filter((at) => Math.log10(at) >= low && Math.log10(at) <= high);
}

function grid(steps, y, format, logarithmic) {
  const places = steps.length > 1 ? Math.max(0, Math.ceil(-Math.log10(steps[1] - steps[0]) - 1e-6)) : 2;
  const text = (at) => (format !== figure ? format(at) : logarithmic ? String(Number(at.toPrecision(1))) : at.toFixed(places));
  return steps.flatMap((at) => [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(at), y2: y(at) }),
    svg("text", { x: LEFT - 6, y: y(at) + 4, "text-anchor": "end" }, text(at)),
  ]);
}

function below(last, { first, whole, text }, x) {
  let places = ticks(first, last, 4);
  if (whole) places = last < 3 ? Array.from({ length: last }, (_, i) => i + 1) : [...new Set([1, ...places.filter((at) => Number.isInteger(at) && at > 1 + (last - 1) / 9)])];
  return places.map((at) => svg("text", { x: x(at), y: HEIGHT - 6, "text-anchor": "middle" }, text(at)));
}

function curve(line, at, { smoothing, axis }, x, y) {
  const look = `${line.look}${line.dashed ? " dashed" : ""}`;
  const path = (points) => points.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const point = pointAt(line, at, axis);
  return [
    smoothing > 0 && svg("polyline", { class: `${look} raw`, points: path(line.points) }),
    svg("polyline", { class: look, points: path(smoothing > 0 ? smoothed(line.points, smoothing) : line.points) }),
    point && svg("circle", { class: look, cx: x(point[0]), cy: y(point[1]), r: 3.2 }),
  ].filter(Boolean);
}

/** Return the point of an epoch; on another axis, the last one up to there. */
function pointAt(line, at, { whole }) {
  return whole ? line.points.find((point) => point[0] === at) : line.points.findLast((point) => point[0] <= at);
}

function value(line, at, axis, format, missing = "–") {
  const point = pointAt(line, at, axis);
  return point ? format(point[1]) : missing;
}

function description(title, lines, at, axis, format) {
  const values = lines.map((line) => `${line.name} ${value(line, at, axis, format, "unknown")}`);
  return lines.length ? `${title}, ${axis.at(at)}: ${values.join(", ")}.` : `${title}: no data yet.`;
}

/** Create a legend of the lines [{ name, look, dashed }]. On a board, each is a button that hides its line. */
export function legend(lines, board = null) {
  const sign = (line) => svg("svg", { viewBox: "0 0 28 8", "aria-hidden": "true" }, svg("line", { class: `${line.look}${line.dashed ? " dashed" : ""}`, x1: 0, x2: 28, y1: 4, y2: 4 }));
  const toggle = (line) => {
    if (!board.off.delete(line.name)) board.off.add(line.name);
    redraw(board);
  };
  const item = (line) => (board
    ? h("button", { type: "button", class: "toggle", title: "Show or hide this line", onclick: () => toggle(line) }, sign(line), line.name, h("b"))
    : h("span", {}, sign(line), line.name));
  return h("ul", { class: "legend" }, lines.map((line) => h("li", {}, item(line))));
}
