"""Vectors with their resamples against one pass over the same activations, in windows a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.inputs import Bootstrap
from benchmarks.race import Entry, Table
from benchmarks.worker import Outputs
from repurpose.data.statistics import draw_weights
from repurpose.study.settings import BEHAVIOURS

CHECKED = 3
"""Resamples that are computed again the long way."""


def write_inputs(folder: Path, windows: int, width: int, prompts: int, resamples: int) -> None:
    """Write random windows and labels."""
    generator = np.random.default_rng(0)
    np.save(folder / Bootstrap.DATA, generator.standard_normal((windows, width), np.float32).astype(np.float16))
    prompt = np.sort(generator.integers(0, prompts, windows))
    labels = np.array(BEHAVIOURS)[generator.integers(0, len(BEHAVIOURS), windows)]
    Bootstrap((prompt - prompt.min()).tolist(), labels.tolist(), resamples).save(folder)


def table(folder: Path) -> Table:
    inputs, vectors = Bootstrap.load(folder), np.load(folder / Bootstrap.DATA, mmap_mode="r")
    labels = sorted(set(inputs.labels))

    def check(outputs: Mapping[str, Outputs]) -> str:
        total = vectors.astype(np.float64).sum(0)
        np.testing.assert_allclose(outputs["one pass: add up every vector in float64"]["total"], total)
        found = outputs["ours: every label's vector, with its resamples"]
        assert sorted(found) == labels
        for name in labels:
            np.testing.assert_allclose(found[name][: CHECKED + 1], the_long_way(inputs, vectors, name), atol=1e-9)
        return f"each vector and its first {CHECKED} resamples are the differences of means of windows drawn one by one"

    return Table(
        "vectors",
        f"Vectors of {len(labels)} labels, and {inputs.resamples:,} resamples of each by prompt",
        f"{len(vectors):,} windows of {vectors.shape[1]} numbers, {max(inputs.prompts) + 1} prompts, in memory.",
        len(vectors),
        "windows",
        [
            Entry("one pass: add up every vector in float64", "floor", "benchmarks.peers.files:memory_pass", "add up"),
            Entry("ours: every label's vector, with its resamples", "ours", "benchmarks.ours:bootstrap", "vectors"),
        ],
        check,
    )


def the_long_way(inputs: Bootstrap, vectors: np.ndarray, name: str) -> np.ndarray:
    """The vector of a label and of some resamples (1 + CHECKED, d), from the windows themselves."""
    prompts, members = np.array(inputs.prompts), np.array(inputs.labels) == name
    counts = draw_weights(prompts.max() + 1, inputs.resamples, Bootstrap.SEED)[:CHECKED]
    numbers = vectors.astype(np.float64)
    rows = np.arange(len(prompts))
    drawn = [rows, *(np.repeat(rows, times[prompts].astype(int)) for times in counts)]
    return np.stack([numbers[some[members[some]]].mean(0) - numbers[some].mean(0) for some in drawn])
