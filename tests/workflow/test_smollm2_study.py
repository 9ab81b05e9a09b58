"""The SmolLM2 pair's study in small, from the package index to claims: a base that others trained, and ours from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from repurpose.data.files import read_table
from repurpose.organism.word_problems import HELDOUT_SCENES, SCENES
from repurpose.results.claims.weighing import CLAIMS
from repurpose.study.catalogue import FIGURES, TABLES

ROOT = Path(__file__).parents[2]
STUDY = Path(__file__).with_name("smollm2-small.yaml")
pytestmark = [pytest.mark.workflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "-s", ROOT / "Snakefile", "--configfile", STUDY]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return folder / "results" / STUDY.stem


def sweep(results: Path, name: str, target: str) -> pl.DataFrame:
    return read_table([results / "sweeps" / name / f"{target}.parquet"])


def test_every_rule_has_made_its_part(results: Path) -> None:
    assert {file.stem for file in (results / "tables").glob("*.csv")} == set(TABLES)
    assert {file.stem for file in (results / "figures").glob("*.svg")} == set(FIGURES)
    assert pl.read_csv(results / "claims.csv")["part"].to_list() == [claim.part for claim in CLAIMS]
    assert (results / "report.html").stat().st_size > 100_000


def test_prompts_are_of_all_kinds_also_those_that_training_never_showed(results: Path) -> None:
    prompts = read_table([results / "prompts.parquet"])
    assert set(prompts["category"]) <= set(SCENES) and set(prompts["category"]) & set(HELDOUT_SCENES)


def test_the_reasoning_model_thinks_states_sums_and_goes_back(results: Path) -> None:
    rollouts = read_table(sorted((results / "rollouts").glob("*.parquet")))
    assert rollouts["text"].str.contains("</think>\nThe answer is ", literal=True).mean() > 0.5
    labels = read_table(sorted((results / "labels").rglob("*.parquet")))
    shares = dict(labels["label"].value_counts(normalize=True).iter_rows())
    assert shares["deduction"] > 0.2 and 0.01 < shares["backtracking"] < 0.3
    projections = read_table([results / "projections" / "base.parquet"])
    right = projections["correct_calculation"].drop_nulls()
    assert 0.5 < right.mean() < 1.0


def test_both_models_are_steered_wherever_they_should_be(results: Path) -> None:
    for target in ("base", "reasoning"):
        rows = sweep(results, "two_by_two", target)
        assert rows["steered_positions"].equals(rows["expected_positions"])
        steered = rows.filter(pl.col("direction") != "none")
        assert (steered["steered_positions"] >= steered["prompt_tokens"]).all()
        unsteered = rows.filter(direction="none")["text"]
        assert steered["text"].is_in(unsteered.implode()).mean() < 0.5
