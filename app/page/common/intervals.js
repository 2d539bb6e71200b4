// Intervals of shares.

const Z = 1.959964; // of a 95 % interval

/** Return the 95 % interval of a share, `hits` of `total`, by Wilson's score (1927): [low, high]. */
export function wilson(hits, total) {
  const share = hits / total, scale = 1 + Z ** 2 / total;
  const centre = share + Z ** 2 / (2 * total);
  const reach = Z * Math.sqrt((share * (1 - share)) / total + Z ** 2 / (4 * total ** 2));
  return [Math.max(0, (centre - reach) / scale), Math.min(1, (centre + reach) / scale)];
}
