// A text as sentences with their labels in the margin, and its tokens, each of which can be pointed at.

import { el, visible } from "./text.js";

const STEPS = [0.5, 1, 1.5, 2, 3];

/** Standard deviations from which on a colour is full. */
export const FULL = STEPS.at(-1);

/** The eleven colours in their order, each of which says what it stands for. */
export function scale() {
  const sides = [-1, 1].map((side) =>
    STEPS.map((step, place) => {
      const words = `${step}${place + 1 < STEPS.length ? ` to ${STEPS[place + 1]}` : " or more"} sd`;
      return el("span", {
        class: `swatch q${side * (place + 1)}`,
        title: `${words} ${side < 0 ? "below" : "above"} the mean`,
      });
    }),
  );
  const middle = el("span", { class: "swatch q0", title: `less than ${STEPS[0]} sd from the mean` });
  return el("span", { class: "scale" }, ...sides[0].toReversed(), middle, ...sides[1]);
}

/** Which of the eleven colours a projection in standard deviations has: q-5 ... q0 ... q5. */
export function colourOf(deviations) {
  const size = STEPS.filter((step) => Math.abs(deviations) >= step).length;
  return `q${deviations < 0 ? -size : size}`;
}

/** Tokens that hold a part of a keyword; `texts` are all tokens' texts. */
export function keywordTokens(texts, keywords) {
  const starts = [];
  let length = 0;
  for (const text of texts) {
    starts.push(length);
    length += text.length;
  }
  const found = new Set();
  let place = 0;
  for (const word of texts.join("").matchAll(/\p{L}+(?:['’]\p{L}+)*/gu)) {
    if (!keywords.includes(word[0].toLowerCase())) continue;
    const end = word.index + word[0].length;
    while (place < texts.length && starts[place] + texts[place].length <= word.index) place += 1;
    for (let token = place; token < texts.length && starts[token] < end; token += 1) found.add(token);
  }
  return found;
}

/**
 * The element of a text. `sentences` are {start, end, labels, correct}; `annotators` name the labels where there are
 * several; `classes(token)` is what a token is marked as; `point(token)` is called for the token that is looked at.
 */
export function passage({ texts, sentences, annotators, behaviour, classes, point, words }) {
  const box = el("div", { class: "passage", tabindex: 0, role: "document", "aria-label": words });
  let done = 0;
  for (const sentence of [...sentences, null]) {
    const start = sentence ? Math.max(sentence.start, done) : texts.length;
    if (start > done) box.append(stretch(done, start, null));
    if (!sentence) break;
    const end = Math.min(texts.length, Math.max(sentence.end, start));
    if (end > start) box.append(stretch(start, end, sentence));
    done = Math.max(done, end);
  }

  function stretch(start, end, sentence) {
    const line = el("p", { class: "words" });
    for (let token = start; token < end; token += 1) {
      line.append(el("span", { class: `t ${classes(token)}`, "data-token": token }, texts[token]));
    }
    const labelled = sentence?.labels.some((label) => label !== null);
    if (!labelled && !line.textContent.trim()) return el("div", { class: "gap" }, line);
    const isBehaviour = sentence?.labels[0] === behaviour;
    return el("div", { class: `sentence${isBehaviour ? " behaviour" : ""}` }, margin(sentence), line);
  }

  function margin(sentence) {
    const chips = (sentence?.labels ?? []).map((label, place) =>
      chip(label, annotators?.[place] ?? "", annotators?.length > 1),
    );
    return el("div", { class: "margin" }, ...chips, sentence ? stepChip(sentence.correct) : null);
  }

  const tokenOf = (event) => event.target.closest?.("[data-token]")?.dataset.token;
  for (const kind of ["pointerover", "click"]) {
    box.addEventListener(kind, (event) => {
      const token = tokenOf(event);
      if (token !== undefined) point(Number(token), kind === "click");
    });
  }
  return box;
}

/** A label as a mark; `said` whether to say whose it is. */
export function chip(label, annotator, said) {
  if (label === null || label === undefined) return null;
  const words = said ? `${annotator}: ${label}` : label;
  return el("span", { class: `chip l-${label.replace(/\W/g, "-")}`, title: words }, said ? words : label);
}

/** What is known of a calculation, and what is not. */
export const ARITHMETIC =
  "Only the arithmetic of the calculation that the sentence ends with is checked, as 4 + 5 = 9. Whether it is the right one to make here is not known.";

/** Whether the arithmetic of a calculation is right, as a mark; none where it is not known. */
export function stepChip(correct) {
  if (correct === null || correct === undefined) return null;
  const [name, words] = correct ? ["right", "✓ arithmetic right"] : ["wrong", "✗ arithmetic wrong"];
  return el("span", { class: `step ${name}`, title: ARITHMETIC }, words);
}

/** Mark one token as the one that is looked at, and bring it into sight. */
export function mark(box, token, scroll) {
  box.querySelector(".t.here")?.classList.remove("here");
  const node = box.querySelector(`[data-token="${token}"]`);
  node?.classList.add("here");
  if (node && scroll) node.scrollIntoView({ block: "center", behavior: "instant" });
}

/** A token's text as one can read it: its spaces and line ends shown. */
export function written(text) {
  return text === ""
    ? "(no text of its own)"
    : `“${visible(text).replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥")}”`;
}
