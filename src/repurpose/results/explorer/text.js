// Elements and text. What a model wrote only ever becomes text nodes and attribute values, never markup.

/** Characters that steer a terminal, turn the writing direction or belong to nothing; line ends and tabs stay. */
const HIDDEN = /[^\P{C}\n\t]/gu;

/** A text with what cannot be seen replaced by a mark that can. */
export function visible(text) {
  return text.replace(HIDDEN, "\uFFFD");
}

/** An element with attributes, listeners (`onclick`) and children; of a null or false value there is no attribute. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : typeof value === "string" ? visible(value) : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false).map(asNode));
  return node;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(visible(String(child)));
}

/** A labelled choice; `options` are [value, words] or values. */
export function choice(words, value, options, onchange) {
  const listed = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  const select = el("select", { "aria-label": words, onchange: () => onchange(listed[select.selectedIndex][0]) });
  select.append(...listed.map(([own, said]) => el("option", { value: String(own) }, said)));
  select.selectedIndex = Math.max(
    0,
    listed.findIndex(([own]) => String(own) === String(value)),
  );
  return el("label", { class: "choice" }, el("span", {}, words), select);
}

export function button(words, onclick, attributes = {}) {
  return el("button", { type: "button", onclick, ...attributes }, words);
}

/** A share as one would quote it. */
export function percent(share) {
  return share === null || share === undefined
    ? "–"
    : `${(100 * share).toFixed(share !== 0 && Math.abs(share) < 0.1 ? 2 : 1)} %`;
}

/** A number to three figures. */
export function short(number) {
  if (number === null || number === undefined) return "–";
  return String(Number(number.toPrecision(3))).replace("-", "−");
}

/** A number of standard deviations; the same one is written alike everywhere. */
export function deviations(number) {
  return `${number.toFixed(2).replace("-", "−")} sd`;
}

/** A count with its word, in the plural where it is not one. */
export function count(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}
