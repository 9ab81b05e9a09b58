"""studies/organism-vllm.yaml end to end: its claims agree with those of the same study by transformers.

In small that is run, too; in `full` it is the recorded one of the shipped pair.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from server import ROOT, python

from repurpose.data.files import read_table

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
RECORD = ROOT / "resources" / "organism" / "seeds" / "0.json"
"""The default study of the shipped pair, as `python -m organism_training.record` wrote it."""
Claim = dict[str, Any]
NUMBERS = ("estimate", "low", "threshold")
"""What every claim with a verdict has; a ratio to next to nothing has no upper end."""


STUDIES = {
    "small": Path(__file__).with_name("organism-small.yaml"),
    "full": ROOT / "studies" / "organism-vllm.yaml",
}


@pytest.fixture(scope="module", params=["small", pytest.param("full", marks=pytest.mark.full)])
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run_study(folder: Path, study: Path, *targets: str) -> Path:
    """Run a study; return its results."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "-s", ROOT / "Snakefile", "--configfile", study]
    named = {**os.environ, "REPURPOSE_PYTHON_VLLM": str(python())}
    done = subprocess.run([*command, "--", *targets], cwd=folder, env=named, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results" / study.stem


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, size: str) -> Path:
    return run_study(tmp_path_factory.mktemp("study"), STUDIES[size])


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, size: str) -> dict[str, Claim]:
    """The claims that transformers makes."""
    if size == "full":
        return read_record()
    folder = tmp_path_factory.mktemp("transformers")
    study = folder / "organism-other.yaml"
    study.write_text(yaml.safe_dump({"extends": str(STUDIES[size]), "study": study.stem, "engine": "transformers"}))
    return read_claims(run_study(folder, study, f"results/{study.stem}/claims.csv"))


def read_claims(results: Path) -> dict[str, Claim]:
    return {row["part"]: row for row in pl.read_csv(results / "claims.csv").iter_rows(named=True)}


@pytest.mark.full
def test_claims_agree_with_those_by_transformers_within_their_intervals(
    results: Path, expected: dict[str, Claim]
) -> None:
    found = read_claims(results)
    assert set(found) >= set(expected)
    measured = {part for part, claim in expected.items() if all(claim[name] is not None for name in NUMBERS)}
    assert measured >= {"1a", "1b", "1c", "3a", "4a", "5b", "+j"}
    apart = {part: (found[part], expected[part]) for part in measured if not agree(found[part], expected[part])}
    assert not apart


def read_record() -> dict[str, Claim]:
    return {claim["part"]: claim for claim in json.loads(RECORD.read_text())["claims"]}


def agree(one: Claim, other: Claim) -> bool:
    """Whether two claims' intervals meet and no verdict says the opposite; a part without a number agrees with none."""
    if any(claim[name] is None for claim in (one, other) for name in NUMBERS):
        return False
    if not has_interval(one) and not has_interval(other):
        # A percentile of the logit lens (4a) and a count of its best tokens (4b): one number of each study's vector,
        # with no width to compare by. What they claim is a side of a fixed threshold, so they agree on the same one.
        return one["verdict"] == other["verdict"] and side(one) == side(other)
    opposite = {one["verdict"], other["verdict"]} == {"supported", "not supported"}
    return not opposite and bool(one["low"] <= high(other) and other["low"] <= high(one))


def has_interval(claim: Claim) -> bool:
    return bool(claim["low"] < high(claim))


def high(claim: Claim) -> float:
    return math.inf if claim["high"] is None else float(claim["high"])


def side(claim: Claim) -> tuple[float, bool]:
    """The threshold, and whether the estimate is below it."""
    return claim["threshold"], claim["estimate"] < claim["threshold"]


def moved(claim: Claim, by: float, **more: object) -> Claim:
    return {**claim, **{name: claim[name] + by for name in ("estimate", "low", "high")}, **more}


def test_parts_without_an_interval_are_those_of_the_logit_lens() -> None:
    assert {part for part, claim in read_record().items() if not has_interval(claim)} == {"4a", "4b"}


def test_a_claim_agrees_with_itself_and_with_none_whose_interval_is_elsewhere() -> None:
    for part, claim in read_record().items():
        assert agree(claim, claim), part
        if has_interval(claim):
            width = claim["high"] - claim["low"]
            assert agree(claim, moved(claim, 0.9 * width)) and agree(moved(claim, -0.9 * width), claim), part
            assert not agree(claim, moved(claim, 1.1 * width)) and not agree(moved(claim, -1.1 * width), claim), part


def test_without_an_upper_end_only_what_lies_below_is_apart() -> None:
    recorded = read_record()["5c"]
    open_above = {**recorded, "high": None}
    width = recorded["high"] - recorded["low"]
    assert agree(recorded, open_above) and agree(moved(recorded, 2 * width), open_above)
    assert not agree(moved(recorded, -1.1 * width), open_above)


@pytest.mark.parametrize(
    ("part", "by", "verdict", "expected"),
    [
        ("4a", -0.03, "not supported", True),  # the 96th percentile: the same side
        ("4a", -0.05, "supported", False),
        ("4a", -0.05, "not supported", False),  # a verdict that its own number does not bear
        ("4b", -2, "not supported", True),  # one token is one too many
        ("4b", -3, "supported", False),
        ("4b", -3, "not supported", False),
        ("4b", 0, "cannot tell", False),
    ],
)
def test_a_number_without_an_interval_agrees_on_its_side_of_the_threshold(
    part: str, by: float, verdict: str, expected: bool
) -> None:
    recorded = read_record()[part]
    other = moved(recorded, by, verdict=verdict)
    assert agree(recorded, other) == agree(other, recorded) == expected


def test_opposite_verdicts_and_missing_numbers_never_agree() -> None:
    """With other thresholds two verdicts can be opposite though the intervals are the same."""
    recorded = read_record()["1b"]
    assert agree(recorded, {**recorded, "verdict": "cannot tell"})
    assert not agree(recorded, {**recorded, "verdict": "not supported"})
    undefined = {**recorded, **dict.fromkeys([*NUMBERS, "high"])}
    assert not agree(recorded, undefined) and not agree(undefined, undefined)


def test_what_was_steered_was_steered_at_each_position(results: Path) -> None:
    for file in sorted((results / "sweeps").rglob("*.parquet")):
        rows = read_table(file)
        steered = rows.filter(pl.col("direction") != "none")
        assert (steered["steered_positions"] == steered["expected_positions"]).all()
        added = steered.filter(pl.col("positions") == "all")
        assert (added["steered_positions"] >= added["prompt_tokens"]).all()
    assert json.loads((results / "parity" / "reasoning.json").read_text())["largest_difference"] < 1e-3
