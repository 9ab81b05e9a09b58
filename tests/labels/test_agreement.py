"""Kappa against values worked out by hand, and what must hold of any labels."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from repurpose.data.statistics import draw_weights
from repurpose.labels.agreement import CATEGORIES, Agreement, estimate_agreement
from repurpose.study.settings import BEHAVIOURS

LABEL = st.sampled_from([*BEHAVIOURS, None])
PAIRS = st.lists(st.tuples(LABEL, LABEL), min_size=1, max_size=40)
D, B = "deduction", "backtracking"
Labels = Sequence[str | None]


def agree(one: Labels, other: Labels) -> Agreement:
    """Agreement over sentences of one prompt each."""
    names = [f"p{number}" for number in range(len(one))]
    return estimate_agreement(one, other, names, draw_weights(len(one), 4, 0), 0.95)


def kappa(one: Labels, other: Labels) -> float:
    return agree(one, other).kappa.value


def kappa_as_defined(one: Labels, other: Labels) -> float:
    """Cohen's own formula, in shares and exact fractions; NaN where chance alone agrees throughout."""
    count = len(one)
    observed = Fraction(sum(a == b for a, b in zip(one, other, strict=True)), count)
    expected = sum(Fraction(one.count(c) * other.count(c), count**2) for c in {*one, *other})
    return float((observed - expected) / (1 - expected)) if expected < 1 else math.nan


def test_a_table_worked_out_by_hand() -> None:
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: 0.7 observed, 0.5 expected, kappa 0.4."""
    one = [B] * 25 + [D] * 25
    other = [B] * 20 + [D] * 5 + [B] * 10 + [D] * 15
    found = agree(one, other)
    assert found.kappa.value == pytest.approx(0.4)
    counts = found.counts
    b, d = CATEGORIES.index(B), CATEGORIES.index(D)
    assert (counts[b, b], counts[b, d], counts[d, b], counts[d, d], counts.sum()) == (20, 5, 10, 15, 50)


def test_three_categories_worked_out_by_hand() -> None:
    """Observed 3/5; expected (2*2 + 2*1 + 1*2) / 25 = 8/25; kappa (15 - 8) / (25 - 8)."""
    assert kappa([B, B, D, D, None], [B, B, D, None, None]) == pytest.approx((20 - 8) / (25 - 8))
    assert kappa([B, B, D, D, None], [B, B, None, D, B]) == pytest.approx((15 - 9) / (25 - 9))


@given(st.lists(LABEL, min_size=2))
def test_equal_labels_agree_fully(labels: list[str | None]) -> None:
    assume(len(set(labels)) > 1)
    assert kappa(labels, labels) == 1.0


@given(PAIRS)
def test_kappa_is_as_defined_symmetric_and_bounded(pairs: list[tuple[str | None, str | None]]) -> None:
    one, other = zip(*pairs, strict=True)
    found, back = agree(one, other), agree(other, one)
    assert found.kappa.value == pytest.approx(kappa_as_defined(one, other), nan_ok=True)
    assert found.kappa.value == pytest.approx(back.kappa.value, nan_ok=True)
    assert math.isnan(found.kappa.value) or -1 <= found.kappa.value <= 1
    assert (found.counts == back.counts.T).all()


@given(st.lists(st.tuples(LABEL, LABEL), min_size=12, max_size=12))
def test_each_draw_is_the_kappa_of_its_repeated_sentences(pairs: list[tuple[str | None, str | None]]) -> None:
    one, other = zip(*pairs, strict=True)
    weights = draw_weights(12, 1, 3)
    counts = weights[0].astype(int)
    repeated = [[x for x, times in zip(labels, counts, strict=True) for _ in range(times)] for labels in (one, other)]
    found = estimate_agreement(one, other, [f"p{n:02d}" for n in range(12)], weights, 0.95).kappa
    assert found.low == pytest.approx(kappa_as_defined(*repeated), nan_ok=True)


@given(st.integers(0, 20))
def test_independent_labels_agree_by_chance(seed: int) -> None:
    rng = random.Random(seed)
    one, other = (rng.choices(BEHAVIOURS, [1, 9, 2, 2, 3, 1], k=4000) for _ in range(2))
    prompts = [f"p{number % 9}" for number in range(4000)]
    found = estimate_agreement(one, other, prompts, draw_weights(9, 4, 0), 0.95)
    assert abs(found.kappa.value) < 0.06  # over five standard errors


def test_one_label_throughout_says_nothing() -> None:
    assert math.isnan(kappa([D, D], [D, D]))


def test_unknown_labels_and_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="'botany' is no label"):
        kappa(["botany"], [D])
    with pytest.raises(ValueError, match="not of the same sentences"):
        kappa([D], [D, D])
    with pytest.raises(ValueError, match="weights are of 3 prompts"):
        estimate_agreement([D], [D], ["p"], draw_weights(3, 10, 0), 0.95)


def test_one_label_against_the_rest() -> None:
    rng = random.Random(1)
    one, other = rng.choices(BEHAVIOURS, k=300), rng.choices([*BEHAVIOURS, None], k=300)
    found = estimate_agreement(one, other, [f"p{n % 9}" for n in range(300)], draw_weights(9, 50, 0), 0.95)
    assert found.kappa.value == pytest.approx(kappa_as_defined(one, other))
    for label in BEHAVIOURS:
        rest = [[label if x == label else None for x in labels] for labels in (one, other)]
        assert found.by_label[label].value == pytest.approx(kappa_as_defined(*rest))


def test_repeating_rows_of_a_prompt_adds_no_certainty() -> None:
    rng = random.Random(2)
    one = rng.choices(BEHAVIOURS, k=200)
    other = [x if rng.random() < 0.7 else rng.choice(BEHAVIOURS) for x in one]
    prompts, weights = [f"p{n % 10}" for n in range(200)], draw_weights(10, 200, 0)
    once = estimate_agreement(one, other, prompts, weights, 0.95)
    often = estimate_agreement(one * 5, other * 5, prompts * 5, weights, 0.95)
    assert once.kappa == pytest.approx(often.kappa)
    assert once.kappa.low < once.kappa.value < once.kappa.high


def test_the_interval_covers_the_truth() -> None:
    """Labels of which 60 % are copied have kappa 0.6 where the rest is drawn from the same shares."""
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        shares = rng.beta(6, 4, size=20).repeat(15)  # prompts differ in how far the two agree
        one = rng.choice(BEHAVIOURS, size=300)
        other = np.where(rng.random(300) < shares, one, rng.choice(BEHAVIOURS, size=300))
        prompts = [f"p{n // 15:02d}" for n in range(300)]
        found = estimate_agreement(one.tolist(), other.tolist(), prompts, draw_weights(20, 300, seed), 0.95)
        covered += found.kappa.low <= 0.6 <= found.kappa.high
    assert covered >= 88
