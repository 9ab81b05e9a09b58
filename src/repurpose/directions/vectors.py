"""Vectors: differences of means between windows before a behaviour and windows before all sentences.

    minus_all:   v = mean(D+) - mean(D)          (the paper's)
    minus_rest:  v = mean(D+) - mean(D \\ D+)

D+ are the windows before the behaviour, D those before all labelled sentences, the behaviour's included.

Controls should NOT work: `random` and `covariance-random` directions; `shuffle` and `same-offset`, whose D+ are drawn
within prompts (`directions.controls`); `mean`, the overall mean. Noise and self-amplification are made at each token,
in the hooks.

Vectors from outside are read from their files; the same for every reader and window, they stand at their layer alone.

Training prompts only. Everything is computed from sums by prompt in float64 (count, sum), so a half of the prompts
costs no second pass over the activations; of these one shard's layer is in memory at a time. Sentences that could not
be labelled are left out and counted.

Legend: n windows, p prompts, d width, h random halvings.
"""

import hashlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tqdm import tqdm

from repurpose.data.command import run_step
from repurpose.data.files import TableError, read_provenance, read_table
from repurpose.data.schemas import VECTORS
from repurpose.data.selected import Selected
from repurpose.data.statistics import UNDEFINED, Array, Estimate, spread
from repurpose.directions.controls import (
    Mask,
    covariance_directions,
    random_direction,
    same_offset_members,
    shuffled_members,
)
from repurpose.directions.store import read_keys, read_vectors, stored_layers
from repurpose.labels.annotation import check_behaviour
from repurpose.study.conditions import kind_of
from repurpose.study.settings import BEHAVIOURS, SettingsError, StepSettings, Vectors, locate
from repurpose.study.vector_files import read_vector

Row = dict[str, Any]
SENTENCE = ["prompt_id", "sample", "sentence"]
ROWS = 256
"""Windows that are added up at once: few prompts, and in float64 they stay in the processor's memory."""


@dataclass(frozen=True)
class Sums:
    """Sufficient statistics of a set of windows, by prompt."""

    total: Array
    """(p, d) sums of vectors."""
    count: Array
    """(p,) numbers of windows."""


def no_sums(prompt_count: int, width: int) -> Sums:
    """Sums of nothing."""
    return Sums(np.zeros((prompt_count, width)), np.zeros(prompt_count))


def add_by_prompt(
    sums: Sequence[Sums], vectors: NDArray[Any], prompts: NDArray[np.int64], members: NDArray[np.bool_]
) -> None:
    """Add vectors (n, d) to the sums of their prompts (n,) in each set that has them as members (s, n), in place.

    Some rows at a time, each of their numbers read and widened once: a product with zeros and ones adds up all sets.
    """
    order = np.argsort(prompts, kind="stable")
    for start in range(0, len(order), ROWS):
        rows = order[start : start + ROWS]
        present, place = np.unique(prompts[rows], return_inverse=True)
        own = place == np.arange(len(present))[:, None]
        ones = (members[:, None, rows] & own).reshape(-1, len(rows)).astype(np.float64)
        totals = (ones @ vectors[rows].astype(np.float64)).reshape(len(sums), len(present), -1)
        counts = ones.sum(1).reshape(len(sums), -1)
        for found, total, count in zip(sums, totals, counts, strict=True):
            found.total[present] += total
            found.count[present] += count


def difference_of_means(positives: Sums, everything: Sums, estimator: str, weights: Array) -> Array:
    """Vectors (h, d) of h weightings (h, p) of the prompts; NaN where a set is empty."""
    plus, plus_count = weights @ positives.total, weights @ positives.count
    other, other_count = weights @ everything.total, weights @ everything.count
    if estimator == "minus_rest":
        other, other_count = other - plus, other_count - plus_count
    with np.errstate(invalid="ignore", divide="ignore"):
        return plus / plus_count[:, None] - other / other_count[:, None]


