"""The gate between engines: it passes what is equal and names what differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from repurpose.model.engines import Request, Sampling, Scored
from repurpose.model.engines.parity import ParityError, compare, gate_steers
from repurpose.model.engines.transformers import TransformersEngine
from repurpose.model.hooks import BatchSteering, steer
from repurpose.model.steer import Steer

WIDTH, STOP, TOKENS = 32, 1, 10


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)
    return vector / np.linalg.norm(vector)


@pytest.fixture
def requests() -> list[Request]:
    steers = gate_steers({"backtracking": unit(0), "random-00": unit(1)}, 1, 6.0)
    return [Request([0, 7, 9 + i], i, plan) for i in range(2) for plan in steers]


def greedy(model: LlamaForCausalLM, requests: list[Request]) -> list[Scored]:
    """What a correct engine says: the loop's greedy tokens, and their log-probabilities one forward pass a row."""
    found = []
    for request, done in zip(
        requests, TransformersEngine(model, [STOP], 8).generate(requests, Sampling(0.0, TOKENS)), strict=True
    ):
        drawn = [*done.token_ids, *([STOP] if done.finish_reason == "stop" else [])]
        ids = torch.tensor([[*request.prompt_ids, *drawn[:-1]]])
        steering = BatchSteering([request.steer], [request.seed], model)
        generated = torch.arange(ids.shape[1])[None] >= len(request.prompt_ids)
        steering.positions(torch.ones_like(ids, dtype=torch.bool), generated)
        with torch.inference_mode(), steer(model, steering):
            logprobs = model(ids).logits[0, len(request.prompt_ids) - 1 :].log_softmax(-1)
        found.append(Scored(drawn, logprobs[range(len(drawn)), drawn].tolist()))
    return found


def test_equal_engines_pass(model: LlamaForCausalLM, requests: list[Request]) -> None:
    parity = compare(model, requests, greedy(model, requests), 1e-3)
    assert parity.rows == len(requests) == 40 and parity.positions == sum(
        len(s.token_ids) for s in greedy(model, requests)
    )
    assert parity.largest_difference < 1e-4 and parity.smallest_effect > 0.01 and parity.tokens > 10


def test_an_engine_that_does_not_steer_is_named(model: LlamaForCausalLM, requests: list[Request]) -> None:
    unsteered = greedy(model, [replace(request, steer=None) for request in requests])
    with pytest.raises(ParityError, match=r"differ under condition add backtracking x .*; nothing was steered"):
        compare(model, requests, unsteered, 1e-3)


def test_steering_at_other_positions_is_found(model: LlamaForCausalLM, requests: list[Request]) -> None:
    policy = {"all": "generated", "generated": "all"}
    other = [
        replace(r, steer=r.steer and replace(r.steer, positions=policy[r.steer.positions]))  # type: ignore[arg-type]
        for r in requests
    ]
    with pytest.raises(ParityError, match="vLLM and transformers differ under condition"):
        compare(model, requests, greedy(model, other), 1e-3)


@pytest.mark.parametrize(("at", "change"), [("token_ids", 3), ("logprobs", 0.01), ("logprobs", float("nan"))])
def test_one_wrong_token_or_probability_is_found(
    model: LlamaForCausalLM, requests: list[Request], at: str, change: float
) -> None:
    scored = greedy(model, requests)
    values = list(getattr(scored[5], at))
    values[2] = (values[2] + change) % 64 if at == "token_ids" else values[2] + change
    scored[5] = replace(scored[5], **{at: values})
    with pytest.raises(ParityError, match=r"generated token \d"):
        compare(model, requests, scored, 1e-3)


def test_steering_too_weak_to_be_seen_proves_nothing(model: LlamaForCausalLM) -> None:
    """At this norm every position is counted as steered, and an engine that does nothing agrees all the same."""
    steers = gate_steers({"backtracking": unit(0)}, 1, 1e-4)
    requests = [Request([0, 7, 9], 0, plan) for plan in steers[:3]]
    plain = greedy(model, [replace(request, steer=None) for request in requests])
    with pytest.raises(ParityError, match="all changes no log-probability by more than the tolerance"):
        compare(model, requests, plain, 1e-3)


def test_one_condition_too_weak_among_strong_ones_is_named(model: LlamaForCausalLM, requests: list[Request]) -> None:
    weak = Request([0, 7, 9], 0, Steer("the weak one", "add", 1, 1e-4, unit(0)))
    mixed = [*requests, weak]
    with pytest.raises(ParityError, match="the weak one changes no log-probability by more than the tolerance"):
        compare(model, mixed, greedy(model, mixed), 1e-3)
