// The answers of a blind comparison of two checkpoints: kept in this browser, counted, and written as CSV.

import { wilson } from "../common/intervals.js";

const KEY = "acgan.blind."; // of localStorage, followed by the ids of both checkpoints
const LEAST = 6; // answers: fewer show nothing even if all agree (a binomial test gives 2 / 2 ** 5 > 0.05)
export const NEITHER = "no difference";

/**
 * The answers about a pair of checkpoints, in the order in which they were given. An answer has `at` (ISO 8601), `left` and
 * `right` (the ids of checkpoints), their seeds, and `chosen`: an id, or NEITHER.
 */
export function tallyOf(one, other) {
  const [first, second] = [one, other].sort();
  const place = `${KEY}${first}:${second}`;
  const read = () => {
    try {
      return JSON.parse(localStorage.getItem(place) ?? "[]").map(unpack);
    } catch {
      return []; // of another version, or the browser allows the page to store nothing
    }
  };
  // Packed, an answer takes about 40 characters; a browser stores five million for a site.
  const pack = ({ at, left, left_seed, right_seed, chosen }) => [Date.parse(at), Number(left === first), left_seed, right_seed, [first, second].indexOf(chosen)];
  const unpack = ([at, firstIsLeft, left_seed, right_seed, chosen]) => ({
    at: new Date(at).toISOString(), left: firstIsLeft ? first : second, left_seed, right: firstIsLeft ? second : first, right_seed,
    chosen: [first, second][chosen] ?? NEITHER,
  });
  return {
    place,
    answers: read,
    add: (answer) => localStorage.setItem(place, JSON.stringify([...read(), answer].map(pack))), // read again: another tab may have added one
    clear: () => localStorage.removeItem(place),
    csv: () => {
      const columns = ["at", "left", "left_seed", "right", "right_seed", "chosen"];
      return [columns, ...read().map((answer) => columns.map((column) => answer[column]))].map((row) => `${row.join(",")}\r\n`).join("");
    },
  };
}

/** Count answers: how often each of `ids` was chosen, and how often neither. `decided` is the number without the latter. */
export function counts(answers, ids) {
  const of = (id) => answers.filter(({ chosen }) => chosen === id).length;
  const chosen = ids.map(of), decided = chosen.reduce((sum, one) => sum + one, 0);
  return { total: answers.length, neither: of(NEITHER), chosen, decided };
}

/** Whether a difference is shown: the 95 % interval of a share leaves out one half. */
export function differs({ chosen, decided }) {
  if (decided < LEAST) return false;
  const [low, high] = wilson(chosen[0], decided);
  return low > 0.5 || high < 0.5;
}
