"""Vectors against means taken by hand; what may and may not enter them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import BLANK, StepMaker

from repurpose.data.files import read_provenance, read_table, write_table
from repurpose.data.schemas import LABELS
from repurpose.directions.store import write_activations
from repurpose.directions.vectors import (
    Site,
    add_by_prompt,
    compute_vectors,
    cosines,
    halvings,
    main,
    make_vectors,
    median_norm,
    missing_vectors,
    no_sums,
    training_labels,
)
from repurpose.study.settings import BEHAVIOURS, SettingsError, StepSettings, Vectors, canonical_json

WIDTH, LAYERS, STARTS = 8, [0, 2], (-3, 0)


def make_site(seed: int, n: int = 60, prompts: int = 7) -> Site:
    generator = np.random.default_rng(seed)
    labels = generator.choice(BEHAVIOURS, n)
    labels[:2] = "backtracking"
    vectors = generator.standard_normal((n, WIDTH)).astype(np.float32)
    return Site(1, -3, vectors, generator.integers(0, prompts, n), labels)


def computed(site: Site, **changes: Any) -> dict[str, dict[str, Any]]:
    few = {"shuffles": 2, "random_directions": 3, "covariance_directions": 1}
    rows = compute_vectors(site, Vectors(**{**few, **changes}), 0, 7)
    return {row["name"]: row for row in rows}


def vector(row: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(row["vector"], np.float32)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_vectors_are_differences_of_means(seed: int) -> None:
    site = make_site(seed)
    chosen = site.labels == "backtracking"
    exact = site.vectors.astype(np.float64)
    for estimator, other in (("minus_all", np.ones_like(chosen)), ("minus_rest", ~chosen)):
        row = computed(site, estimator=estimator)["backtracking"]
        np.testing.assert_allclose(vector(row), exact[chosen].mean(0) - exact[other].mean(0), atol=1e-6)
        assert row["norm"] == pytest.approx(float(np.linalg.norm(vector(row))), rel=1e-6)
        assert (row["positives"], row["total"]) == (chosen.sum(), len(chosen))


def test_the_estimators_differ_by_the_share_of_the_rest() -> None:
    site = make_site(1)
    rest = 1 - (site.labels == "backtracking").mean()
    both = [vector(computed(site, estimator=name)["backtracking"]) for name in ("minus_all", "minus_rest")]
    np.testing.assert_allclose(both[0], rest * both[1], atol=1e-6)


@pytest.mark.parametrize(("estimator", "held"), [("minus_all", 1 / 10), ("minus_rest", 1 / 6)])
def test_other_labels_point_backwards_where_the_mean_holds_the_behaviour(estimator: str, held: float) -> None:
    """A direction u is planted before one window in ten, all of them the behaviour's.

    The mean of all windows then holds u / 10, that of all but deduction's (six of ten) u / 6; deduction's vector holds
    as much of u with a minus sign. Its cosine with u follows from this and from the noise of its two means.
    """
    n, d, planted = 4000, 64, 2.2
    labels = np.tile(["backtracking", *["deduction"] * 4, *["initializing"] * 5], n // 10)
    vectors = np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)
    vectors[labels == "backtracking", 0] += planted
    site = Site(1, -3, vectors, np.arange(n) % 7, labels)

    def cosine(name: str, site: Site) -> float:
        return float(cosines(vector(computed(site, estimator=estimator)[name])[None], np.eye(1, d))[0])

    variance = 1 / 1600 - 1 / n if estimator == "minus_all" else 1 / 1600 + 1 / 2400
    expected = -held * planted / np.hypot(held * planted, np.sqrt(d * variance))
    assert expected == pytest.approx(-0.82, abs=0.01)
    assert cosine("deduction", site) == pytest.approx(expected, abs=0.04)
    assert cosine("backtracking", site) > 0.95
    without = Site(1, -3, *(array[labels != "backtracking"] for array in (vectors, site.prompts, labels)))
    assert abs(cosine("deduction", without)) < 0.25  # held against windows without the behaviour, nothing of u is left


def test_sums_are_exact_where_float32_sums_are_not() -> None:
    vectors = np.full((100_000, 1), 0.1, np.float32)
    vectors[0] = 1e6
    sums, everything = no_sums(2, 1), np.ones((1, len(vectors)), bool)
    add_by_prompt([sums], vectors, np.zeros(len(vectors), np.int64), everything)
    assert sums.total[0, 0] == pytest.approx(vectors.astype(np.float64).sum(), rel=1e-12)
    assert sums.count.tolist() == [100_000, 0]


def test_controls_are_what_their_names_say() -> None:
    site = make_site(2)
    rows, mean = computed(site), site.vectors.astype(np.float64).mean(0)
    np.testing.assert_allclose(vector(rows["mean"]), mean, atol=1e-6)
    assert {n for n, r in rows.items() if r["kind"] == "control"} == {
        "mean", "same-offset", "shuffle-00", "shuffle-01", "random-00", "random-01", "random-02",
        "covariance-random-00",
    }  # fmt: skip
    assert rows["shuffle-00"]["positives"] == rows["backtracking"]["positives"]
    assert not np.allclose(vector(rows["shuffle-00"]), vector(rows["shuffle-01"]))
    elsewhere = computed(make_site(3))
    assert all(rows[n]["vector"] == elsewhere[n]["vector"] for n in rows if n.startswith("random"))


def test_split_halves_tell_a_direction_from_noise() -> None:
    site = make_site(4, n=600)
    noise = computed(site, split_halves=30)["backtracking"]
    site.vectors[site.labels == "backtracking"] += 5 * np.eye(WIDTH, dtype=np.float32)[0]
    signal = computed(site, split_halves=30)["backtracking"]
    assert noise["split_half_cosine"] < 0.5 < 0.95 < signal["split_half_cosine"]
    assert signal["split_half_low"] <= signal["split_half_cosine"] <= signal["split_half_high"] <= 1
    assert computed(site)["random-00"]["split_half_cosine"] is None


def test_a_behaviour_of_one_prompt_has_no_split_half() -> None:
    site = make_site(5)
    site.labels[:] = "deduction"
    site.labels[0] = "backtracking"
    rows = computed(site)
    assert rows["backtracking"]["split_half_cosine"] is None and rows["backtracking"]["norm"] > 0
    assert "initializing" not in rows


def test_labels_without_a_vector_are_told_by_window() -> None:
    site = make_site(6)
    site.labels[site.labels == "initializing"] = "deduction"
    rows = [*computed(make_site(6)).values(), *computed(replace(site, window_start=0)).values()]
    assert missing_vectors(rows, (0, -3)) == {"initializing": [0]}


@given(st.integers(2, 30), st.integers(1, 10))
def test_halves_are_halves(prompts: int, count: int) -> None:
    weights = halvings(prompts, count, 0)
    assert set(np.unique(weights)) == {0, 1}
    assert (weights.sum(1) == prompts // 2).all()


def test_cosines_are_by_row() -> None:
    np.testing.assert_allclose(cosines(np.eye(2), np.array([[2.0, 0], [1, 1]])), [1, np.sqrt(0.5)])


def test_the_median_norm_weighs_shards_by_their_tokens() -> None:
    generator = np.random.default_rng(0)
    shards = [generator.gamma(3, size=4000), 5 + generator.gamma(3, size=1000)]
    notes = [
        {
            "residual_quantiles": {"2": np.quantile(s, np.linspace(0, 1, 1001)).tolist()},
            "generated_tokens": len(s),
        }
        for s in shards
    ]
    assert median_norm(notes, 2) == pytest.approx(np.median(np.concatenate(shards)), rel=0.01)


def sentence_rows(shard: int) -> list[dict[str, Any]]:
    labels = ["backtracking", "deduction", "initializing", "deduction"]
    return [
        {
            "prompt_id": f"p{shard}{prompt}",
            "sample": 0,
            "split": "train" if prompt < 3 else "heldout",
            "sentence": number,
            "label": labels[number] if number < 4 else None,
            "status": "ok" if number < 4 else "skipped",
        }
        for prompt in range(4)
        for number in range(5)
    ]


def write_shards(folder: Path, change: Any = None) -> tuple[pl.DataFrame, list[str]]:
    frames, paths = [], []
    for shard in range(2):
        rows = sentence_rows(shard)
        keys = [
            {**{k: row[k] for k in ("prompt_id", "sample", "sentence")}, "window_start": start}
            for start in STARTS
            for row in rows
        ]
        vectors = np.random.default_rng(shard).standard_normal((len(LAYERS), len(keys), WIDTH)).astype(np.float32)
        if change is not None:
            change(vectors, rows * len(STARTS))
        quantiles = {str(layer): np.linspace(layer + 1, layer + 3, 1001).tolist() for layer in LAYERS}
        notes = {"residual_quantiles": quantiles, "generated_tokens": 50, "dropped_windows": {}}
        paths.append(str(folder / f"{shard}.parquet"))
        write_activations(paths[-1], keys, LAYERS, vectors, notes)
        frames.append(pl.DataFrame(rows))
    return pl.concat(frames), paths


@pytest.fixture
def step(make_step: StepMaker) -> StepSettings:
    return make_step("directions.vectors", sections={"activations": {"layers": LAYERS}}, reader="base")


def test_the_table_holds_every_site(tmp_path: Path, step: StepSettings) -> None:
    rows, notes = make_vectors(step, *write_shards(tmp_path))
    names = {"backtracking", "deduction", "initializing", "mean", "same-offset"}
    names |= {f"{kind}-0{i}" for kind in ("shuffle", "random", "covariance-random") for i in range(2)}
    assert {(r["name"], r["layer"], r["window_start"]) for r in rows} == {
        (name, layer, start) for name in names for layer in LAYERS for start in STARTS
    }
    assert len(rows) == len(names) * 4
    assert [r["residual_norm"] for r in rows if r["layer"] == 2] == pytest.approx([4.0] * 22, abs=0.01)
    assert all((r["reader"], r["window_length"], r["estimator"]) == ("base", 2, "minus_all") for r in rows)
    assert notes["left_out_sentences"] == {"skipped": 6}


def test_held_out_and_unlabelled_sentences_never_enter(tmp_path: Path, step: StepSettings) -> None:
    def spoil(vectors: np.ndarray, rows: list[dict[str, Any]]) -> None:
        vectors[:, [r["split"] == "heldout" or r["status"] != "ok" for r in rows]] = np.nan

    clean = make_vectors(step, *write_shards(tmp_path))[0]
    assert make_vectors(step, *write_shards(tmp_path, spoil))[0] == clean


def test_the_order_of_shards_changes_no_mean(tmp_path: Path, step: StepSettings) -> None:
    sentences, paths = write_shards(tmp_path)
    for one, other in zip(
        make_vectors(step, sentences, paths)[0], make_vectors(step, sentences, paths[::-1])[0], strict=True
    ):
        if not one["name"].startswith(("shuffle", "same-offset", "covariance")):
            np.testing.assert_allclose(vector(one), vector(other), atol=1e-6)


def test_a_study_without_its_behaviour_fails_in_one_line() -> None:
    sentences = pl.DataFrame(sentence_rows(0)).filter(pl.col("label") != "backtracking")
    with pytest.raises(SettingsError, match="none of 9 labelled training sentences is backtracking"):
        training_labels(sentences, "backtracking")


def test_the_command_writes_the_table_with_what_was_left_out(
    tmp_path: Path, step: StepSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sentences, paths = write_shards(tmp_path)
    full = sentences.with_columns(**{name: pl.lit(value) for name, value in BLANK.items()})
    write_table(tmp_path / "s.parquet", full, LABELS, {})
    arguments = ["--settings", canonical_json(step.values), "--labels", str(tmp_path / "s.parquet")]
    arguments += ["--activations", *paths, "--output", str(tmp_path / "base.parquet")]
    monkeypatch.setattr("sys.argv", ["vectors", *arguments])
    main()
    assert len(read_table(tmp_path / "base.parquet")) == 11 * 4
    assert read_provenance(tmp_path / "base.parquet")["left_out_sentences"] == {"skipped": 6}
    assert "no window before adding-knowledge at start -3, 0; left out\n" in capsys.readouterr().err
