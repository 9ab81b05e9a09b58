"""A made-up study: every file that the tables are computed from, with effects that are known.

No model: texts are sentences drawn at rates that a condition sets, so that the verdicts must come out as `Effects`
says. Run as `python tests/synthetic.py FOLDER` it writes a whole study to look at.
"""

from __future__ import annotations

import atexit
import random
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import pyarrow as pa

from repurpose.data.files import write_table
from repurpose.data.provenance import provenance
from repurpose.data.schemas import (
    COSINES,
    LABELS,
    LENS,
    LOGODDS,
    MEASUREMENTS,
    PERMUTATIONS,
    PROJECTIONS,
    ROLLOUTS,
    SWEEPS,
    VECTORS,
)
from repurpose.data.selected import write_selected
from repurpose.results.claims import __main__ as claims_step
from repurpose.results.tables import __main__ as summaries_step
from repurpose.results.tables.data import StudyData, read_study_data
from repurpose.steering import measurements
from repurpose.steering.selection import choose_cell
from repurpose.study.catalogue import TABLES
from repurpose.study.settings import BEHAVIOURS, StepSettings, Study, canonical_json, read_study, step_settings

LAYERS, STARTS, LENGTH, WIDTH, BEST_LAYER = (0, 1, 2, 3), (-20, -13, -9, -4, 0), 6, 64, 2
HELDOUT = 24
NORM = 8.0
"""Median residual norm at every site."""
POOL = {
    "initializing": ("Okay, I need to find the number of apples.", "Let me read the problem step by step."),
    "deduction": ("Now 7 plus 5 makes 12.", "So the total that we have here is 9.", "Then 12 minus 3 is 9."),
    "adding-knowledge": ("Recall that adding moves us up along the line.",),
    "example-testing": ("For example, 2 plus 3 makes 5, so adding works here.",),
    "uncertainty-estimation": ("I am not quite sure that this is right.", "Hmm, I may need to be extra careful."),
}
BACKTRACKS = ("Wait, that last step does not look right.", "Hmm, that number cannot be right at all.")
TOKEN = re.compile(r"\s?[\w'<>/]+|\s?[^\w\s]")


@dataclass(frozen=True)
class Effects:
    """What is true in the made-up study: chances that a sentence backtracks, and the rest."""

    unsteered: float = 0.04
    base_derived: float = 0.30
    """Added in the reasoning model by the base-derived vector at the selected magnitude."""
    reasoning_derived: float = 0.40
    base_target: float = 0.0
    """The base model's chance under any vector."""
    random: float = 0.02
    """Largest that a random direction adds."""
    uncertainty: float = 0.04
    noise: float = 0.03
    ablated: float = 0.01
    """Chance of backtracking when the direction is ablated."""
    cosine: float = 0.85
    lens_rank: float = 0.55
    keyword_projection: float = 0.1
    """Shift of the projection on keyword tokens, in standard deviations; large: it tracks them."""
    mistake_projection: float = 0.8
    """Shift of the projection while a mistake is open."""
    base_logodds: float = 0.02
    reasoning_logodds: float = 1.5
    mark_logodds: float = 0.9


PRESENT = Effects()
ABSENT = Effects(
    base_derived=0.0,
    reasoning_derived=0.0,
    base_target=0.25,
    random=0.2,
    uncertainty=0.2,
    noise=0.0,
    ablated=0.04,
    cosine=0.1,
    lens_rank=0.999,
    keyword_projection=9.0,
    mistake_projection=0.0,
    base_logodds=1.5,
    reasoning_logodds=0.0,
    mark_logodds=0.0,
)


