"""Verdicts: the rule itself, and that it flips with the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
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
    EVERY,
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


PRESENT = [
    "1a",
    "1b",
    "1c",
    "2a",
    "2b",
    "2c",
    "2d",
    "2e",
    "3a",
    "3b",
    "4b",
    "5a",
    "5b",
    "6a",
    "6b",
    "6c",
    "+a",
    "+d",
    "+f",
    "+g",
]
REFUTED = ["1b", "2a", "2b", "2c", "2d", "3a", "3b", "5a", "5b", "5c", "+a", "+f"]
NOT_SEEN = ["1a", "1c", "2e", "4a", "4b", "6a", "6b", "6c", "+b", "+d", "+e", "+g"]


def test_effects_that_are_there_are_supported() -> None:
    found = verdicts("present")
    assert {part: found[part] for part in PRESENT} == dict.fromkeys(PRESENT, SUPPORTED)
    assert NOT_SUPPORTED not in found.values()


def test_effects_that_are_not_there_are_not_supported() -> None:
    found = verdicts("absent")
    assert {part: found[part] for part in REFUTED} == dict.fromkeys(REFUTED, NOT_SUPPORTED)
    assert SUPPORTED not in {found[part] for part in NOT_SEEN}


def test_overall_verdicts_flip() -> None:
    for kind, expected in (("present", {SUPPORTED, CANNOT_TELL}), ("absent", {NOT_SUPPORTED, CANNOT_TELL})):
        overall = overall_verdicts(read_csv(built(kind) / "claims.csv"))
        assert set(overall) == set("123456") and set(overall.values()) <= expected
    assert {name for name, verdict in overall.items() if verdict == NOT_SUPPORTED} == set("1235")
    assert overall_verdicts(read_csv(built("present") / "claims.csv"))["1"] == SUPPORTED


def test_what_asks_for_more_than_the_paper_does_not_count() -> None:
    table = pl.DataFrame({"claim": ["2", "2"], "verdict": [SUPPORTED, NOT_SUPPORTED], "counts": [True, False]})
    assert overall_verdicts(table)["2"] == SUPPORTED


@cache
def tables() -> Mapping[str, pl.DataFrame]:
    names = {claim.table for claim in CLAIMS}
    read = {name: read_csv(built("present") / f"tables/{name}.csv") for name in names}
    entry = {"best_entry": "Wait", "entries": 4, "best_rank": 0.6, "best_score": 0.1}
    return MappingProxyType(
        {**read, "lens": read["lens"].with_columns(pl.lit(value).alias(name) for name, value in entry.items())}
    )


CHANGE = ("change", "change_low", "change_high")
MORE = ("more_than_base", "more_than_base_low", "more_than_base_high")


def weigh(table: str, *changes: pl.Expr | pl.Series) -> dict[str, str]:
    """Verdicts after one table is changed."""
    changed = {**tables(), table: tables()[table].with_columns(*changes)}
    return dict(weigh_claims(changed, STUDY).select("part", "verdict").iter_rows())


def test_one_strong_random_direction_is_enough_against_it() -> None:
    """The best of the twenty decides, by its upper end and not by its mean."""
    high = pl.when(pl.col("direction") == "random-07").then(0.5).otherwise("high").alias("high")
    assert weigh("baselines", high)["1b"] == NOT_SUPPORTED
    assert weigh("baselines", high)["5a"] == SUPPORTED


def strong_deduction(*, coherent: bool, multiple: float) -> list[pl.Series]:
    """The control says most at one magnitude, and is coherent there or not; at no other is it coherent."""
    table, control = tables()["baselines"], pl.col("direction") == "deduction"
    here = control & (pl.col("multiple") == multiple)
    columns = {
        "high": pl.when(here).then(0.6).otherwise("high"),
        "coherent": pl.when(here).then(coherent).when(control).then(False).otherwise("coherent"),
    }
    return [table.select(column.alias(name))[name] for name, column in columns.items()]


@pytest.mark.parametrize("multiple", [0.5, 1.0, 1.5])
def test_a_control_is_judged_at_its_own_best_coherent_magnitude(multiple: float) -> None:
    """Whichever it is, also above the selected one. One without coherent text has not been tried: nobody can tell."""
    assert weigh("baselines", *strong_deduction(coherent=True, multiple=multiple))["5a"] == NOT_SUPPORTED
    assert weigh("baselines", *strong_deduction(coherent=False, multiple=multiple))["5a"] == CANNOT_TELL


def test_of_which_controls_nothing_is_coherent_is_said() -> None:
    changed = tables()["baselines"].with_columns(*strong_deduction(coherent=False, multiple=1.0))
    found = weigh_claims({**tables(), "baselines": changed}, STUDY).filter(part="5a")
    assert "4 of 5 are coherent at some magnitude, 4 at the selected one" in found["note"][0]
    assert "not tried, for want of coherent text: deduction" in found["note"][0]


@pytest.mark.parametrize(
    ("name", "family", "parts"),
    [
        ("covariance-random-03", "covariance-random", {"1b", "5b"}),
        ("shuffle-within-02", "shuffle-within", {"5b"}),
        ("brand-new", "brand-new", {"5b"}),
        ("backtracking-without-keywords", "variant", set()),
        ("mine", "outside", set()),
    ],
)
def test_a_new_kind_of_control_is_a_rival_by_its_name(name: str, family: str, parts: set[str]) -> None:
    """What is made of the vector itself and what comes from outside is none."""
    table = tables()["baselines"]
    row = table.filter(pl.col("direction") == "random-00", "selected").with_columns(
        pl.lit(name).alias("direction"), pl.lit(family).alias("family"), high=pl.lit(0.9)
    )
    more = {**tables(), "baselines": pl.concat([table, row])}
    found = weigh_claims(more, STUDY).filter(pl.col("part").is_in(["1b", "5a", "5b", "+a"]))
    assert set(found.filter(verdict=NOT_SUPPORTED)["part"]) == parts


def test_no_control_at_all_is_infinitely_less() -> None:
    weak = [pl.when(pl.col("family") != "behaviour").then(-0.1).otherwise(c).alias(c) for c in CHANGE]
    assert weigh("baselines", *weak)["5c"] == SUPPORTED


@pytest.mark.parametrize(("entries", "verdict"), [(1, NOT_SUPPORTED), (40, SUPPORTED)])
def test_one_entry_that_decodes_is_enough(entries: int, verdict: str) -> None:
    """Unless it is the best of so many that one of them had to be high."""
    hmm = pl.col("word") == "hmm"
    best = pl.when(hmm).then(0.99).otherwise(0.2).alias("best_rank")
    assert weigh("lens", best, pl.lit(entries).alias("entries"), pl.lit(0.2).alias("rank"))["4a"] == verdict


def test_a_lens_that_read_no_single_entry_cannot_tell() -> None:
    assert weigh("lens", pl.lit(None, pl.Float64).alias("best_rank"))["4a"] == CANNOT_TELL


def test_incoherent_text_carries_no_verdict() -> None:
    found = weigh("2x2", pl.lit(False).alias("coherent"))
    assert found["1a"] == found["1c"] == CANNOT_TELL


def test_the_base_models_zero_must_hold_at_every_coherent_magnitude() -> None:
    """Silence is no zero: the worst of the coherent ones decides, and where none is coherent nobody can tell."""
    base = pl.col("target") == "base"
    loud = base & (pl.col("multiple") == 0.5)
    louder = [
        pl.when(loud).then(value).otherwise(name).alias(name)
        for name, value in (("share", 0.05), ("low", 0.04), ("high", 0.06))
    ]
    found = weigh("2x2", *louder)
    assert found["2a"] == found["2b"] == NOT_SUPPORTED
    garbage = pl.when(loud).then(False).otherwise("coherent").alias("coherent")
    assert weigh("2x2", *louder, garbage)["2a"] == SUPPORTED
    backwards = pl.when(loud).then(-0.5).otherwise("magnitude").alias("magnitude")
    assert weigh("2x2", *louder, backwards)["2a"] == SUPPORTED
    assert weigh("2x2", pl.when(base).then(False).otherwise("coherent").alias("coherent"))["2a"] == CANNOT_TELL


def test_the_interaction_is_read_where_both_texts_are_coherent() -> None:
    half, whole = (pl.col("multiple") == multiple for multiple in (0.5, 1.0))
    nothing = [
        pl.when(half).then(value).otherwise(name).alias(name)
        for name, value in zip(MORE, (-0.1, -0.2, -0.05), strict=True)
    ]
    assert weigh("2x2", *nothing)["2e"] == SUPPORTED
    for target in ("base", "reasoning"):
        garbage = pl.when(whole, pl.col("target") == target).then(False).otherwise("coherent").alias("coherent")
        assert weigh("2x2", *nothing, garbage)["2e"] == NOT_SUPPORTED
    base = pl.when(pl.col("target") == "base").then(False).otherwise("coherent").alias("coherent")
    assert weigh("2x2", base)["2e"] == CANNOT_TELL


def test_wide_intervals_cannot_tell() -> None:
    found = weigh("2x2", (pl.col("change_low") - 1).alias("change_low"))
    assert found["1a"] == CANNOT_TELL


def test_alike_on_the_same_text_is_no_evidence() -> None:
    """Label shuffles have a high cosine too, where both readers read the same windows."""
    high = [pl.lit(0.99).alias("cosine"), pl.lit(None, pl.Float64).alias("disattenuated_low")]
    found = weigh("cosines", *high, pl.lit(0.05).alias("cross_half_low"))
    assert found["3a"] == found["3b"] == CANNOT_TELL


def test_a_control_without_a_direction_is_a_rival_by_its_halves() -> None:
    shuffle = pl.col("family") == "shuffle"
    cross = pl.when(shuffle).then(0.95).otherwise("cross_half").alias("cross_half")
    found = weigh("cosines", cross)
    assert found["3a"] == found["3b"] == NOT_SUPPORTED


def test_another_label_with_few_positives_is_no_rival() -> None:
    alike = pl.when(pl.col("name") == "deduction").then(0.95).otherwise("disattenuated").alias("disattenuated")
    assert weigh("cosines", alike)["3a"] == NOT_SUPPORTED
    few = pl.when(pl.col("name") == "deduction").then(19).otherwise("positives").alias("positives")
    assert weigh("cosines", alike, few)["3a"] == SUPPORTED
    others = pl.when(pl.col("family") != "behaviour").then(19).otherwise("positives").alias("positives")
    assert weigh("cosines", others)["3a"] == CANNOT_TELL


def test_a_projection_on_controls_is_asked_for() -> None:
    """Without them the claim can be refuted, and not supported."""
    own = pl.col("direction") == CONTROL_FREE["direction"]
    for name, part in (("detection", "+g"), ("projections", "6a")):
        alone = {**tables(), name: tables()[name].filter(own)}
        assert weigh_claims(alone, STUDY).filter(part=part)["verdict"].to_list() == [CANNOT_TELL]
    sign = pl.when(~own).then(1 - pl.col("auroc")).otherwise("auroc").alias("auroc")
    low, high = (pl.when(~own).then(value).otherwise(name).alias(name) for name, value in (("low", 0.1), ("high", 0.2)))
    assert weigh("detection", sign, low, high)["+g"] == NOT_SUPPORTED  # whichever sign serves the control


CONTROL_FREE = {"direction": "backtracking"}
SWEPT = {claim.part for claim in CLAIMS if claim.table in ("2x2", "baselines", "ablation")}
EXPLAINING = {claim.part for claim in CLAIMS if claim.explains}


@pytest.mark.parametrize("change", [-0.02, 0.0])
def test_without_an_effect_there_is_nothing_to_explain(change: float) -> None:
    ends = zip(CHANGE, (change, change - 0.01, change + 0.01), strict=True)
    changed = {**tables(), "2x2": tables()["2x2"].with_columns(pl.lit(value).alias(name) for name, value in ends)}
    found = weigh_claims(changed, STUDY).filter(pl.col("part").is_in(list(EXPLAINING)))
    assert set(found["verdict"]) == {CANNOT_TELL} and {"4a", "4b", "6a", "6b", "6c"} == EXPLAINING
    assert all(note.startswith("no effect to explain: claim 1 is “") for note in found["note"])
    assert found["estimate"].null_count() == 0


def test_where_every_prompt_says_the_same_nobody_can_tell() -> None:
    same = [pl.lit(0.03).alias(name) for name in CHANGE]
    row = weigh_claims({**tables(), "2x2": tables()["2x2"].with_columns(same)}, STUDY).row(0, named=True)
    assert (row["part"], row["verdict"], row["note"]) == ("1a", CANNOT_TELL, "the interval has no width")


def numbers_of(claim: Claim) -> tuple[dict[str, pl.DataFrame], pl.Expr, tuple[str, ...], Finding]:
    """Tables in which a claim has enough data, the rows that it may be read off, its columns, and its finding."""
    changed = dict(tables())
    table = changed[claim.table]
    cell = {name: "backtracking" if value == "own" else value for name, value in claim.cell.items()}
    here = pl.all_horizontal(pl.col(n).eq_missing(pl.lit(v)) for n, v in cell.items() if n != "selected")
    columns = (
        claim.instead or claim.measure if claim.rule in (rules.natural, rules.natural_below_random) else claim.measure
    )
    enough = [pl.lit(1000).alias(name) for name in counted(claim)]
    coherent = [pl.lit(True).alias("coherent")] if "coherent" in table.columns else []
    if claim.unit == "times" and claim.table == "baselines":
        ends = zip(claim.measure, (0.01, 0.008, 0.012), strict=True)
        enough += [pl.when(here).then(name).otherwise(value).alias(name) for name, value in ends]
    changed[claim.table] = table.with_columns(*enough, *coherent)
    row = weigh_claim(claim, changed, STUDY)
    return changed, here, columns, Finding(Estimate(0.0, 0.0, 0.0), row["threshold"])


def counted(claim: Claim) -> list[str]:
    """The columns that must reach the minimum; what is counted by truth is counted by label where there is none."""
    known = claim.rule not in (rules.natural, rules.natural_below_random)
    return list(claim.least) if known else ["prompts", "backtracking_events"]


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.rule is not rules.lens_top], ids=lambda claim: claim.part)
def test_each_part_says_yes_no_and_cannot_tell(claim: Claim) -> None:
    changed, here, columns, found = numbers_of(claim)
    limit, (unit, step) = found.threshold, ((0.012, 1.5) if claim.rule is rules.times_rivals else (1.0, 0.01))
    exact = claim.rule is rules.lens_best
    wide = 0.0 if exact else 0.001

    def verdict(value: float, width: float, **more: object) -> str:
        ends = dict(zip(columns, (value * unit, (value - width) * unit, (value + width) * unit), strict=not exact))
        set_to = [pl.when(here).then(end).otherwise(name).alias(name) for name, end in ends.items()]
        extra = [pl.when(here).then(pl.lit(v)).otherwise(n).alias(n) for n, v in more.items()]
        table = changed[claim.table].with_columns(set_to).with_columns(extra)
        return str(weigh_claim(claim, {claim.table: table}, STUDY)["verdict"])

    yes, no = (1.0, -1.0) if claim.above else (-1.0, 1.0)
    assert verdict(limit + step * yes, wide) == SUPPORTED
    assert verdict(limit + step * no, wide) == NOT_SUPPORTED
    if not exact:
        assert verdict(limit, 0.01) == CANNOT_TELL
        assert verdict(limit + step * yes, 0.0) == CANNOT_TELL
    if claim.least:
        assert verdict(limit + step * yes, wide, prompts=19) == CANNOT_TELL
    if claim.coherent:
        assert verdict(limit + step * yes, wide, coherent=False) == CANNOT_TELL


def test_a_keyword_among_the_best_tokens_is_enough() -> None:
    for token, verdict in (("off", SUPPORTED), ("Wait", NOT_SUPPORTED)):
        top = pl.when(pl.col("word").str.starts_with("top:")).then(pl.lit(f"top:{token}")).otherwise("word")
        assert weigh("lens", top.alias("word"))["4b"] == verdict
    assert weigh_claim(TOP, {"lens": tables()["lens"].filter(~rules.IS_TOP)}, STUDY)["verdict"] == CANNOT_TELL


(TOP,) = (claim for claim in CLAIMS if claim.rule is rules.lens_top)


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.least], ids=lambda claim: claim.part)
def test_each_count_that_is_short_is_named(claim: Claim) -> None:
    for column in counted(claim):
        changed, *_ = numbers_of(claim)
        few = changed[claim.table].with_columns(pl.lit(5).alias(column))
        row = weigh_claim(claim, {claim.table: few}, STUDY)
        said = f" {rules.COUNTED.get(column, column)}; at least 20 are needed"
        assert row["verdict"] == CANNOT_TELL
        assert said in row["note"] or row["note"].startswith("no other label"), row["note"]


def test_events_of_both_texts_are_counted_and_prompts_of_each() -> None:
    """Of a change: a text that says nothing beside one that says enough is data."""
    events = pl.when(pl.col("direction") == "none").then(15).otherwise(6).alias("events")
    assert weigh("2x2", events)["1a"] == SUPPORTED
    assert weigh("2x2", pl.lit(9).alias("events"))["1a"] == CANNOT_TELL


def test_natural_backtracking_that_is_not_there_cannot_be_needed() -> None:
    """It was 0 of 7, and the verdict that it is not needed."""
    none = [pl.lit(0.0).alias(name) for name in ("after_wrong", "after_wrong_low")]
    none += [pl.lit(0.3).alias("after_wrong_high"), pl.lit(0).alias("after_wrong_events")]
    none += [pl.lit(0.0).alias(f"after_wrong_change{end}") for end in ("", "_low", "_high")]
    found = weigh("ablation", *none)
    assert found["+d"] == found["+e"] == CANNOT_TELL


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
        ("two_by_two", {"targets": ("reasoning",)}, {"2a", "2b", "2e"}, "sweeps.two_by_two has no target base"),
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
    assert {"deduction", *by_part["1b"].rivals, *by_part["5a"].rivals} < set(get_args(Direction))
    assert all(by_part[part].rivals == [EVERY] for part in ("5b", "5c", "+g", "+j"))


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
