"""Cosines between readers: noise that is shared counts nothing, a direction that is shared counts as what it is."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.tiny import BLANK, SELECTED, StepMaker

from repurpose.data.files import read_table, write_table
from repurpose.data.schemas import LABELS
from repurpose.data.selected import write_selected
from repurpose.data.statistics import draw_weights
from repurpose.directions import cosines
from repurpose.directions.cosines import compare_readers, half_cosines, mean_cosines, sum_site
from repurpose.directions.store import write_activations
from repurpose.directions.vectors import Site, halvings
from repurpose.directions.vectors import cosines as plain_cosines
from repurpose.study.settings import StepSettings, Vectors, canonical_json
from synthetic import run_step

PROMPTS, WINDOWS, WIDTH = 60, 8, 64
START, LAYER = -3, 1


@pytest.fixture
def step(make_step: StepMaker) -> StepSettings:
    sections = {"vectors": {"shuffles": 5, "split_halves": 10}, "statistics": {"bootstrap": 300}}
    return make_step("directions.cosines", sections=sections)


def make_sites(true_cosine: float, size: float, seed: int = 0, spread: float = 0.3) -> list[Site]:
    """Two readers of the same windows: noise is the same in both, up to a little; directions have a known cosine.

    Args:
        true_cosine: of the directions that both add before the behaviour.
        size: length of the directions; noise has length sqrt(WIDTH).
        seed: of everything.
        spread: standard deviation of what is each reader's own.
    """
    generator = np.random.default_rng(seed)
    labels = generator.choice(["backtracking", "deduction"], PROMPTS * WINDOWS, p=[0.2, 0.8])
    prompts, members = np.repeat(np.arange(PROMPTS), WINDOWS), labels == "backtracking"
    shared = generator.standard_normal((len(labels), WIDTH))
    first, second = np.linalg.qr(generator.standard_normal((WIDTH, 2)))[0].T
    sites = []
    for direction in (first, true_cosine * first + np.sqrt(1 - true_cosine**2) * second):
        own = spread * generator.standard_normal(shared.shape)
        vectors = shared + own + size * np.outer(members, direction)
        sites.append(Site(LAYER, START, vectors.astype(np.float32), prompts, labels))
    return sites


def compare(sites: list[Site], step: StepSettings) -> dict[str, dict[str, Any]]:
    readings = [sum_site(site, step.vectors, step.seed, PROMPTS) for site in sites]
    return {row["name"]: row for row in compare_readers(readings[0], readings[1], step)}


def plain_cosine(sites: list[Site]) -> float:
    chosen = sites[0].labels == "backtracking"
    one, other = ((s.vectors[chosen].mean(0) - s.vectors.mean(0))[None] for s in sites)
    return float(plain_cosines(one.astype(np.float64), other.astype(np.float64))[0])


@pytest.mark.parametrize("seed", range(3))
def test_shared_noise_alone_has_no_cosine(step: StepSettings, seed: int) -> None:
    sites = make_sites(0.0, 0.0, seed)
    assert plain_cosine(sites) > 0.85
    found = compare(sites, step)
    for name in ("backtracking", "same-offset", *(f"shuffle-0{i}" for i in range(5))):
        assert found[name]["disattenuated"] is None, name
        assert abs(found[name]["cross_half"]) < 0.5
    assert abs(np.mean([found[f"shuffle-0{i}"]["cross_half"] for i in range(5)])) < 0.2


def test_other_directions_in_shared_noise_have_a_cosine_near_zero(step: StepSettings) -> None:
    sites = make_sites(0.0, 2.0)
    assert plain_cosine(sites) > 0.15
    row = compare(sites, step)["backtracking"]
    assert row["disattenuated_low"] < 0 < row["disattenuated_high"] < 0.35


@pytest.mark.parametrize("size", [1.5, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_known_cosine_is_recovered(step: StepSettings, size: float, seed: int) -> None:
    row = compare(make_sites(0.8, size, seed), step)["backtracking"]
    assert row["disattenuated_low"] < 0.8 < row["disattenuated_high"]
    assert row["cross_half_low"] < row["cross_half"] < min(0.8, row["cross_half_high"])
    assert row["disattenuated_low"] < row["disattenuated"] < row["disattenuated_high"] < 1.1


def test_copies_of_a_prompt_stay_in_one_half(step: StepSettings) -> None:
    """Resampled noise is centred at the study's, not lifted by a prompt that stands in both halves."""
    readings = [sum_site(site, step.vectors, 0, PROMPTS) for site in make_sites(0.0, 0.0)]
    halves = halvings(PROMPTS, 10, 0)
    study = mean_cosines(*readings, halves, np.ones((1, PROMPTS)))["backtracking"]
    draws = mean_cosines(*readings, halves, draw_weights(PROMPTS, 300, 0))["backtracking"]
    assert (np.abs(draws.mean(1)) < np.abs(study[:, 0]) + 0.05).all()


