"""Log-odds: what steering does to them where every model reads the same text.

A base model that never writes "Wait" in its own samples may still have been moved. So both targets are steered on the
reasoning model's held-out rollouts, token by token, and the change is read in the log-odds of a keyword at the
starts of sentences. In the embedded pair's base model it is also read in the log-odds of the teacher's mark "mistake"
in homework: what does the base model use the direction for?
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import polars as pl
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from repurpose.data.categories import by_category, deal
from repurpose.data.command import run_step
from repurpose.data.schemas import LOGODDS
from repurpose.data.selected import Selected, read_selected
from repurpose.directions.unit_directions import Directions, read_pair_directions
from repurpose.model.loading import common_vocabulary, load_model, made_with
from repurpose.model.steer import Steer
from repurpose.model.teacher_forcing import ForcedRow, Passage, Read, log_odds, read_logits
from repurpose.model.tokens import keyword_ids, load_tokenizer, token_id
from repurpose.organism.corpus import MARK_HAZARD, MARKS, write_homework
from repurpose.steering.conditions import make_steer
from repurpose.study.conditions import UNSTEERED, Condition, VectorKey, kind_of
from repurpose.study.pair_files import ROLES
from repurpose.study.settings import BEHAVIOURS, Role, StepSettings

ROLLOUTS = 24
"""Held-out rollouts that are read, of each the beginning: many prompts say more than long texts."""
TOKENS = 112
HOMEWORK = 20
MULTIPLES = (-1.0, 0.5, 1.0)
"""Times the selected magnitude, for the behaviour's own vectors; every other direction gets the last alone."""


Score = Callable[[Tensor], Tensor]
"""From logits (positions, v) to a number for each position."""
NO_LOGITS = torch.empty(0)


def rollout_passages(rollouts: pl.DataFrame, sentences: pl.DataFrame, count: int) -> Iterator[Passage]:
    """The beginnings of held-out rollouts, dealt one category after the other.

    They are read before each labelled sentence but the first.
    """
    heldout = rollouts.filter(split="heldout").sort("category", "prompt_id", "sample")
    for row in deal(by_category(heldout.iter_rows(named=True)).values())[:count]:
        own = sentences.filter(pl.col("token_start") > 0, prompt_id=row["prompt_id"], sample=row["sample"], status="ok")
        prompt = row["prompt_token_ids"]
        positions = [len(prompt) + token - 1 for token in own["token_start"] if token <= TOKENS]
        if positions:
            yield Passage(row["prompt_id"], prompt + row["token_ids"][:TOKENS], positions, row["sample"])


def homework_passages(tokenizer: PreTrainedTokenizerBase, seed: int) -> Iterator[Passage]:
    """Held-out homework with inline marks, read at the token before each mark."""
    rng = random.Random(f"homework-{seed}")
    marks = set(mark_ids(tokenizer))
    for number in range(HOMEWORK):
        ids = tokenizer.encode(write_homework(rng, MARK_HAZARD, at_end=False, heldout=True))
        positions = [i - 1 for i, token in enumerate(ids) if token in marks]
        if positions:
            yield Passage(f"homework-{number:03d}", ids, positions)


def mark_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """The tokens of the marks "mistake" and "correct"."""
    return token_id(tokenizer, MARKS[False]), token_id(tokenizer, MARKS[True])


def treatments(directions: Directions, behaviour: str, selected: Selected, target: Role) -> list[Condition]:
    """The unsteered reading, the behaviour's vectors at several strengths, and every control at one."""
    layer, start = selected.layer, selected.window_start
    names = [name for name in BEHAVIOURS if name != behaviour]
    names += [n for control in ("mean", "same-offset", "shuffle", "random") for n in directions.names(control)]
    names += directions.outside()  # those of the selected layer
    plan = [(behaviour, reader, multiple) for reader in ROLES for multiple in MULTIPLES]
    plan += [(n, "base", MULTIPLES[-1]) for n in names if directions.has(VectorKey(n, "base", layer, start))]
    made = [replace(UNSTEERED, layer=layer, window_start=start)]
    for name, reader, multiple in plan:
        magnitude = multiple * selected.magnitude
        how = "add", "all", magnitude, magnitude / directions.norms[target, layer], multiple
        made.append(Condition(name, kind_of(name), reader, layer, start, *how))
    return made


