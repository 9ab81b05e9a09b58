"""A study opened from Python: tables by name, directions, steering that cannot silently do nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.tiny import SELECTED, from_source
from transformers import LlamaForCausalLM

import repurpose
from repurpose.data.csv_tables import to_csv
from repurpose.data.files import TableError, write_table
from repurpose.data.schemas import LABELS, ROLLOUTS
from repurpose.data.selected import write_selected
from repurpose.model.hooks import SteeringError, read_layers
from repurpose.steering.opened import OpenStudy, open_study
from repurpose.study.settings import SettingsError


@pytest.fixture
def study(tmp_path: Path, vector_files: list[str]) -> OpenStudy:
    for shard in range(2):
        write_table(tmp_path / f"rollouts/{shard}.parquet", [{"prompt_id": f"p{shard}"}], ROLLOUTS, {})
    write_table(tmp_path / "labels/lexicon/0.parquet", [{"prompt_id": "p0"}], LABELS, {})
    (tmp_path / "vectors").mkdir()
    for file in vector_files:
        shutil.copy(file, tmp_path / "vectors")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "2x2.csv").write_text(to_csv(pl.DataFrame({"share": [0.5]})))
    write_selected(tmp_path / "selection.json", SELECTED)
    return repurpose.open(tmp_path)


def test_tables_are_lazy_and_found_by_name(study: OpenStudy) -> None:
    assert study.tables == ["labels/lexicon", "rollouts", "tables/2x2", "vectors"]
    assert isinstance(study.table("rollouts"), pl.LazyFrame)
    assert study.table("rollouts").collect()["prompt_id"].to_list() == ["p0", "p1"]
    assert study.table("tables/2x2").collect()["share"].to_list() == [0.5]
    with pytest.raises(SettingsError, match="no table nonsense; there are labels/lexicon, rollouts"):
        study.table("nonsense")


def test_a_folder_without_tables_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no table of a study"):
        repurpose.open(tmp_path)


def test_a_direction_is_the_selected_one_unless_another_is_named(study: OpenStudy) -> None:
    own, other = study.direction("backtracking"), study.direction("backtracking", "reasoning", 2, 0)
    assert np.linalg.norm(own) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(own, study.directions.units["backtracking", "base", SELECTED.layer, -3])
    assert not np.allclose(own, other)


@pytest.mark.parametrize("direction", ["backtracking", np.arange(1, 33, dtype=np.float32)], ids=["name", "array"])
def test_steering_adds_the_direction_at_every_position(
    direction: str, study: OpenStudy, model: LlamaForCausalLM
) -> None:
    ids = torch.tensor([[3, 4, 5, 6]])

    def stream() -> torch.Tensor:
        found: list[torch.Tensor] = []
        read_layers(model, [SELECTED.layer], lambda _, hidden: found.append(hidden[0].clone()), input_ids=ids)
        return found[0]

    before = stream()
    with study.steer(model, direction, 4.0) as counted:
        after = stream()
    change = (after - before).numpy()
    np.testing.assert_allclose(np.linalg.norm(change, axis=1), 4.0, rtol=1e-4)
    assert counted.positions == 4
    torch.testing.assert_close(stream(), before)


def test_steering_that_does_nothing_is_an_error(study: OpenStudy, model: LlamaForCausalLM) -> None:
    with pytest.raises(SteeringError, match="nothing was steered"), study.steer(model, "backtracking", 4.0):
        pass
    with (
        pytest.raises(SettingsError, match="norm 0 has no direction"),
        study.steer(model, np.zeros(32, np.float32), 4.0),
    ):
        pass


def test_importing_the_package_loads_nothing_heavy() -> None:
    """The Snakefile imports it for each job."""
    code = "import sys, repurpose; assert not {'torch', 'polars', 'numpy'} & set(sys.modules); repurpose.open"
    subprocess.run([sys.executable, "-c", code], env=from_source(), check=True)


def test_parts_of_a_sweep_are_no_table_beside_the_whole(tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / "baselines"
    folder.mkdir(parents=True)
    for name in ("reasoning-0", "reasoning-1", "reasoning"):
        pl.DataFrame({"share": [0.1, 0.2]}).write_parquet(folder / f"{name}.parquet")
    study = open_study(tmp_path)
    assert study.tables == ["sweeps/baselines"]
    assert study.table("sweeps/baselines").collect().height == 2
