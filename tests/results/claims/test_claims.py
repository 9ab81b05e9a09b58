"""Verdicts: the rule itself, and that it flips with the truth."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repurpose.data.csv_tables import read_csv
from repurpose.data.files import TableError
from repurpose.data.statistics import Estimate
from repurpose.results import claims
from repurpose.results.claims import CANNOT_TELL, NOT_SUPPORTED, SUPPORTED, Finding, judge, judge_all
from synthetic import built, claims_arguments, run_step

NUMBER = st.floats(-10, 10)


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
    assert judge(Finding(Estimate((low + high) / 2, low, high), 1.0, above)) == verdict


@given(NUMBER, NUMBER, NUMBER, st.booleans())
def test_straddling_is_never_a_verdict(one: float, other: float, threshold: float, above: bool) -> None:
    low, high = sorted((one, other))
    verdict = judge(Finding(Estimate(low, low, high), threshold, above))
    if low < threshold < high:
        assert verdict == CANNOT_TELL
    assert judge(Finding(Estimate(low, low, high), threshold, above, valid=False)) == CANNOT_TELL


def test_a_claim_stands_only_with_all_its_parts() -> None:
    assert judge_all([SUPPORTED, SUPPORTED]) == SUPPORTED
    assert judge_all([SUPPORTED, CANNOT_TELL]) == CANNOT_TELL
    assert judge_all([SUPPORTED, CANNOT_TELL, NOT_SUPPORTED]) == NOT_SUPPORTED
    assert judge_all([]) == CANNOT_TELL


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
        overall = claims.overall_verdicts(read_csv(built(kind) / "claims.csv"))
        assert set(overall) == set("123456") and set(overall.values()) <= expected
    assert claims.overall_verdicts(read_csv(built("present") / "claims.csv"))["1"] == SUPPORTED


def test_what_asks_for_more_than_the_paper_does_not_count() -> None:
    table = pl.DataFrame({"claim": ["2", "2"], "verdict": [SUPPORTED, NOT_SUPPORTED], "counts": [True, False]})
    assert claims.overall_verdicts(table)["2"] == SUPPORTED


def tables() -> dict[str, pl.DataFrame]:
    return {claim.table: read_csv(built("present") / f"tables/{claim.table}.csv") for claim in claims.CLAIMS}


CHANGE = ("change", "change_low", "change_high")


def weigh(table: str, *changes: pl.Expr | pl.Series) -> dict[str, str]:
    """Verdicts after one table is changed."""
    changed = {**tables(), table: tables()[table].with_columns(*changes)}
    return dict(claims.weigh_claims(changed, "backtracking").select("part", "verdict").iter_rows())


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
    found = claims.weigh_claims({**tables(), "baselines": changed}, "backtracking").filter(part="5a")
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
    found = dict(claims.weigh_claims(changed, "backtracking").select("part", "verdict").iter_rows())
    assert found["3a"] == found["3b"] == found["+h"] == CANNOT_TELL


def test_a_control_without_a_direction_is_no_rival() -> None:
    shuffle = pl.col("name").str.starts_with("shuffle")
    lower = pl.when(pl.col("family") == "other label").then(0.6).otherwise("disattenuated").alias("disattenuated")
    assert weigh("cosines", lower)["+h"] == SUPPORTED
    cross = pl.when(shuffle).then(0.95).otherwise("cross_half").alias("cross_half")
    assert weigh("cosines", cross)["+h"] == NOT_SUPPORTED


def test_what_was_not_measured_cannot_be_told() -> None:
    empty = {name: table.clear() for name, table in tables().items()}
    found = claims.weigh_claims(empty, "backtracking")
    assert set(found["verdict"]) == {CANNOT_TELL} and set(found["note"]) == {"not measured in this study"}


def test_every_claim_of_the_paper_has_parts_and_a_rule() -> None:
    found = read_csv(built("present") / "claims.csv")
    assert set(found["claim"].cast(pl.String)) == set(claims.PAPER)
    assert all(len(rule) > 20 for rule in found["rule"]) and found["part"].n_unique() == found.height


def test_markdown_holds_every_part_and_no_markup() -> None:
    page = (built("absent") / "claims.md").read_text()
    for claim in claims.CLAIMS:
        assert f"| {claim.name}" in page
    hostile = claims._escape_markdown("<img src=x>| `a`\n# b")
    assert "<" not in hostile and "\n" not in hostile and "\\|" in hostile


def test_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"2x2\.csv is missing"):
        claims.read_tables([str(built("present") / "tables/cosines.csv")])
    arguments = claims_arguments(built("present"))
    start = arguments.index("--tables")
    few = [*arguments[: start + 2], "--output", str(tmp_path / "c.csv"), str(tmp_path / "c.md")]
    with pytest.raises(SystemExit, match="missing"):
        run_step(claims, few)
    assert not list(tmp_path.iterdir())
