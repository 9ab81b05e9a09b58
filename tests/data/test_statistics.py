"""Intervals: what must always hold, and how often they cover a truth that is known."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repurpose.data import statistics
from repurpose.data.statistics import draw_weights

COUNTS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), min_size=2, max_size=12)


def split(rows: list[tuple[int, int]]) -> tuple[statistics.Array, statistics.Array]:
    events, extra = np.array(rows, dtype=float).T
    return events, events + extra


@given(st.integers(1, 30), st.integers(1, 50), st.integers(0, 5))
def test_every_resample_has_as_many_prompts(prompts: int, resamples: int, seed: int) -> None:
    weights = draw_weights(prompts, resamples, seed)
    assert weights.shape == (resamples, prompts) and (weights.sum(axis=1) == prompts).all()
    assert (weights == draw_weights(prompts, resamples, seed)).all()


@given(COUNTS)
@settings(deadline=None)
def test_interval_holds_the_estimate_and_is_a_share(rows: list[tuple[int, int]]) -> None:
    events, trials = split(rows)
    found = statistics.estimate_share(events, trials, draw_weights(len(rows), 200, 0), 0.95)
    assert found.value == pytest.approx(events.sum() / trials.sum())
    assert 0 <= found.low <= found.high <= 1
    per_prompt = events / trials
    if events.sum():
        assert per_prompt.min() - 1e-9 <= found.low and found.high <= per_prompt.max() + 1e-9


@given(COUNTS, st.integers(2, 5))
@settings(deadline=None)
def test_repeating_rows_of_a_prompt_adds_no_certainty(rows: list[tuple[int, int]], copies: int) -> None:
    """The same text counted several times is the same evidence: this is what clustering is for."""
    events, trials = split(rows)
    weights = draw_weights(len(rows), 100, 1)
    once = statistics.estimate_ratio(events, trials, weights, 0.95)
    often = statistics.estimate_ratio(copies * events, copies * trials, weights, 0.95)
    assert once == pytest.approx(often)


@given(COUNTS)
@settings(deadline=None)
def test_difference_from_itself_is_nothing(rows: list[tuple[int, int]]) -> None:
    cell = split(rows)
    found = statistics.estimate_difference(cell, cell, draw_weights(len(rows), 100, 2), 0.95)
    assert found == (0.0, 0.0, 0.0)


def test_pairing_takes_the_prompts_out() -> None:
    """Where prompts differ much and the condition adds the same to each, the paired interval is narrow."""
    rng = np.random.default_rng(0)
    level, trials = rng.integers(0, 50, 40).astype(float), np.full(40, 100.0)
    steered, plain = level + 5, level
    weights = draw_weights(40, 2000, 0)
    paired = statistics.estimate_difference((steered, trials), (plain, trials), weights, 0.95)
    alone = statistics.estimate_ratio(steered, trials, weights, 0.95)
    assert paired.value == pytest.approx(0.05) and paired.high - paired.low < 0.01 < alone.high - alone.low


def test_zero_counts_leave_room_above() -> None:
    events, trials = np.zeros(40), np.full(40, 90.0)
    found = statistics.estimate_share(events, trials, draw_weights(40, 200, 0), 0.95)
    assert found.value == found.low == 0
    assert found.high == pytest.approx(3.69 / 3600, rel=0.1)


def test_empty_cell_is_undefined() -> None:
    found = statistics.estimate_share(np.zeros(5), np.zeros(5), draw_weights(5, 50, 0), 0.95)
    assert all(np.isnan(found))


def test_few_prompts_widen_the_interval() -> None:
    tails = [statistics.tail_share(prompts, 0.95) for prompts in (5, 12, 40, 10_000)]
    assert tails == sorted(tails) and tails[0] < 0.005 and tails[-1] == pytest.approx(0.025, abs=1e-4)
    assert statistics.tail_share(1, 0.95) == pytest.approx(0.025)


def simulate(rng: np.random.Generator, prompts: int, words: int) -> tuple[statistics.Array, statistics.Array]:
    """Prompts with shares of their own around 4 %, words within a prompt at that share."""
    share = rng.beta(4, 96, prompts)
    trials = rng.integers(words // 2, words * 2, prompts).astype(float)
    return rng.binomial(trials.astype(int), share).astype(float), trials


def test_intervals_cover_the_truth() -> None:
    """About 95 of 100 studies' intervals hold the share that is true; words as units would claim too much."""
    rng = np.random.default_rng(7)
    clustered = naive = 0
    studies = 400
    for study in range(studies):
        events, trials = simulate(rng, prompts=40, words=300)
        found = statistics.estimate_share(events, trials, draw_weights(40, 400, study), 0.95)
        error = 1.96 * np.sqrt(found.value * (1 - found.value) / trials.sum())
        clustered += found.low <= 0.04 <= found.high
        naive += abs(found.value - 0.04) <= error
    assert 0.91 <= clustered / studies <= 0.98
    assert naive / studies < 0.85


def test_paired_difference_covers_the_truth() -> None:
    rng = np.random.default_rng(8)
    covered = 0
    for study in range(300):
        share = rng.beta(4, 96, 40)
        trials = np.full(40, 200.0)
        plain = rng.binomial(200, share).astype(float)
        steered = rng.binomial(200, np.minimum(1, share + 0.03)).astype(float)
        weights = draw_weights(40, 400, study)
        found = statistics.estimate_difference((steered, trials), (plain, trials), weights, 0.95)
        covered += found.low <= 0.03 <= found.high
    assert 0.91 <= covered / 300 <= 0.98


def brute_auroc(scores: statistics.Array, positive: np.ndarray) -> float:
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[positive] for n in scores[~positive]]
    return float(np.mean(pairs))


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=4, max_size=30))
@settings(deadline=None)
def test_auroc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool, int]]) -> None:
    scores, positive, prompt = (np.array(column) for column in zip(*rows, strict=True))
    found = statistics.estimate_auroc(scores.astype(float), positive, prompt, draw_weights(4, 50, 0), 0.95)
    if positive.all() or not positive.any():
        assert all(np.isnan(found))
    else:
        assert found.value == pytest.approx(brute_auroc(scores, positive))


def test_resampled_auroc_is_that_of_the_resampled_prompts() -> None:
    rng = np.random.default_rng(3)
    prompt = np.repeat(np.arange(5), 8)
    positive = rng.random(40) < 0.4
    scores = rng.normal(size=40) + positive
    weights = draw_weights(5, 1, 4)
    wins, positives, negatives = statistics.count_pairs(scores, positive, prompt, 5)
    drawn = weights[0] @ wins @ weights[0] / ((weights[0] @ positives) * (weights[0] @ negatives))
    index = np.concatenate([np.flatnonzero(prompt == p) for p in range(5) for _ in range(int(weights[0, p]))])
    assert drawn == pytest.approx(brute_auroc(scores[index], positive[index]))


def test_many_cells_are_quick() -> None:
    """10,000 resamples of 200 cells over 40 prompts: matrix products, no loop over resamples."""
    rng = np.random.default_rng(5)
    events = rng.integers(0, 9, (40, 200)).astype(float)
    trials = np.full((40, 200), 90.0)
    began = time.perf_counter()
    draws = statistics.resample_ratio(events, trials, draw_weights(40, 10_000, 0))
    low, high = statistics.interval(draws, 0.95, prompts=40)
    assert draws.shape == (10_000, 200) and (low < high).all()
    assert time.perf_counter() - began < 30
