"""Permutation test: do directions that mean nothing raise the keywords' log-odds as much as the vector does?

The reasoning model is steered at the selected site and magnitude on texts that are given, with the base-derived vector
and with many `shuffle` and `covariance-random` directions; the log-odds of a keyword are read at the starts of
sentences. Nothing is sampled, so that a direction costs a fraction of a second. Of n directions of a kind

    p = (1 + number that change the log-odds at least as much) / (1 + n)        on held-out passages

The strongest of all on TRAINING passages become rivals, which sweeps may steer with on held-out prompts. To find them,
all are ranked by their slopes on many passages (one pass back gives those of every direction), and the best of that
ranking by their changes on some.

Legend: n windows, d width, k directions.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from repurpose.data.command import run_step
from repurpose.data.schemas import PERMUTATIONS, VECTORS
from repurpose.data.selected import Selected, read_selected
from repurpose.data.statistics import Array
from repurpose.directions.controls import covariance_directions, shuffled_members, weigh
from repurpose.directions.unit_directions import Directions, read_pair_directions
from repurpose.directions.vectors import Site, read_site, training_labels
from repurpose.model.loading import common_vocabulary, load_model, made_with
from repurpose.model.slopes import read_slope
from repurpose.model.steer import Steer
from repurpose.model.teacher_forcing import ForcedRow, Passage, log_odds, read_logits
from repurpose.model.tokens import keyword_ids, load_tokenizer
from repurpose.study.conditions import VectorKey, family_of
from repurpose.study.pair_files import ROLES
from repurpose.study.settings import Permutations, StepSettings, Vectors

Row = dict[str, Any]
Score = Callable[[Tensor], Tensor]
RANKED_ON = 16
"""Training passages on which all directions are ranked by their slopes."""
FINALISTS = 4
"""Times as many as there are rivals are read again, exactly."""
BATCH_TOKENS = 4096
"""In one pass: on a CPU twice as many take a quarter longer for each, because they leave its cache."""
UNREAD: Row = dict.fromkeys(("log_odds", "change", "steered_positions", "expected_positions"))


@dataclass(frozen=True)
class Drawn:
    """The directions of the test, the study's vector first."""

    names: list[str]
    units: Array
    """(k, d)"""


def draw_directions(own: Array, site: Site, vectors: Vectors, count: int, seed: int) -> Drawn:
    """The study's direction (d,), then `count` of each kind; the first of them are those of the vector tables."""
    positives = site.labels == vectors.behaviour
    members = np.stack([shuffled_members(positives, site.prompts, seed, number) for number in range(count)])
    shuffles = weigh(difference_weights(members, vectors.estimator), site.blocks())
    shuffles /= np.linalg.norm(shuffles, axis=1, keepdims=True)
    random = covariance_directions(site.blocks(), len(site.labels), seed, count)
    names = [f"{kind}-{number:02d}" for kind in ("shuffle", "covariance-random") for number in range(count)]
    return Drawn([vectors.behaviour, *names], np.vstack([own, shuffles, random]))


def difference_weights(members: np.ndarray, estimator: str) -> Array:
    """Weights (k, n) of windows that give the differences of means of k sets of members (k, n)."""
    rest = ~members if estimator == "minus_rest" else np.ones_like(members)
    weights: Array = members / members.sum(1, keepdims=True) - rest / rest.sum(1, keepdims=True)
    return weights


def choose_passages(rollouts: pl.DataFrame, sentences: pl.DataFrame, split: str, tokens: int) -> list[Passage]:
    """A split's passages, each up to its last sentence that begins in the first `tokens` generated tokens.

    They are read before each labelled sentence but the first. Those come first that have the fewest tokens for each
    position that is read: they cost the least.
    """
    read = sentences.filter(pl.col("token_start").is_between(1, tokens - 1), status="ok").sort("token_start")
    keys = ["prompt_id", "sample"]
    starts = read.group_by(keys).agg(starts="token_start")
    found = []
    for row in rollouts.filter(split=split).join(starts, on=keys).sort(keys).iter_rows(named=True):
        prompt = row["prompt_token_ids"]
        positions = [len(prompt) + start - 1 for start in row["starts"]]
        ids = (prompt + row["token_ids"])[: positions[-1] + 1]
        found.append(Passage(row["prompt_id"], ids, positions, row["sample"]))
    return sorted(found, key=lambda passage: len(passage.token_ids) / len(passage.positions))


