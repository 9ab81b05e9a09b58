"""What is projected out of a vector is gone from it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.tiny import LAYERS, WIDTH, StepMaker

from repurpose.data.files import read_table
from repurpose.directions.unit_directions import read_pair_directions
from repurpose.directions.variants import main, make_variants, project_out
from repurpose.model.unembedding import unembedding_rows
from repurpose.study.settings import canonical_json


def test_nothing_of_the_span_is_left() -> None:
    generator = np.random.default_rng(0)
    vector, directions = generator.standard_normal(12), generator.standard_normal((3, 12))
    left = project_out(vector, np.vstack([directions, directions[0] + directions[1]]))
    np.testing.assert_allclose(directions @ left, 0, atol=1e-12)
    removed = np.linalg.lstsq(directions.T, vector - left, rcond=None)[0] @ directions
    np.testing.assert_allclose(removed, vector - left, atol=1e-12)


def test_the_table_has_both_variants_of_every_site(
    tmp_path: Path, make_step: StepMaker, vector_files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, output = make_step("directions.variants"), tmp_path / "variants.parquet"
    renamed = read_table(vector_files).with_columns(
        name=pl.col("name").replace({"deduction": "uncertainty-estimation"})
    )
    rows = {role: unembedding_rows(step.pair, role, [6, 7]).astype(float) for role in ("base", "reasoning")}
    found = list(make_variants(renamed, "backtracking", rows))
    assert len(found) == 2 * 2 * LAYERS * 2
    for row in found:
        numbers = np.frombuffer(row["vector"], np.float32)
        site = {key: row[key] for key in ("reader", "layer", "window_start")}
        named = {
            name: renamed.filter(name=name, **site)["vector"][0] for name in ("backtracking", "uncertainty-estimation")
        }
        own, uncertain = (np.frombuffer(vector, np.float32) for vector in named.values())
        removed = rows[row["reader"]] if row["name"] == "backtracking-without-keywords" else uncertain[None]
        np.testing.assert_allclose(removed @ numbers, 0, atol=1e-4)
        assert row["kind"] == "variant" and 0 < row["norm"] <= np.linalg.norm(own)
    arguments = ["--settings", canonical_json(step.values), "--vectors", *vector_files, "--output", str(output)]
    monkeypatch.setattr("sys.argv", ["variants", *arguments])
    main()  # of the files as they are, which have no uncertainty-estimation
    assert read_table(output)["name"].unique().to_list() == ["backtracking-without-keywords"]
    keys = read_pair_directions([*vector_files, str(output)]).units
    assert ("backtracking-without-keywords", "reasoning", 0, -3) in keys
    assert len(keys["backtracking-without-keywords", "reasoning", 0, -3]) == WIDTH
