// What is shown stands in the address behind `#`, so that a view can be sent to somebody and the way back works.

/** The address as a plain object of texts. */
export function readAddress() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

/** An address with some parts changed; a part that is null or empty is left out. */
export function address(changes, from = readAddress()) {
  const parts = Object.entries({ ...from, ...changes }).filter(([, value]) => value !== null && value !== "");
  return `#${new URLSearchParams(parts.map(([name, value]) => [name, String(value)]))}`;
}

/**
 * A value of the address where it is one of `options`; of another nothing is left, and `lost` is told `words` of it.
 * What the address does not say is no loss.
 */
export function pick(lost, words, value, options) {
  if (value === undefined || options.includes(value)) return value;
  lost.push(`${words} “${value}”`);
  return undefined;
}

/** Go to a changed address; `push`: the way back leads to the one before. What is no choice but a movement does not. */
export function go(changes, push = true, from = readAddress()) {
  const next = address(changes, from);
  if (next === location.hash) return;
  if (push) history.pushState(null, "", next);
  else history.replaceState(null, "", next);
  dispatchEvent(new Event("addresschange"));
}
