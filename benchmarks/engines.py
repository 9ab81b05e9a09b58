"""Tokens per second of the engines, steered and not, in one run: vLLM's environment runs it.

    PYTHONPATH=src envs/.venvs/vllm-cpu/bin/python -m benchmarks.engines [--model resources/organism/reasoning]

Before anything is timed, steered vLLM is held against transformers (tokens and log-probabilities). Then the modes take
turns, best of each: seconds of CPU time where the model is on the CPU (other jobs on the machine do not count), of the
clock on a GPU. `one vector` gives all rows one condition; `16 vectors` deals sixteen conditions over the rows of one
batch; `one condition at a time` runs the same sixteen one after another, each in a batch of its own. The floor is
unsteered vLLM in the same (eager) mode.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from repurpose.model.engines import Engine, Request, Sampling
from repurpose.model.engines.parity import TOLERANCES, Parity, compare
from repurpose.model.engines.transformers import TransformersEngine
from repurpose.model.engines.vllm import VllmEngine
from repurpose.model.loading import load_config, load_model
from repurpose.model.steer import Steer
from repurpose.study.settings import Pair, Vllm

VECTORS, TEMPERATURE, PROMPT = 16, 0.7, (30, 45)
CHECKED_TOKENS = 16


def make_steers(width: int, layers: int, norm: float) -> list[Steer]:
    """Unit directions of random numbers at the middle layers."""
    units = np.random.default_rng(0).standard_normal((VECTORS, width)).astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    at = [layers // 3 + number % max(1, layers // 3) for number in range(VECTORS)]
    return [Steer(f"vector {n}", "add", at[n], norm, unit) for n, unit in enumerate(units)]


def make_prompts(rows: int, vocabulary: int) -> list[Request]:
    """Random ids."""
    rng = np.random.default_rng(1)
    return [Request(rng.integers(8, vocabulary, rng.integers(*PROMPT)).tolist(), row) for row in range(rows)]


def deal(plain: Sequence[Request], steers: Sequence[Steer]) -> list[Request]:
    """Conditions dealt over the rows."""
    return [replace(request, steer=steers[row % len(steers)]) for row, request in enumerate(plain)]


def check(engine: VllmEngine, pair: Pair, requests: Sequence[Request]) -> Parity:
    """Hold steered vLLM against transformers."""
    scored = engine.generate_scored(requests, Sampling(0.0, CHECKED_TOKENS))
    return compare(load_model(pair, "reasoning"), requests, scored, TOLERANCES[pair.dtype])


def one_at_a_time(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> None:
    """Each condition in batches of its own, as steering libraries do."""
    for number in range(VECTORS):
        write_all(engine, requests[number::VECTORS], sampling)


def write_all(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> None:
    """All rows in one call; no id stops a row, so each is as long as it may be, or the engines would not do alike."""
    done = engine.generate(requests, sampling)
    short = sum(len(generated.token_ids) != sampling.max_new_tokens for generated in done)
    assert not short, f"{short} rows of {engine.name} ended before their last token"


def best_seconds(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Best time of each call, the calls taking turns: of the CPU, so that other jobs on the machine do not count, or of
    the clock where there is a GPU."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            call()
            best[name] = min(best[name], clock() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resources/organism/reasoning")
    parser.add_argument("--dtype", default="float32", choices=sorted(TOLERANCES))
    parser.add_argument("--norm", type=float, default=12.0, help="L2 norm added")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    pair = Pair(arguments.model, arguments.model, arguments.dtype)
    config = load_config(pair, "reasoning")
    plain = make_prompts(arguments.rows, config.vocab_size)
    steers = make_steers(config.hidden_size, config.num_hidden_layers, arguments.norm)
    one, many = deal(plain, steers[:1]), deal(plain, steers)
    vllm = VllmEngine(pair, "reasoning", [], arguments.rows, Vllm(), PROMPT[1] + arguments.tokens)
    parity = check(vllm, pair, [*plain[:VECTORS], *many[:VECTORS]])
    ours = TransformersEngine(load_model(pair, "reasoning"), [], arguments.rows)
    sampling = Sampling(TEMPERATURE, arguments.tokens)
    floor = "vLLM, unsteered"
    seconds = best_seconds(
        {
            floor: lambda: write_all(vllm, plain, sampling),
            "vLLM, one vector": lambda: write_all(vllm, one, sampling),
            "vLLM, 16 vectors": lambda: write_all(vllm, many, sampling),
            "transformers, 16 vectors": lambda: write_all(ours, many, sampling),
            "transformers, one condition at a time": lambda: one_at_a_time(ours, many, sampling),
        },
        arguments.rounds,
    )
    total = arguments.rows * arguments.tokens
    lines = [f"{parity.positions} positions equal, log-probabilities within {parity.largest_difference:.1e}"]
    lines += [f"{arguments.rows} rows x {arguments.tokens} tokens, best of {arguments.rounds} rounds"]
    lines += [f"{name:38} {total / s:8.0f} tokens/s  {seconds[floor] / s:6.2f}" for name, s in seconds.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