def means(everything: Sums, weights: Array) -> Array:
    """Overall means (h, d) under h weightings (h, p) of the prompts."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Array = weights @ everything.total / (weights @ everything.count)[:, None]
    return mean


def halvings(prompt_count: int, count: int, seed: int) -> Array:
    """Random halves (h, p) of the prompts as 0/1 weights."""
    generator = np.random.default_rng([seed, prompt_count])
    weights = np.zeros((count, prompt_count))
    for row in weights:
        row[generator.permutation(prompt_count)[: prompt_count // 2]] = 1
    return weights


def cosines(one: Array, other: Array) -> Array:
    """Cosine of each row of one (h, d) with the same row of the other."""
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine: Array = (one * other).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))
    return cosine


def describe_halves(values: Array) -> dict[str, float | None]:
    """Mean and 2.5 and 97.5 % of split-half cosines; nulls where no halving had positives on both sides."""
    values = values[np.isfinite(values)]
    found = Estimate(values.mean(), *np.quantile(values, [0.025, 0.975])) if len(values) else UNDEFINED
    return spread("split_half_cosine", found, "split_half_")


def median_norm(notes: Sequence[dict[str, Any]], layer: int) -> float:
    """Median single-token norm at a layer over all shards, from each shard's quantiles and token count."""
    points = [np.array(note["residual_quantiles"][str(layer)], float) for note in notes]
    weights = [np.full(len(p), note["generated_tokens"] / len(p)) for p, note in zip(points, notes, strict=True)]
    values, mass = np.concatenate(points), np.concatenate(weights)
    values, mass = values[np.isfinite(values)], mass[np.isfinite(values)]
    order = np.argsort(values)
    return float(values[order][np.searchsorted(np.cumsum(mass[order]), mass.sum() / 2)])


@dataclass(frozen=True)
class Site:
    """Windows of one layer and window start, of labelled training sentences."""

    layer: int
    window_start: int
    vectors: NDArray[Any]
    """(n, d)"""
    prompts: NDArray[np.int64]
    """(n,) index of the prompt."""
    labels: NDArray[np.str_]
    """(n,)"""

    @property
    def width(self) -> int:
        return int(self.vectors.shape[1])

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Yield the windows (some of n, d), in order."""
        yield self.vectors

    def sums(self, sets: Mapping[str, Mask], prompt_count: int) -> dict[str, Sums]:
        """Sums by prompt of each set of windows (n,)."""
        found, start = {name: no_sums(prompt_count, self.width) for name in sets}, 0
        members = np.array(list(sets.values()))
        for vectors in self.blocks():
            here = slice(start, start + len(vectors))
            start = here.stop
            add_by_prompt(list(found.values()), vectors, self.prompts[here], members[:, here])
        return found


@dataclass(frozen=True)
class StoredSite(Site):
    """A site whose vectors stay on the disk and are read a shard at a time; `vectors` is empty."""

    shards: Sequence[tuple[str, NDArray[np.int64]]]
    """Each shard's file, and which of its layer's rows are the site's next ones."""

    def blocks(self) -> Iterator[NDArray[Any]]:
        for path, rows in self.shards:
            yield read_vectors(path, self.layer)[rows]


def compute_vectors(site: Site, settings: Vectors, seed: int, prompt_count: int) -> Iterator[Row]:
    """Yield the rows of one site, without the columns that all of them share."""
    members = dict(named_members(site, settings, seed))
    sums = site.sums({"": np.ones(len(site.labels), bool), **members}, prompt_count)
    everything = sums.pop("")
    weights = halvings(prompt_count, settings.split_halves, seed)

    def row(name: str, positives: int, estimate: Callable[[Array], Array]) -> Row:
        halves = describe_halves(cosines(estimate(weights), estimate(1 - weights)))
        return _row(name, site, positives, estimate(np.ones((1, prompt_count)))[0], halves)

    for name, plus in sums.items():
        if members[name].any():
            difference = partial(difference_of_means, plus, everything, settings.estimator)
            yield row(name, int(members[name].sum()), difference)
    yield row("mean", len(site.labels), partial(means, everything))
    for number in range(settings.random_directions):
        direction = random_direction(seed, number, site.width)
        yield _row(f"random-{number:02d}", site, 0, direction, describe_halves(np.empty(0)))
    drawn = covariance_directions(site.blocks(), len(site.labels), seed, settings.covariance_directions)
    for number, direction in enumerate(drawn):
        if np.isfinite(direction).all():
            yield _row(f"covariance-random-{number:02d}", site, 0, direction, describe_halves(np.empty(0)))


