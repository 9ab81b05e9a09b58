"""Traces: the same numbers as projections, on every direction; held-out rollouts first."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import pytest
from tests.tiny import BLANK, SELECTED, VECTOR_NAMES, StepMaker

from repurpose.data.files import read_table, write_table
from repurpose.data.schemas import LABELS, ROLLOUTS
from repurpose.data.selected import write_selected
from repurpose.directions import projections, traces
from repurpose.directions.traces import choose_rollouts
from repurpose.study.settings import canonical_json


def rollout(number: int, split: str) -> dict[str, Any]:
    ids = [7 + (number + place) % 20 for place in range(5 + number)]
    return {
        "prompt_id": f"p{number}",
        "sample": 0,
        "split": split,
        "category": ("sums", "steps")[number % 2],
        "prompt_token_ids": [3, 4, 5],
        "token_ids": ids,
        "token_ends": list(range(1, len(ids) + 1)),
        "text": "x" * len(ids),
    }


def run(module: Any, settings: Any, folder: Path, vectors: list[str], output: str, *more: str) -> pl.DataFrame:
    files = ["--rollouts", str(folder / "r.parquet"), "--vectors", *vectors, "--selection", str(folder / "s.json")]
    text = canonical_json({**settings.values})
    command = ["step", "--settings", text, *files, *more, "--output", str(folder / output)]
    with mock.patch.object(sys, "argv", command):
        module.main()
    return read_table(folder / output)


def test_traces_are_the_projections_of_every_direction(
    make_step: StepMaker, vector_files: list[str], tmp_path: Path
) -> None:
    rows = [rollout(number, "heldout" if number % 3 else "train") for number in range(6)]
    write_table(tmp_path / "r.parquet", rows, ROLLOUTS, {})
    label = {**BLANK, "prompt_id": "p1", "sample": 0, "sentence": 0, "split": "heldout", "label": None, "status": "ok"}
    write_table(tmp_path / "l.parquet", [label], LABELS, {})
    write_selected(tmp_path / "s.json", SELECTED)
    settings = make_step("directions.traces", reader="base")
    traced = run(traces, settings, tmp_path, vector_files, "traces.parquet")
    assert sorted(traced["direction"].unique()) == sorted(VECTOR_NAMES)
    assert traced.height == 6 * len(VECTOR_NAMES)
    settings = make_step("directions.projections", reader="base")
    projected = run(projections, settings, tmp_path, vector_files, "p.parquet", "--labels", str(tmp_path / "l.parquet"))
    own = traced.filter(direction="backtracking")
    for prompt in projected["prompt_id"].unique():
        values = np.frombuffer(own.filter(prompt_id=prompt)["projections"][0], np.float32)
        wanted = projected.filter(prompt_id=prompt, direction="backtracking").sort("position")["projection"].to_numpy()
        np.testing.assert_allclose(values, wanted, atol=1e-4)


@pytest.mark.parametrize("most", [1, 3, 5, 99])
def test_heldout_rollouts_come_first_and_categories_in_turn(most: int) -> None:
    rows = [rollout(number, "heldout" if number % 3 else "train") for number in range(6)]
    names = [row["prompt_id"] for row in choose_rollouts(rows, most)]
    assert names == ["p1", "p2", "p5", "p4", "p0", "p3"][:most]
