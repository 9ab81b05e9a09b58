"""Probes find what is planted, in the kind of probe and the layer that can see it, and nothing where nothing is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from repurpose.data.files import TableError, write_table
from repurpose.data.schemas import LABELS, VECTORS
from repurpose.directions import probes
from repurpose.directions.probes import judge_ends, probe_study
from repurpose.directions.store import write_activations

PROMPTS, SENTENCES, WIDTH, LENGTH = 40, 12, 16, 4
STARTS = (-6, -4)
LAYERS = (1, 2)
LEFT, RIGHT = "So 2 plus 2 is 5.", "So 2 plus 2 is 4."


def make_sentences(generator: np.random.Generator) -> list[dict[str, Any]]:
    """Ten tokens each; the even ones are sums, half of them wrong, the odd ones say nothing or go back."""
    rows = []
    for prompt in range(PROMPTS):
        for number in range(SENTENCES):
            label = "backtracking" if number % 2 and generator.random() < 0.4 else "deduction"
            rows.append(
                {
                    **{"prompt_id": f"p{prompt:02d}", "sample": 0, "sentence": number},
                    "split": "train" if prompt < PROMPTS // 2 else "heldout",
                    **{"char_start": 0, "char_end": 1, "token_start": 10 * number, "token_end": 10 * number + 10},
                    "text": "Fine." if number % 2 else LEFT if generator.random() < 0.5 else RIGHT,
                    **{"annotator": "lexicon", "label": label, "status": "ok", "reply": None},
                }
            )
    return rows


def make_study(folder: Path, seed: int = 0) -> Path:
    """Layer 1 holds noise; layer 2 the behaviour, under a direction of great variance, and mistakes in the base."""
    generator = np.random.default_rng(seed)
    sentences = make_sentences(generator)
    write_table(folder / "labels/lexicon/0.parquet", sentences, LABELS, {})
    wrong = judge_ends(pl.DataFrame(sentences), LENGTH, STARTS)
    members = list(wrong.sort("prompt_id", "sentence", "window_start").iter_rows(named=True))
    labels = {(one["prompt_id"], one["sentence"]): one["label"] for one in sentences}
    behaves = np.array([labels[one["prompt_id"], one["sentence"]] == "backtracking" for one in members])
    mistaken = np.array([bool(one["mistake"]) for one in members])
    keys = [{name: one[name] for name in ("prompt_id", "sample", "sentence", "window_start")} for one in members]
    for reader in ("base", "reasoning"):
        vectors = generator.standard_normal((2, len(members), WIDTH))
        loud = 30 * generator.standard_normal(len(members))
        vectors[1, :, 0] += loud + 3 * behaves
        vectors[1, :, 1] += loud
        vectors[1, :, 2] += 4 * mistaken * (reader == "base")
        notes = {"settings": {"activations": {"window_starts": list(STARTS), "window_length": LENGTH}}}
        write_activations(folder / f"activations/{reader}/0.parquet", keys, LAYERS, vectors.astype(np.float32), notes)
        vector_notes = {"settings": {"vectors": {"behaviour": "backtracking"}}}
        write_table(folder / f"vectors/{reader}.parquet", [], VECTORS, vector_notes)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def found(study: Path) -> pl.DataFrame:
    return probe_study(study, None)


def auroc(found: pl.DataFrame, **which: Any) -> list[float]:
    rows = found.filter(**which)
    assert len(rows) == len(STARTS)
    return rows["auroc"].to_list()


def test_the_linear_probe_finds_what_the_means_miss_under_a_loud_direction(found: pl.DataFrame) -> None:
    for reader in ("base", "reasoning"):
        site = {"reader": reader, "layer": 2, "question": "behaviour"}
        assert min(auroc(found, **site, probe="linear")) > 0.85
        assert max(auroc(found, **site, probe="means")) < 0.7


def test_mistakes_are_found_in_the_model_that_represents_them_alone(found: pl.DataFrame) -> None:
    site = {"layer": 2, "question": "mistake"}
    assert min(auroc(found, reader="base", **site, probe="linear")) > 0.9
    rows = found.filter(reader="reasoning", **site)
    assert ((rows["low"] < 0.5) & (rows["high"] > 0.5)).all()


def test_noise_tells_nothing(found: pl.DataFrame) -> None:
    rows = found.filter(layer=1)
    assert len(rows) == 2 * len(STARTS) * 4
    assert ((rows["low"] < 0.5) & (rows["high"] > 0.5)).mean() > 0.7
    assert (rows["auroc"] - 0.5).abs().max() < 0.15  # type: ignore[operator]


def test_a_window_is_judged_by_the_calculation_that_ended_before_it() -> None:
    texts = [(LEFT, 0, 10), ("Fine.", 10, 20), (RIGHT, 20, 30), ("Fine.", 30, 32), ("Fine.", 32, 42)]
    rows = [
        {**{"prompt_id": "p", "sample": 0, "sentence": n, "text": text, "token_start": a, "token_end": b}}
        for n, (text, a, b) in enumerate(texts)
    ]
    judged = judge_ends(pl.DataFrame(rows), window_length=4, window_starts=[-6])
    told = dict(judged.select("sentence", "mistake").iter_rows())
    # before 0 there is nothing; 1's window [4, 8) lies in the first sum; the others follow its end, 4's [26, 30) up to
    # the last token of the right one, which is known from there on
    assert told == {0: None, 1: None, 2: True, 3: True, 4: True}
    across = judge_ends(pl.DataFrame(rows), window_length=4, window_starts=[-3])
    assert across.filter(sentence=4)["mistake"].item() is None
    later = judge_ends(pl.DataFrame(rows), window_length=2, window_starts=[-2])
    assert later.filter(sentence=4)["mistake"].item() is False


def test_too_few_events_are_not_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "LEAST", 10**6)
    found = probe_study(make_study(tmp_path), None)
    assert found["auroc"].null_count() == len(found) == 2 * 2 * len(STARTS) * 4


def test_what_is_missing_is_named(study: Path, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="labels of one annotator are needed, and there are none"):
        probe_study(tmp_path, None)
    with pytest.raises(TableError, match="there are lexicon; name one by --labels"):
        probe_study(study, "gpt")
    (tmp_path / "labels").symlink_to(study / "labels")
    with pytest.raises(TableError, match="no activations of the base model"):
        probe_study(tmp_path, None)


def test_the_command_writes_a_table(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["probes", str(study), "--output", str(tmp_path / "probes.csv")])
    probes.main()
    table = pl.read_csv(tmp_path / "probes.csv")
    assert len(table) == 2 * 2 * len(STARTS) * 4 and table["auroc"].null_count() == 0
