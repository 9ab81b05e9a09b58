"""Which cell is chosen, and which never is."""

from __future__ import annotations

import random
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from repurpose.data.files import TableError, write_table
from repurpose.data.provenance import provenance
from repurpose.data.schemas import MEASUREMENTS
from repurpose.data.selected import Selected, read_selected
from repurpose.data.statistics import draw_weights
from repurpose.steering import selection
from repurpose.steering.stability import count_choices
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
        "judged_sentences": None,
        "grammatical_sentences": None,
        "valid_backtracking_sentences": None,
        "nll": 0.5,
        "length": 64,
        "finished": True,
        "correct": None,
        "annotator": "lexicon",
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
        {"nll": 0.76},
        {"nll": None},
        {"reader": "reasoning"},
        {"direction": "random-00"},
        {"magnitude": -8.0, "layer": 0},
    ],
    ids=[
        "reaches the sentence",
        "is the sentence",
        "repeats pairs",
        "loops",
        "unlikely",
        "not read",
        "other reader",
        "control",
        "negative",
    ],
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


def test_a_chosen_cell_below_the_unsteered_text_is_named() -> None:
    with pytest.raises(
        TableError, match=r"layer 2, window start -9, magnitude 8, .* 0\.0000, below the unsteered 0\.0100"
    ) as it:
        choose(cell(0), cell(50, layer=1, nll=2.0))
    assert "\n" not in str(it.value)


def test_the_window_beside_is_the_best_coherent_one_of_its_start() -> None:
    cells = [cell(3, window_start=-13, layer=layer, magnitude=4.0) for layer in (0, 3)]
    cells += [cell(5, window_start=-13, layer=1), cell(9, window_start=-13, nll=2.0), cell(8)]
    chosen = choose(*cells)
    assert (chosen.layer, chosen.window_start) == (2, -9)
    assert (chosen.beside_layer, chosen.beside_window_start, chosen.beside_magnitude) == (1, -13, 8.0)
    assert choose(*cells[:3]).beside_layer is None, "it is the chosen one"
    assert choose(*cells, rules=replace(RULES, beside_window=None)).beside_layer is None


def test_the_limit_is_stated_with_its_false_alarms() -> None:
    odd = unsteered()
    odd[1]["nll"] = 1.5
    rows = pl.DataFrame([*odd, *cell(3, nll=1.2)], infer_schema_length=None)
    chosen = selection.choose_cell(rows, RULES, "backtracking", 6)
    assert chosen.unsteered_nll == pytest.approx(1.0) and chosen.nll_limit == pytest.approx(1.25)
    assert chosen.unsteered_above_limit == pytest.approx(0.5) and "0.25 nats" in chosen.rule


def test_likelihood_is_pooled_over_tokens_and_unread_rows_say_nothing() -> None:
    rows = [{**cell(3)[0], "nll": 4.0, "length": 1}, {**cell(3)[1], "nll": 0.5, "length": 99}]
    assert choose([*rows, {**rows[1], "prompt_id": "p2", "nll": None}]).nll == pytest.approx((4.0 + 49.5) / 100)


def test_the_grammar_counts_where_it_is_known() -> None:
    known = {"judged_sentences": 10, "grammatical_sentences": 10, "valid_backtracking_sentences": 1}
    first = [{**row, **known} for row in unsteered()]
    broken = cell(9, layer=1, **{**known, "grammatical_sentences": 8, "valid_backtracking_sentences": 3})
    sound = cell(3, **{**known, "valid_backtracking_sentences": 2})
    rows = pl.DataFrame([*first, *broken, *sound], infer_schema_length=None)
    for metric in ("keyword_share", "valid_backtracking"):
        assert selection.choose_cell(rows, replace(RULES, metric=metric), "backtracking", 6).layer == 2
    lax = replace(RULES, metric="valid_backtracking", min_grammatical=0.8)
    chosen = selection.choose_cell(rows, lax, "backtracking", 6)
    assert chosen.layer == 1 and chosen.valid_backtracking == pytest.approx(0.3)


@pytest.mark.parametrize("metric", ["keyword_share", "backtracking_share"])
def test_stability_chooses_as_the_rule_does_in_each_resample(metric: Any) -> None:
    """Held against the rule itself, on rows that are there as often as a resample has their prompt."""
    rng = random.Random(0)
    rules = replace(RULES, metric=metric, max_nats=0.3)

    def row(prompt: int, **columns: Any) -> dict[str, Any]:
        counts = {"keyword_words": rng.randint(1, 30), "backtracking_sentences": rng.randint(1, 20)}
        drawn = {"nll": rng.uniform(0.3, 1.0), "distinct_2": rng.uniform(0.3, 0.9), "longest_run": rng.randint(1, 6)}
        return {**cell(0)[0], **counts, **drawn, **columns, "prompt_id": f"p{prompt}"}

    free = {"keyword_words": 0, "backtracking_sentences": 0, "distinct_2": 0.8}
    rows = [
        row(p, direction="none", reader=None, layer=None, window_start=None, magnitude=0.0, **free) for p in range(5)
    ]
    sites = [(layer, start, m) for layer in (0, 1) for start in (-13, -9, -5) for m in (4.0, 8.0)]
    rows += [row(p, layer=layer, window_start=w, magnitude=m) for layer, w, m in sites for p in range(5)]
    table, weights = pl.DataFrame(rows, infer_schema_length=None), draw_weights(5, 40, seed=1)
    found = count_choices(table, rules, "backtracking", 6, weights)
    assert found.height == 8, "windows that reach the sentence cannot be chosen"
    expected = Counter[tuple[Any, ...]]()
    for draw in weights:
        parts = [table.filter(prompt_id=f"p{p}") for p, times in enumerate(draw) for _ in range(int(times))]
        try:
            one = selection.choose_cell(pl.concat(parts), rules, "backtracking", 6)
        except TableError:
            continue
        expected[one.layer, one.window_start, one.magnitude] += 1
    assert len(expected) > 1
    counted = {(r["layer"], r["window_start"], r["magnitude"]): round(40 * r["chosen"]) for r in found.to_dicts()}
    assert {site: times for site, times in counted.items() if times} == dict(expected)


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