@dataclass(frozen=True)
class Bench:
    """A model, and what is tried on it."""

    model: PreTrainedModel
    tested: Drawn
    selected: Selected
    score: Score

    def slopes(self, passages: Sequence[Passage]) -> Array:
        """First-order changes (passages, k) of the log-odds."""
        layer = self.selected.layer
        read = [read_slope(self.model, p.token_ids, p.positions, layer, self.score).gradient for p in passages]
        gradients = np.array(read).reshape(len(passages), self.tested.units.shape[1])
        return self.selected.magnitude * gradients @ self.tested.units.T

    def changes(self, passage: Passage, chosen: Sequence[int]) -> dict[int, Row]:
        """What is read of some directions on one passage, as columns of PERMUTATIONS, by their indices."""
        rows = [ForcedRow(passage.token_ids, passage.positions, steer) for steer in (None, *map(self._steer, chosen))]
        read: dict[int, Row] = {}
        for place, one in read_logits(self.model, rows, BATCH_TOKENS):
            counted = {"steered_positions": one.steered_positions, "expected_positions": one.expected_positions}
            read[place] = {"log_odds": float(self.score(one.logits).mean()), **counted}
        unsteered = read[0]["log_odds"]
        found = {index: read[place] for place, index in enumerate(chosen, start=1)}
        return {index: {**row, "change": row["log_odds"] - unsteered} for index, row in found.items()}

    def _steer(self, index: int) -> Steer:
        """How a row is steered with a direction."""
        unit = self.tested.units[index].astype(np.float32)
        return Steer(self.tested.names[index], "add", self.selected.layer, self.selected.magnitude, unit)

    def rows(self, split: str, passage: Passage, slopes: Array, chosen: Sequence[int]) -> list[Row]:
        """PERMUTATIONS rows of all directions on one passage, from their slopes (k,); of some also the changes."""
        read = self.changes(passage, chosen) if chosen else {}
        where = {"split": split, "prompt_id": passage.prompt_id, "sample": passage.sample}
        where["positions"] = len(passage.positions)
        return [
            {"name": name, "kind": family_of(name), **where, "slope": float(slope), **read.get(index, UNREAD)}
            for index, (name, slope) in enumerate(zip(self.tested.names, slopes, strict=True))
        ]


def pooled(values: Array, passages: Sequence[Passage]) -> Array:
    """Means (k,) over passages of values (passages, k), each weighed by its positions."""
    mean: Array = np.average(values, axis=0, weights=[len(passage.positions) for passage in passages])
    return mean


def strongest(values: Array, among: Sequence[int], count: int) -> list[int]:
    """The indices of the highest of values (k,) among some, the highest first."""
    return sorted(among, key=lambda index: -values[index])[:count]


def read_heldout(bench: Bench, passages: Sequence[Passage]) -> list[Row]:
    """PERMUTATIONS rows of every direction on held-out passages."""
    everything = range(len(bench.tested.names))
    shown = tqdm(list(zip(passages, bench.slopes(passages), strict=True)), desc="held-out", mininterval=2)
    return [row for passage, slopes in shown for row in bench.rows("heldout", passage, slopes, everything)]