class Reading(NamedTuple):
    """What one passage says under one condition."""

    condition: Condition
    passage: Passage
    read: Read
    score: float
    """Mean log-odds (nats) over the passage's positions."""


def read_passages(
    model: PreTrainedModel, passages: Sequence[Passage], plan: Sequence[tuple[Condition, Steer | None]], score: Score
) -> list[Reading]:
    """Read every passage under every condition, conditions in the plan's order.

    A passage's conditions stand together, since the layers below the steered one run once for all of them.
    """
    cells = [(condition, passage, steer) for condition, steer in plan for passage in passages]
    rows = [ForcedRow(passage.token_ids, passage.positions, steer) for _, passage, steer in cells]
    found: dict[int, Reading] = {}
    for index, read in tqdm(read_logits(model, rows), total=len(rows), unit="passage", mininterval=2):
        condition, passage, _ = cells[index]
        found[index] = Reading(condition, passage, replace(read, logits=NO_LOGITS), float(score(read.logits).mean()))
    return [found[index] for index in range(len(rows))]


def make_rows(readings: Iterable[Reading], common: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Turn readings into LOGODDS rows, with changes against the passage's unsteered reading, which comes first."""
    unsteered: dict[tuple[str, int], float] = {}
    for condition, passage, read, value in readings:
        if condition.direction == "none":
            unsteered[passage.prompt_id, passage.sample] = value
        yield {
            **common,
            **vars(condition),
            "prompt_id": passage.prompt_id,
            "positions": len(passage.positions),
            "steered_positions": read.steered_positions,
            "expected_positions": read.expected_positions,
            "log_odds": value,
            "change": value - unsteered[passage.prompt_id, passage.sample],
        }


def make_log_odds(
    settings: StepSettings, rollouts: pl.DataFrame, sentences: pl.DataFrame, directions: Directions, selected: Selected
) -> Iterator[dict[str, Any]]:
    """Yield the LOGODDS rows of one target, in every context that its language has."""
    target = settings.target
    model, tokenizer = load_model(settings.pair, target), load_tokenizer(settings.pair, target)
    conditions = treatments(directions, settings.vectors.behaviour, selected, target)
    plan = [(condition, make_steer(condition, directions)) for condition in conditions]  # the unsteered one comes first
    common = common_vocabulary(settings.pair)  # or a model with more rows would have more to choose from
    keyword = [i for i in keyword_ids(tokenizer, settings.keywords) if i < common]
    contexts: dict[str, tuple[list[Passage], Score]] = {
        "keyword": (list(rollout_passages(rollouts, sentences, ROLLOUTS)), lambda ls: log_odds(ls[:, :common], keyword))
    }
    if target == "base" and settings.prompts.source == "organism":
        mistake, correct = mark_ids(tokenizer)
        contexts["mark"] = (
            list(homework_passages(tokenizer, settings.seed)),
            partial(log_odds, ids=[mistake], others=[correct]),
        )
    for context, (passages, score) in contexts.items():
        yield from make_rows(read_passages(model, passages, plan, score), {"target": target, "context": context})


def main() -> None:
    with run_step("steering.log_odds", __doc__, one=["selection"], many=["rollouts", "labels", "vectors"]) as step:
        directions, selected = read_pair_directions(step.given.vectors), read_selected(step.given.selection)
        rows = make_log_odds(step.settings, step.read("rollouts"), step.read("labels"), directions, selected)
        step.write(list(rows), LOGODDS, **made_with(step.settings.pair, step.settings.target))


if __name__ == "__main__":
    main()
