"""Cosines between the two readers' vectors that share no noise: each reads another half of the prompts.

Both readers read the same windows, so what is accidental in a choice of windows is accidental in both vectors, and
their plain cosine is high even for label shuffles, which mean nothing. Here, for random halves A and B of the prompts,

    cross_half    = mean of cos(base A, reasoning B) and cos(base B, reasoning A)
    reliability   = cos(A, B) of one reader
    disattenuated = cross_half / sqrt(reliability_base * reliability_reasoning)

each a mean over the same halvings. The last is the cosine of the true directions (Spearman 1904): the noise of a half
lowers numerator and denominator alike. It is defined only where both readers have a direction at all.

Legend: n windows, p prompts, d width, b weightings of the prompts (the study itself, then its resamples).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from repurpose.data.command import run_step
from repurpose.data.files import TableError
from repurpose.data.schemas import COSINES
from repurpose.data.selected import Selected, read_selected
from repurpose.data.statistics import UNDEFINED, Array, Estimate, defined, draw_weights, interval, spread
from repurpose.directions.vectors import (
    Site,
    Sums,
    halvings,
    named_members,
    read_labels,
    read_site,
    training_labels,
)
from repurpose.study.settings import StepSettings, Vectors

Row = dict[str, Any]
CROSS, BASE, REASONING = range(3)
"""Places of the three cosines of a halving."""


@dataclass(frozen=True)
class Reading:
    """What one reader's vectors at the site are computed from, by prompt: mean of members minus mean of the rest."""

    everything: Sums
    members: Mapping[str, Sums]
    """Windows of each behaviour and control that has any."""
    rest: Mapping[str, Sums]
    """Windows that are subtracted where they are not everything; none from the overall mean."""


def sum_site(site: Site, settings: Vectors, seed: int, prompt_count: int) -> Reading:
    """Add up a site's windows by prompt: the same members as those of the stored vectors."""
    chosen = {name: members for name, members in named_members(site, settings, seed) if members.any()}
    rest = {name: ~members for name, members in chosen.items()} if settings.estimator == "minus_rest" else {}
    sums = site.sums({"": np.ones(len(site.labels), bool), **chosen}, prompt_count)
    return Reading(sums.pop(""), sums, site.sums(rest, prompt_count) if rest else {})


def weighted_vectors(reading: Reading, weights: Array, chosen: NDArray[np.intp]) -> Iterator[tuple[str, Array]]:
    """Yield each name with its vectors (b, d) from the chosen prompts, one for each weighting (b, p)."""
    everything = _means(reading.everything, weights, chosen)
    for name, members in reading.members.items():
        other = _means(reading.rest[name], weights, chosen) if name in reading.rest else everything
        yield name, _means(members, weights, chosen) - other
    yield "mean", everything


def _means(sums: Sums, weights: Array, chosen: NDArray[np.intp]) -> Array:
    """Means (b, d), NaN where nothing is weighed; prompts without a window cost nothing."""
    present = chosen[sums.count[chosen] > 0]
    some = weights[:, present]
    count = some @ sums.count[present]
    # Dividing weights spares a pass over (b, d).
    mean: Array = (some / np.maximum(count, 1)[:, None]) @ sums.total[present]
    mean[count == 0] = np.nan
    return mean


def half_cosines(base: Reading, reasoning: Reading, half: Array, weights: Array) -> dict[str, Array]:
    """Cosines (3, b) of one halving (p,) by name: across readers and halves, then across halves in each reader.

    A half is made of the study's prompts, and a resample weighs them within it: all copies of a prompt fall into the
    same half. Dealt out one by one, copies would stand in both halves and bring back the noise that halving removes.
    """
    sides = [np.flatnonzero(half == side) for side in (1, 0)]
    vectors = [weighted_vectors(reader, weights, side) for reader in (base, reasoning) for side in sides]
    return {names[0][0]: _compare(*(vector for _, vector in names)) for names in zip(*vectors, strict=True)}


def _compare(base_a: Array, base_b: Array, reasoning_a: Array, reasoning_b: Array) -> Array:
    """Cosines (3, b) of one name from its vectors (b, d) on both halves."""
    length = [np.sqrt(_dot(v, v)) for v in (base_a, base_b, reasoning_a, reasoning_b)]
    with np.errstate(invalid="ignore", divide="ignore"):
        one = _dot(base_a, reasoning_b) / (length[0] * length[3])
        other = _dot(base_b, reasoning_a) / (length[1] * length[2])
        in_base = _dot(base_a, base_b) / (length[0] * length[1])
        in_reasoning = _dot(reasoning_a, reasoning_b) / (length[2] * length[3])
    return np.stack([(one + other) / 2, in_base, in_reasoning])