def choose_rivals(bench: Bench, passages: Sequence[Passage], how: Permutations) -> tuple[list[Row], list[int]]:
    """PERMUTATIONS rows on training passages, and the indices of the rivals, the strongest first; none without any."""
    if not passages:
        return [], []
    slopes, drawn = bench.slopes(passages), range(1, len(bench.tested.names))
    finalists = strongest(pooled(slopes, passages), drawn, FINALISTS * how.rivals)
    read = [
        bench.rows("train", passage, row, [0, *finalists] if number < how.passages else ())
        for number, (passage, row) in enumerate(zip(passages, slopes, strict=True))
    ]
    few = passages[: how.passages]
    changes = np.array(
        [[np.nan if row["change"] is None else row["change"] for row in rows] for rows in read[: len(few)]]
    )
    return [row for rows in read for row in rows], strongest(pooled(changes, few), finalists, how.rivals)


def with_rivals(rows: Sequence[Row], tested: Drawn, rivals: Sequence[int]) -> Iterator[Row]:
    """Yield PERMUTATIONS rows with the name of the rival that a direction became."""
    named = {tested.names[index]: f"rival-{number:02d}" for number, index in enumerate(rivals)}
    for row in rows:
        yield {**row, "rival": named.get(row["name"])}


def rival_rows(
    tested: Drawn, rivals: Sequence[int], directions: Directions, site: Site, settings: StepSettings
) -> Iterator[Row]:
    """Yield the VECTORS rows of the rivals, the same for both readers."""
    for number, index in enumerate(rivals):
        for reader in ROLES:
            yield {
                "name": f"rival-{number:02d}",
                "kind": "control",
                "reader": reader,
                "layer": site.layer,
                "window_start": site.window_start,
                "window_length": settings.activations.window_length,
                "estimator": settings.vectors.estimator,
                "positives": 0,
                "total": len(site.labels),
                "norm": 1.0,
                "residual_norm": directions.norms[reader, site.layer],
                **dict.fromkeys(("split_half_cosine", "split_half_low", "split_half_high")),
                "vector": tested.units[index].astype(np.float32).tobytes(),
            }


def make_permutations(
    settings: StepSettings,
    rollouts: pl.DataFrame,
    sentences: pl.DataFrame,
    activations: Sequence[str],
    directions: Directions,
    selected: Selected,
) -> tuple[list[Row], list[Row]]:
    """Return the PERMUTATIONS rows of a study, and the VECTORS rows of its rivals."""
    how, vectors = settings.permutations, settings.vectors
    labels, _ = training_labels(sentences, vectors.behaviour)
    site = read_site(activations, labels, selected)
    key = VectorKey(vectors.behaviour, "base", selected.layer, selected.window_start)
    own = directions.unit(key).astype(np.float64)
    tested = draw_directions(own, site, vectors, how.directions, settings.seed)
    model, tokenizer = load_model(settings.pair, "reasoning"), load_tokenizer(settings.pair, "reasoning")
    common = common_vocabulary(settings.pair)
    ids = [i for i in keyword_ids(tokenizer, settings.keywords) if i < common]
    bench = Bench(model, tested, selected, lambda logits: log_odds(logits[:, :common], ids))
    heldout, training = (choose_passages(rollouts, sentences, split, how.tokens) for split in ("heldout", "train"))
    rows, rivals = choose_rivals(bench, training[:RANKED_ON], how)
    rows = [*read_heldout(bench, heldout[: how.passages]), *rows]
    if not rivals:
        told = "no training sentence to read before, so there are no rivals"
        sys.stderr.write(f"repurpose steering.permutations: {told}\n")
    return list(with_rivals(rows, tested, rivals)), list(rival_rows(tested, rivals, directions, site, settings))


def main() -> None:
    many = ["rollouts", "labels", "activations", "vectors"]
    with run_step("steering.permutations", __doc__, one=["selection"], many=many, outputs=True) as step:
        directions, selected = read_pair_directions(step.given.vectors), read_selected(step.given.selection)
        tables = step.read("rollouts"), step.read("labels")
        rows, rivals = make_permutations(step.settings, *tables, step.given.activations, directions, selected)
        permutations, vectors = step.given.output
        notes = made_with(step.settings.pair, "reasoning")
        step.write(rows, PERMUTATIONS, permutations, **notes)
        step.write(rivals, VECTORS, vectors, **notes)


if __name__ == "__main__":
    main()