@dataclass(frozen=True)
class Outside:
    """A vector from outside, and the layer that it is of."""

    layer: int
    vector: NDArray[np.float32]
    """(d,) with the norm that the study gives it, or its own."""


def read_outside(settings: Vectors) -> dict[str, Outside]:
    """Vectors from outside by name; raises SettingsError for one that cannot be read."""
    found = {}
    for name, asked in settings.outside.items():
        try:
            numbers = read_vector(locate(asked.file), asked.layer, asked.tensor, asked.index)
        except SettingsError as problem:
            raise SettingsError(f"vectors.outside.{name}.{problem}") from None
        scale = 1.0 if asked.norm is None else asked.norm / math.hypot(*numbers)
        found[name] = Outside(asked.layer, (scale * np.array(numbers)).astype(np.float32))
    return found


def outside_rows(site: Site, outside: Mapping[str, Outside]) -> Iterator[Row]:
    """Yield the rows of the vectors from outside at a site of their layer; a SettingsError for another width."""
    for name, one in outside.items():
        if one.layer == site.layer:
            width, hidden = len(one.vector), site.width
            if width != hidden:
                raise SettingsError(f"vectors.outside.{name}: it has {width} numbers, the residual stream {hidden}")
            yield _row(name, site, 0, one.vector.astype(np.float64), describe_halves(np.empty(0)))


def named_members(site: Site, settings: Vectors, seed: int) -> Iterator[tuple[str, Mask]]:
    """Names and membership (n,) of all vectors that are differences of means."""
    for name in BEHAVIOURS:
        yield name, site.labels == name
    behaviour = site.labels == settings.behaviour
    yield "same-offset", same_offset_members(behaviour, site.prompts, seed)
    for number in range(settings.shuffles):
        yield f"shuffle-{number:02d}", shuffled_members(behaviour, site.prompts, seed, number)


def _row(name: str, site: Site, positives: int, vector: Array, halves: Row) -> Row:
    if not np.isfinite(vector).all():
        raise TableError(f"vector {name} at layer {site.layer}, start {site.window_start} is not finite")
    return {
        "name": name,
        "kind": kind_of(name),
        "layer": site.layer,
        "window_start": site.window_start,
        "positives": positives,
        "total": len(site.labels),
        "norm": float(np.linalg.norm(vector)),
        "vector": vector.astype(np.float32).tobytes(),
        **halves,
    }


def read_labels(paths: list[str]) -> pl.DataFrame:
    """Read of the labels what vectors need: not the text, which is most of them."""
    table = read_table(paths, [*SENTENCE, "split", "label", "status"])
    return table.with_columns(pl.col("split", "label", "status").cast(pl.Categorical))


def training_labels(sentences: pl.DataFrame, behaviour: str) -> tuple[pl.DataFrame, dict[str, int]]:
    """Labelled training sentences with their prompt's number; other training sentences counted by status.

    Raises:
        SettingsError: where no training sentence bears the study's behaviour.
    """
    train = sentences.filter(split="train")
    labelled = train.filter(pl.col("status") == "ok", pl.col("label").is_not_null())
    left_out = train.filter(pl.col("status") != "ok").group_by("status").len().sort("status")
    if not (labelled["label"] == behaviour).any():
        check_behaviour(labelled["label"].to_list(), behaviour)
    names = sorted(labelled["prompt_id"].unique())
    numbers = {name: number for number, name in enumerate(names)}
    prompt = pl.col("prompt_id").replace_strict(numbers, return_dtype=pl.Int64).alias("prompt")
    return labelled.select(*SENTENCE, "label", prompt), dict(left_out.iter_rows())