def _dot(one: Array, other: Array) -> Array:
    product: Array = np.einsum("bd,bd->b", one, other)
    return product


def mean_cosines(base: Reading, reasoning: Reading, halves: Array, weights: Array) -> dict[str, Array]:
    """Cosines (3, b) by name, means over the halvings (h, p) that have positives on both sides."""
    totals, counts = ({name: np.zeros((3, len(weights))) for name in (*base.members, "mean")} for _ in range(2))
    for half in halves:
        for name, values in half_cosines(base, reasoning, half, weights).items():
            totals[name] += np.nan_to_num(values)
            counts[name] += np.isfinite(values)
    return {name: np.where(n > 0, totals[name] / np.maximum(n, 1), np.nan) for name, n in counts.items()}


def disattenuate(cosines: Array) -> Array:
    """Cosines (b,) of the true directions from (3, b); NaN where a reliability is not above 0."""
    product = np.where((cosines[[BASE, REASONING]] > 0).all(0), cosines[BASE] * cosines[REASONING], np.nan)
    true: Array = cosines[CROSS] / np.sqrt(product)
    return true


def describe(cosines: Array, level: float, prompts: int) -> Row:
    """Columns of one name from its cosines (3, b): the study's, then its resamples'.

    The halves of a resample hold the noise of the study and that of the resampling, so cosines in resamples are lower
    than the study's. `disattenuated` is free of that, as it is free of all noise of halves. For `cross_half` the draws
    are moved up to the study's value. For the reliabilities only the lower end is told, as it is: they serve to ask
    whether there is any direction, and there low errs on the safe side.
    """
    study, draws = cosines[:, 0], cosines[:, 1:]
    low, high = interval(draws.T, level, prompts)
    shift = study[CROSS] - np.nanmean(draws[CROSS]) if np.isfinite(draws[CROSS]).any() else math.nan
    row = spread("cross_half", Estimate(study[CROSS], low[CROSS] + shift, high[CROSS] + shift))
    for name, place in (("base", BASE), ("reasoning", REASONING)):
        row |= {f"reliability_{name}": defined(study[place]), f"reliability_{name}_low": defined(low[place])}
    true = UNDEFINED
    if min(low[BASE], low[REASONING]) > 0:
        true = Estimate(disattenuate(cosines)[0], *map(float, interval(disattenuate(draws), level, prompts)))
    return row | spread("disattenuated", true)


def compare_readers(base: Reading, reasoning: Reading, settings: StepSettings) -> list[Row]:
    """Return the rows of COSINES, without the site."""
    chosen, statistics, prompts = settings.vectors, settings.statistics, len(base.everything.count)
    weights = np.vstack([np.ones((1, prompts)), draw_weights(prompts, statistics.bootstrap, settings.seed)])
    halves = halvings(prompts, chosen.split_halves, settings.seed)
    counts = {"mean": base.everything.count, **{name: sums.count for name, sums in base.members.items()}}
    return [
        {
            "name": name,
            "positives": int(counts[name].sum()),
            "prompts": int((counts[name] > 0).sum()),
            **describe(cosines, statistics.level, prompts),
        }
        for name, cosines in mean_cosines(base, reasoning, halves, weights).items()
    ]


def make_cosines(
    settings: StepSettings, sentences: pl.DataFrame, base: Sequence[str], reasoning: Sequence[str], selected: Selected
) -> list[Row]:
    """COSINES rows at the site; a TableError where the readers' windows differ: shuffles would not be the same."""
    labels, _ = training_labels(sentences, settings.vectors.behaviour)
    sites = [read_site(paths, labels, selected) for paths in (base, reasoning)]
    if any(not np.array_equal(*(getattr(site, name) for site in sites)) for name in ("prompts", "labels")):
        raise TableError(f"{base[0]} and {reasoning[0]} hold other windows; read both readers again")
    count = labels["prompt"].n_unique()
    one, other = (sum_site(site, settings.vectors, settings.seed, count) for site in sites)
    where = {"layer": selected.layer, "window_start": selected.window_start}
    return [{**row, **where} for row in compare_readers(one, other, settings)]


def main() -> None:
    with run_step("directions.cosines", __doc__, one=["selection"], many=["labels", "base", "reasoning"]) as step:
        given, selected = step.given, read_selected(step.given.selection)
        step.write(
            make_cosines(step.settings, read_labels(given.labels), given.base, given.reasoning, selected), COSINES
        )


if __name__ == "__main__":
    main()
