"""How far two annotators agree on the same sentences: Cohen's kappa with its interval, and the confusion matrix.

Kappa is (observed - expected) / (1 - expected) agreement, the expected one from each annotator's own shares of labels
(Cohen 1960). Intervals resample whole prompts, as all intervals of a study do (`repurpose.data.statistics`).

A sentence without a label counts as `none`, a category like any other: leave out sentences that neither was asked
about, or agreement on nothing raises kappa. Shapes: p prompts, c = 7 categories, b resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from repurpose.data.statistics import Array, Estimate, interval
from repurpose.study.settings import BEHAVIOURS

CATEGORIES = (*BEHAVIOURS, "none")


class Agreement(NamedTuple):
    """How two annotators agree; NaN where both gave one and the same label throughout, which says nothing."""

    kappa: Estimate
    by_label: dict[str, Estimate]
    """Kappa of each label against the rest."""
    counts: Array
    """(c, c) sentences: rows are the first annotator's CATEGORIES, columns the second's."""


def estimate_agreement(
    one: Sequence[str | None],
    other: Sequence[str | None],
    prompts: Sequence[str],
    weights: Array,
    level: float,
) -> Agreement:
    """Return Cohen's kappa (-1 to 1), in all and by label, with intervals clustered by prompt.

    Args:
        one: the first annotator's label of each sentence.
        other: the second's.
        prompts: the prompt of each sentence.
        weights: (b, p) as `statistics.draw_weights` makes them, p the number of different prompts, in sorted order.
        level: of the intervals, for instance 0.95.

    Raises:
        ValueError: for a label that is no behaviour, unequal lengths, or weights of another number of prompts.
    """
    names, number = np.unique(np.asarray(prompts, dtype=str), return_inverse=True)
    if weights.shape[1] != len(names):
        raise ValueError(f"weights are of {weights.shape[1]} prompts, the sentences of {len(names)}")
    by_prompt = _count_by_prompt(one, other, number, len(names))
    size, counts = len(CATEGORIES), by_prompt.sum(axis=0)
    draws = (weights @ by_prompt.reshape(len(names), -1)).reshape(-1, size, size)
    by_label = {
        label: _estimate(_against_rest(counts, at), _against_rest(draws, at), level, len(names))
        for at, label in enumerate(BEHAVIOURS)
    }
    return Agreement(_estimate(counts, draws, level, len(names)), by_label, counts)


def _number(labels: Sequence[str | None]) -> np.ndarray:
    numbers = {label: at for at, label in enumerate((*BEHAVIOURS, None))}
    unknown = [label for label in labels if label not in numbers]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no label; choose from {', '.join(BEHAVIOURS)}")
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def _count_by_prompt(one: Sequence[str | None], other: Sequence[str | None], number: np.ndarray, prompts: int) -> Array:
    """Return (p, c, c) counts."""
    first, second = _number(one), _number(other)
    if not len(first) == len(second) == len(number):
        raise ValueError(f"{len(first)}, {len(second)} labels and {len(number)} prompts are not of the same sentences")
    counts = np.zeros((prompts, len(CATEGORIES), len(CATEGORIES)))
    np.add.at(counts, (number, first, second), 1.0)
    return counts


def _against_rest(counts: Array, at: int) -> Array:
    """Merge all categories but one: (..., c, c) to (..., 2, 2)."""
    both = counts[..., at, at]
    row, column = counts[..., at, :].sum(axis=-1), counts[..., :, at].sum(axis=-1)
    rest = counts.sum(axis=(-2, -1)) - row - column + both
    return np.stack([np.stack([both, row - both], -1), np.stack([column - both, rest], -1)], -2)


def _kappa(counts: Array) -> Array:
    """Kappa of (..., k, k) counts; NaN where chance alone agrees throughout, or there is nothing.

    In counts rather than shares, where equal labels give exactly 1 and one label throughout exactly 0 / 0.
    """
    total = counts.sum(axis=(-2, -1))
    observed = total * np.trace(counts, axis1=-2, axis2=-1)
    expected = (counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1)
    room = total * total - expected
    return np.where(room > 0, (observed - expected) / np.where(room > 0, room, 1.0), np.nan)


def _estimate(counts: Array, draws: Array, level: float, prompts: int) -> Estimate:
    low, high = interval(_kappa(draws), level, prompts)
    return Estimate(float(_kappa(counts)), float(low), float(high))
