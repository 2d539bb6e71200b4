// Lists that are made again: while a button of theirs waits they are not, and the focus stays at its place.

/** Return whether a request of a button in an element has not ended: a new list would remove the button. */
export function isBusy(root) {
  return root.querySelector("[aria-busy='true']") !== null;
}

/** Return where the focus is in an element: the entry of a list, and the text; null if it is elsewhere. */
export function placeOf(element, root) {
  if (!element || element === root || !root.contains(element)) return null;
  return { id: element.closest("[data-id]")?.dataset.id, job: element.closest("[data-job]")?.dataset.job, text: element.textContent };
}

/** Move the focus to a place that `placeOf` returned, after its list was made again. */
export function refocus(place, root) {
  if (place === null) return;
  const { id, job, text } = place;
  const within = id ? `[data-id="${CSS.escape(id)}"]` : job ? `[data-job="${CSS.escape(job)}"]` : ".served";
  const found = [...root.querySelectorAll(`${within} :is(a, button, summary)`)].find((other) => other.textContent === text);
  found?.focus({ preventScroll: true });
}
