// Sentences that annotators label differently.

import { choice, count, el } from "./text.js";
import { numbersOf } from "./data.js";
import { address, go, pick } from "./address.js";
import { virtualList } from "./list.js";
import { chip } from "./tokens.js";

const SENTENCE_HEIGHT = 84;

export function disagreementView(data) {
  const { study } = data;
  const names = study.annotators;
  const node = el("div", { class: "disagreements" });

  function sentences() {
    return data.rollouts.flatMap((rollout) => rollout.sentences.map((sentence) => ({ rollout, sentence })));
  }

  function textOf({ rollout, sentence }) {
    return [...numbersOf(data, rollout).subarray(sentence.start, sentence.end)]
      .map((number) => data.vocabulary.texts[number])
      .join("");
  }

  async function update(asked) {
    if (names.length < 2) {
      node.replaceChildren(
        el("h2", {}, "Disagreements"),
        el(
          "p",
          {},
          `All labels of this study are by one annotator, ${names[0] ?? "none"}, so nobody disagrees.`,
          names[0] in study.words.annotators ? ` ${names[0]}: ${study.words.annotators[names[0]]}.` : null,
        ),
        el(
          "p",
          {},
          "To see disagreements, add an annotator under ",
          el("code", {}, "labels.annotators"),
          " in the study file, a language model or published labels, and run the same command again: only what needs the new labels is made. docs/labels.md shows how.",
        ),
      );
      return [];
    }
    const lost = [];
    const state = {
      one: pick(lost, "annotator", asked.one, names),
      other: pick(lost, "annotator", asked.other, names),
      said: pick(lost, "label", asked.said, study.labels),
    };
    const pair = [state.one ?? names[0], state.other ?? names[1]].map((name) => Math.max(0, names.indexOf(name)));
    const both = sentences().filter(({ sentence }) => pair.every((place) => sentence.labels[place] !== null));
    const differ = both.filter(({ sentence }) => sentence.labels[pair[0]] !== sentence.labels[pair[1]]);
    const listed = differ.filter(
      ({ sentence }) => !state.said || pair.some((place) => sentence.labels[place] === state.said),
    );
    const list = virtualList({
      words: "Sentences",
      items: listed,
      height: SENTENCE_HEIGHT,
      draw: (item) => draw(item, pair),
      choose: (place) => list.select(place),
      open: (place) => open(listed[place]),
      chosen: -1,
    });
    node.replaceChildren(
      el("h2", {}, "Disagreements"),
      el(
        "div",
        { class: "filters", role: "group", "aria-label": "Filters" },
        choice("One annotator", names[pair[0]], names, (one) => go({ one })),
        choice("The other", names[pair[1]], names, (other) => go({ other })),
        choice("Either says", state.said, [["", "anything"], ...study.labels], (said) => go({ said })),
      ),
      el(
        "p",
        { class: "soft", role: "status" },
        `${listed.length} of ${count(both.length, "sentence")} that both have a label for; a click, or Enter, opens the sentence in its rollout.`,
      ),
      list.box,
    );
    list.select(-1, false);
    return lost;
  }

  function draw(item, pair) {
    const chips = pair.map((place) => chip(item.sentence.labels[place], names[place], true));
    const where = el(
      "a",
      { class: "soft small", href: link(item) },
      `${item.rollout.name}, token ${item.sentence.start}`,
    );
    return [
      el("div", { class: "words two-lines" }, textOf(item).trim()),
      el("div", { class: "chips" }, ...chips, where),
    ];
  }

  const link = ({ rollout, sentence }) =>
    address({ view: "rollouts", rollout: rollout.name, token: sentence.start }, {});
  const open = (item) => go({ view: "rollouts", rollout: item.rollout.name, token: item.sentence.start }, true, {});
  return { node, update, keys: {} };
}
