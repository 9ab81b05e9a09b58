// The frame: which view is shown, the keys, and what happens when the address changes.

import { button, el } from "./text.js";
import { readStudy } from "./data.js";
import { address, go, pick, readAddress } from "./address.js";
import { rolloutView } from "./rollouts.js";
import { steeredView } from "./steered.js";
import { disagreementView } from "./disagreements.js";
import { aboutView } from "./about.js";

const VIEWS = {
  rollouts: ["Rollouts", rolloutView],
  steered: ["Steered text", steeredView],
  disagreements: ["Disagreements", disagreementView],
  about: ["About", aboutView],
};
const ARROWS = { ArrowLeft: "←", ArrowRight: "→" };
const main = document.getElementById("main");
const help = document.getElementById("help");
const notice = el("p", { class: "notice", role: "status", hidden: true });
const made = {};
const kept = {}; // the address that each view was left at
const links = {};
let current = null;
let turn = Promise.resolve();

async function show(data) {
  const state = readAddress();
  const lost = [];
  const name = pick(lost, "view", state.view, Object.keys(VIEWS)) ?? "rollouts";
  made[name] ??= VIEWS[name][1](data);
  kept[name] = { ...state, view: name };
  tellViews(name);
  if (current !== name) {
    main.replaceChildren(notice, made[name].node);
    document.title = `${data.study.study}: ${VIEWS[name][0].toLowerCase()}`;
    current = name;
  }
  lost.push(...(await made[name].update(state)));
  notice.hidden = lost.length === 0;
  notice.replaceChildren(el("span", {}, `Not found, and left out: ${lost.join(", ")}.`));
  document.documentElement.dataset.ready = name;
}

/** A link to each view as it was left. */
function drawViews() {
  for (const [place, [view, [words]]] of Object.entries(VIEWS).entries()) {
    links[view] = el("a", { "aria-keyshortcuts": place + 1 }, words);
  }
  document.getElementById("views").replaceChildren(...Object.values(links));
}

function tellViews(name) {
  for (const [view, link] of Object.entries(links)) {
    link.href = address(left(view), {});
    if (view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** The address that a view was left at. */
function left(view) {
  return kept[view] ?? { view };
}

function keysNow() {
  const views = Object.entries(VIEWS).map(([view, [words]], place) => [
    String(place + 1),
    [words, () => go(left(view), true, {})],
  ]);
  return { ...Object.fromEntries(views), ...made[current]?.keys, "?": ["these keys", openHelp] };
}

function openHelp() {
  const rows = Object.entries(keysNow()).flatMap(([key, [words]]) => [
    el("dt", {}, el("kbd", {}, ARROWS[key] ?? key)),
    el("dd", {}, words),
  ]);
  const further = [
    ["↑ ↓", "in a list: the row before, the next one"],
    ["← → ↑ ↓", "in the heat map: the cell beside; Enter makes it A, with Shift B"],
  ];
  help.replaceChildren(
    el("h2", {}, "Keys"),
    el(
      "dl",
      {},
      ...rows,
      ...further.flatMap(([key, words]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, words)]),
    ),
    button("Close", () => help.close()),
  );
  help.showModal();
}

function press(event) {
  const typing = event.target.closest?.("select, input, textarea, dialog");
  if (event.defaultPrevented || typing || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.shiftKey && Object.hasOwn(ARROWS, event.key)) return; // chooses text
  const keys = keysNow();
  if (!Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key][1]();
}

function tellProblem(problem) {
  main.replaceChildren(el("p", { role: "alert" }, `The page cannot be shown: ${problem.message}`));
  throw problem;
}

async function start() {
  const data = await readStudy();
  drawViews();
  const again = () => {
    turn = turn.then(() => show(data)).catch(tellProblem);
  };
  for (const event of ["addresschange", "hashchange", "popstate"]) addEventListener(event, again);
  document.addEventListener("keydown", press);
  document.getElementById("help-button").addEventListener("click", openHelp);
  again();
}

start().catch(tellProblem);