def make_vectors(settings: StepSettings, sentences: pl.DataFrame, paths: Sequence[str]) -> tuple[list[Row], Row]:
    """Return one reader's VECTORS rows, and what was left out."""
    chosen, reading = settings.vectors, settings.activations
    labels, left_out = training_labels(sentences, chosen.behaviour)
    notes = [read_provenance(path) for path in paths]
    outside, rows = read_outside(chosen), list[Row]()
    for layer in tqdm(stored_layers(paths), unit="layer"):
        shared = {
            "reader": settings.reader,
            "window_length": reading.window_length,
            "estimator": chosen.estimator,
            "residual_norm": median_norm(notes, layer),
        }
        for site in read_sites(paths, layer, labels, reading.window_starts):
            found = compute_vectors(site, chosen, settings.seed, labels["prompt"].n_unique())
            rows += [{**row, **shared} for row in (*found, *outside_rows(site, outside))]
    return rows, {
        "left_out_sentences": left_out,
        "dropped_windows": [note["dropped_windows"] for note in notes],
        "outside": {name: hashlib.sha256(one.vector.tobytes()).hexdigest() for name, one in outside.items()},
        "pair": notes[0].get("settings", {}).get("pair"),
        "model_digest": notes[0].get("model_digest"),
    }


def read_sites(paths: Sequence[str], layer: int, labels: pl.DataFrame, window_starts: Sequence[int]) -> Iterator[Site]:
    """Yield the sites of one layer that have any window before a labelled training sentence, from all shards."""
    keys = [read_keys(path, layer).with_row_index("row").with_columns(shard=pl.lit(n)) for n, path in enumerate(paths)]
    joined = pl.concat(keys).join(labels, on=SENTENCE, how="inner", maintain_order="left")
    rows = joined.select("shard", "row", "window_start", "prompt", "label")
    nothing = np.empty((0, read_provenance(paths[0])["width"]))
    for start in sorted(window_starts):
        here = rows.filter(window_start=start)
        if len(here):
            prompts, names = here["prompt"].to_numpy(), here["label"].to_numpy().astype(str)
            ends = np.searchsorted(here["shard"].to_numpy(), np.arange(1, len(paths)))
            places = np.split(here["row"].to_numpy().astype(np.int64), ends)
            yield StoredSite(layer, start, nothing, prompts, names, list(zip(paths, places, strict=True)))


def read_site(paths: Sequence[str], labels: pl.DataFrame, selected: Selected) -> Site:
    """Read one reader's windows at the selected site; raises TableError where there are none."""
    for site in read_sites(paths, selected.layer, labels, [selected.window_start]):
        return site
    where = f"the selected layer {selected.layer}, start {selected.window_start}"
    raise TableError(f"{paths[0]} and its sister shards hold no window at {where}")


def missing_vectors(rows: Sequence[Row], window_starts: Sequence[int]) -> dict[str, list[int]]:
    """Window starts at which a label has no vector, by label: nothing stood before it there."""
    found = {(row["name"], row["window_start"]) for row in rows}
    gaps = {name: [s for s in sorted(window_starts) if (name, s) not in found] for name in BEHAVIOURS}
    return {name: starts for name, starts in gaps.items() if starts}


def main() -> None:
    with run_step("directions.vectors", __doc__, many=["labels", "activations"]) as step:
        rows, notes = make_vectors(step.settings, read_labels(step.given.labels), step.given.activations)
        for name, starts in missing_vectors(rows, step.settings.activations.window_starts).items():
            listed = ", ".join(map(str, starts))
            sys.stderr.write(f"repurpose directions.vectors: no window before {name} at start {listed}; left out\n")
        step.write(rows, VECTORS, **notes)


if __name__ == "__main__":
    main()
