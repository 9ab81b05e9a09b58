"""A steered sweep, in tokens written a second: all conditions on all prompts, greedily, so that texts can be compared.

First all texts are of one length. Then ids are chosen that end each text somewhere else, most of them early, as real
answers end: there it counts whether rows that are done leave and others take their places.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environments import place_of
from benchmarks.inputs import Generation, token_table
from benchmarks.race import Entry, Table
from benchmarks.shapes import Shape, save_model
from benchmarks.worker import Outputs
from repurpose.model.batches import batches_of_prompts

OURS, ALONE = "benchmarks.ours:generation", "benchmarks.peers.transformers:generation"
PROMPT = (16, 48)
STEERED = Entry("ours, steered", "ours", OURS, "steered")
FIXED_BATCHES = "ours, batch after batch"
PLACES_TAKEN = "ours, rows take the places of those that are done"
LENGTHENING = 0.5
"""Standard deviation of a vector's numbers: about what the stream has after the first layers."""
ROWS_THAT_MAY_DIFFER = 0.02
"""Where two logits are as good as equal, sums in another order choose another token."""


def make_inputs(shape: Shape, conditions: int, prompts: int, tokens: int, layer: int) -> Generation:
    """Random prompts and random vectors."""
    rng, generator = random.Random(0), np.random.default_rng(0)
    ids = [[rng.randrange(8, shape.vocabulary) for _ in range(rng.randint(*PROMPT))] for _ in range(prompts)]
    vectors = generator.standard_normal((conditions, shape.width)) * LENGTHENING
    return Generation(ids, vectors.tolist(), layer, tokens, [], [])


def write_inputs(folder: Path, shape: Shape, layers: int, inputs: Generation) -> None:
    """Write model and inputs to a folder."""
    save_model(folder / "model", shape, layers)
    inputs.save(folder)


def write_ragged(folder: Path, inputs: Generation, texts: NDArray[np.int64], batch: int) -> Generation:
    """Write the same with ids that end texts (rows, tokens): of each that no other's id ends before, one in it.

    Where is drawn from an exponential distribution, a fifth of the length on average: most answers are short.
    """
    rng, stops = random.Random(0), set[int]()
    for ids in texts.tolist():
        place = min(int(rng.expovariate(5 / inputs.tokens)), inputs.tokens - 1)
        if not stops & set(ids[: place + 1]):
            stops.add(ids[place])
    batches = list(batches_of_prompts(inputs.prompts * len(inputs.vectors), batch))
    ragged = replace(inputs, stop_ids=sorted(stops), fixed_batches=batches)
    folder.mkdir()
    ragged.save(folder)
    return ragged


def sweep_table(inputs: Generation, layers: int) -> Table:
    """All texts of one length."""
    rows = len(inputs.vectors) * len(inputs.prompts)
    return Table(
        "sweep",
        f"Sweep: {len(inputs.vectors)} conditions x {len(inputs.prompts)} prompts x {inputs.tokens} tokens",
        f"{layers} layers of the same shape; a vector is added after layer {inputs.layer}, at every position.",
        rows * inputs.tokens,
        "tokens",
        [
            Entry("transformers, `generate` in one batch, unsteered", "floor", ALONE, "unsteered"),
            Entry("ours, unsteered", "ours", OURS, "unsteered"),
            STEERED,
            Entry("transformers, `generate` in one batch, with a hook", "peer", ALONE, "steered"),
            Entry(
                "steering-vectors, condition by condition",
                "peer",
                f"{place_of('steering-vectors')}:generation",
                "steered",
                "steering-vectors",
            ),
            Entry("repeng, condition by condition", "peer", f"{place_of('repeng')}:generation", "steered", "repeng"),
        ],
        check_sweep,
    )


def check_sweep(outputs: Mapping[str, Outputs]) -> str:
    """Unsteered texts against one another, steered ones against ours; and steering must have changed them."""
    texts = {label: found["tokens"] for label, found in outputs.items()}
    steered, plain = texts[STEERED.label], texts["ours, unsteered"]
    changed = int((steered != plain).any(1).sum())
    assert changed > 0.9 * len(steered), f"only {changed} of {len(steered)} texts are changed by steering"
    told = [
        count_equal(label, found, plain if label.endswith("unsteered") else steered) for label, found in texts.items()
    ]
    return f"greedy texts are equal to ours in {min(told)} or more of {len(steered)} rows; steering changes {changed}"


def count_equal(label: str, found: NDArray[Any], ours: NDArray[Any]) -> int:
    """Rows that are equal; an AssertionError where they are too few."""
    equal = int((found == ours).all(1).sum())
    assert equal >= (1 - ROWS_THAT_MAY_DIFFER) * len(ours), (
        f"{label}: only {equal} of {len(ours)} rows are equal to ours"
    )
    return equal


def ragged_table(inputs: Generation, texts: NDArray[np.int64]) -> Table:
    """The same texts (rows, tokens), each up to where it ends."""
    size, lengths = max(map(len, inputs.fixed_batches)), lengths_of(texts, inputs)
    spread = f"{min(lengths)} to {max(lengths)} tokens, {float(np.median(lengths)):.0f} in the middle"

    def check(outputs: Mapping[str, Outputs]) -> str:
        ours = token_table(texts.tolist(), inputs.tokens, inputs.stop_ids)
        equal = min(count_equal(label, found["tokens"], ours) for label, found in outputs.items())
        return f"texts are the sweep's up to their ends in {equal} or more of {len(texts)} rows"

    return Table(
        "ragged",
        "The same sweep, where texts end by themselves",
        f"{len(texts)} texts of {spread}; at most {size} rows side by side.",
        sum(lengths),
        "tokens",
        [
            Entry("transformers, `generate` with a hook, batch after batch", "floor", ALONE, "ragged"),
            Entry(FIXED_BATCHES, "ours", OURS, "ragged in fixed batches"),
            Entry(PLACES_TAKEN, "ours", OURS, "ragged"),
        ],
        check,
    )


def lengths_of(texts: NDArray[np.int64], inputs: Generation) -> list[int]:
    """How many tokens are drawn of each text, the one that ends it among them."""
    written = (token_table(texts.tolist(), inputs.tokens, inputs.stop_ids) >= 0).sum(1)
    lengths: list[int] = np.minimum(written + 1, inputs.tokens).tolist()
    return lengths
