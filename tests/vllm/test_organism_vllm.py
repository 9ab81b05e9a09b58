"""studies/organism-vllm.yaml end to end: its claims agree with those of the default study within their intervals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from server import ROOT, python

from repurpose.tables import read_table

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
RECORD = ROOT / "resources" / "organism" / "seeds" / "0.json"
"""The default study of the shipped pair, as `python -m repurpose.organism.record` wrote it."""
Claim = dict[str, Any]


def test_it_is_the_default_study_but_for_the_engine() -> None:
    default, ours = (
        yaml.safe_load((ROOT / name).read_text()) for name in ("config.yaml", "studies/organism-vllm.yaml")
    )
    assert {**default, "study": "organism-vllm", "engine": "vllm"} == ours


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "-s", ROOT / "Snakefile", "--configfile"]
    named = {**os.environ, "REPURPOSE_PYTHON_VLLM": str(python())}
    study = ROOT / "studies" / "organism-vllm.yaml"
    done = subprocess.run([*command, study], cwd=folder, env=named, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results" / "organism-vllm"


def test_claims_agree_with_the_default_study_within_their_intervals(results: Path) -> None:
    recorded = {claim["part"]: claim for claim in json.loads(RECORD.read_text())["claims"]}
    found = {row["part"]: row for row in pl.read_csv(results / "claims.csv").iter_rows(named=True)}
    assert set(found) >= set(recorded)
    apart = {part: (found[part], claim) for part, claim in recorded.items() if not agree(found[part], claim)}
    assert not apart


def agree(one: Claim, other: Claim) -> bool:
    """Whether two claims' intervals meet and no verdict says the opposite; a rank or a count has no interval."""
    opposite = {one["verdict"], other["verdict"]} == {"supported", "not supported"}
    none = one["low"] == one["high"] and other["low"] == other["high"]
    return not opposite and (none or bool(one["low"] <= other["high"] and other["low"] <= one["high"]))


def test_what_was_steered_was_steered_at_each_position(results: Path) -> None:
    for file in sorted((results / "sweeps").rglob("*.parquet")):
        rows = read_table(file)
        steered = rows.filter(pl.col("direction") != "none")
        assert (steered["steered_positions"] == steered["expected_positions"]).all()
        added = steered.filter(pl.col("positions") == "all")
        assert (added["steered_positions"] >= added["prompt_tokens"]).all()
    assert json.loads((results / "parity" / "reasoning.json").read_text())["largest_difference"] < 1e-3