@pytest.mark.parametrize("estimator", ["minus_all", "minus_rest"])
def test_halves_are_those_of_the_vectors(estimator: Any) -> None:
    """The cosines of one halving, against means taken by hand."""
    sites, half = make_sites(0.5, 2.0), halvings(PROMPTS, 1, 0)[0]
    readings = [sum_site(site, Vectors(estimator=estimator), 0, PROMPTS) for site in sites]
    found = half_cosines(*readings, half, np.ones((1, PROMPTS)))["backtracking"][:, 0]
    base_a, base_b, reasoning_a, reasoning_b = (by_hand(s, half == k, estimator) for s in sites for k in (1, 0))
    pairs = [(base_a, reasoning_b), (base_b, reasoning_a), (base_a, base_b), (reasoning_a, reasoning_b)]
    one, other, *within = (float(plain_cosines(a[None], b[None])[0]) for a, b in pairs)
    np.testing.assert_allclose(found, [(one + other) / 2, *within], rtol=1e-5)


def by_hand(site: Site, side: np.ndarray, estimator: str) -> np.ndarray:
    inside, chosen = side[site.prompts], site.labels == "backtracking"
    rest = inside & ~chosen if estimator == "minus_rest" else inside
    return site.vectors[inside & chosen].astype(np.float64).mean(0) - site.vectors[rest].astype(np.float64).mean(0)


def test_a_weight_counts_as_copies() -> None:
    site = make_sites(0.5, 2.0)[0]
    reading, weights = sum_site(site, Vectors(), 0, PROMPTS), np.ones((1, PROMPTS))
    weights[0, 3] = 2
    more = [np.concatenate([getattr(site, k), getattr(site, k)[site.prompts == 3]]) for k in ("vectors", "prompts")]
    labels = np.concatenate([site.labels, site.labels[site.prompts == 3]])
    doubled = sum_site(Site(LAYER, START, more[0], more[1], labels), Vectors(), 0, PROMPTS)
    half = halvings(PROMPTS, 1, 0)[0]
    one = half_cosines(reading, reading, half, weights)["backtracking"]
    other = half_cosines(doubled, doubled, half, np.ones((1, PROMPTS)))["backtracking"]
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_a_behaviour_of_one_prompt_is_undefined(step: StepSettings) -> None:
    sites = make_sites(0.8, 3.0)
    for site in sites:
        site.labels[:] = "deduction"
        site.labels[:3] = "backtracking"
    row = compare(sites, step)["backtracking"]
    assert (row["prompts"], row["positives"]) == (1, 3)
    assert row["cross_half"] is None and row["reliability_base"] is None and row["disattenuated"] is None


def write_inputs(folder: Path, sites: list[Site], reverse: bool = False) -> list[str]:
    """Write both readers' activations, the sentences and the selection; return the command line's inputs."""
    keys = [{"prompt_id": f"p{p:03d}", "sample": 0, "sentence": n} for n, p in enumerate(sites[0].prompts)]
    arguments = []
    for reader, site in zip(("base", "reasoning"), sites, strict=True):
        order = slice(None, None, -1) if reverse and reader == "base" else slice(None)
        rows = [{**key, "window_start": START} for key in keys[order]]
        write_activations(folder / f"{reader}.parquet", rows, [LAYER], site.vectors[order][None], {})
        arguments += [f"--{reader}", str(folder / f"{reader}.parquet")]
    sentences = pl.DataFrame(keys).with_columns(
        split=pl.lit("train"), status=pl.lit("ok"), label=pl.Series(sites[0].labels),
        **{name: pl.lit(value) for name, value in BLANK.items()},
    )  # fmt: skip
    write_table(folder / "sentences.parquet", sentences, LABELS, {})
    return [*arguments, "--labels", str(folder / "sentences.parquet")]


def run_command(folder: Path, step: StepSettings, inputs: list[str], layer: int = LAYER) -> pl.DataFrame:
    write_selected(folder / "selection.json", replace(SELECTED, layer=layer, window_start=START))
    ends = ["--selection", str(folder / "selection.json"), "--output", str(folder / "cosines.parquet")]
    run_step(cosines, ["--settings", canonical_json(step.values), *inputs, *ends])
    return read_table(folder / "cosines.parquet")


def test_the_command_writes_every_label_and_control(tmp_path: Path, step: StepSettings) -> None:
    sites = make_sites(0.8, 3.0)
    table = run_command(tmp_path, step, write_inputs(tmp_path, sites))
    controls = {"mean", "same-offset", *(f"shuffle-0{i}" for i in range(5))}
    assert set(table["name"]) == {"backtracking", "deduction"} | controls
    assert set(table["layer"]) == {LAYER} and set(table["window_start"]) == {START}
    row = table.filter(name="backtracking").row(0, named=True)
    assert row["positives"] == (sites[0].labels == "backtracking").sum()
    assert row["disattenuated"] == pytest.approx(compare(sites, step)["backtracking"]["disattenuated"])


def test_readers_of_other_windows_are_refused(tmp_path: Path, step: StepSettings) -> None:
    inputs = write_inputs(tmp_path, make_sites(0.8, 3.0), reverse=True)
    with pytest.raises(SystemExit, match="hold other windows"):
        run_command(tmp_path, step, inputs)


def test_a_site_without_windows_is_named(tmp_path: Path, step: StepSettings) -> None:
    inputs = write_inputs(tmp_path, make_sites(0.8, 3.0))
    with pytest.raises(SystemExit, match="no layer 7"):
        run_command(tmp_path, step, inputs, layer=7)


def test_the_step_needs_no_model_libraries() -> None:
    code = "import sys, repurpose.directions.cosines; assert not {'torch', 'transformers'} & set(sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(cosines.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
