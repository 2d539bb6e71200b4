// A grid of images around one, along two directions of the latent space. Choosing an image moves there.

import { file, onlyLatest } from "../common/api.js";
import { announce, button, h, showError } from "../common/dom.js";

const SIDE = 5, MIDDLE = Math.floor((SIDE * SIDE) / 2);
const STEP = 0.3; // radians between neighbouring images
const FARTHEST = 95; // radians: beyond it, images of the grid have no address
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export const HERE = { x: 0, y: 0, directions: 0 };

/**
 * Create the grid, which is empty. `await grid.draw(subject, point)` fills it around a point: x, y and directions, as in the
 * API. `moved(point)` is called when the user chooses another point; it calls `draw`. `grid.enter()` focuses the middle.
 */
export function explorer(moved, signal) {
  const begin = onlyLatest(signal);
  let points = [], point = HERE, subject = null, address = "";
  const cells = Array.from({ length: SIDE * SIDE }, (_, place) => {
    const image = h("span", { class: "ink" });
    image.style.backgroundPosition = `${(100 / (SIDE - 1)) * (place % SIDE)}% ${(100 / (SIDE - 1)) * Math.floor(place / SIDE)}%`;
    return h("button", { type: "button", class: "cell", tabindex: place === MIDDLE ? 0 : -1, onclick: () => choose(place).catch(showError) }, image);
  });
  const step = h("input", { type: "range", id: "step", min: 0.05, max: 1, step: 0.05, value: STEP, onchange: () => again() });
  const group = h("div", { class: "cells", role: "group", "aria-label": "Images around this one", "aria-describedby": "explore-hint", onkeydown: walk }, cells);
  const grid = h("section", { class: "explore", hidden: true, "aria-label": "Explore" }, group,
    h("p", { class: "hint", id: "explore-hint" }, "Click an image to move there, or choose one with the arrow keys and press Enter."),
    h("div", { class: "field" }, h("label", { for: "step" }, "Distance between images"), step),
    h("p", { class: "actions" },
      button("Other directions", () => moved({ ...HERE, directions: point.directions + 1 })),
      button("Back to the start", () => moved({ ...HERE, directions: point.directions }))));
  signal.addEventListener("abort", release);

  grid.release = release;
  grid.enter = () => focus(MIDDLE);
  grid.draw = async (of, at) => {
    [subject, point] = [of, at];
    const { path, seed, index, checkpoint } = subject;
    const query = `seed=${seed}&index=${index}&checkpoint=${checkpoint}&x=${point.x}&y=${point.y}&directions=${point.directions}`;
    const { blob, headers } = await file(`${path}/traversal?${query}&step=${step.value}&rows=${SIDE}&columns=${SIDE}&scale=2`, begin());
    points = headers.get("X-Points").split(",").map((each) => each.split(":").map(Number));
    release();
    address = URL.createObjectURL(blob);
    cells.forEach((cell, place) => {
      const [x, y] = points[place];
      cell.firstChild.style.backgroundImage = `url("${address}")`;
      cell.setAttribute("aria-label", place === MIDDLE ? `This image, at ${x}, ${y}` : `Move to ${x}, ${y}`);
    });
  };
  return grid;

  function release() {
    URL.revokeObjectURL(address);
  }

  function again() {
    return grid.draw(subject, point).catch(showError);
  }

  async function choose(place) {
    if (place === MIDDLE || points.length === 0) return;
    const [x, y] = points[place];
    if (Math.max(Math.abs(x), Math.abs(y)) > FARTHEST) return announce("This is the end of the plane.");
    await moved({ x, y, directions: point.directions });
    focus(MIDDLE);
    announce(`Moved to ${x}, ${y}.`);
  }

  function walk(event) {
    const way = ARROWS[event.key], place = cells.indexOf(event.target);
    if (!way || place < 0) return;
    event.preventDefault();
    const column = (place % SIDE) + way[0], row = Math.floor(place / SIDE) + way[1];
    if (column >= 0 && column < SIDE && row >= 0 && row < SIDE) focus(row * SIDE + column);
  }

  function focus(place) {
    for (const [other, cell] of cells.entries()) cell.tabIndex = other === place ? 0 : -1;
    cells[place].focus();
  }
}
