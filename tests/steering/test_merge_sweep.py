"""Parts of a sweep are merged into the table that one job writes, byte for byte, whatever their number."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import GRID, StepMaker

from repurpose.data.files import TableError, read_table, write_table
from repurpose.data.schemas import PROMPTS, SWEEPS
from repurpose.steering import merge_sweep, sweeps
from repurpose.steering.conditions import Row
from repurpose.steering.merge_sweep import whole_order
from repurpose.study.settings import canonical_json

SIZES = st.integers(1, 4)


@given(SIZES, st.integers(1, 9), SIZES, st.data())
def test_rows_stand_by_condition_then_prompt_then_sample(
    conditions: int, prompts: int, samples: int, data: st.DataObject
) -> None:
    parts = data.draw(st.integers(1, prompts))
    cells = [(c, p, s) for c in range(conditions) for p in range(prompts) for s in range(samples)]
    split = [[cell for cell in cells if cell[1] % parts == part] for part in range(parts)]
    joined = [cell for part in split for cell in part]
    assert [joined[place] for place in whole_order(list(map(len, split)), prompts, samples)] == cells


def test_parts_of_another_number_of_prompts_are_refused() -> None:
    with pytest.raises(TableError, match="parts of 4, 4 rows are not of one sweep of 3 prompts"):
        whole_order([4, 4], 3, 1)


def run(monkeypatch: pytest.MonkeyPatch, module: object, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["step", *arguments])
    module.main()  # type: ignore[attr-defined]


@pytest.mark.parametrize("parts", [2, 3])
def test_whatever_the_number_of_parts_the_table_is_the_same_byte_for_byte(
    tmp_path: Path,
    make_step: StepMaker,
    vector_files: list[str],
    prompt_rows: list[Row],
    monkeypatch: pytest.MonkeyPatch,
    parts: int,
) -> None:
    write_table(tmp_path / "prompts.parquet", prompt_rows, PROMPTS, {})
    sections = {"sweeps": {"grid": {**GRID, "samples": 2, "temperature": 0.7, "shards": parts}}}
    text = canonical_json(make_step("steering.sweeps", sections=sections, sweep="grid", target="reasoning").values)
    inputs = ["--prompts", str(tmp_path / "prompts.parquet"), "--vectors", *vector_files]
    given = ["--settings", text, *inputs]
    run(monkeypatch, sweeps, *given, "--output", str(tmp_path / "whole.parquet"))
    names = [str(tmp_path / f"whole-{part}.parquet") for part in range(parts)]
    for part, name in enumerate(names):
        run(monkeypatch, sweeps, *given, "--part", f"{part}/{parts}", "--output", name)
    assert sum(len(read_table([name])) for name in names) == len(read_table([tmp_path / "whole.parquet"]))
    settings = make_step("steering.merge_sweep", sections=sections, sweep="grid", target="reasoning")
    merged = tmp_path / "merged.parquet"
    text = canonical_json(settings.values)
    run(monkeypatch, merge_sweep, "--settings", text, "--parts", *names, "--output", str(merged))
    assert merged.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert pl.read_parquet(merged).columns == SWEEPS.names