def make_study(heldout: int = 24) -> Study:
    """Return the settings of the made-up study."""
    sweep = {"split": "heldout", "prompts": heldout, "readers": ["base", "reasoning"], "max_new_tokens": 128}
    selected = {"unit": "selected", "values": [0.5, 1.0, 1.5]}
    controls = [*BEHAVIOURS, "mean", "same-offset", "shuffle", "random", "noise", "self"]
    two_by_two = {"unit": "selected", "values": [-1.0, 0.5, 1.0, 1.5, 2.0]}
    return read_study(
        {
            "study": "synthetic",
            "pair": {"base": "made-up/base", "reasoning": "made-up/reasoning"},
            "prompts": {"source": "organism", "train": 12, "heldout": heldout},
            "activations": {"window_starts": list(STARTS), "window_length": LENGTH},
            "vectors": {"random_directions": 20, "shuffles": 5},
            "sweeps": {
                "selection": {
                    **sweep,
                    "split": "train",
                    "prompts": 12,
                    "layers": "all",
                    "window_starts": "all",
                    "magnitudes": {"unit": "dose", "values": [0.5, 1.0, 1.5]},
                },
                "two_by_two": {**sweep, "targets": ["base", "reasoning"], "magnitudes": two_by_two},
                "baselines": {**sweep, "readers": ["base"], "directions": controls, "magnitudes": selected},
                "ablation": {
                    **sweep,
                    "operation": "ablate",
                    "directions": ["backtracking", "uncertainty-estimation", "random"],
                    "magnitudes": {"unit": "selected", "values": [1.0]},
                    "samples": 2,
                },
            },
            "selection": {
                "metric": "keyword_share",
                "min_distinct_2": 0.5,
                "max_longest_run": 4.0,
                "min_grammatical": 0.0,
            },
            "statistics": {"bootstrap": 400},
        }
    )


def settings_text(study: Study, step: str, **extra: Any) -> str:
    """Return a step's settings as its command line has them."""
    return canonical_json(step_settings(study, step, **extra))


def seeded(*parts: object) -> random.Random:
    """Return a generator that depends on its arguments alone."""
    return random.Random(zlib.crc32(repr(parts).encode()))


def tokenize(text: str) -> list[str]:
    """Cut a text into pieces that joined give it back."""
    return TOKEN.findall(text)


def token_ids(text: str) -> list[int]:
    """Return an id for each piece."""
    return [zlib.crc32(token.encode()) % 50000 for token in tokenize(text)]


def write_thoughts(rng: random.Random, chance: float, sentences: int = 12) -> list[tuple[str, str]]:
    """Return (label, sentence) pairs; each backtracks with the given chance."""
    rows = []
    for _ in range(sentences):
        label = "backtracking" if rng.random() < chance else rng.choice(sorted(POOL))
        rows.append((label, rng.choice(BACKTRACKS if label == "backtracking" else POOL[label])))
    return rows


def write_answer(rng: random.Random, chance: float, target: str) -> str:
    """Return a text that thinks and mostly answers 9; the base model knows no keyword but in backtracking."""
    thoughts = " ".join(sentence for _, sentence in write_thoughts(rng, chance))
    thoughts = thoughts.replace("Hmm, I may", "I may") if target == "base" else thoughts
    return f"{thoughts} </think> The answer is {9 if rng.random() < 0.9 else 8}."


def chance_of(effects: Effects, condition: dict[str, Any]) -> float:
    """Return the chance that a sentence backtracks under a condition."""
    if condition["target"] == "base":
        return 0.0 if condition["direction"] == "none" else effects.base_target
    if condition["operation"] == "ablate":
        return effects.ablated if condition["direction"] == "backtracking" else effects.unsteered
    gain = gain_of(effects, condition["direction"], condition["reader"])
    gain *= condition["multiple"] * site_factor(condition["layer"], condition["window_start"])
    return min(0.9, max(0.0, effects.unsteered + gain))


def gain_of(effects: Effects, direction: str, reader: str | None) -> float:
    """Return what a direction adds at the selected magnitude."""
    if direction == "backtracking":
        return effects.base_derived if reader == "base" else effects.reasoning_derived
    if direction.startswith("random-"):
        return effects.random * (int(direction[-2:]) / 19 * 1.5 - 0.5)
    return {"uncertainty-estimation": effects.uncertainty, "noise": effects.noise}.get(direction, -0.01)


def site_factor(layer: int | None, start: int | None) -> float:
    """Return how good a site is: best at layer 2, window start -9."""
    if layer is None or start is None:
        return 1.0
    return {0: 0.2, 1: 0.6, 2: 1.0, 3: 0.7}[layer] * {-20: 0.4, -13: 0.9, -9: 1.0, -4: 0.8, 0: 1.3}[start]


def make_condition(sweep: str, target: str, direction: str, **columns: Any) -> dict[str, Any]:
    """Return the condition columns of a row."""
    plain = {"reader": None, "layer": None, "window_start": None, "operation": "none", "positions": "none"}
    kind = "behaviour" if direction in BEHAVIOURS else "none" if direction == "none" else "control"
    numbers = {"magnitude": 0.0, "dose": 0.0, "multiple": 0.0}
    return {"sweep": sweep, "target": target, "direction": direction, "kind": kind, **plain, **numbers, **columns}


