// Rollouts: which there are, and one of them with its labels and each token's projection on a direction.

import { button, choice, count, deviations, el, short } from "./text.js";
import { numbersOf, readAxis } from "./data.js";
import { go, pick } from "./address.js";
import { virtualList } from "./list.js";
import { answerWords } from "./compare.js";
import { FULL, colourOf, mark, passage, scale, written } from "./tokens.js";
import { strip } from "./strip.js";

const ROLLOUT_HEIGHT = 76;
const FILTERS = ["category", "split", "label", "correct", "steps"];

export function rolloutView(data) {
  const { study } = data;
  const behaviour = study.behaviour;
  const filters = el("div", { class: "filters", role: "group", "aria-label": "Filters" });
  const found = el("p", { class: "soft", role: "status" });
  const none = el(
    "p",
    { hidden: true },
    "No rollout is like this. ",
    button("show all", () => go(Object.fromEntries(FILTERS.map((name) => [name, null])))),
  );
  const side = el("section", { class: "side", "aria-label": "Rollouts" }, filters, found, none);
  const detail = el("section", { class: "detail", "aria-label": "One rollout" });
  const node = el("div", { class: "two" }, side, detail);
  let list = null;
  let listed = [];
  let axis = null;
  let peaks = [];
  let open = null; // the rollout that is shown, with its passage
  let shown = {}; // the address that the elements show

  const starts = (rollout) => rollout.sentences.filter((one) => one.labels[0] === behaviour).map((one) => one.start);

  async function update(asked) {
    const [state, lost] = known(asked);
    const number = axisNumber(state);
    const newAxis = axis === null || axis.number !== number;
    if (newAxis) {
      axis = { ...(await readAxis(data, number)), number };
      peaks = data.rollouts.map((rollout) => peakOf(rollout));
    }
    if (
      list === null ||
      changed(state, [...FILTERS, "sort"]) ||
      (newAxis && state.sort === "peak")
    ) {
      refilter(state);
    }
    const rollout = data.rollouts.find((one) => one.name === state.rollout) ?? listed[0] ?? null;
    list?.select(rollout ? listed.indexOf(rollout) : -1);
    if (rollout === null) {
      open = null;
      detail.replaceChildren();
    }
    if (rollout !== null && (newAxis || open?.rollout !== rollout)) openRollout(rollout);
    if (rollout !== null) point(state.token === undefined ? null : Number(state.token), true);
    shown = state;
    return lost;
  }

  /** What of the address is known here, and in words what is not. */
  function known(asked) {
    const lost = [];
    const names = (rows, name) => [...new Set(rows.map((row) => row[name]))];
    const options = {
      direction: names(study.axes, "direction"),
      reader: names(study.axes, "reader"),
      category: names(data.rollouts, "category"),
      split: names(data.rollouts, "split"),
      label: [...study.labels, `not-${behaviour}`],
      correct: ["right", "wrong", "cut", "unknown"],
      steps: ["right", "wrong"],
      sort: ["peak"],
      rollout: names(data.rollouts, "name"),
    };
    const said = { correct: "answer", steps: "arithmetic", sort: "order" };
    const state = Object.fromEntries(
      Object.entries(options).map(([name, own]) => [name, pick(lost, said[name] ?? name, asked[name], own)]),
    );
    const length = data.rollouts.find((one) => one.name === state.rollout)?.tokens ?? Infinity;
    const isToken = /^\d+$/.test(asked.token ?? "") && Number(asked.token) < length;
    return [{ ...state, token: pick(lost, "token", asked.token, isToken ? [asked.token] : []) }, lost];
  }

  const changed = (state, names) => names.some((name) => state[name] !== shown[name]);

  function axisNumber(state) {
    const direction = state.direction ?? behaviour;
    const reader = state.reader ?? "base";
    const fits = (one) => one.direction === direction && one.reader === reader;
    const number = study.axes.findIndex(fits);
    const any = study.axes.findIndex((one) => one.direction === direction);
    return Math.max(0, number < 0 ? any : number);
  }

  function peakOf(rollout) {
    const own = axis.values.subarray(rollout.first, rollout.first + rollout.tokens);
    let token = 0;
    for (let place = 1; place < own.length; place += 1) if (own[place] > own[token]) token = place;
    return { token, deviations: own.length ? (own[token] * axis.step) / axis.deviation : 0 };
  }

  const peak = (rollout) => peaks[data.rollouts.indexOf(rollout)];

  function keep(rollout, state) {
    if (state.category && rollout.category !== state.category) return false;
    if (state.split && rollout.split !== state.split) return false;
    if (state.correct && (rollout.answer ?? "unknown") !== state.correct) return false;
    const steps = rollout.sentences.map((one) => one.correct);
    if (state.steps === "wrong" && !steps.includes(false)) return false;
    if (state.steps === "right" && (steps.includes(false) || !steps.includes(true))) return false;
    if (!state.label) return true;
    const without = state.label.startsWith("not-");
    const label = without ? state.label.slice(4) : state.label;
    return rollout.sentences.some((one) => one.labels[0] === label) !== without;
  }

  function refilter(state) {
    listed = data.rollouts.filter((rollout) => keep(rollout, state));
    if (state.sort === "peak") listed.sort((one, other) => peak(other).deviations - peak(one).deviations);
    drawFilters(state);
    found.textContent = `${listed.length} of ${count(data.rollouts.length, "rollout")}`;
    none.hidden = listed.length > 0;
    list = virtualList({
      words: "Rollouts",
      items: listed,
      height: ROLLOUT_HEIGHT,
      draw: drawRow,
      choose: (place) => chooseRow(place, false),
      open: (place) => chooseRow(place),
      chosen: -1,
    });
    side.querySelector(".list")?.remove();
    side.append(list.box);
  }

  function drawFilters(state) {
    const focused = filters.contains(document.activeElement)
      ? [...filters.querySelectorAll("select")].indexOf(document.activeElement)
      : -1;
    const set = (name) => (value) => go({ [name]: value, rollout: null, token: null });
    const all = (words) => [["", words]];
    const values = (name) => [...new Set(data.rollouts.map((rollout) => rollout[name]))].sort();
    const labels = study.labels.map((label) => [label, `with ${label}`]);
    const judged = data.rollouts.some((rollout) => rollout.sentences.some((one) => one.correct !== null));
    const answered = data.rollouts.some((rollout) => rollout.answer !== null);
    filters.replaceChildren(
      choice("Category", state.category, [...all("all"), ...values("category")], set("category")),
      choice("Split", state.split, [...all("all"), ...values("split")], set("split")),
      choice(
        "Sentences",
        state.label,
        [...all("all"), [`not-${behaviour}`, `without ${behaviour}`], ...labels],
        set("label"),
      ),
      ...(answered
        ? [choice("Answer", state.correct, [...all("all"), "right", "wrong", ["cut", "cut off before one"], ["unknown", "not known"]], set("correct"))]
        : []),
      ...(judged
        ? [
            choice(
              "Arithmetic",
              state.steps,
              [...all("all"), ["wrong", "some of it wrong"], ["right", "all of it right"]],
              set("steps"),
            ),
          ]
        : []),
      choice(
        "Order",
        state.sort,
        [
          ["", "as dealt"],
          ["peak", "strongest token first"],
        ],
        set("sort"),
      ),
    );
    if (focused >= 0) filters.querySelectorAll("select")[focused]?.focus();
  }

  function drawRow(rollout) {
    const number = starts(rollout).length;
    return [
      el(
        "div",
        { class: "name" },
        el("span", {}, rollout.name),
        el("span", { class: "soft" }, `max ${deviations(peak(rollout).deviations)}`),
      ),
      el(
        "div",
        { class: "soft small" },
        [
          rollout.category,
          rollout.split,
          count(rollout.tokens, "token"),
          `${number} ${behaviour}`,
          answerWords(rollout.answer),
        ]
          .filter(Boolean)
          .join(" · "),
      ),
    ];
  }

  function chooseRow(place, push = true) {
    const rollout = listed[place];
    go({ rollout: rollout.name, token: shown.sort === "peak" ? peak(rollout).token : null }, push);
  }

  function openRollout(rollout) {
    const numbers = numbersOf(data, rollout);
    const texts = [...numbers].map((number) => data.vocabulary.texts[number]);
    const values = axis.values.subarray(rollout.first, rollout.first + rollout.tokens);
    const begun = starts(rollout);
    const [first, last] = study.window;
    const window = new Set(begun.flatMap((start) => range(start + first, start + last)).filter((token) => token >= 0));
    const classes = (token) => {
      const marks = [colourOf((values[token] * axis.step) / axis.deviation)];
      if (window.has(token)) marks.push("window");
      if (begun.includes(token)) marks.push("start");
      return marks.join(" ");
    };
    const box = passage({
      texts,
      sentences: rollout.sentences,
      annotators: study.annotators,
      behaviour,
      classes,
      point: (token, chosen) => (chosen ? go({ rollout: rollout.name, token }, false) : tell(token)),
      words: `Text of ${rollout.name}`,
    });
    const sentences = rollout.sentences.filter((one) => one.labels[0] === behaviour);
    const along = strip({
      values,
      deviation: axis.deviation / axis.step,
      behaviour: sentences,
      jump: (token) => go({ rollout: rollout.name, token }, false),
    });
    open = { rollout, numbers, texts, values, box, along, window, starts: begun, token: null };
    const prompt = data.prompts.get(rollout.prompt_id);
    detail.replaceChildren(
      el("h2", {}, rollout.name),
      el(
        "details",
        { class: "prompt", open: true },
        el("summary", {}, "Prompt"),
        el("p", { class: "words" }, prompt?.text ?? ""),
        prompt?.answer ? el("p", { class: "soft" }, `Right answer: ${prompt.answer}`) : null,
      ),
      controls(),
      el("p", { class: "paper soft" }, `Direction ${axis.direction}, read from the ${axis.reader} model`),
      along.node,
      legend(),
      box,
      el(
        "p",
        { class: "info", role: "status", "aria-live": "polite" },
        "Point at a token, or move with the arrow keys.",
      ),
    );
  }

  function controls() {
    const names = [...new Set(study.axes.map((one) => one.direction))];
    const readers = [...new Set(study.axes.filter((one) => one.direction === axis.direction).map((one) => one.reader))];
    const direction = choice("Direction", axis.direction, names, (name) => go({ direction: name }));
    direction.title = study.words.directions[axis.direction];
    return el(
      "div",
      { class: "controls", role: "group", "aria-label": "Direction and steps through the text" },
      direction,
      choice(
        "read from",
        axis.reader,
        readers.map((reader) => [reader, `the ${reader} model`]),
        (reader) => go({ reader }),
      ),
      button(`‹ ${behaviour}`, () => toSentence(-1), {
        title: `The ${behaviour} sentence before (p)`,
        "aria-keyshortcuts": "p",
        disabled: open.starts.length === 0,
      }),
      button(`${behaviour} ›`, () => toSentence(1), {
        title: `The next ${behaviour} sentence (n)`,
        "aria-keyshortcuts": "n",
        disabled: open.starts.length === 0,
      }),
      button("strongest token", toPeak, {
        title: "The token with the largest projection (s)",
        "aria-keyshortcuts": "s",
      }),
    );
  }

  function legend() {
    const sample = (name, words) => el("span", {}, el("span", { class: `t ${name}` }, " abc "), ` ${words}`);
    return el(
      "p",
      { class: "legend soft small" },
      el(
        "span",
        {},
        `projection of a token: −${FULL} sd `,
        scale(),
        ` +${FULL} sd from the mean and more, in standard deviations (sd) of this direction`,
      ),
      sample("window", `read before a ${behaviour} sentence (${study.window.join(" to ")})`),
      sample("start", "its first token"),
    );
  }

  function point(token, scroll) {
    if (open === null) return;
    if (token === null || Number.isNaN(token) || token < 0 || token >= open.rollout.tokens) {
      open.token = null;
      detail.querySelector(".t.here")?.classList.remove("here");
      return;
    }
    const moved = open.token !== token;
    open.token = token;
    mark(open.box, token, scroll && moved);
    open.along.move(token, false);
    tell(token);
  }

  function tell(token) {
    const { rollout, numbers, texts, values, window } = open;
    const sentence = rollout.sentences.find((one) => one.start <= token && token < one.end);
    const value = values[token] * axis.step;
    const labels = study.annotators.map((name, place) => `${name}: ${sentence?.labels[place] ?? "no label"}`);
    const parts = [
      el("b", {}, written(texts[token])),
      `id ${data.vocabulary.ids[numbers[token]]}`,
      `token ${token} of ${rollout.tokens}`,
      `projection ${short(value)} (${deviations(value / axis.deviation)})`,
      labels.join(", "),
      window.has(token) ? "in a read window" : null,
      stepWords(rollout, token),
    ].filter(Boolean);
    const info = detail.querySelector(".info");
    info.classList.add("told");
    info.replaceChildren(
      ...parts
        .flatMap((part, place) => (place ? [" · ", part] : [part]))
        .map((part) => (part instanceof Node ? part : el("span", {}, part))),
    );
  }

  function stepWords(rollout, token) {
    const before = rollout.sentences.filter((one) => one.correct !== null && one.end <= token);
    const last = before.at(-1);
    return last ? `last calculation ${last.correct ? "right" : "wrong"}, ${count(token - last.end, "token")} ago` : null;
  }

  const jump = (token) => go({ rollout: open.rollout.name, token }, false);

  function toSentence(step) {
    if (open === null) return;
    const here = open.token ?? -1;
    const next = step > 0 ? open.starts.find((start) => start > here) : open.starts.findLast((start) => start < here);
    if (next !== undefined) jump(next);
    else toOtherRollout(step);
  }

  /** The first such sentence of the next rollout that has one, or the last of the one before. */
  function toOtherRollout(step) {
    const here = listed.indexOf(open.rollout);
    const others = step > 0 ? listed.slice(here + 1) : listed.slice(0, Math.max(0, here)).toReversed();
    const other = others.find((rollout) => starts(rollout).length > 0);
    if (other) go({ rollout: other.name, token: starts(other).at(step > 0 ? 0 : -1) });
  }

  function toPeak() {
    if (open !== null) jump(peak(open.rollout).token);
  }

  function moveToken(step) {
    if (open !== null) jump(Math.min(open.rollout.tokens - 1, Math.max(0, (open.token ?? -1) + step)));
  }

  function toRollout(step) {
    const place = listed.indexOf(open?.rollout) + step;
    if (place >= 0 && place < listed.length) chooseRow(place);
  }

  const keys = {
    n: [`next ${behaviour} sentence`, () => toSentence(1)],
    p: [`the ${behaviour} sentence before`, () => toSentence(-1)],
    s: ["strongest token of the direction", toPeak],
    j: ["next rollout", () => toRollout(1)],
    k: ["the rollout before", () => toRollout(-1)],
    ArrowRight: ["the next token, at first the first one", () => moveToken(1)],
    ArrowLeft: ["the token before", () => moveToken(-1)],
  };
  return { node, update, keys };
}

function range(first, last) {
  return Array.from({ length: last - first + 1 }, (_, place) => first + place);
}
