"""Cells against sums done by hand, and what holds of every effects table."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from repurpose.data.csv_tables import read_csv
from repurpose.results.tables.data import StudyData
from repurpose.results.tables.steering import (
    make_ablation,
    make_baselines,
    make_coherence,
    make_keyword_rule,
    make_two_by_two,
    with_family,
)
from synthetic import HELDOUT, built, load


@pytest.fixture(scope="module")
def data() -> StudyData:
    return load(built("present"))


def table(name: str, kind: str = "present") -> pl.DataFrame:
    return read_csv(built(kind) / f"tables/{name}.csv")


def test_share_and_change_by_hand(data: StudyData) -> None:
    rows = data.sweep_rows("two_by_two").filter(pl.col("target") == "reasoning")
    mine = rows.filter(pl.col("direction") == "backtracking", pl.col("reader") == "base", pl.col("multiple") == 1.0)
    plain = rows.filter(pl.col("direction") == "none")
    share = mine["keyword_words"].sum() / mine["words"].sum()
    unsteered = plain["keyword_words"].sum() / plain["words"].sum()
    row = table("2x2").filter(pl.col("target") == "reasoning", pl.col("reader") == "base", pl.col("multiple") == 1.0)
    assert row["share"][0] == pytest.approx(share, rel=1e-5)
    assert row["change"][0] == pytest.approx(share - unsteered, rel=1e-4)
    assert row["rows"][0] == mine.height and row["prompts"][0] == HELDOUT
    assert row["distinct_2"][0] == pytest.approx(mine["distinct_2"].mean(), rel=1e-5)


def test_a_share_is_its_events_of_its_trials(data: StudyData) -> None:
    for name in ("2x2", "baselines", "ablation"):
        for share, stem in (("share", ""), ("backtracking_share", "backtracking_"), ("after_right", "after_right_")):
            cells = table(name).drop_nulls(share)
            counted = cells[f"{stem}events"] / cells[f"{stem}trials"]
            assert counted.to_list() == pytest.approx(cells[share].to_list(), rel=1e-5)
    rows = data.sweep_rows("two_by_two").filter(pl.col("direction") == "none", pl.col("target") == "reasoning")
    plain = table("2x2").filter(pl.col("direction") == "none", pl.col("target") == "reasoning")
    assert plain["events"][0] == rows["keyword_words"].sum() and plain["trials"][0] == rows["words"].sum()


def test_more_than_base_is_the_difference_of_the_changes() -> None:
    cells = table("2x2").filter(pl.col("direction") == "backtracking")
    base = cells.filter(pl.col("target") == "base").select("reader", "multiple", base="change")
    both = cells.filter(pl.col("target") == "reasoning").join(base, on=["reader", "multiple"])
    assert both["more_than_base"].to_list() == pytest.approx((both["change"] - both["base"]).to_list(), abs=1e-6)
    assert (both["more_than_base_low"] < both["more_than_base"]).all()
    assert table("2x2").filter(pl.col("target") == "base")["more_than_base"].null_count() == base.height + 1


def test_each_direction_is_best_where_it_is_coherent_and_highest() -> None:
    cells = table("baselines")
    best = cells.filter("best")
    assert best["direction"].n_unique() == best.height == cells["direction"].n_unique() - 1  # but the unsteered
    highest = cells.filter("coherent", pl.col("magnitude") > 0).group_by("direction").agg(pl.col("high").max())
    assert dict(best.select("direction", "high").iter_rows()) == dict(highest.iter_rows())


@pytest.mark.parametrize("name", ["2x2", "baselines", "windows", "layers", "ablation"])
def test_effects_tables_hold_together(name: str) -> None:
    cells = table(name)
    assert cells.filter(pl.col("share").is_between(pl.col("low"), pl.col("high"))).height == cells.height
    unsteered = cells.filter(pl.col("direction") == "none")
    assert unsteered.height == cells["target"].n_unique()
    assert (unsteered["change"] == 0).all() and (unsteered["change_low"] == 0).all()
    assert cells.unique(["target", "direction", "reader", "layer", "window_start", "multiple"]).height == cells.height


def test_negative_and_incoherent_magnitudes_are_kept() -> None:
    cells = table("2x2")
    assert (cells["multiple"] < 0).sum() == 4
    loops = cells.filter(pl.col("multiple") == 2.0)
    assert loops.height == 4 and not loops["coherent"].any() and cells["coherent"].sum() == cells.height - 4


def test_selected_cells_are_those_of_the_selection(data: StudyData) -> None:
    assert (table("2x2").filter("selected")["magnitude"] == data.selection.magnitude).all()
    for name, column in (("windows", "window_start"), ("layers", "layer")):
        marked = table(name).filter("selected")
        assert (
            marked.height == 1
            and marked[column][0] == getattr(data.selection, column)
            and marked["reader"][0] == "base"
        )


def test_windows_and_layers_cross_at_the_selected_site(data: StudyData) -> None:
    windows, layers = (table(n).filter(pl.col("direction") != "none") for n in ("windows", "layers"))
    assert windows["layer"].unique().to_list() == [data.selection.layer]
    assert layers["window_start"].unique().to_list() == [data.selection.window_start]
    assert set(windows["reader"]) == set(layers["reader"]) == {"base", "reasoning"}


def test_every_control_is_there_and_the_best_random_is_best() -> None:
    cells = table("baselines")
    random = cells.filter(pl.col("family") == "random", "best")
    assert random["direction"].n_unique() == 20
    best = cells.filter("best_random")["direction"].unique().to_list()
    assert best == [random.sort("high", descending=True)["direction"][0]]
    families = {"behaviour", "random", "shuffle", "other label", "mean", "same-offset", "noise", "self", "none"}
    assert set(cells["family"]) == families


def elsewhere(rows: pl.DataFrame, sweep: str, **columns: object) -> pl.DataFrame:
    """Return a copy of a sweep's steered rows in which nothing is said, under other columns."""
    copied = rows.filter(pl.col("sweep") == sweep, pl.col("direction") != "none")
    copied = copied.filter(~pl.col("direction").str.contains("random|noise|self"))
    silent = {name: pl.lit(0, pl.Int64) for name in ("keyword_words", "backtracking_sentences")}
    return copied.with_columns(**silent, **{k: pl.lit(v, rows.schema[k]) for k, v in columns.items()})


