"""How far two annotators agree on the same sentences: Cohen's kappa with its interval, and the confusion matrix.

Kappa is (observed - expected) / (1 - expected) agreement, the expected one from each annotator's own shares of labels
(Cohen 1960). Intervals resample whole prompts, as all intervals of a study do (`repurpose.data.statistics`).

A sentence without a label counts as `none`, a category like any other: leave out sentences that neither was asked
about, or agreement on nothing raises kappa. Shapes: p prompts, c = 7 categories, b resamples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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
    one: Sequence[str | None], other: Sequence[str | None], prompts: Sequence[str], weights: Array, level: float
) -> Agreement:
    """Return Cohen's kappa (-1 to 1), in all and by label, with intervals clustered by prompt.

    Args:
        one, other: each annotator's label of each sentence.
        prompts: the prompt of each sentence.
        weights: (b, p) as `statistics.draw_weights` makes them, p the number of different prompts, in sorted order.
        level: of the intervals, for instance 0.95.

    Raises:
        ValueError: for a label that is no behaviour, unequal lengths, or weights of another number of prompts.
    """
    names, prompt = np.unique(np.asarray(prompts, dtype=str), return_inverse=True)
    if weights.shape[1] != len(names):
        raise ValueError(f"weights are of {weights.shape[1]} prompts, the sentences of {len(names)}")
    first, second = _number(one), _number(other)
    if not len(first) == len(second) == len(prompt):
        raise ValueError(f"{len(first)}, {len(second)} labels and {len(prompt)} prompts are not of the same sentences")
    by_prompt = np.zeros((len(names), len(CATEGORIES), len(CATEGORIES)))
    np.add.at(by_prompt, (prompt, first, second), 1.0)
    counts, draws = by_prompt.sum(axis=0), np.tensordot(weights, by_prompt, axes=1)

    def estimate(counts: Array, draws: Array) -> Estimate:
        low, high = interval(_kappa(draws), level, len(names))
        return Estimate(float(_kappa(counts)), float(low), float(high))

    rest = [estimate(_against_rest(counts, n), _against_rest(draws, n)) for n in range(len(BEHAVIOURS))]
    return Agreement(estimate(counts, draws), dict(zip(BEHAVIOURS, rest, strict=True)), counts)


def _number(labels: Sequence[str | None]) -> npt.NDArray[np.int64]:
    numbers = {label: number for number, label in enumerate((*BEHAVIOURS, None))}
    for label in labels:
        if label not in numbers:
            raise ValueError(f"{label!r} is no label; choose from {', '.join(BEHAVIOURS)}")
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def _against_rest(counts: Array, number: int) -> Array:
    """Merge all categories but one: (..., c, c) to (..., 2, 2)."""
    both = counts[..., number, number]
    row, column = counts[..., number, :].sum(axis=-1), counts[..., :, number].sum(axis=-1)
    rest = counts.sum(axis=(-2, -1)) - row - column + both
    return np.stack([both, row - both, column - both, rest], -1).reshape(*both.shape, 2, 2)


def _kappa(counts: Array) -> Array:
    """Kappa of (..., k, k) counts; NaN where chance alone agrees throughout, or there is nothing.

    In counts rather than shares, where equal labels give exactly 1 and one label throughout exactly 0 / 0.
    """
    total = counts.sum(axis=(-2, -1))
    observed = total * np.trace(counts, axis1=-2, axis2=-1)
    expected = (counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1)
    room = total * total - expected
    return np.where(room > 0, (observed - expected) / np.where(room > 0, room, 1.0), np.nan)
