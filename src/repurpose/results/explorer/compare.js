// One prompt's texts under several conditions, side by side, and where they part.

import { button, count, el, percent, short } from "./text.js";
import { numbersOf } from "./data.js";
import { keywordTokens, passage, written } from "./tokens.js";

/** What one seed for all keeps equal, and what it does not. */
export function seedWords({ pair }) {
  const precision = pair.dtype === "float32" ? "Even in float32" : `In ${pair.dtype}, as this pair is computed,`;
  return (
    "Within a sweep all conditions run in the same engine, with one seed for each prompt and sample. " +
    `${precision} sums depend a little on how many rows stand beside a row, and where two tokens are nearly as likely ` +
    "the texts may part for that alone. So unsteered texts of one prompt may differ between sweeps: compare within one."
  );
}

/** What a condition is called. */
export function cellName(cell) {
  if (cell.direction === "none") return "unsteered";
  return `${cell.direction} ${strength(cell)}`;
}

/** How strongly a condition steers, in the unit that its sweep is in. */
export function strength(cell) {
  if (cell.operation === "ablate") return "ablated";
  if (cell.unit === "l2") return `norm ${short(cell.multiple)}`;
  return cell.unit === "dose" ? `dose ${short(cell.multiple)}` : `× ${short(cell.multiple)} selected`;
}

/** What each unit of strength means. */
export const UNITS = {
  selected:
    "× 0.5 selected: half of the L2 norm that training prompts selected. It may be that of another site, where one is shown beside the selected one",
  dose: "dose: the L2 norm that is added, divided by the median L2 norm of the reasoning model's residual stream at that layer, so that layers compare; beside a text of the base model it is that model's norm",
  l2: "norm: the L2 norm that is added to the residual stream of each token",
  ablated: "ablated: the direction is taken out of the residual stream; nothing is added, so there is no strength",
};

/** Where a condition is from: reader, layer, window, magnitude. */
export function cellSite(cell) {
  if (cell.direction === "none") return `the ${cell.target} model by itself`;
  const parts = [
    `${cell.target} model`,
    `read from ${cell.reader}`,
    `layer ${cell.layer}`,
    `window from ${cell.window_start}`,
  ];
  if (cell.magnitude !== null) parts.push(`norm ${short(cell.magnitude)}`, `dose ${short(cell.dose)}`);
  return parts.join(", ");
}

/** The first token at which two rows of numbers differ; where one goes on, its first further token; else null. */
export function partingPoint(one, other) {
  const length = Math.min(one.length, other.length);
  for (let token = 0; token < length; token += 1) if (one[token] !== other[token]) return token;
  return one.length === other.length ? null : length;
}

const MEASURES = {
  keyword_share: ["keywords of all words", percent],
  backtracking_share: ["sentences that backtrack", percent],
  wrong_backtracked: ["wrong calculations backtracked from", percent],
  right_backtracked: ["right calculations backtracked from", percent],
  distinct_2: ["distinct pairs of tokens", percent],
  longest_run: ["longest run of one token", short],
  compression_ratio: ["compression ratio", short],
  length: ["tokens", short],
  finished: ["texts that end", percent],
  correct: ["right answers", percent],
};

/** What a measure is called and how its values are written; one that is not known has its column's name. */
export function measure(name, behaviour) {
  if (name === "backtracking_share") return [`sentences labelled ${behaviour}`, percent];
  return MEASURES[name] ?? [name.replaceAll("_", " "), short];
}

/** Of right answers: how many texts of a cell had no room for one; of other measures nothing. */
export function cutWords(cell, name) {
  const cut = name === "correct" && cell.unanswered > 0;
  return cut ? ` (${cell.unanswered} of ${count(cell.texts, "text")} cut off before an answer)` : "";
}

/** What is known of a text's answer; null where nothing is. */
export function answerWords(answer) {
  if (answer === null) return null;
  return answer === "cut" ? "no answer yet" : `answer ${answer}`;
}

/** The measures that some cell has a value of. */
export function measuresOf(cells) {
  const known = new Set([
    "sweep",
    "target",
    "direction",
    "kind",
    "reader",
    "layer",
    "window_start",
    "operation",
    "positions",
    "magnitude",
    "dose",
    "multiple",
    "unit",
    "unanswered",
    "texts",
    "number",
    "rows",
  ]);
  return Object.keys(cells[0] ?? {}).filter((name) => !known.has(name) && cells.some((cell) => cell[name] !== null));
}

/**
 * A column: the condition, its numbers and one of its texts. `plain` is the unsteered row that it is compared with, null
 * where there is none; `several`, whether texts of both models are shown.
 */
export function column({ data, cell, row, plain, letter, several, typical }) {
  const { study } = data;
  const names = ["backtracking_share", "keyword_share", "distinct_2", "longest_run", "correct", "finished"];
  const extra = measuresOf([cell]).filter((name) => !(name in MEASURES));
  const numbers = [...names, ...extra].filter((name) => cell[name] !== null && cell[name] !== undefined);
  const facts = numbers.flatMap((name) => {
    const [words, write] = measure(name, study.behaviour);
    return [el("dt", {}, `${words}${cutWords(cell, name)}`), el("dd", {}, write(cell[name]))];
  });
  return el(
    "section",
    { class: "column", "aria-label": cellName(cell) },
    el("h3", { title: study.words.directions[cell.direction] }, `${letter ? `${letter}: ` : ""}${cellName(cell)}${several ? `, in ${cell.target}` : ""}`),
    el("p", { class: "soft small" }, cellSite(cell)),
    el(
      "details",
      { class: "facts", open: true },
      el("summary", {}, `Effect and coherence, ${cell.texts} texts`),
      el("dl", {}, ...facts),
    ),
    el(
      "div",
      { class: "typical" },
      button("most typical text", () => typical(cell, 0), { disabled: cell.rows.length === 0 }),
      button("least typical", () => typical(cell, -1), { disabled: cell.rows.length === 0 }),
    ),
    row
      ? textOf(data, row, plain)
      : el("p", { class: "soft" }, "This prompt has no text of this condition on the page."),
  );
}

function textOf(data, row, plain) {
  const own = numbersOf(data, row);
  const texts = [...own].map((number) => data.vocabulary.texts[number]);
  const keywords = keywordTokens(texts, data.study.keywords);
  const parted = plain ? partingPoint(own, numbersOf(data, plain)) : null;
  const compared = plain ? partedWords(parted) : "";
  const info = el("p", { class: "info small", role: "status" }, `${compared}${endOf(row)}`);
  const classes = (token) => {
    const marks = [];
    if (keywords.has(token)) marks.push("keyword");
    if (parted === token) marks.push("parted");
    return marks.join(" ");
  };
  const box = passage({
    texts,
    sentences: row.sentences,
    annotators: ["rules"],
    behaviour: data.study.behaviour,
    classes,
    point: (token) =>
      info.replaceChildren(
        `${written(texts[token])} · id ${data.vocabulary.ids[own[token]]} · token ${token} of ${row.tokens}`,
      ),
    words: `Text under ${cellName(row.cell)}`,
  });
  return el("div", {}, info, box);
}

function partedWords(token) {
  return token === null ? "the same text as unsteered; " : `parts from the unsteered text at token ${token}; `;
}

function endOf(row) {
  const end = row.reason === "length" ? "cut off" : "ends by itself";
  return [`${row.tokens} tokens`, end, answerWords(row.answer)].filter(Boolean).join(", ");
}
