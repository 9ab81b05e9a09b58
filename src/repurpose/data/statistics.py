"""Estimates with intervals that are clustered by prompt; numpy only.

Rows of one prompt are not independent, so every interval resamples WHOLE PROMPTS (percentile bootstrap). One set of
weights serves all cells over the same prompts, so differences between cells are paired by prompt. The percentiles are
moved outwards as a t interval's are (Hesterberg 2015, "What teachers should know about the bootstrap", the expanded
percentile interval): with 12 prompts the plain ones cover the truth 89 times of 100, these 93 times.

Shapes: b resamples, p prompts, c cells. Numerators and denominators are sums by prompt, (p) or (p, c);
weights are (b, p); draws are (b) or (b, c).

The keyword share of a cell is Eq. 1 of the paper over the words POOLED across its rows (sum of keyword words
over sum of words), not the mean of the rows' shares: a row that stops after three words weighs little.
"""

import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

Array = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A number with its interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


UNDEFINED = Estimate(float("nan"), float("nan"), float("nan"))


def spread(name: str, estimate: Estimate, stem: str | None = None) -> dict[str, float | None]:
    """Return an estimate as columns: its name, and `low` and `high` after a stem (the name); undefined is null."""
    stem = f"{name}_" if stem is None else stem
    return dict(zip((name, f"{stem}low", f"{stem}high"), map(defined, estimate), strict=True))


def defined(value: float) -> float | None:
    """Return a number; null where it is not defined."""
    return float(value) if math.isfinite(value) else None


def draw_weights(prompts: int, resamples: int, seed: int) -> Array:
    """Draw how often each prompt occurs in each resample; equal arguments give equal weights."""
    rng = np.random.default_rng([seed, prompts, zlib.crc32(b"bootstrap")])
    return rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=resamples).astype(np.float64)


def resample_ratio(numerator: Array, denominator: Array, weights: Array) -> Array:
    """Return sum over prompts of the numerator over that of the denominator, per resample; NaN at 0/0."""
    return _divide(weights @ numerator, weights @ denominator)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    empty = np.asarray(denominator) == 0
    return np.where(empty, np.nan, numerator / np.where(empty, 1.0, denominator))


def tail_share(prompts: int, level: float) -> float:
    """Return the share of resamples beyond each end of an interval over some prompts."""
    if prompts < 2:
        return (1 - level) / 2
    quantile = stdtrit(prompts - 1, (1 + level) / 2)
    return float(ndtr(-math.sqrt(prompts / (prompts - 1)) * quantile))


def interval(draws: Array, level: float, prompts: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the expanded percentile interval of each cell, leaving out undefined resamples."""
    tail = 100 * tail_share(prompts, level)
    defined = np.isfinite(draws).any(axis=0)
    filled = np.where(defined, draws, 0.0)
    percentiles = np.nanpercentile if np.isnan(filled).any() else np.percentile
    low, high = percentiles(filled, [tail, 100 - tail], axis=0)
    return np.where(defined, low, np.nan), np.where(defined, high, np.nan)


def estimate_ratio(numerator: Array, denominator: Array, weights: Array, level: float) -> Estimate:
    """Return a ratio of sums over prompts with its interval."""
    low, high = interval(resample_ratio(numerator, denominator, weights), level, weights.shape[1])
    return Estimate(float(_divide(numerator.sum(), denominator.sum())), float(low), float(high))


def estimate_share(events: Array, trials: Array, weights: Array, level: float) -> Estimate:
    """Return a share of counts with its interval.

    A bootstrap of events that were never seen has no width. Then the upper end is the exact (Clopper-Pearson) one for
    the share of prompts with any event, times one event per such prompt: at 95 % about 3.7 over the number of trials.
    """
    found = estimate_ratio(events, trials, weights, level)
    if events.sum() > 0 or trials.sum() == 0:
        return found
    prompts = int((trials > 0).sum())
    affected = 1 - ((1 - level) / 2) ** (1 / prompts)
    return found._replace(high=affected * prompts / float(trials.sum()))


def estimate_difference(one: tuple[Array, Array], other: tuple[Array, Array], weights: Array, level: float) -> Estimate:
    """Return the difference of two ratios (numerator, denominator by prompt), paired by prompt."""
    draws = resample_ratio(*one, weights) - resample_ratio(*other, weights)
    low, high = interval(draws, level, weights.shape[1])
    value = _divide(one[0].sum(), one[1].sum()) - _divide(other[0].sum(), other[1].sum())
    return Estimate(float(value), float(low), float(high))


def estimate_interaction(ratios: Sequence[tuple[Array, Array]], weights: Array, level: float) -> Estimate:
    """Return (first - second) - (third - fourth) of four ratios (numerator, denominator by prompt), all paired."""
    drawn = [resample_ratio(*ratio, weights) for ratio in ratios]
    low, high = interval(drawn[0] - drawn[1] - drawn[2] + drawn[3], level, weights.shape[1])
    one, two, three, four = (_divide(numerator.sum(), denominator.sum()) for numerator, denominator in ratios)
    return Estimate(float(one - two - three + four), float(low), float(high))


def count_pairs(
    scores: Array, positive: np.ndarray, prompt: np.ndarray, prompts: int
) -> tuple[Array, np.ndarray, np.ndarray]:
    """Count, for prompts (i, j), the pairs of a positive of i above a negative of j; ties count half.

    `scores`, `positive` (bool) and `prompt` (its number) have a value for each of n tokens. Returns the wins (p, p),
    and the positives and the negatives of each prompt (p,).
    """
    wins = np.zeros((prompts, prompts))
    for j in range(prompts):
        negatives = np.sort(scores[~positive & (prompt == j)])
        below = np.searchsorted(negatives, scores[positive], side="left")
        up_to = np.searchsorted(negatives, scores[positive], side="right")
        wins[:, j] = np.bincount(prompt[positive], weights=(below + up_to) / 2, minlength=prompts)
    positives = np.bincount(prompt[positive], minlength=prompts).astype(float)
    negatives_ = np.bincount(prompt[~positive], minlength=prompts).astype(float)
    return wins, positives, negatives_


def estimate_auroc(scores: Array, positive: np.ndarray, prompt: np.ndarray, weights: Array, level: float) -> Estimate:
    """Return the area under the ROC curve, its interval clustered by prompt."""
    wins, positives, negatives = count_pairs(scores, positive, prompt, weights.shape[1])
    total = positives.sum() * negatives.sum()
    if total == 0:
        return UNDEFINED
    draws = _divide(
        np.einsum("bi,ij,bj->b", weights, wins, weights, optimize=True), (weights @ positives) * (weights @ negatives)
    )
    low, high = interval(draws, level, weights.shape[1])
    return Estimate(float(wins.sum() / total), float(low), float(high))
