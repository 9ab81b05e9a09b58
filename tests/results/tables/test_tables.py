"""The other tables: what they say of a study whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from repurpose.data.csv_tables import read_csv, to_csv
from repurpose.data.files import TableError
from repurpose.results.tables import __main__ as step
from repurpose.results.tables.cells import Resampling
from repurpose.results.tables.directions import cosine, make_permutation
from repurpose.results.tables.reading import _detect, _summary, participation_above
from repurpose.study.catalogue import FIGURES, TABLES
from synthetic import HELDOUT, WIDTH, built, load, make_study, run_step, tables_arguments

OWN = pl.col("direction") == "backtracking"


def table(name: str, kind: str = "present") -> pl.DataFrame:
    return read_csv(built(kind) / f"tables/{name}.csv")


@pytest.mark.parametrize("name", [name for name in TABLES if name != "beside"])  # the made-up sites have no such window
def test_every_table_has_rows(name: str) -> None:
    assert table(name).height > 0


def test_every_figure_has_its_table() -> None:
    assert set(FIGURES) < set(TABLES) and set(step.MAKERS) == set(TABLES)


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    folder = built("present")
    names = ("measurements", "vectors", "rollouts", "labels", "logodds", "projections")
    paths = {name: sorted((folder / name).rglob("*.parquet")) for name in names}
    paths |= {name: folder / f"{name}.parquet" for name in ("cosines", "permutations", "lens")}
    paths |= {"selection": folder / "selection.json", "study": make_study(HELDOUT)}
    run_step(step, tables_arguments(paths, tmp_path))
    assert all((tmp_path / f"{n}.csv").read_bytes() == (folder / f"tables/{n}.csv").read_bytes() for n in TABLES)


def test_rollout_marks_the_window_before_the_start() -> None:
    tokens = table("rollout")
    chosen = load(built("present")).selection
    for _, example in tokens.group_by("example"):
        marks = dict(example.select("position", "mark").iter_rows())
        starts = [position for position, mark in marks.items() if mark == "start"]
        assert starts
        for start in starts:
            window = range(start + chosen.window_start, start + chosen.window_start + chosen.window_length)
            assert {marks[p] for p in window if p in marks} <= {"window"}
            sentence = example.filter(pl.col("position") == start)
            assert sentence["label"][0] == "backtracking" and sentence["token"][0].strip() in ("Wait", "Hmm")


def test_the_vector_is_held_against_each_kind_of_permutation() -> None:
    """Changes are weighed by positions; held-out passages alone count for p, and rivals are counted by kind."""
    columns = ("name", "kind", "split", "prompt_id", "positions", "change", "rival")
    rows = [
        ("backtracking", "backtracking", "heldout", "a", 1, 1.0, None),
        ("backtracking", "backtracking", "heldout", "b", 3, 3.0, None),
        *(
            (f"shuffle-{number:02d}", "shuffle", split, prompt, positions, change, rival)
            for number, (first, second, rival) in enumerate(
                [(9.0, 0.0, "rival-00"), (4.0, 2.0, None), (0.0, 0.0, None)]
            )
            for split, prompt, positions, change in (
                *(("heldout", "a", 1, first), ("heldout", "b", 3, second)),
                *(("train", "c", 2, 99.0), ("train", "d", 2, None)),
            )
        ),
        ("covariance-random-00", "covariance-random", "heldout", "a", 1, 3.0, "rival-01"),
        ("covariance-random-00", "covariance-random", "heldout", "b", 3, 3.0, "rival-01"),
    ]
    made = pl.DataFrame([dict(zip(columns, row, strict=True)) for row in rows], infer_schema_length=None)
    data = replace(load(built("present")), permutations=made.with_columns(sample=0))
    random, shuffles = make_permutation(data).iter_rows(named=True)
    assert shuffles == {
        **{"kind": "shuffle", "n": 3, "ours": 2.5, "highest": 2.5, "p": (1 + 1) / (1 + 3)},
        **{"passages": 2, "positions": 4, "rivals": 1},
    }
    assert (random["p"], random["highest"], random["rivals"]) == (1.0, 3.0, 1)
    assert make_permutation(replace(data, permutations=data.permutations.filter(split="train"))).is_empty()
    counted = table("permutation")
    assert counted["p"].to_list() == pytest.approx([1 / 21, 1 / 21]) and counted["rivals"].to_list() == [0, 2]


def test_cosines_are_those_of_the_vectors() -> None:
    cosines = {row["name"]: row for row in table("cosines").iter_rows(named=True)}
    assert cosines["backtracking"]["cosine"] == pytest.approx(0.85, abs=1e-4)
    assert cosines["deduction"]["cosine"] == pytest.approx(0.9, abs=1e-4)
    assert cosines["backtracking"]["cosine_with_behaviour"] == pytest.approx(1)
    assert not any(name.startswith("random") for name in cosines)


def test_cosines_of_halves_stand_beside_them() -> None:
    cosines = {row["name"]: row for row in table("cosines").iter_rows(named=True)}
    found = cosines["backtracking"]
    assert [found[f"disattenuated{end}"] for end in ("", "_low", "_high")] == pytest.approx([0.85, 0.80, 0.90])
    assert found["cross_half"] == pytest.approx(0.85 * found["reliability_base"])
    assert cosines["shuffle-00"]["cosine"] == pytest.approx(0.5, abs=1e-4)
    assert cosines["shuffle-00"]["disattenuated"] is None and cosines["shuffle-00"]["cross_half"] == 0.05


def test_random_level_is_that_of_random_pairs() -> None:
    rng = np.random.default_rng(0)
    pairs = rng.standard_normal((20_000, 2, WIDTH))
    level = np.quantile([cosine(a, b) for a, b in pairs], 0.975)
    assert table("cosines")["random_high"][0] == pytest.approx(level, abs=0.008)


def test_lens_keeps_the_best_tokens_in_order() -> None:
    lens = table("lens")
    best = lens.filter(pl.col("word").str.starts_with("top:"), pl.col("reader") == "base")
    assert best["word"].to_list()[:3] == ["top:mistake", "top:$error$", "top:wrong"] and best["selected"].all()
    words = lens.filter(~pl.col("word").str.starts_with("top:"))
    assert words.filter(pl.col("other_rank_low") < pl.col("other_rank_high")).height == words.height


def test_log_odds_compares_the_targets_on_the_same_text() -> None:
    cells = table("log_odds").filter(pl.col("direction") == "backtracking", pl.col("context") == "keyword")
    base, reasoning = (cells.filter(pl.col("target") == t).row(0, named=True) for t in ("base", "reasoning"))
    assert reasoning["more_than_base"] == pytest.approx(reasoning["change"] - base["change"], rel=1e-4)
    assert base["more_than_base"] is None


def test_participation_is_that_of_a_normal_distribution() -> None:
    """1 for one, whatever its sign and size; few tokens that stand out lower it, on the side where they stand."""
    z = np.random.default_rng(0).standard_normal(20_000)
    resampling = Resampling(("a",), np.ones((4, 1)), 0.95)
    for values, above in ((z, True), (-z, True), (np.where(z > 3, 30, z), False), (np.where(z < -3, -30, z), True)):
        tokens = pl.DataFrame({"prompt_id": ["a"] * len(z), "z": values})
        assert (participation_above(tokens, resampling).value == pytest.approx(1, rel=0.1)) == above


def test_the_token_before_a_keyword_is_told_within_its_rollout() -> None:
    """Projected on what stands right before: 1 there, and nowhere across the border of two rollouts."""
    tokens = pl.DataFrame(
        {
            "prompt_id": ["a"] * 3 + ["b"] * 3,
            "sample": [0] * 6,
            "position": [0, 1, 2] * 2,
            "token": ["x", " y", " wait", "wait", " y", "z"],
            "keyword": [False, False, True, True, False, False],
            "label": ["deduction"] * 6,
            "z": [0.0, 3.0, -9.0, -9.0, 1.0, 2.0],
        }
    )
    resampling = Resampling(("a", "b"), np.ones((4, 2)), 0.95)
    found = {row["group"]: row for row in _summary(tokens, "backtracking", resampling)}
    assert (found["before_keyword_auroc"]["value"], found["before_keyword_auroc"]["count"]) == (1.0, 1)
    assert (found["keyword_auroc"]["value"], found["keyword_auroc"]["count"]) == (0.0, 2)
    assert (found["largest_token"]["token"], found["largest_token"]["value"]) == ("y", pytest.approx(10 / 14))


def test_controls_have_a_summary_and_no_profile() -> None:
    projections = table("projections")
    controls = projections.filter(pl.col("family").is_in(["random", "other label"]))
    assert set(controls["direction"]) == {"deduction", "random-00", "random-01"} and set(controls["part"]) == {
        "summary"
    }
    assert set(table("detection")["family"]) == {"behaviour", "random", "other label"}


def test_projection_is_dense_or_tracks_keywords_as_made() -> None:
    for kind, low, high in (("present", 0.25, 0.45), ("absent", 0.0, 0.1)):
        summary = table("projections", kind).filter(OWN, pl.col("part") == "summary", pl.col("reader") == "base")
        values = dict(summary.select("group", "value").iter_rows())
        assert low <= values["participation"] <= high
        assert (values["participation_above"] > 0.9) == (kind == "present")
        assert 0.02 < values["behaviour_tokens"] < 0.2
        assert (values["keyword_precision"] > 0.9) == (kind == "absent")


def test_profile_is_higher_before_backtracking() -> None:
    profile = table("projections").filter(pl.col("part") == "profile", pl.col("position") == -8)
    values = dict(profile.filter(pl.col("reader") == "base").select("group", "value").iter_rows())
    assert values["behaviour"] > values["other"]


def test_detection_finds_what_is_there() -> None:
    for kind, expected in (("present", True), ("absent", False)):
        overall = table("detection", kind).filter(OWN, pl.col("since_low") == 0, pl.col("since_high").is_null())
        assert all(
            low > 0.6 if expected else 0.47 < auroc < 0.53 for low, auroc in overall.select("low", "auroc").iter_rows()
        )


def test_detection_bins_add_up() -> None:
    cells = table("detection").filter(OWN, pl.col("reader") == "base", pl.col("tokens") == "all")
    whole = (pl.col("since_low") == 0) & pl.col("since_high").is_null()
    assert cells.filter(~whole)["mistake_tokens"].sum() == cells.filter(whole)["mistake_tokens"][0]


def test_tokens_after_one_wrong_calculation_are_one_mistake() -> None:
    tokens = pl.DataFrame(
        {
            "prompt_id": ["a"] * 5 + ["b"] * 3,
            "sample": [0] * 8,
            "position": [4, 5, 6, 9, 10, 4, 5, 6],
            "since_calculation": [0, 1, 2, 0, 1, 0, 1, 2],
            "end": [4, 4, 4, 9, 9, 4, 4, 4],
            "correct_calculation": [False] * 3 + [True] * 2 + [False] * 3,
            "projection": [1.0] * 8,
        }
    )
    found = _detect(tokens, 0, 9, Resampling(("a", "b"), np.ones((4, 2)), 0.95))
    assert (found["mistake_tokens"], found["correct_tokens"], found["mistakes"]) == (6, 2, 2)


def test_keyword_rule_is_scored_from_counts() -> None:
    rule = table("keyword_rule")
    assert rule["direction"][0] == "natural"
    rows = (
        load(built("present"))
        .sweep_rows("two_by_two")
        .filter(pl.col("target") == "reasoning", pl.col("direction") == "none")
    )
    both, keyword = rows["keyword_backtracking_sentences"].sum(), rows["keyword_sentences"].sum()
    found = rule.filter(pl.col("direction") == "none").row(0, named=True)
    assert found["precision"] == pytest.approx(both / keyword, rel=1e-5)
    assert found["f1"] == pytest.approx(2 * both / (keyword + rows["backtracking_sentences"].sum()), rel=1e-5)


def test_csv_keeps_hostile_text_and_types(tmp_path: Path) -> None:
    tokens = ["1", "true", 'a"b,c', "\n", "=cmd()", "", None, "<script>"]
    (tmp_path / "x.csv").write_text(to_csv(pl.DataFrame({"token": tokens, "value": [0.1234567] * 8})))
    back = read_csv(tmp_path / "x.csv")
    assert back["token"].to_list() == tokens and back["value"][0] == 0.123457


def test_missing_table_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"absent\.csv"):
        read_csv(tmp_path / "absent.csv")