def steered(sweep: str, target: str, direction: str, reader: str, multiple: float, **site: Any) -> dict[str, Any]:
    """Return the condition columns of an addition at the selected site, or at the one given."""
    at = {"layer": BEST_LAYER, "window_start": -9, "operation": "add", "positions": "all", **site}
    size = {"magnitude": multiple * NORM, "dose": multiple, "multiple": multiple}
    return make_condition(sweep, target, direction, reader=reader, **at, **size)


def grid(sweep: str, target: str) -> list[dict[str, Any]]:
    """List the conditions of a sweep on a target, the unsteered one first."""
    unsteered = make_condition(sweep, target, "none")
    readers = ("base", "reasoning")
    if sweep == "selection":
        sites = [{"layer": layer, "window_start": start} for layer in LAYERS for start in STARTS]
        return [unsteered] + [
            steered(sweep, target, "backtracking", reader, m, **site)
            for reader in readers
            for site in sites
            for m in (0.5, 1.0, 1.5)
        ]
    if sweep == "two_by_two":
        multiples = (-1.0, 0.5, 1.0, 1.5, 2.0)
        return [unsteered] + [
            steered(sweep, target, "backtracking", reader, m) for reader in readers for m in multiples
        ]
    if sweep == "baselines":
        names = [*BEHAVIOURS, "mean", "same-offset", *numbered("shuffle", 5), *numbered("random", 20), "noise", "self"]
        return [unsteered] + [steered(sweep, target, n, "base", m) for n in names for m in (0.5, 1.0, 1.5)]
    ablated = {"layer": BEST_LAYER, "window_start": -9, "operation": "ablate", "magnitude": None, "dose": None}
    names = [("backtracking", "base"), ("backtracking", "reasoning"), ("uncertainty-estimation", "base")]
    names += [(name, "base") for name in numbered("random", 20)]
    return [unsteered] + [
        make_condition(sweep, target, n, reader=r, **{**ablated, "multiple": 1.0, "positions": "all"}) for n, r in names
    ]


def numbered(stem: str, count: int) -> list[str]:
    """Return stem-00, stem-01, ..."""
    return [f"{stem}-{i:02d}" for i in range(count)]


def sweep_rows(effects: Effects, sweep: str, target: str, prompts: list[str], samples: int = 1) -> list[dict[str, Any]]:
    """Return the SWEEPS rows of a sweep on a target."""
    return [
        sweep_row(effects, condition, prompt, sample)
        for condition in grid(sweep, target)
        for prompt in prompts
        for sample in range(samples)
    ]


def sweep_row(effects: Effects, condition: dict[str, Any], prompt: str, sample: int) -> dict[str, Any]:
    """Return one steered rollout; at twice the magnitude it is a loop of one word."""
    cell = {key: condition[key] for key in ("direction", "reader", "layer", "window_start", "multiple", "target")}
    rng = seeded(prompt, sample, sorted(cell.items()))
    chance = chance_of(effects, condition) * (0.5 + zlib.crc32(prompt.encode()) % 100 / 100)
    text = "Wait " * 60 if condition["multiple"] >= 2 else write_answer(rng, chance, condition["target"])
    ids = token_ids(text)
    return {
        **condition,
        "prompt_id": prompt,
        "category": prompt.split("-")[0],
        "answer": "9",
        "sample": sample,
        "seed": zlib.crc32(f"{prompt}{sample}".encode()),
        "prompt_tokens": 30,
        "token_ids": ids,
        "text": text,
        "finish_reason": "stop" if "</think>" in text else "length",
        "steered_positions": 30 + len(ids),
        "expected_positions": 30 + len(ids),
    }


def prompt_names(split: str, count: int) -> list[str]:
    """Return prompt ids of a split, over three categories."""
    return [f"{('bus', 'garden', 'sums')[i % 3]}-{split}-{i:03d}" for i in range(count)]


def vector_rows(effects: Effects, reader: str) -> list[dict[str, Any]]:
    """Return the VECTORS rows of a reader; each label has its own cosine between readers."""
    rows = []
    names = [*BEHAVIOURS, "mean", "same-offset", *numbered("shuffle", 5), *numbered("random", 20)]
    for name in names:
        level = effects.cosine if name == "backtracking" else 0.9 if name in BEHAVIOURS else 0.5
        vector = make_vector(name, reader, 1.0 if name.startswith("random") else level)
        for layer in LAYERS:
            for start in STARTS:
                rows.append(vector_row(name, reader, layer, start, vector))
    return rows


