// Lists that are made again: while a button of theirs waits they are not, and the focus stays at its place.

/** Return whether a request of a button in an element has not ended: a new list would remove the button. */
export function isBusy(root) {
  return root.querySelector("[aria-busy='true']") !== null;
}

/** Return where the focus is in an element: the selector of an entry of a list, and the text; null if it is elsewhere. */
export function placeOf(element, root) {
  if (!element || element === root || !root.contains(element)) return null;
  const key = ["id", "job", "name"].find((each) => element.closest(`[data-${each}]`));
  const within = key ? `[data-${key}="${CSS.escape(element.closest(`[data-${key}]`).dataset[key])}"]` : ".served";
  return { within, text: element.textContent };
}

/** Move the focus to a place that `placeOf` returned, after its list was made again. */
export function refocus(place, root) {
  if (place === null) return;
  const { within, text } = place;
  const found = [...root.querySelectorAll(`${within} :is(a, button, summary)`)].find((other) => other.textContent === text);
  found?.focus({ preventScroll: true });
}
