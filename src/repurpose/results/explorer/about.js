// What the page holds, what it leaves out, and how to read it.

import { el, short } from "./text.js";
import { ARITHMETIC } from "./tokens.js";
import { UNITS, seedWords } from "./compare.js";

export function aboutView(data) {
  const { study } = data;
  const shown = Object.entries(study.left_out).map(([name, [here, all]]) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, name),
      el("td", {}, here.toLocaleString("en")),
      el("td", {}, all.toLocaleString("en")),
      el("td", {}, (all - here).toLocaleString("en")),
    ),
  );
  const made = Object.entries(study.made).map(
    ([name, value]) => `${name.replaceAll("_", " ")} ${value ?? "not known"}`,
  );
  const { directions, sweeps, annotators, terms } = study.words;
  const glossary = { Directions: familiesOf(directions), Sweeps: sweeps, Annotators: annotators, "Other words": terms };
  const node = el(
    "article",
    { class: "about" },
    el("h2", {}, "What is here"),
    el(
      "table",
      {},
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          ...["", "on the page", "in the study", "left out"].map((word) => el("th", { scope: "col" }, word)),
        ),
      ),
      el("tbody", {}, ...shown),
    ),
    el(
      "p",
      { class: "soft" },
      "How much is shown, the study says under explorer. Numbered random and shuffled directions are left out after the first few; all are in traces/, all texts in rollouts/ and sweeps/.",
    ),
    el("h2", {}, "How to read it"),
    el(
      "p",
      {},
      `The base model is ${study.pair.base}, the reasoning model ${study.pair.reasoning}. A token's colour is its projection: its activation at layer ${study.layer}, less the mean, times the direction. Blue is below the mean, orange above; the strongest colours are 3 standard deviations of that direction away. A direction and the activations are of the same model, base or reasoning.`,
    ),
    el(
      "p",
      {},
      `Directions are read from the tokens ${study.window.join(" to ")} of a sentence's start. The strength of steering is in the unit of its sweep, and the L2 norm that was added stands beside it (selected: ${short(study.magnitude)}).`,
    ),
    el("ul", {}, ...Object.values(UNITS).map((words) => el("li", {}, words))),
    el(
      "p",
      {},
      "A steered text is typical where its shares of keywords and of the behaviour, its distinct pairs and its length are near the mean of its cell, in standard deviations of the sweep. Sentences of steered texts are labelled by rules, as the tables count them.",
    ),
    el("p", {}, ARITHMETIC),
    el("p", {}, seedWords(study)),
    el("h2", {}, "Words"),
    ...Object.entries(glossary).flatMap(([name, words]) => [el("h3", {}, name), listOf(words)]),
    el("h2", {}, "Where it is from"),
    el("p", {}, "The numbers are in ", el("a", { href: "report.html" }, "report.html"), ", beside this page."),
    el("p", { class: "soft" }, `Rollouts made with ${made.join(", ")}.`),
  );
  return { node, update: async () => [], keys: {} };
}

function listOf(words) {
  return el("dl", {}, ...Object.entries(words).flatMap(([name, said]) => [el("dt", {}, name), el("dd", {}, said)]));
}

/** Directions in words; those of which there are several, each said to be the same, once: random-00, random-01. */
function familiesOf(directions) {
  const named = new Map();
  for (const [name, words] of Object.entries(directions)) named.set(words, [...(named.get(words) ?? []), name]);
  return Object.fromEntries([...named].map(([words, names]) => [names.join(", ").replace(/^none$/, "unsteered"), words]));
}