def make_vector(name: str, reader: str, level: float) -> np.ndarray[Any, Any]:
    """Return a unit vector whose cosine between the two readers is `level`."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    one, other = np.linalg.qr(rng.standard_normal((WIDTH, 2)))[0].T
    return one if reader == "base" else level * one + np.sqrt(1 - level**2) * other


def vector_row(name: str, reader: str, layer: int, start: int, vector: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return one VECTORS row."""
    fixed = name.startswith("random-")
    half = None if fixed else 0.3 if name.startswith(("shuffle", "same")) else 0.85
    return {
        "name": name,
        "kind": "behaviour" if name in BEHAVIOURS else "control",
        "reader": reader,
        "layer": layer,
        "window_start": start,
        "window_length": LENGTH,
        "estimator": "minus_all",
        "positives": 0 if fixed else 120,
        "total": 3000,
        "norm": 1.3,
        "residual_norm": NORM,
        "split_half_cosine": half,
        "split_half_low": half and half - 0.06,
        "split_half_high": half and half + 0.04,
        "vector": vector.astype(np.float32).tobytes(),
    }


def cosine_rows(effects: Effects) -> list[dict[str, Any]]:
    """Return the COSINES rows: the cosines of the vectors, and controls without a direction."""
    rows = []
    for name in [*BEHAVIOURS, "same-offset", *numbered("shuffle", 5), "mean"]:
        level = effects.cosine if name == "backtracking" else 0.6
        noise = name.startswith(("shuffle", "same"))
        half, true = (0.04, None) if noise else (0.85, level)
        cross = 0.05 if noise else level * half
        rows.append(
            {
                "name": name,
                "layer": BEST_LAYER,
                "window_start": -9,
                "positives": 120,
                "prompts": 40,
                "cross_half": cross,
                "cross_half_low": cross - 0.06,
                "cross_half_high": cross + 0.06,
                **{f"reliability_{reader}": half for reader in ("base", "reasoning")},
                **{f"reliability_{reader}_low": half - 0.2 for reader in ("base", "reasoning")},
                "disattenuated": true,
                "disattenuated_low": true and true - 0.05,
                "disattenuated_high": true and true + 0.05,
            }
        )
    return rows


def rollout_parts(prompt: str) -> list[tuple[str, str, bool, int]]:
    """Return (label, sentence, whether the open step is correct, sentences since the step) of a rollout."""
    rng, parts, correct, since = seeded("rollout", prompt), [], True, 0
    parts.append(("initializing", POOL["initializing"][0], True, 0))
    while len(parts) < 26:
        correct, since = rng.random() > 0.25, 0
        parts.append(("deduction", rng.choice(POOL["deduction"]), correct, 0))
        for _ in range(rng.randint(1, 3)):
            since += 1
            label = rng.choice(["adding-knowledge", "example-testing", "uncertainty-estimation", "deduction"])
            parts.append((label, rng.choice(POOL[label]), correct, since))
        if not correct and rng.random() < 0.8:
            parts.append(("backtracking", rng.choice(BACKTRACKS), correct, since + 1))
    return parts


