"""What the page shows of rollouts: tokens, sentences with everybody's label, projections, right and wrong steps."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from repurpose.results.explorer.blocks import Vocabulary, pack_numbers
from repurpose.results.explorer.pieces import Pieces
from repurpose.steering.marks import judge_sentences
from repurpose.steering.metrics import find_answer, is_correct

Row = dict[str, Any]
KEY = ["prompt_id", "sample"]
SHOWN_CONTROLS = {"random": 3, "shuffle": 1}
"""Of numbered controls, how many of each kind; one looks like the other."""
STEPS = 32_767
"""Projections are whole numbers from minus to plus so many, in units of the largest of their direction."""


def prompt_text(messages: str) -> str:
    """What a prompt asks, of all its turns."""
    turns = json.loads(messages)
    return "\n\n".join(turn["content"] if len(turns) == 1 else f"{turn['role']}: {turn['content']}" for turn in turns)


def show_prompts(prompts: pl.DataFrame) -> Iterator[Row]:
    """Yield each prompt's id, category, split, answer and text."""
    for row in prompts.sort("prompt_id").iter_rows(named=True):
        yield {name: row[name] for name in ("prompt_id", "category", "split", "answer")} | {
            "text": prompt_text(row["messages"])
        }


def order_rollouts(rollouts: pl.DataFrame, traces: pl.DataFrame, most: int) -> list[Row]:
    """The rollouts that have traces, in their order, at most so many."""
    order = traces.select(KEY).unique(maintain_order=True).head(most)
    return order.join(rollouts, on=KEY, how="inner", maintain_order="left").to_dicts()


def show_rollouts(
    rollouts: Sequence[Row], labels: pl.DataFrame, annotators: Sequence[str], tagged: bool, vocabulary: Vocabulary
) -> Iterator[Row]:
    """Yield each rollout without its prompt; its tokens go into the vocabulary."""
    units = group_units(labels)
    for row in rollouts:
        texts = [row["text"][start:end] for start, end in pairwise([0, *row["token_ends"]])]
        yield {
            **{name: row[name] for name in (*KEY, "split", "category", "finish_reason")},
            "tokens": vocabulary.add(row["token_ids"], texts),
            "answer": judge_answer(row, is_correct(row["text"], row["answer"], tagged), tagged),
            "sentences": list(show_sentences(units.get((row["prompt_id"], row["sample"]), {}), annotators)),
        }


def judge_answer(row: Row, correct: bool | None, tagged: bool) -> str | None:
    """Say whether a text's answer is right or wrong, or whether it was cut off before it gave one; None: not known."""
    if correct is False and row["finish_reason"] == "length" and find_answer(row["text"], tagged) is None:
        return "cut"
    return {True: "right", False: "wrong", None: None}[correct]


def group_units(labels: pl.DataFrame) -> dict[tuple[str, int], dict[int, list[Row]]]:
    """Each rollout's sentences in order, each with its rows, one for each annotator."""
    columns = [*KEY, "sentence", "token_start", "token_end", "text", "annotator", "label"]
    found: dict[tuple[str, int], dict[int, list[Row]]] = {}
    for row in labels.select(columns).sort("sentence", maintain_order=True).iter_rows(named=True):
        found.setdefault((row["prompt_id"], row["sample"]), {}).setdefault(row["sentence"], []).append(row)
    return found


def show_sentences(units: Mapping[int, list[Row]], annotators: Sequence[str]) -> Iterator[list[Any]]:
    """Yield [first token, token after the last, right calculation or null, label by each annotator]."""
    judged = judge_sentences(rows[0]["text"] for rows in units.values())
    for rows, correct in zip(units.values(), judged, strict=True):
        said = {row["annotator"]: row["label"] for row in rows}
        yield [rows[0]["token_start"], rows[0]["token_end"], correct, *(said.get(name) for name in annotators)]


def learn_from(rollouts: Iterable[Row], pieces: Pieces) -> None:
    """Remember what the tokens of rollouts are written as."""
    for row in rollouts:
        pieces.learn(row["token_ids"], (row["text"][start:end] for start, end in pairwise([0, *row["token_ends"]])))


def is_shown(direction: str) -> bool:
    """Whether a direction's projections are on the page: of the numbered controls only the first few are."""
    kind, _, number = direction.rpartition("-")
    return kind not in SHOWN_CONTROLS or not number.isdigit() or int(number) < SHOWN_CONTROLS[kind]


def show_axes(traces: pl.DataFrame, rollouts: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """Yield each direction and reader with a block of all rollouts' projections."""
    order = pl.DataFrame([{name: row[name] for name in KEY} for row in rollouts])
    names = ["direction", "reader", "layer", "window_start"]
    for key, rows in traces.partition_by(names, as_dict=True, maintain_order=True).items():
        if is_shown(str(key[0])):
            found = order.join(rows, on=KEY, how="left", maintain_order="left")["projections"]
            values = np.concatenate([np.frombuffer(raw, np.float32) for raw in found])
            yield describe_axis(dict(zip(names, key, strict=True)), values)


def describe_axis(axis: Mapping[str, Any], values: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[Row, str]:
    """An axis with the size of a step and the standard deviation of its projections, and their block."""
    largest = float(np.abs(values).max(initial=0.0)) or 1.0
    steps = np.rint(values.astype(np.float64) / largest * STEPS).astype(int)
    deviation = float(values.astype(np.float64).std()) or 1.0
    return {**axis, "step": largest / STEPS, "deviation": deviation}, pack_numbers(steps, "int16")
