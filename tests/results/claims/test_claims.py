"""Verdicts: the rule itself, and that it flips with the truth."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repurpose.data.csv_tables import read_csv
from repurpose.data.files import TableError
from repurpose.data.statistics import Estimate
from repurpose.results.claims import __main__ as step
from repurpose.results.claims import rules
from repurpose.results.claims.claim import (
    CANNOT_TELL,
    NOT_MEASURED,
    NOT_SUPPORTED,
    SUPPORTED,
    Claim,
    Finding,
    judge,
    judge_all,
)
from repurpose.results.claims.weighing import (
    CLAIMS,
    CONTENT,
    PAPER,
    overall_verdicts,
    read_claim,
    weigh_claim,
    weigh_claims,
)
from repurpose.results.numbers import Unit, format_estimate
from repurpose.study.settings import Direction, Magnitudes
from synthetic import built, claims_arguments, make_study, run_step

NUMBER = st.floats(-10, 10)
STUDY = make_study()


def verdicts(kind: str) -> dict[str, str]:
    return dict(read_csv(built(kind) / "claims.csv").select("part", "verdict").iter_rows())


@pytest.mark.parametrize(
    ("low", "high", "above", "verdict"),
    [
        (1.1, 2.0, True, SUPPORTED),
        (1.0, 2.0, True, CANNOT_TELL),
        (0.5, 2.0, True, CANNOT_TELL),
        (0.2, 1.0, True, NOT_SUPPORTED),
        (0.2, 0.9, True, NOT_SUPPORTED),
        (0.2, 0.9, False, SUPPORTED),
        (0.2, 1.4, False, CANNOT_TELL),
        (1.0, 1.4, False, NOT_SUPPORTED),
        (math.nan, math.nan, True, CANNOT_TELL),
    ],
)
def test_verdict_follows_from_interval_and_threshold(low: float, high: float, above: bool, verdict: str) -> None:
    assert judge(Finding(Estimate((low + high) / 2, low, high), 1.0), above) == verdict


@given(NUMBER, NUMBER, NUMBER, st.booleans())
def test_straddling_is_never_a_verdict(one: float, other: float, threshold: float, above: bool) -> None:
    low, high = sorted((one, other))
    verdict = judge(Finding(Estimate(low, low, high), threshold), above)
    if low < threshold < high:
        assert verdict == CANNOT_TELL
    assert judge(Finding(Estimate(low, low, high), threshold, valid=False), above) == CANNOT_TELL


def test_a_claim_stands_only_with_all_its_parts() -> None:
    assert judge_all([SUPPORTED, SUPPORTED]) == SUPPORTED
    assert judge_all([SUPPORTED, CANNOT_TELL]) == CANNOT_TELL
    assert judge_all([SUPPORTED, CANNOT_TELL, NOT_SUPPORTED]) == NOT_SUPPORTED
    assert judge_all([SUPPORTED, NOT_MEASURED]) == judge_all([]) == CANNOT_TELL
    assert judge_all([NOT_MEASURED, NOT_MEASURED]) == NOT_MEASURED


def test_effects_that_are_there_are_supported() -> None:
    found = verdicts("present")
    expected = [
        "1a",
        "1b",
        "1c",
        "2a",
        "2b",
        "2c",
        "2d",
        "3a",
        "3b",
        "4a",
        "4b",
        "5a",
        "5b",
        "6a",
        "6b",
        "+a",
        "+c",
        "+d",
        "+f",
        "+g",
    ]
    assert {part: found[part] for part in expected} == dict.fromkeys(expected, SUPPORTED)
    assert NOT_SUPPORTED not in {verdict for part, verdict in found.items() if part != "+h"}


def test_effects_that_are_not_there_are_not_supported() -> None:
    found = verdicts("absent")
    refuted = ["1b", "2a", "2b", "2c", "2d", "3a", "3b", "4a", "4b", "5b", "5c", "6a", "6b", "+a", "+f"]
    assert {part: found[part] for part in refuted} == dict.fromkeys(refuted, NOT_SUPPORTED)
    for part in ("1a", "1c", "5a", "+b", "+d", "+g"):
        assert found[part] != SUPPORTED, part


def test_overall_verdicts_flip() -> None:
    for kind, expected in (("present", {SUPPORTED, CANNOT_TELL}), ("absent", {NOT_SUPPORTED})):
        overall = overall_verdicts(read_csv(built(kind) / "claims.csv"))
        assert set(overall) == set("123456") and set(overall.values()) <= expected
    assert overall_verdicts(read_csv(built("present") / "claims.csv"))["1"] == SUPPORTED


def test_what_asks_for_more_than_the_paper_does_not_count() -> None:
    table = pl.DataFrame({"claim": ["2", "2"], "verdict": [SUPPORTED, NOT_SUPPORTED], "counts": [True, False]})
    assert overall_verdicts(table)["2"] == SUPPORTED


def tables() -> dict[str, pl.DataFrame]:
    names = {claim.table for claim in CLAIMS}
    return {name: read_csv(built("present") / f"tables/{name}.csv") for name in names}


CHANGE = ("change", "change_low", "change_high")


def weigh(table: str, *changes: pl.Expr | pl.Series) -> dict[str, str]:
    """Verdicts after one table is changed."""
    changed = {**tables(), table: tables()[table].with_columns(*changes)}
    return dict(weigh_claims(changed, STUDY).select("part", "verdict").iter_rows())


def test_one_strong_random_direction_is_enough_against_it() -> None:
    """The best of the twenty decides, by its upper end and not by its mean."""
    high = pl.when(pl.col("direction") == "random-07").then(0.5).otherwise("high").alias("high")
    assert weigh("baselines", high)["1b"] == NOT_SUPPORTED
    assert weigh("baselines", high)["5a"] == SUPPORTED


@pytest.mark.parametrize(("coherent", "verdict"), [(True, NOT_SUPPORTED), (False, SUPPORTED)])
def test_a_control_counts_where_its_text_is_coherent(coherent: bool, verdict: str) -> None:
    """At any magnitude up to the selected one; what it does to garbage says nothing for it or against it."""
    table = tables()["baselines"]
    strong = pl.col("direction") == "deduction"
    changed = table.with_columns(
        high=pl.when(strong).then(0.6).otherwise("high"), coherent=pl.when(strong).then(coherent).otherwise("coherent")
    )
    assert weigh("baselines", changed["high"], changed["coherent"])["5a"] == verdict
    half = pl.DataFrame.with_columns(
        changed, selected=pl.when(strong).then(False).otherwise("selected"), multiple=pl.when(strong).then(0.5)
    )
    assert weigh("baselines", half["high"], half["coherent"], half["selected"])["5a"] == verdict


def test_what_incoherent_controls_reach_is_said() -> None:
    strong = pl.col("direction") == "deduction"
    changed = tables()["baselines"].with_columns(
        high=pl.when(strong).then(0.6).otherwise("high"), coherent=pl.when(strong).then(False).otherwise("coherent")
    )
    found = weigh_claims({**tables(), "baselines": changed}, STUDY).filter(part="5a")
    assert "highest upper end of the others: deduction, 60.00 %" in found["note"][0]


def test_no_control_at_all_is_infinitely_less() -> None:
    weak = [pl.when(pl.col("family") != "behaviour").then(-0.1).otherwise(c).alias(c) for c in CHANGE]
    assert weigh("baselines", *weak)["5c"] == SUPPORTED


def test_one_keyword_that_decodes_is_enough() -> None:
    but = pl.when(pl.col("word") == "but").then(0.2).otherwise(0.99).alias("rank")
    assert weigh("lens", but)["4a"] == NOT_SUPPORTED


def test_incoherent_text_carries_no_verdict() -> None:
    found = weigh("2x2", pl.lit(False).alias("coherent"))
    assert found["1a"] == found["1c"] == CANNOT_TELL


def test_the_base_models_zero_is_read_where_its_text_is_coherent() -> None:
    """Silence is no zero: the next smaller magnitude decides, and where none is coherent nobody can tell."""
    table, base = tables()["2x2"], pl.col("target") == "base"
    garbage = pl.when(base & pl.col("selected")).then(False).otherwise("coherent").alias("coherent")
    assert table.filter(base, pl.col("magnitude") > 0, ~pl.col("selected")).height
    assert weigh("2x2", garbage)["2a"] == SUPPORTED
    loud = pl.when(base & ~pl.col("selected")).then(0.05).otherwise("low").alias("low")
    louder = pl.when(base & ~pl.col("selected")).then(0.06).otherwise("high").alias("high")
    assert weigh("2x2", garbage, loud, louder)["2a"] == NOT_SUPPORTED
    assert weigh("2x2", loud, louder)["2a"] == SUPPORTED
    assert weigh("2x2", pl.when(base).then(False).otherwise("coherent").alias("coherent"))["2a"] == CANNOT_TELL


def test_wide_intervals_cannot_tell() -> None:
    found = weigh("2x2", (pl.col("change_low") - 1).alias("change_low"))
    assert found["1a"] == CANNOT_TELL


def test_alike_on_the_same_text_is_no_evidence() -> None:
    """Label shuffles have a high cosine too, where both readers read the same windows."""
    high = [pl.lit(0.99).alias("cosine"), pl.lit(None, pl.Float64).alias("disattenuated_low")]
    changed = {**tables(), "cosines": tables()["cosines"].with_columns(*high, pl.lit(0.05).alias("cross_half_low"))}
    found = dict(weigh_claims(changed, STUDY).select("part", "verdict").iter_rows())
    assert found["3a"] == found["3b"] == found["+h"] == CANNOT_TELL


def test_a_control_without_a_direction_is_no_rival() -> None:
    shuffle = pl.col("name").str.starts_with("shuffle")
    lower = pl.when(pl.col("family") == "other label").then(0.6).otherwise("disattenuated").alias("disattenuated")
    assert weigh("cosines", lower)["+h"] == SUPPORTED
    cross = pl.when(shuffle).then(0.95).otherwise("cross_half").alias("cross_half")
    assert weigh("cosines", cross)["+h"] == NOT_SUPPORTED


SWEPT = {claim.part for claim in CLAIMS if claim.table in ("2x2", "baselines", "ablation")}


def test_what_the_study_does_not_ask_for_was_not_measured() -> None:
    """The reason comes from the settings, so an empty table is no error there."""
    empty = {name: tables()[name].clear() for name in ("2x2", "baselines", "ablation", "detection")}
    selection = {"selection": STUDY.sweeps["selection"]}
    study = replace(STUDY, sweeps=selection, prompts=replace(STUDY.prompts, source="prompts.jsonl"))
    found = weigh_claims({**tables(), **empty}, study).filter(pl.col("verdict") == NOT_MEASURED)
    assert set(found["part"]) == SWEPT | {"+f", "+g"}
    notes = dict(found.select("part", "note").iter_rows())
    assert notes["1a"] == "the study has no sweep two_by_two" and "our own pairs" in notes["+g"]
    assert found.select("estimate", "low", "high", "threshold").null_count().sum_horizontal()[0] == 4 * found.height


@pytest.mark.parametrize(
    ("sweep", "changes", "parts", "note"),
    [
        ("two_by_two", {"targets": ("reasoning",)}, {"2a", "2b"}, "sweeps.two_by_two has no target base"),
        ("two_by_two", {"readers": ("base",)}, {"2b"}, "sweeps.two_by_two has no reader reasoning"),
        ("two_by_two", {"magnitudes": Magnitudes("selected", (1.0,))}, {"+c"}, "has no negative magnitude"),
        (
            "baselines",
            {"directions": ("backtracking", "mean")},
            {"1b", "+a", "+b"},
            "sweeps.baselines has no direction",
        ),
        ("ablation", {"directions": ("backtracking",)}, {"+e"}, "sweeps.ablation has no direction random"),
    ],
)
def test_what_a_sweep_leaves_out_was_not_measured(
    sweep: str, changes: dict[str, Any], parts: set[str], note: str
) -> None:
    sweeps = {**STUDY.sweeps, sweep: replace(STUDY.sweeps[sweep], **changes)}
    found = weigh_claims(tables(), replace(STUDY, sweeps=sweeps)).filter(pl.col("verdict") == NOT_MEASURED)
    assert set(found["part"]) == parts and all(note in text for text in found["note"])


def test_marks_on_calculations_are_in_the_embedded_pairs_language_alone() -> None:
    """The other pair of ours has a truth, too, and no marks: its tables hold no such row."""
    study = replace(STUDY, prompts=replace(STUDY.prompts, source="word-problems"))
    log_odds = tables()["log_odds"].filter(pl.col("context") != "mark")
    found = weigh_claims({**tables(), "log_odds": log_odds}, study).filter(pl.col("verdict") == NOT_MEASURED)
    assert found["part"].to_list() == ["+f"] and "marks" in found["note"][0]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.part)
def test_a_column_or_a_cell_that_is_missing_is_named(claim: Claim) -> None:
    """Where the settings ask for it, nothing that is missing passes for too little data."""
    name, whole = claim.table, tables()[claim.table]
    measured = () if claim.rule is rules.lens_top else claim.instead or claim.measure  # no truth here
    for column in {*claim.cell, *measured}:
        with pytest.raises(TableError, match=rf"{name}\.csv: no column {column}"):
            weigh_claim(claim, {name: whole.drop(column)}, STUDY)
    if not claim.may_lack_rows:
        with pytest.raises(TableError, match=rf"{name}\.csv: no row with "):
            weigh_claim(claim, {name: whole.clear()}, STUDY)
    with pytest.raises(TableError, match=rf"{name}\.csv is missing; claim"):
        weigh_claim(claim, {}, STUDY)


@pytest.mark.parametrize("part", ["2d", "+e", "+f"])
def test_random_directions_that_are_missing_are_named(part: str) -> None:
    """They are in every study that has the claim: a limit over nothing would pass for too little data."""
    (claim,) = (claim for claim in CLAIMS if claim.part == part)
    others = tables()[claim.table].filter(pl.col("family") != "random")
    with pytest.raises(TableError, match=rf"{claim.table}\.csv: no row with .*family random"):
        weigh_claim(claim, {claim.table: others}, STUDY)


def test_an_estimate_that_is_not_defined_cannot_be_told_and_says_so() -> None:
    """Nothing to count is no error: the cell is there."""
    table = tables()["2x2"].with_columns(
        pl.lit(None, pl.Float64).alias(f"change{end}") for end in ("", "_low", "_high")
    )
    found = weigh_claims({**tables(), "2x2": table}, STUDY).row(0, named=True)
    assert (found["part"], found["verdict"], found["note"]) == ("1a", CANNOT_TELL, "too little data: nothing to count")


def test_a_table_without_rows_cannot_tell() -> None:
    """A tiny study may have no calculation to score; a CSV file without rows has columns of text alone."""
    empty = tables()["detection"].clear().cast(pl.String)
    row = weigh_claims({**tables(), "detection": empty}, STUDY).row(by_predicate=pl.col("part") == "+g", named=True)
    assert row["verdict"] == "cannot tell" and row["note"] == "too little data: detection.csv has no rows"


def test_a_ratio_without_bound_is_empty_and_the_note_says_why() -> None:
    """No number stands for infinity: neither in the CSV nor on the page."""
    others = pl.col("family") != "behaviour"
    table = tables()["baselines"].with_columns(pl.when(others).then(-0.001).otherwise("change_low").alias("change_low"))
    found = weigh_claims({**tables(), "baselines": table}, STUDY).row(by_predicate=pl.col("part") == "5c", named=True)
    assert found["high"] is None and found["low"] > 0 and "no upper end" in found["note"]
    assert "at least" in format_estimate(found)
    table = table.with_columns(pl.when(others).then(-0.001).otherwise(end).alias(end) for end in CHANGE)
    found = weigh_claims({**tables(), "baselines": table}, STUDY).row(by_predicate=pl.col("part") == "5c", named=True)
    assert [found[name] for name in ("estimate", "low", "high")] == [None] * 3 and format_estimate(found) == "–"
    assert (found["verdict"], found["note"]) == (SUPPORTED, "no control raises the share")


@pytest.mark.parametrize(
    ("unit", "written"),
    [
        ("share", "16.48 % (−0.50 to 18.71)"),
        ("difference of shares", "+16.5 points (−0.5 to 18.7)"),
        ("nats", "0.165 (−0.005 to 0.187)"),
    ],
)
def test_differences_of_shares_are_percentage_points(unit: str, written: str) -> None:
    assert format_estimate({"estimate": 0.1648, "low": -0.005, "high": 0.1871, "unit": unit}) == written


def test_every_claim_of_the_paper_has_parts_and_a_rule() -> None:
    found = read_csv(built("present") / "claims.csv")
    assert set(found["claim"].cast(pl.String)) == set(PAPER)
    assert all(len(rule) > 20 for rule in found["rule"]) and found["part"].n_unique() == found.height


def test_the_words_name_the_threshold_and_the_rivals() -> None:
    """What a claim asks in words and what its rule computes are written side by side and must not part."""
    by_part = {claim.part: claim for claim in CLAIMS}
    for part in ("3a", "4a", "5c", "6b", "+g"):
        assert f" {by_part[part].threshold:g}" in by_part[part].asks, part
    assert by_part["2a"].threshold == by_part["2b"].threshold == 0.01 and "below 1 %" in by_part["2a"].asks
    directions = set(get_args(Direction))
    assert set(by_part["5b"].rivals) == directions - {"random"} and set(by_part["+j"].rivals) == directions
    assert set(by_part["5c"].rivals) == {"random", *by_part["5a"].rivals}


def test_a_key_or_a_rule_that_does_not_exist_is_an_error() -> None:
    entry = CONTENT["claims"][0]
    with pytest.raises(TypeError, match="treshold"):
        read_claim({**entry, "treshold": 1})
    with pytest.raises(AttributeError, match="no_such_rule"):
        read_claim({**entry, "rule": "no_such_rule"})
    assert {claim.unit for claim in CLAIMS} <= set(get_args(Unit))


def test_missing_table_is_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    arguments = claims_arguments(built("present"))
    start = arguments.index("--tables")
    few = [*arguments[: start + 2], "--output", str(tmp_path / "c.csv")]
    with pytest.raises(SystemExit, match=r"2x2\.csv is missing"):
        run_step(step, few)
    assert not list(tmp_path.iterdir())
