// Steered text: the cells of a sweep, and one prompt's texts unsteered and under two of them.

import { button, choice, el } from "./text.js";
import { readSteered } from "./data.js";
import { go, pick } from "./address.js";
import { column, measure, measuresOf, seedWords } from "./compare.js";
import { heatMap } from "./grid.js";

/** A cell's name in the address. */
export function cellKey(cell) {
  return [cell.target, cell.direction, cell.reader, cell.layer, cell.window_start, cell.multiple].join(",");
}

function isSame(one, other) {
  const parts = ["target", "direction", "reader", "layer", "window_start", "operation"];
  const far = Math.abs((one.magnitude ?? 0) - (other.magnitude ?? 0));
  return parts.every((part) => one[part] === other[part]) && far <= 0.001 * Math.abs(other.magnitude ?? 0);
}

export function steeredView(data) {
  const { study } = data;
  const controls = el("div", { class: "controls", role: "group", "aria-label": "Sweep, measure and prompt" });
  const map = el("section", { class: "map", "aria-label": "Cells" });
  const texts = el("section", { class: "texts", "aria-label": "Texts" });
  const node = el("div", { class: "steered" }, controls, map, texts);
  let second = false; // what a click on a cell chooses
  let now = null;

  async function update(state) {
    const all = await readSteered(data);
    const sweeps = [...new Set(all.map((cell) => cell.sweep))];
    if (sweeps.length === 0) {
      node.replaceChildren(el("p", { class: "soft" }, "This study has no steered texts."));
      return [];
    }
    const lost = [];
    const usualSweep = sweeps.includes("two_by_two") ? "two_by_two" : sweeps[0];
    const sweep = pick(lost, "sweep", standsFor(state.sweep, sweeps, all), sweeps) ?? usualSweep;
    const cells = all.filter((cell) => cell.sweep === sweep);
    const measures = measuresOf(cells);
    const usualMeasure = measures.includes("backtracking_share") ? "backtracking_share" : measures[0];
    const by = pick(lost, "measure", state.measure, measures) ?? usualMeasure;
    const [a, b] = ["a", "b"].map((letter) => {
      const key = pick(lost, `cell ${letter.toUpperCase()}`, state[letter], cells.map(cellKey));
      return cells.find((cell) => cellKey(cell) === key);
    });
    const first = a ?? usual(cells);
    const other = b ?? contrast(cells, first);
    const rows = [...new Map(first.rows.map((row) => [rowName(row), row])).keys()].sort();
    const prompt = pick(lost, "prompt", state.prompt, rows) ?? rows[0];
    now = { sweep, cells, first, other, rows, prompt };
    drawControls(sweeps, measures, by);
    drawMap(by);
    drawTexts();
    return lost;
  }

  /** The sweep that is asked for; where windows and layers have none of their own, the one that has several of them. */
  function standsFor(asked, sweeps, all) {
    if (sweeps.includes(asked) || !["windows", "layers"].includes(asked)) return asked;
    const sites = (name) =>
      new Set(
        all
          .filter((cell) => cell.sweep === name && cell.layer !== null)
          .map((cell) => `${cell.layer} ${cell.window_start}`),
      ).size;
    return sweeps.find((name) => sites(name) > 1) ?? asked;
  }

  /** The behaviour's direction from the base model in the reasoning model, at the magnitude nearest to 1. */
  function usual(cells) {
    const steered = cells.filter((cell) => cell.direction !== "none");
    const score = (cell) =>
      (cell.direction === study.behaviour ? 0 : 100) +
      (cell.reader === "base" ? 0 : 10) +
      (cell.target === "reasoning" ? 0 : 20) +
      (cell.layer === study.layer ? 0 : 5) +
      (cell.window_start === study.window[0] ? 0 : 3) +
      Math.abs(cell.multiple - 1);
    return steered.reduce((best, cell) => (score(cell) < score(best) ? cell : best), steered[0] ?? cells[0]);
  }

  /** What to hold a cell against: a random direction at the same strength or, where there is none, another strength. */
  function contrast(cells, first) {
    const same = cells.filter((cell) => cell.direction !== "none" && cell !== first && cell.target === first.target);
    const random = same.find((cell) => cell.direction.startsWith("random-") && cell.multiple === first.multiple);
    const alike = same.filter((cell) =>
      ["direction", "reader", "layer", "window_start"].every((part) => cell[part] === first[part]),
    );
    return random ?? alike.find((cell) => cell.multiple > 0) ?? alike[0] ?? same[0] ?? null;
  }

  /** Prompt, A and B where another sweep has the same ones; a strength is the same where its norm is. */
  function sameIn(sweep) {
    const cells = data.steered.filter((cell) => cell.sweep === sweep);
    const same = (cell) => {
      const found = cell && cells.find((one) => isSame(one, cell));
      return found ? cellKey(found) : null;
    };
    const here = cells.some((cell) => cell.rows.some((row) => rowName(row) === now.prompt));
    return { a: same(now.first), b: same(now.other), prompt: here ? now.prompt : null };
  }

  const rowName = (row) => `${row.prompt}/${row.sample}`;
  const rowOf = (cell) => cell?.rows.find((row) => rowName(row) === now.prompt) ?? null;
  const unsteered = (cell) => now.cells.find((one) => one.direction === "none" && one.target === cell.target) ?? null;

  function drawControls(sweeps, measures, by) {
    const focused = controls.contains(document.activeElement)
      ? [...controls.querySelectorAll("select, button")].indexOf(document.activeElement)
      : -1;
    controls.replaceChildren(
      choice("Sweep", now.sweep, sweeps, (sweep) => go({ sweep, ...sameIn(sweep) })),
      choice(
        "Colour by",
        by,
        measures.map((name) => [name, measure(name, study.behaviour)[0]]),
        (name) => go({ measure: name }),
      ),
      choice(
        "A click chooses",
        second,
        [
          [false, "A"],
          [true, "B (so does shift)"],
        ],
        (value) => (second = value),
      ),
      choice("Prompt", now.prompt, now.rows, (prompt) => go({ prompt })),
      button("‹", () => toPrompt(-1), {
        title: "The prompt before (k)",
        "aria-label": "The prompt before",
        "aria-keyshortcuts": "k",
      }),
      button("›", () => toPrompt(1), {
        title: "Next prompt (j)",
        "aria-label": "Next prompt",
        "aria-keyshortcuts": "j",
      }),
    );
    if (focused >= 0) controls.querySelectorAll("select, button")[focused]?.focus();
  }

  function drawMap(by) {
    const focused = map.contains(document.activeElement) ? document.activeElement.dataset.cell : null;
    const scrolled = map.querySelector(".scroll");
    const [left, top] = [scrolled?.scrollLeft ?? 0, scrolled?.scrollTop ?? 0];
    const marks = (cell) => (cell === now.first ? "A" : cell === now.other ? "B" : "");
    const [words] = measure(by, study.behaviour);
    const paper = el("p", { class: "paper soft" }, `Sweep ${now.sweep}, coloured by ${words}`);
    map.replaceChildren(paper, heatMap({ cells: now.cells, by, study, marks, choose }));
    Object.assign(map.querySelector(".scroll"), { scrollLeft: left, scrollTop: top });
    for (const cell of [now.other, now.first]) if (cell) reveal(map.querySelector(`[data-cell="${cell.number}"]`));
    if (focused) map.querySelector(`[data-cell="${focused}"]`)?.focus();
  }

  /** Bring a cell into sight, without moving the page. */
  function reveal(cell) {
    const around = map.querySelector(".scroll");
    const [own, outer] = [cell.getBoundingClientRect(), around.getBoundingClientRect()];
    around.scrollLeft += Math.max(0, own.right - outer.right) - Math.max(0, outer.left - own.left);
    around.scrollTop += Math.max(0, own.bottom - outer.bottom) - Math.max(0, outer.top - own.top);
  }

  function choose(cell, shift) {
    const name = second || shift ? "b" : "a";
    go({ a: cellKey(now.first), b: now.other ? cellKey(now.other) : null, [name]: cellKey(cell) });
  }

  /** What is shown: A and B, each behind the unsteered cell of its model, which it is compared with; no cell twice. */
  function columnsOf() {
    const wanted = [
      ["A", now.first],
      ["B", now.other],
    ].filter(([, cell]) => cell !== null);
    const cells = new Set(wanted.flatMap(([, cell]) => [unsteered(cell), cell]).filter((cell) => cell !== null));
    const letters = (cell) => wanted.filter(([, one]) => one === cell).map(([letter]) => letter);
    return [...cells].map((cell) => [cell, letters(cell).join(" and ")]);
  }

  function drawTexts() {
    const shown = columnsOf();
    const several = new Set(shown.map(([cell]) => cell.target)).size > 1;
    const prompt = data.prompts.get(now.prompt?.replace(/\/\d+$/, ""));
    const typical = (cell, end) => {
      const row = [...cell.rows].sort((one, other) => one.distance - other.distance).at(end);
      go({ prompt: rowName(row) });
    };
    const columns = shown.map(([cell, letter]) => {
      const plain = cell.direction === "none" ? null : rowOf(unsteered(cell));
      return column({ data, cell, row: rowOf(cell), plain, letter, several, typical });
    });
    texts.replaceChildren(
      el(
        "details",
        { class: "prompt", open: true },
        el("summary", { title: seedWords(study) }, `Prompt ${now.prompt ?? ""}, the same seed for all of this sweep`),
        el("p", { class: "words" }, prompt?.text ?? ""),
      ),
      el(
        "p",
        { class: "legend soft small" },
        el("span", {}, el("span", { class: "t keyword" }, study.keywords.join(", ")), " keywords"),
        el(
          "span",
          {},
          el("span", { class: "t parted" }, " abc"),
          ` first token that differs from the unsteered text${several ? " of the same model, at its left" : ""}`,
        ),
      ),
      el("div", { class: "columns" }, ...columns),
    );
  }

  function toPrompt(step) {
    const place = now.rows.indexOf(now.prompt) + step;
    if (place >= 0 && place < now.rows.length) go({ prompt: now.rows[place] });
  }

  const keys = { j: ["next prompt", () => toPrompt(1)], k: ["the prompt before", () => toPrompt(-1)] };
  return { node, update, keys };
}
