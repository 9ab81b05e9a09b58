// The blocks of the page: each is gzip in base64, JSON or little-endian numbers, and is unpacked once, when asked for.

const unpacked = new Map();

async function unpack(name) {
  const packed = atob(document.getElementById(`block-${name}`).textContent);
  const bytes = new Uint8Array(packed.length);
  for (let place = 0; place < packed.length; place += 1) bytes[place] = packed.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

function once(name, make) {
  if (!unpacked.has(name)) unpacked.set(name, unpack(name).then(make));
  return unpacked.get(name);
}

const json = (name) => once(name, (buffer) => JSON.parse(new TextDecoder().decode(buffer)));

/** The study, its prompts by id, its rollouts and every token: what each view needs. */
export async function readStudy() {
  const [study, prompts, rollouts, [ids, texts, kind]] = await Promise.all(
    ["study", "prompts", "rollouts", "vocabulary"].map(json),
  );
  const numbers = { uint16: Uint16Array, uint32: Uint32Array }[kind];
  const tokens = await once("tokens", (buffer) => new numbers(buffer));
  let first = 0;
  for (const rollout of rollouts) {
    rollout.name = `${rollout.prompt_id}/${rollout.sample}`;
    rollout.first = first;
    rollout.sentences = rollout.sentences.map(([start, end, correct, ...labels]) => ({ start, end, correct, labels }));
    first += rollout.tokens;
  }
  const vocabulary = { ids, texts };
  return { study, prompts: new Map(prompts.map((one) => [one.prompt_id, one])), rollouts, vocabulary, tokens, first };
}

/** Steered texts by cell, each with its place among the tokens. */
export async function readSteered(data) {
  if (data.steered) return data.steered;
  let { first } = data;
  const cells = data.study.cells.map((cell, number) => ({
    ...cell,
    unit: data.study.units[cell.sweep],
    number,
    rows: [],
  }));
  for (const [cell, prompt, sample, tokens, reason, answer, distance, sentences] of await json("steered")) {
    const marked = sentences.map(([start, end, label, right]) => ({ start, end, labels: [label], correct: right }));
    cells[cell].rows.push({
      cell: cells[cell],
      prompt,
      sample,
      tokens,
      first,
      reason,
      answer,
      distance,
      sentences: marked,
    });
    first += tokens;
  }
  data.steered = cells;
  return cells;
}

/** A direction's projections: the axis with `values`, one for each token of all rollouts, in units of its `step`. */
export async function readAxis(data, number) {
  const values = await once(`axis-${number}`, (buffer) => new Int16Array(buffer));
  return { ...data.study.axes[number], values };
}

/** A text's token numbers, which tell id and text in the vocabulary. */
export function numbersOf(data, text) {
  return data.tokens.subarray(text.first, text.first + text.tokens);
}
