// A sweep as a heat map: directions down, magnitudes across; a cell opens its texts.

import { el, short } from "./text.js";
import { UNITS, cellName, cellSite, cutWords, measure, strength } from "./compare.js";

const SHADES = 6;
const ROW_PARTS = ["target", "direction", "reader", "layer", "window_start"];

function ordered(cells, behaviour) {
  const rank = (cell) => [
    cell.target === "reasoning" ? 0 : 1,
    cell.direction === "none" ? 0 : cell.direction === behaviour ? 1 : cell.kind === "behaviour" ? 2 : 3,
  ];
  return [...cells].sort((one, other) => {
    const [a, b] = [rank(one), rank(other)];
    return (
      a[0] - b[0] ||
      a[1] - b[1] ||
      String(one.direction).localeCompare(other.direction) ||
      String(one.reader).localeCompare(other.reader) ||
      one.layer - other.layer ||
      one.window_start - other.window_start
    );
  });
}

/** What a column's heading means. */
function meaning(cell) {
  if (cell.direction === "none") return null;
  return UNITS[cell.operation === "ablate" ? "ablated" : cell.unit];
}

/** The L2 norms that are added in a column: one, or from the least to the most. */
function normsOf(cells) {
  const norms = cells.filter((cell) => cell.direction !== "none" && cell.magnitude !== null);
  const said = [Math.min, Math.max].map((end) => short(end(...norms.map((cell) => cell.magnitude))));
  if (norms.length === 0 || cells[0].unit === "l2") return null;
  return said[0] === said[1] ? ` norm ${said[0]}` : ` norm ${said.join(" to ")}`;
}

/** The table; `choose(cell, second)` is called for the cell that is wanted, `marks` tells A or B of a cell. */
export function heatMap({ cells, by, study, marks, choose }) {
  const { behaviour, words: told } = study;
  const [words, write] = measure(by, behaviour);
  const sorted = ordered(cells, behaviour);
  const column = (cell) => (cell.direction === "none" ? "unsteered" : strength(cell));
  const columns = new Map();
  for (const cell of [...sorted].sort((one, other) => one.multiple - other.multiple)) {
    columns.set(column(cell), [...(columns.get(column(cell)) ?? []), cell]);
  }
  const rows = new Map();
  for (const cell of sorted) {
    const name = ROW_PARTS.map((part) => cell[part]).join("|");
    rows.set(name, [...(rows.get(name) ?? []), cell]);
  }
  const values = sorted.map((cell) => cell[by]).filter((value) => value !== null && value !== undefined);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const shade = (value) =>
    most > least ? Math.min(SHADES - 1, Math.floor(((value - least) / (most - least)) * SHADES)) : 0;
  const varied = ROW_PARTS.filter(
    (part) =>
      part !== "direction" &&
      new Set(sorted.filter((cell) => cell.direction !== "none").map((cell) => cell[part])).size > 1,
  );
  const site = (part, cell) =>
    ({
      target: `in ${cell.target}`,
      reader: `from ${cell.reader}`,
      layer: `layer ${cell.layer}`,
      window_start: `window from ${cell.window_start}`,
    })[part];

  function head(cell) {
    const parts = cell.direction === "none" ? varied.filter((part) => part === "target") : varied;
    return el(
      "th",
      { scope: "row", title: told.directions[cell.direction] },
      cell.direction === "none" ? "unsteered" : cell.direction,
      el("span", { class: "soft" }, parts.map((part) => ` ${site(part, cell)}`).join(",")),
    );
  }

  function field(cell) {
    if (!cell) return el("td", {});
    const value = cell[by];
    const known = value !== null && value !== undefined;
    const chosen = marks(cell);
    const said = `${cellName(cell)}, ${cellSite(cell)}: ${words} ${known ? `${write(value)}${cutWords(cell, by)}` : "not counted"}`;
    return el(
      "td",
      { class: known ? `h${shade(value)}` : "h0" },
      el(
        "button",
        {
          type: "button",
          tabindex: -1,
          title: said,
          "aria-label": said,
          "aria-pressed": String(chosen !== ""),
          "data-cell": cell.number,
          onclick: (event) => choose(cell, event.shiftKey),
        },
        chosen ? el("b", {}, `${chosen} `) : null,
        known ? write(value) : "–",
      ),
    );
  }

  const heads = [...columns].map(([name, own]) =>
    el("th", { scope: "col", title: meaning(own[0]) }, name, el("span", { class: "soft" }, normsOf(own))),
  );
  const body = [...rows.values()].map((own) =>
    el("tr", {}, head(own[0]), ...[...columns.keys()].map((name) => field(own.find((cell) => column(cell) === name)))),
  );
  const node = el(
    "div",
    { class: "scroll", role: "region", "aria-label": `Heat map: ${words}` },
    el(
      "table",
      { class: "grid" },
      el("caption", {}, words),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "direction"), ...heads)),
      el("tbody", {}, ...body),
    ),
  );
  moveByKeys(node, sorted.find((cell) => marks(cell) === "A"));
  return node;
}

/** Make a table's buttons one stop of the Tab key, at first that of a cell; arrow keys lead to the others. */
function moveByKeys(node, cell) {
  const table = node.querySelector("table");
  let stop = node.querySelector(`[data-cell="${cell?.number}"]`) ?? node.querySelector("button");
  if (stop) stop.tabIndex = 0;
  node.addEventListener("focusin", (event) => {
    if (event.target.tagName !== "BUTTON") return;
    stop.tabIndex = -1;
    stop = event.target;
    stop.tabIndex = 0;
  });
  node.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    const field = event.target.closest("td");
    if (!field || !Object.hasOwn(steps, event.key)) return;
    event.preventDefault();
    const [down, across] = steps[event.key];
    let [row, column, next] = [field.parentNode.rowIndex, field.cellIndex, null];
    do {
      [row, column] = [row + down, column + across];
      next = table.rows[row]?.cells[column];
    } while (next && !next.querySelector("button"));
    next?.querySelector("button").focus();
  });
}
