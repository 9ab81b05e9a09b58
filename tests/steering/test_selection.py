"""Which cell is chosen, and which never is."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from repurpose.data.files import TableError, write_table
from repurpose.data.provenance import provenance
from repurpose.data.schemas import MEASUREMENTS
from repurpose.data.selected import Selected, read_selected
from repurpose.steering import selection
from repurpose.study.settings import Selection
from synthetic import built, make_study, settings_text

RULES = Selection(metric="keyword_share", min_distinct_2=0.5, max_longest_run=4.0)


def cell(keywords: int, **columns: Any) -> list[dict[str, Any]]:
    """Two rows of a condition with 100 words each."""
    base: dict[str, Any] = {
        "target": "reasoning",
        "direction": "backtracking",
        "reader": "base",
        "layer": 2,
        "window_start": -9,
        "magnitude": 8.0,
        "dose": 1.0,
        "words": 100,
        "distinct_2": 0.8,
        "longest_run": 1,
        "keyword_words": keywords,
        "sentences": 50,
        "backtracking_sentences": 2,
    }
    return [{**base, "prompt_id": f"p{i}", **columns} for i in range(2)]


def unsteered() -> list[dict[str, Any]]:
    return cell(1, direction="none", reader=None, layer=None, window_start=None, magnitude=0.0, dose=0.0)


def choose(*cells: list[dict[str, Any]], rules: Selection = RULES) -> Selected:
    rows = pl.DataFrame([*unsteered(), *(row for c in cells for row in c)], infer_schema_length=None)
    return selection.choose_cell(rows, rules, "backtracking", window_length=6)


def test_highest_share_wins() -> None:
    chosen = choose(cell(3), cell(9, layer=1, magnitude=6.0), cell(5, window_start=-13))
    assert (chosen.layer, chosen.window_start, chosen.magnitude) == (1, -9, 6.0)
    assert chosen.share == pytest.approx(0.09) and chosen.unsteered_share == pytest.approx(0.01)
    assert chosen.prompts == 2 and chosen.window_length == 6


def test_labelled_sentences_can_choose_instead_of_keywords() -> None:
    """Keywords in word salad are no backtracking."""
    salad, real = cell(50, layer=1, backtracking_sentences=0), cell(3, backtracking_sentences=9)
    assert choose(salad, real).layer == 1
    chosen = choose(salad, real, rules=replace(RULES, metric="backtracking_share"))
    assert chosen.layer == 2 and chosen.backtracking_share == pytest.approx(0.18)
    assert chosen.unsteered_backtracking_share == pytest.approx(0.04) and "backtracking share" in chosen.rule


@pytest.mark.parametrize(
    "better",
    [
        {"window_start": -5},
        {"window_start": 0},
        {"distinct_2": 0.39},
        {"longest_run": 5},
        {"reader": "reasoning"},
        {"direction": "random-00"},
        {"magnitude": -8.0, "layer": 0},
    ],
    ids=["reaches the sentence", "is the sentence", "repeats pairs", "loops", "other reader", "control", "negative"],
)
def test_what_is_never_chosen(better: dict[str, Any]) -> None:
    chosen = choose(cell(3), cell(50, **{"layer": 1, **better}))
    assert chosen.share == pytest.approx(0.03) and chosen.window_start == -9


def test_window_may_end_just_before_the_sentence() -> None:
    assert choose(cell(3), cell(9, window_start=-6)).window_start == -6


def test_share_is_pooled_over_words() -> None:
    """A row of three words that says 'wait' once is not worth a row of three hundred."""
    short = [{**cell(0)[0], "words": 3, "keyword_words": 1}, {**cell(0)[1], "words": 300, "keyword_words": 0}]
    chosen = choose(short, cell(2, layer=1))
    assert chosen.layer == 1


def test_tie_goes_to_the_smaller_magnitude() -> None:
    assert choose(cell(5, magnitude=9.0), cell(5, magnitude=4.0)).magnitude == 4.0


def test_nothing_coherent_is_an_error_in_one_line() -> None:
    with pytest.raises(TableError, match="none of 1 cells") as problem:
        choose(cell(9, longest_run=60))
    assert "\n" not in str(problem.value)


def test_no_unsteered_rows_is_an_error() -> None:
    with pytest.raises(TableError, match="unsteered"):
        selection.choose_cell(pl.DataFrame(cell(3)), RULES, "backtracking", 6)


def test_step_writes_the_contract(built_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = built_folder / "measurements/selection/reasoning.parquet"
    text = settings_text(make_study(), "steering.selection")
    names = ["--settings", text, "--measurements", str(measured), "--output", str(tmp_path / "selection.json")]
    monkeypatch.setattr(sys, "argv", ["selection", *names])
    selection.main()
    chosen = read_selected(tmp_path / "selection.json")
    assert (chosen.layer, chosen.window_start) == (2, -9), "the made-up study's best site"


def test_step_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "m.parquet", [], MEASUREMENTS, provenance({}))
    text = settings_text(make_study(), "steering.selection")
    names = ["--settings", text, "--measurements", str(tmp_path / "m.parquet"), "--output", str(tmp_path / "s.json")]
    monkeypatch.setattr(sys, "argv", ["selection", *names])
    with pytest.raises(SystemExit, match="unsteered"):
        selection.main()
    assert not (tmp_path / "s.json").exists()


@pytest.fixture
def built_folder() -> Path:

    return built("present")
