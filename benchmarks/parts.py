"""The parts of `make bench`, in full and in tiny size: each returns its numbers as plain values."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import bootstrap, extraction, store, sweep
from benchmarks.environments import ROOT
from benchmarks.race import Table, Workers, race
from benchmarks.rerun import measure_rerun
from benchmarks.shapes import EIGHTH, TINY, Shape

Results = dict[str, Any]
"""`tables`, or what `rerun` returns."""


@dataclass(frozen=True)
class Sizes:
    """How much is done."""

    shape: Shape
    texts: int
    """That activations are read from, each of `longest` generated tokens at most."""
    longest: int
    batch_tokens: int
    layer: int
    conditions: int
    prompts: int
    tokens: int
    """Of a steered text."""
    sweep_layers: int
    """Of the shape's, for texts take longer to write than to read."""
    sweep_layer: int
    batch: int
    """Rows side by side where texts end by themselves."""
    rows: int
    """Vectors of a layer in the store."""
    windows: int
    """That vectors are made of, from `bootstrap_prompts` prompts."""
    bootstrap_prompts: int
    resamples: int


FULL = Sizes(
    EIGHTH, texts=8, longest=240, batch_tokens=1024, layer=10, conditions=12, prompts=12, tokens=48, sweep_layers=8,
    sweep_layer=2, batch=24, rows=4000, windows=60_000, bootstrap_prompts=300, resamples=1000,
)  # fmt: skip
SMALL = Sizes(
    TINY, texts=3, longest=80, batch_tokens=256, layer=0, conditions=3, prompts=4, tokens=6, sweep_layers=2,
    sweep_layer=0, batch=5, rows=20, windows=600, bootstrap_prompts=7, resamples=20,
)  # fmt: skip
"""The same code in seconds, for tests."""


def race_all(tables: list[Table], folder: Path, rounds: int) -> Results:
    """Race some tables with the workers of one folder."""
    with Workers(folder) as workers:
        return {"tables": [race(table, workers, rounds) for table in tables]}


def measure_extraction(sizes: Sizes, rounds: int, folder: Path) -> Results:
    inputs = extraction.write_inputs(folder, sizes.shape, sizes.texts, sizes.longest, sizes.batch_tokens, sizes.layer)
    return race_all(extraction.tables(inputs, sizes.shape), folder, rounds)


def measure_sweep(sizes: Sizes, rounds: int, folder: Path) -> Results:
    """The sweep, then the same with ids that end its texts, which are known only when they are written."""
    inputs = sweep.make_inputs(sizes.shape, sizes.conditions, sizes.prompts, sizes.tokens, sizes.sweep_layer)
    sweep.write_inputs(folder, sizes.shape, sizes.sweep_layers, inputs)
    with Workers(folder) as workers:
        whole = race(sweep.sweep_table(inputs, sizes.sweep_layers), workers, rounds)
        texts = workers.outputs(sweep.STEERED)["tokens"]
    ends = folder / "ends"
    ragged = sweep.write_ragged(ends, inputs, texts, sizes.batch)
    (ends / "model").symlink_to(folder / "model")
    return {"tables": [whole, *race_all([sweep.ragged_table(ragged, texts)], ends, rounds)["tables"]]}


def measure_store(sizes: Sizes, rounds: int, folder: Path) -> Results:
    store.write_inputs(folder, sizes.shape.layers, sizes.rows, sizes.shape.width, repeats=20)
    return race_all(store.tables(folder), folder, rounds)


def measure_vectors(sizes: Sizes, rounds: int, folder: Path) -> Results:
    bootstrap.write_inputs(folder, sizes.windows, sizes.shape.width, sizes.bootstrap_prompts, sizes.resamples)
    return race_all([bootstrap.table(folder)], folder, rounds)


def measure_no_op(_sizes: Sizes, rounds: int, _folder: Path) -> Results:
    return measure_rerun(ROOT, rounds)


PARTS: dict[str, Callable[[Sizes, int, Path], Results]] = {
    "extraction": measure_extraction,
    "sweep": measure_sweep,
    "store": measure_store,
    "vectors": measure_vectors,
    "rerun": measure_no_op,
}


def measure(part: str, sizes: Sizes, rounds: int) -> Results:
    """Measure one part; its files lie in $TMPDIR and are removed."""
    with tempfile.TemporaryDirectory(prefix=f"bench-{part}-") as folder:
        return PARTS[part](sizes, rounds, Path(folder))
