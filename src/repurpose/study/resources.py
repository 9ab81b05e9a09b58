"""What jobs ask of a machine: memory, cards and time from a model's size. Standard library only: the Snakefile calls.

With P parameters, w bytes each (4 in float32, 2 in half precision) and t cards that share the model:

    weights          = P x w
    host memory      = 4 GB + 3 x weights                      (read, converted, and room to work in)
    card memory      = 4 GB + 1.2 x weights / t                (weights, activations, a small cache)
    minutes          = 15 + 1.5 x (weights / 0.2 GB/s + tokens x P / 3e13 per second) / 60

The rate of 3e13 parameter tokens a second is a cautious one for one A100 with full batches (3,750 tokens a second of an
8 B model). Half as much again, because a cluster kills a job that asked for too little. Models of at most 1 GiB ask
for an hour and no card.
"""

from __future__ import annotations

import math

from repurpose.study.settings import TOKEN_CONTROLS, Study, Sweep

GB = 1e9
SMALL_BYTES = 1 << 30
"""Models up to this size need no card."""
HUB_PARAMETERS = 8.0
"""Billions, of a hub name whose size the study does not give."""
HUB_LAYERS = 32
"""Of a hub name: its configuration may not be on this machine yet."""
DISK_RATE = 0.2 * GB
TOKEN_RATE = 3e13
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def weight_bytes(parameters: float, dtype: str) -> float:
    """Bytes of the weights.

    Args:
        parameters: billions. dtype: of the study.
    """
    return parameters * GB * BYTES[dtype]


def host_megabytes(weights: float) -> int:
    """Megabytes of the machine's memory that a job with the model asks for."""
    return math.ceil((4 * GB + 3 * weights) / 1e6)


def card_megabytes(weights: float, cards: int) -> int:
    """Megabytes that the model needs on each card, at least."""
    return math.ceil((4 * GB + 1.2 * weights / cards) / 1e6)


def cards(weights: float, shared_by: int = 1) -> int:
    """Cards of a job with the model."""
    return 0 if weights <= SMALL_BYTES else shared_by


def minutes(weights: float, parameters: float, tokens: int) -> int:
    """Minutes of a job that generates or reads so many tokens."""
    if weights <= SMALL_BYTES:
        return 60
    return math.ceil(15 + 1.5 * (weights / DISK_RATE + tokens * parameters * GB / TOKEN_RATE) / 60)


def rollout_tokens(study: Study) -> int:
    """Tokens generated for one shard of rollouts, at most."""
    prompts = math.ceil((study.prompts.train + study.prompts.heldout) / study.rollouts.shards)
    return prompts * study.rollouts.samples * study.rollouts.max_new_tokens


def sweep_tokens(study: Study, sweep: Sweep, layers: int) -> int:
    """Tokens generated for one target of a sweep, at most: every vector there is, every text as long as it may be.

    Args:
        layers: of the model.
    """
    read = len(study.activations.layers) if isinstance(study.activations.layers, tuple) else layers
    at = len(sweep.layers) if isinstance(sweep.layers, tuple) else (read if sweep.layers == "all" else 1)
    windows = len(sweep.window_starts) if isinstance(sweep.window_starts, tuple) else 1
    windows = len(study.activations.window_starts) if sweep.window_starts == "all" else windows
    numbered = {"random": study.vectors.random_directions, "shuffle": study.vectors.shuffles}
    vectors = sum(
        numbered.get(name, 1) * (1 if name in ("random", *TOKEN_CONTROLS) else len(sweep.readers) * windows)
        for name in sweep.directions
    )
    steps = sum(value != 0 for value in sweep.magnitudes.values) if sweep.operation == "add" else 1
    return (1 + vectors * at * steps) * sweep.prompts * sweep.samples * sweep.max_new_tokens
