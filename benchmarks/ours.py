"""This project's side of every table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from benchmarks.inputs import Bootstrap, Extraction, Generation, Storage, token_table
from benchmarks.peers.transformers import load
from benchmarks.worker import Outputs, Runs
from repurpose.data.statistics import draw_weights
from repurpose.directions.activations import TokenSequence, Windows, read_windows
from repurpose.directions.cosines import Reading, weighted_vectors
from repurpose.directions.store import read_vectors, write_activations
from repurpose.directions.vectors import Site
from repurpose.model.engines import Request, Sampling
from repurpose.model.engines.transformers import TransformersEngine
from repurpose.model.steer import Steer


def extraction(folder: Path) -> Runs:
    """`read_windows`, which the step `directions.activations` calls."""
    return extraction_runs(load(folder), Extraction.load(folder))


def extraction_runs(model: PreTrainedModel, inputs: Extraction) -> Runs:
    """The same with a model and inputs that are there."""
    sequences = [TokenSequence(ids, inputs.prompt) for ids in inputs.ids]
    windows = Windows(np.array(inputs.rollout), np.array(inputs.position), inputs.length)

    def read(run: str) -> Outputs:
        out = inputs.empty(run)
        read_windows(model, sequences, windows, inputs.layers[run], inputs.batch_tokens, out, lambda _: None)
        return {"means": out}

    return {run: partial(read, run) for run in inputs.layers}


def generation(folder: Path) -> Runs:
    """The engine `transformers`: all rows at once; ending by themselves, with places taken, and in fixed batches."""
    model, inputs = load(folder), Generation.load(folder)
    steered = make_requests(inputs)
    plain = [replace(request, steer=None) for request in steered]
    sampling, size = Sampling(0.0, inputs.tokens), max(map(len, inputs.fixed_batches), default=1)

    def write(requests: Sequence[Request], batch: int, stop_ids: Sequence[int] = ()) -> NDArray[np.int64]:
        done = TransformersEngine(model, stop_ids, batch).generate(requests, sampling)
        return token_table([one.token_ids for one in done], inputs.tokens)

    def fixed() -> Outputs:
        tokens = np.full((len(steered), inputs.tokens), -1, np.int64)
        for batch in inputs.fixed_batches:
            tokens[batch] = write([steered[row] for row in batch], len(batch), inputs.stop_ids)
        return {"tokens": tokens}

    return {
        "unsteered": lambda: {"tokens": write(plain, len(plain))},
        "steered": lambda: {"tokens": write(steered, len(steered))},
        "ragged": lambda: {"tokens": write(steered, size, inputs.stop_ids)},
        "ragged in fixed batches": fixed,
    }


def make_requests(inputs: Generation) -> list[Request]:
    """A request for each condition and prompt."""
    requests = []
    for number, vector in enumerate(inputs.vectors):
        length = float(np.linalg.norm(vector))
        unit = (np.array(vector) / length).astype(np.float32)
        steer = Steer(f"condition {number}", "add", inputs.layer, length, unit)
        requests += [Request(prompt, seed, steer) for seed, prompt in enumerate(inputs.prompts)]
    return requests


def storage(folder: Path) -> Runs:
    """The store of activations: Parquet, a row group a layer; a layer is written with the keys of its windows."""
    inputs, vectors, path = Storage.load(folder), np.load(folder / Storage.DATA), folder / "ours.parquet"
    keys = [
        {"prompt_id": f"prompt-{row // 64}", "sample": 0, "sentence": row % 64, "window_start": -13}
        for row in range(vectors.shape[1])
    ]

    def write() -> Outputs:
        write_activations(path, keys, range(len(vectors)), vectors, {})
        return {"bytes": np.array(path.stat().st_size)}

    return {"write": write, "read": partial(inputs.read, lambda: read_vectors(path, inputs.layer))}


def bootstrap(folder: Path) -> Runs:
    """Every label's vector and its resamples, all from sums by prompt, as `directions.vectors` and `.cosines` do."""
    inputs, vectors = Bootstrap.load(folder), np.load(folder / Bootstrap.DATA)
    site = Site(0, -13, vectors, np.array(inputs.prompts), np.array(inputs.labels))
    count = max(inputs.prompts) + 1
    weights = np.vstack([np.ones((1, count)), draw_weights(count, inputs.resamples, Bootstrap.SEED)])

    def compute() -> Outputs:
        members = {name: site.labels == name for name in sorted(set(inputs.labels))}
        sums = site.sums({"": np.ones(len(site.labels), bool), **members}, count)
        reading = Reading(sums.pop(""), sums, {})
        found = dict(weighted_vectors(reading, weights, np.arange(count)))
        return {name: found[name] for name in members}

    return {"vectors": compute}