def rollout_rows(prompt: str, split: str) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the ROLLOUTS row of a prompt, its LABELS and its tokens with their truth."""
    sentences, tokens, text = [], [], ""
    step_end = 0
    for number, (label, sentence, correct, since) in enumerate(rollout_parts(prompt)):
        piece = sentence if not text else f" {sentence}"
        start, pieces = len(tokens), tokenize(piece)
        sentences.append(sentence_row(prompt, split, number, label, sentence, len(text), start, len(pieces)))
        for token in pieces:
            tokens.append({"token": token, "label": label, "sentence": number, "correct": correct, "since": since})
        if since == 0:
            step_end = len(tokens)
        for i in range(start, len(tokens)):
            tokens[i]["since"] = max(0, i - step_end + 1) if since else 0
        text += piece
    rollout = {
        "prompt_id": prompt,
        "sample": 0,
        "split": split,
        "category": prompt.split("-")[0],
        "answer": "9",
        "model": "made-up/reasoning",
        "engine": "transformers",
        "seed": 1,
        "prompt_token_ids": [1, 2],
        "token_ids": token_ids(text),
        "token_ends": list(accumulate(map(len, tokenize(text)))),
        "text": text,
        "finish_reason": "stop",
    }
    return rollout, sentences, tokens


def sentence_row(
    prompt: str, split: str, number: int, label: str, text: str, char: int, token: int, length: int
) -> dict[str, Any]:
    """Return one LABELS row."""
    return {
        "prompt_id": prompt,
        "sample": 0,
        "split": split,
        "sentence": number,
        "char_start": char,
        "char_end": char + len(text) + (char > 0),
        "token_start": token,
        "token_end": token + length,
        "text": text,
        "annotator": "lexicon",
        "label": label,
        "status": "ok",
        "reply": None,
    }


def projection_rows(effects: Effects, reader: str, prompt: str, tokens: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the PROJECTIONS rows of a rollout: on the behaviour's direction, and on controls that know nothing."""
    rng = np.random.default_rng(zlib.crc32(f"{prompt}{reader}".encode()))
    rows = behaviour_projections(effects, reader, prompt, tokens, rng)
    for direction in ("deduction", "random-00", "random-01"):
        values = 2.0 * rng.standard_normal(len(tokens))
        rows += [{**row, "direction": direction, "projection": z} for row, z in zip(rows, values, strict=False)]
    return rows