@pytest.mark.parametrize("site", [{"layer": 0}, {"window_start": -20}, {"layer": 3, "window_start": 0}])
@pytest.mark.parametrize("sweep", ["two_by_two", "baselines", "ablation"])
def test_of_several_sites_the_selected_one_is_told(data: StudyData, sweep: str, site: dict[str, int]) -> None:
    makers = {
        "two_by_two": (make_two_by_two, make_coherence, make_keyword_rule),
        "baselines": (make_baselines,),
        "ablation": (make_ablation,),
    }
    more = replace(data, measurements=pl.concat([elsewhere(data.measurements, sweep, **site), data.measurements]))
    for make in makers[sweep]:
        assert make(more).equals(make(data))


def test_a_sweep_elsewhere_than_the_selected_site_is_told_at_the_nearest(data: StudyData) -> None:
    moved = data.measurements.with_columns(layer=pl.col("layer") + 1, window_start=pl.col("window_start") + 1)
    cells = make_two_by_two(replace(data, measurements=moved))
    assert cells.height == make_two_by_two(data).height and cells["selected"].any()


def test_baselines_of_two_readers_have_a_difference_each(data: StudyData) -> None:
    rows = data.measurements
    both = replace(data, measurements=pl.concat([rows, elsewhere(rows, "baselines", reader="reasoning")]))
    cells = make_baselines(both).filter("selected")
    mine = cells.filter(pl.col("family") == "behaviour", pl.col("reader") == "base")["share"][0]
    assert set(cells["reader"]) == {"base", "reasoning"}
    assert cells["difference"].to_list() == pytest.approx([mine - share for share in cells["share"]], abs=1e-6)


def test_differences_are_of_the_behaviour_and_paired() -> None:
    cells = table("baselines").filter("selected")
    mine = cells.filter(pl.col("family") == "behaviour")["share"][0]
    assert cells["difference"].to_list() == pytest.approx([mine - share for share in cells["share"]], abs=1e-6)
    assert cells.filter(pl.col("family") == "behaviour")["difference_high"][0] == 0


def test_families() -> None:
    names = {"random-03": "random", "shuffle-01": "shuffle", "same-offset": "same-offset", "deduction": "other label"}
    names |= {"covariance-random-117": "covariance-random", "rival-00": "rival", "noise": "noise"}
    names |= {"backtracking": "behaviour", "backtracking-without-keywords": "variant", "sae-1": "outside"}
    table = pl.DataFrame({"direction": list(names)})
    assert dict(with_family(table, "backtracking", outside=["sae-1"]).iter_rows()) == names
    assert with_family(table, "deduction")["family"][3] == "behaviour"


def test_magnitudes_of_other_units_mark_the_nearest(data: StudyData) -> None:
    """A sweep in L2 norms need not hold the selected magnitude; the nearest stands for it."""
    from dataclasses import replace

    near = replace(data, selection=replace(data.selection, magnitude=8.9))
    assert set(make_two_by_two(near).filter("selected")["magnitude"]) == {8.0}


def test_a_study_without_a_sweep_has_an_empty_table(data: StudyData) -> None:
    from dataclasses import replace

    none = replace(data, measurements=data.measurements.filter(pl.col("sweep") == "selection"))
    assert make_baselines(none).is_empty() and "best_random" in make_baselines(none).columns
