"""Agreement: the pairs, the two tables, the figure that is drawn from one of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest

from repurpose.data.csv_tables import read_csv
from repurpose.data.files import TableError, write_table
from repurpose.data.schemas import LABELS
from repurpose.labels import compare_annotators
from repurpose.labels.compare_annotators import pair_labels
from repurpose.results.figures import __main__ as figures
from repurpose.results.figures.style import Context
from repurpose.study.settings import BEHAVIOURS
from synthetic import make_study, run_step, settings_text


def label_row(annotator: str, prompt: int, number: int, label: str | None, status: str = "ok") -> dict[str, Any]:
    offsets = {"char_start": number, "char_end": number + 1, "token_start": number, "token_end": number + 1}
    row = {"prompt_id": f"p{prompt}", "sample": 0, "split": "train", "sentence": number, "text": "x", "reply": None}
    return {**row, **offsets, "annotator": annotator, "label": label, "status": status}


def annotate(annotator: str, seed: int, slips: float) -> list[dict[str, Any]]:
    """Labels of 12 prompts of ten sentences and a skipped one; some differ from what all agree on."""
    truth, own = random.Random("truth"), random.Random(seed)
    rows = []
    for prompt in range(12):
        for number in range(10):
            label = truth.choice(BEHAVIOURS)
            rows.append(label_row(annotator, prompt, number, own.choice(BEHAVIOURS) if own.random() < slips else label))
        rows.append(label_row(annotator, prompt, 10, None, "skipped"))
    rows[3] |= {"label": None, "status": "refused"}
    return rows


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, pl.DataFrame]:
    paths = []
    for name, seed, slips in (("lexicon", 1, 0.0), ("careful", 2, 0.1), ("<hasty>", 3, 0.9)):
        paths.append(str(tmp_path / f"{seed}.parquet"))
        write_table(paths[-1], annotate(name, seed, slips), LABELS, {})
    outputs = [str(tmp_path / f"{name}.csv") for name in ("agreement", "confusion")]
    settings = settings_text(make_study(), "labels.compare_annotators")
    run_step(compare_annotators, ["--settings", settings, "--labels", *paths, "--output", *outputs])
    return {name: read_csv(path) for name, path in zip(("agreement", "confusion"), outputs, strict=True)}


def test_each_pair_has_its_kappa_in_all_and_by_label(tables: dict[str, pl.DataFrame]) -> None:
    agreement = tables["agreement"]
    pairs = agreement.select("one", "other").unique(maintain_order=True).rows()
    assert pairs == [("lexicon", "careful"), ("lexicon", "<hasty>"), ("careful", "<hasty>")]
    overall = agreement.filter(pl.col("label") == "all")
    assert overall["kappa"][0] > 0.8 > 0.3 > abs(overall["kappa"][1])
    assert (overall["low"] < overall["kappa"]).all() and (overall["kappa"] < overall["high"]).all()
    assert overall["sentences"].to_list() == [120] * 3 and overall["prompts"].to_list() == [12] * 3
    assert agreement.height == 3 * (1 + len(BEHAVIOURS))


def test_the_confusion_counts_every_sentence_once_and_invalid_ones_as_none(tables: dict[str, pl.DataFrame]) -> None:
    for pair in tables["confusion"].partition_by("one", "other"):
        assert pair["sentences"].sum() == 120 and pair.height == 49
        both_none = pair.filter(pl.col("label") == "none", pl.col("other_label") == "none")
        assert both_none["sentences"].to_list() == [1]


def test_the_figure_is_drawn_whatever_annotators_are_called(tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    svg = tmp_path / "confusion.svg"
    settings = settings_text(make_study(), "results.figures", figure="confusion")
    arguments = ["--table", str(tmp_path / "confusion.csv"), "--output", str(svg), str(tmp_path / "confusion.png")]
    run_step(figures, ["--settings", settings, *arguments])
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    drawn = figures.draw_figure("confusion", tables["confusion"], Context(("wait",), "backtracking", 6))
    shown = [axes for axes in drawn.axes if axes.get_visible()]
    assert len(shown) == 3 and all(axes.get_title(loc="left").startswith("Cohen's kappa ") for axes in shown)
    assert [axes.get_ylabel() for axes in shown] == ["lexicon", "lexicon", "careful"]


def test_annotators_of_different_sentences_are_refused() -> None:
    one, other = (pl.DataFrame(annotate(name, 1, 0.0), schema_overrides={"reply": pl.String}) for name in ("a", "b"))
    with pytest.raises(TableError, match="a and b did not label the same sentences"):
        pair_labels(one, other.head(100))