def behaviour_projections(
    effects: Effects, reader: str, prompt: str, tokens: list[dict[str, Any]], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return the PROJECTIONS rows of a rollout on the behaviour's direction."""
    rows = []
    for position, token in enumerate(tokens):
        keyword = token["token"].strip().lower() in ("wait", "hmm")
        mean = effects.keyword_projection * keyword + effects.mistake_projection * (not token["correct"])
        rows.append(
            {
                "prompt_id": prompt,
                "sample": 0,
                "direction": "backtracking",
                "reader": reader,
                "layer": BEST_LAYER,
                "position": position,
                "token": token["token"],
                "projection": 2.0 * (mean + rng.standard_normal() * (0.2 if effects.keyword_projection > 5 else 1)),
                "keyword": keyword,
                "label": token["label"],
                "sentence": token["sentence"],
                "correct_calculation": token["correct"],
                "since_calculation": token["since"],
            }
        )
    return rows


def lens_rows(effects: Effects) -> list[dict[str, Any]]:
    """Return the LENS rows of both readers and of the random directions."""
    rows = []
    for direction in ("backtracking", *numbered("random", 20)):
        for reader in ("base", "reasoning") if direction == "backtracking" else ("base",):
            for unembedding in ("base", "reasoning"):
                for layer in LAYERS:
                    rows += lens_cell(effects, direction, reader, unembedding, layer)
    return rows


BEST_ENTRY = ("best_score", "best_rank", "best_entry", "entries")


def lens_cell(effects: Effects, direction: str, reader: str, unembedding: str, layer: int) -> list[dict[str, Any]]:
    """Return the LENS rows of one direction at one layer."""
    rng = seeded(direction, reader, unembedding, layer)
    site = {
        "direction": direction,
        "reader": reader,
        "unembedding": unembedding,
        "layer": layer,
        "window_start": -9,
    }
    rank = rng.random() if direction != "backtracking" else min(1.0, effects.lens_rank + rng.random() * 0.001)
    found = {"score": (rank - 0.5) * 4, "rank": rank, "best_score": (rank - 0.5) * 5, "best_rank": rank, "entries": 3}
    words = [{**site, "word": word, **found, "best_entry": f" {word}"} for word in ("wait", "hmm")]
    best = "Wait" if effects.lens_rank > 0.9 else "mistake"
    tops = (best, "$error$", "wrong", "<b>hostile</b>", "off")
    return words + [
        {**site, "word": f"top:{token}", "score": 5.0 - i, "rank": 1 - i / 1000, **dict.fromkeys(BEST_ENTRY)}
        for i, token in enumerate(tops)
    ]


def logodds_rows(effects: Effects, target: str, prompts: list[str]) -> list[dict[str, Any]]:
    """Return the LOGODDS rows of a target."""
    names = [*BEHAVIOURS, "mean", "same-offset", *numbered("random", 20)]
    keyword = effects.base_logodds if target == "base" else effects.reasoning_logodds
    rows = []
    for context in ("keyword", "mark") if target == "base" else ("keyword",):
        size = keyword if context == "keyword" else effects.mark_logodds
        for prompt in prompts:
            rows.append(logodds_row(target, context, make_condition("", target, "none"), prompt, 0.0))
            for name in names:
                mean = size if name == "backtracking" else 0.1 * seeded(name, context).uniform(-1, 1)
                condition = steered("", target, name, "base", 1.0)
                change = mean + seeded(name, prompt, context, target).gauss(0, 0.2)
                rows.append(logodds_row(target, context, condition, prompt, change))
    return rows


def logodds_row(target: str, context: str, condition: dict[str, Any], prompt: str, change: float) -> dict[str, Any]:
    """Return one LOGODDS row."""
    keys = ("direction", "kind", "reader", "layer", "window_start", "magnitude", "dose", "multiple")
    return {
        **{key: condition[key] for key in keys},
        "target": target,
        "context": context,
        "prompt_id": prompt,
        "positions": 20,
        "steered_positions": 400,
        "expected_positions": 400,
        "log_odds": -9.0 + change,
        "change": change,
    }


def permutation_rows(effects: Effects, prompts: list[str]) -> list[dict[str, Any]]:
    """Return the PERMUTATIONS rows: the vector, and as many directions of each kind, of which two became rivals."""
    rows = []
    for name in ("backtracking", *numbered("shuffle", 20), *numbered("covariance-random", 20)):
        mean = effects.reasoning_logodds if name == "backtracking" else 0.3 * seeded(name).gauss(0, 1)
        for prompt in prompts:
            row = {"name": name, "kind": name.rstrip("0123456789").rstrip("-"), "split": "heldout", "prompt_id": prompt}
            row |= {"sample": 0, "positions": 5, "steered_positions": 90, "expected_positions": 90, "log_odds": -5.0}
            rows.append({**row, "change": mean, "slope": mean / 2, "rival": RIVALS.get(name)})
    return rows


RIVALS = {"shuffle-03": "rival-00", "shuffle-11": "rival-01"}


def write_study(folder: Path, effects: Effects, heldout: int = 24) -> dict[str, Any]:
    """Write all the files of a study up to the tables' inputs; return them by the names of the command line."""
    study = make_study(heldout)
    note = provenance({"study": "synthetic"}, model_digest={"reasoning": "0123456789abcdef"}, device="cpu")
    paths: dict[str, Any] = {"measurements": [], "vectors": [], "logodds": [], "projections": []}
    _write_sweeps(folder, effects, study, paths, heldout)
    for reader in ("base", "reasoning"):
        _write(folder / f"vectors/{reader}.parquet", vector_rows(effects, reader), VECTORS, note, paths["vectors"])
        rows = logodds_rows(effects, reader, prompt_names("heldout", heldout))
        _write(folder / f"logodds/{reader}.parquet", rows, LOGODDS, note, paths["logodds"])
    _write_rollouts(folder, effects, paths, note, heldout)
    lens: list[Path] = []
    _write(folder / "lens.parquet", lens_rows(effects), LENS, note, lens)
    cosines: list[Path] = []
    _write(folder / "cosines.parquet", cosine_rows(effects), COSINES, note, cosines)
    permutations: list[Path] = []
    rows = permutation_rows(effects, prompt_names("heldout", 3))
    _write(folder / "permutations.parquet", rows, PERMUTATIONS, note, permutations)
    one = {"lens": lens[0], "cosines": cosines[0], "permutations": permutations[0]}
    return paths | one | {"study": study}


def _write(path: Path, rows: Any, schema: Any, note: dict[str, Any], paths: list[Path]) -> None:
    write_table(path, rows, schema, note)
    paths.append(path)


def _write_sweeps(folder: Path, effects: Effects, study: Study, paths: dict[str, Any], heldout: int) -> None:
    for name, sweep in study.sweeps.items():
        prompts = prompt_names(sweep.split, min(sweep.prompts, heldout))
        for target in sweep.targets:
            rows = pl.DataFrame(measurements_schema_rows(sweep_rows(effects, name, target, prompts, sweep.samples)))
            how = measurements.Measuring(study.keywords, study.vectors.behaviour, is_embedded=True)
            measured = measurements.measure_sweep(rows, how, likelihoods(rows))
            path = folder / f"measurements/{name}/{target}.parquet"
            _write(path, measured, MEASUREMENTS, provenance({}), paths["measurements"])
            if name == "selection":
                _write_selection(folder, measured, study, paths)


def likelihoods(rows: pl.DataFrame) -> pl.Series:
    """Nats per token as if they were read: every fourth word of a loop is a surprise."""
    loops = rows["text"].str.starts_with("Wait Wait")
    return pl.Series("nll", [2.5 if loop else 0.5 for loop in loops])


def measurements_schema_rows(rows: list[dict[str, Any]]) -> Any:
    """Return SWEEPS rows as an Arrow table, nulls typed."""
    return pa.Table.from_pylist(rows, SWEEPS)


def _write_selection(folder: Path, measured: pl.DataFrame, study: Study, paths: dict[str, Any]) -> None:
    """Choose by the step's own rule; where there is no effect to find, take the site that the others use."""
    chosen = choose_cell(measured, study.selection, "backtracking", LENGTH)
    chosen = replace(chosen, layer=BEST_LAYER, window_start=-9, magnitude=NORM, dose=1.0)
    paths["selection"] = folder / "selection.json"
    write_selected(paths["selection"], chosen)


def _write_rollouts(folder: Path, effects: Effects, paths: dict[str, Any], note: dict[str, Any], heldout: int) -> None:
    made = [(prompt, rollout_rows(prompt, "heldout")) for prompt in prompt_names("heldout", heldout)]
    paths |= {"rollouts": [], "labels": []}
    rollouts = [rollout for _, (rollout, _, _) in made]
    sentences = [row for _, (_, rows, _) in made for row in rows]
    _write(folder / "rollouts/0.parquet", rollouts, ROLLOUTS, note, paths["rollouts"])
    _write(folder / "labels/lexicon/0.parquet", sentences, LABELS, note, paths["labels"])
    for reader in ("base", "reasoning"):
        rows = [row for prompt, (_, _, tokens) in made for row in projection_rows(effects, reader, prompt, tokens)]
        _write(folder / f"projections/{reader}.parquet", rows, PROJECTIONS, note, paths["projections"])


def tables_arguments(paths: dict[str, Any], output: Path) -> list[str]:
    """Return the command line of the tables' step."""
    text = settings_text(paths["study"], "results.tables")
    arguments = ["--settings", text, "--output", str(output)]
    for name in ("measurements", "vectors", "rollouts", "labels", "logodds", "projections"):
        arguments += [f"--{name}", *map(str, paths[name])]
    for name in ("cosines", "permutations", "lens", "selection"):
        arguments += [f"--{name}", str(paths[name])]
    return arguments


@cache
def built(kind: str) -> Path:
    """Return a folder with a whole made-up study, its tables and claims; built once per session."""
    folder = Path(tempfile.mkdtemp(prefix="synthetic-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    paths = write_study(folder, PRESENT if kind == "present" else ABSENT, heldout=HELDOUT)
    run_step(summaries_step, tables_arguments(paths, folder / "tables"))
    run_step(claims_step, claims_arguments(folder))
    return folder


def run_step(module: Any, arguments: Sequence[str]) -> None:
    """Run a step in this process with a command line."""
    with mock.patch.object(sys, "argv", ["step", *arguments]):
        module.main()


def claims_arguments(folder: Path) -> list[str]:
    """Return the command line of the claims' step."""
    text = settings_text(make_study(), "results.claims")
    tables = [str(folder / f"tables/{name}.csv") for name in TABLES]
    return ["--settings", text, "--tables", *tables, "--output", str(folder / "claims.csv")]


def load(folder: Path) -> StudyData:
    """Return the study's data as the tables' step reads it."""
    names = ("measurements", "vectors", "rollouts", "labels", "logodds", "projections")
    paths: dict[str, Any] = {name: sorted((folder / name).rglob("*.parquet")) for name in names}
    paths |= {name: folder / f"{name}.parquet" for name in ("cosines", "permutations", "lens")}
    paths |= {"selection": folder / "selection.json"}
    return read_study_data(StepSettings("results.tables", settings_text(make_study(HELDOUT), "results.tables")), paths)


if __name__ == "__main__":
    written = write_study(Path(sys.argv[1]), ABSENT if "absent" in sys.argv else PRESENT, heldout=40)
    print("\n".join(tables_arguments(written, Path(sys.argv[1]) / "tables")))  # noqa: T201
