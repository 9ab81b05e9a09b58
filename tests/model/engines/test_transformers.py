"""The loop against transformers' own, a row alone against the row in a batch, and proof of steering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from repurpose.model.engines import Request, Sampling
from repurpose.model.engines.transformers import TransformersEngine
from repurpose.model.hooks import BatchSteering, SteeringError, steer
from repurpose.model.steer import Operation, Positions, Steer

WIDTH, LAYERS = 32, 3
STOP = 1
PROMPTS = [[0, 7, 9, 12, 30], [0, 8], [0, 5, 6, 40, 41, 42, 3], [0, 11, 12], [0, 2, 3, 4, 5, 6, 7, 8, 9]]


def direction(seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    vector = np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)
    return vector / np.linalg.norm(vector)


def make_steer(operation: Operation, layer: int = 1, positions: Positions = "all", seed: int = 0) -> Steer:
    vector = direction(seed) if operation in ("add", "ablate") else None
    return Steer(f"{operation}-{layer}", operation, layer, 4.0, vector, positions)


STEERS = [
    None,
    make_steer("add", 0),
    make_steer("add", 2, "generated"),
    make_steer("ablate", 1),
    make_steer("noise", 1),
    make_steer("self", 1),  # at the last layer the final norm would undo it
    make_steer("noise", 0, "generated"),
    make_steer("ablate", 0, "generated", 1),
    make_steer("add", 1, seed=2),
    None,
]


def mixed_requests() -> list[Request]:
    return [Request(PROMPTS[i % len(PROMPTS)], 100 + i, plan) for i, plan in enumerate(STEERS)]


def run(model: LlamaForCausalLM, requests: Sequence[Request], size: int, **changes: Any) -> list[Any]:
    sampling = Sampling(**{"temperature": 0.7, "max_new_tokens": 20, **changes})
    return TransformersEngine(model, [STOP], size).generate(requests, sampling)


def test_greedy_equals_generate(model: LlamaForCausalLM) -> None:
    ours = run(model, [Request(p, 0) for p in PROMPTS], 8, temperature=0)
    for prompt, done in zip(PROMPTS, ours, strict=True):
        stock = model.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False, eos_token_id=STOP)
        wanted = stock[0, len(prompt) :].tolist()
        assert done.token_ids == (wanted[:-1] if wanted[-1] == STOP else wanted)
        assert len(set(done.token_ids)) > 3 or done.finish_reason == "stop"


@pytest.mark.parametrize("size", [3, 5, 10])
def test_a_row_alone_equals_the_row_in_a_batch(model: LlamaForCausalLM, size: int) -> None:
    together = run(model, mixed_requests(), size)
    assert together == [run(model, [request], 1)[0] for request in mixed_requests()]


def test_the_order_of_requests_changes_nothing(model: LlamaForCausalLM) -> None:
    requests = mixed_requests()
    assert run(model, requests[::-1], 4)[::-1] == run(model, requests, 4)


def test_unsteered_rows_do_not_feel_their_steered_neighbours(model: LlamaForCausalLM) -> None:
    plain = [Request(r.prompt_ids, r.seed) for r in mixed_requests()]
    mixed, unsteered = run(model, mixed_requests(), 10), run(model, plain, 10)
    for plan, with_others, alone in zip(STEERS, mixed, unsteered, strict=True):
        assert (with_others.token_ids == alone.token_ids) == (plan is None)


def test_rows_that_stop_leave_and_the_others_go_on_unchanged(model: LlamaForCausalLM) -> None:
    free = TransformersEngine(model, [], 10).generate(mixed_requests(), Sampling(0.7, 30))
    stops = [done.token_ids[4 + i] for i, done in enumerate(free[:5])]
    engine = TransformersEngine(model, stops, 10)
    for whole, cut in zip(free, engine.generate(mixed_requests(), Sampling(0.7, 30)), strict=True):
        at = next((i for i, token in enumerate(whole.token_ids) if token in stops), None)
        assert cut.token_ids == whole.token_ids[:at]
        assert cut.finish_reason == ("length" if at is None else "stop")


def test_samples_of_one_prompt_that_are_steered_alike_read_it_once(model: LlamaForCausalLM) -> None:
    requests = [Request(r.prompt_ids, 10 * r.seed + sample, r.steer) for r in mixed_requests() for sample in range(3)]
    read: list[int] = []
    handle = model.model.layers[-1].register_forward_hook(lambda _module, _inputs, out: read.append(out.shape[0]))
    try:
        together = run(model, requests, len(requests))
    finally:
        handle.remove()
    noisy = sum(plan is not None and plan.operation == "noise" for plan in STEERS)
    assert read[0] == len(STEERS) + 2 * noisy
    assert together == [run(model, [request], 1)[0] for request in requests]


def test_fewer_tokens_are_a_prefix(model: LlamaForCausalLM) -> None:
    for short, long in zip(*(run(model, mixed_requests(), 10, max_new_tokens=n) for n in (5, 20)), strict=True):
        assert long.token_ids[:5] == short.token_ids


def test_positions_are_counted_and_expected(model: LlamaForCausalLM) -> None:
    for request, done in zip(mixed_requests(), run(model, mixed_requests(), 10), strict=True):
        plan, drawn = request.steer, len(done.token_ids) + (done.finish_reason == "stop")
        prompt = len(request.prompt_ids) if plan is not None and plan.positions == "all" else 0
        wanted = 0 if plan is None else prompt + drawn - 1
        assert done.steered_positions == done.expected_positions == wanted


@pytest.mark.parametrize("plan", [p for p in STEERS if p is not None and p.operation != "noise"])
def test_prefill_and_decode_equal_one_full_forward(model: LlamaForCausalLM, plan: Steer) -> None:
    prompt = PROMPTS[0]
    done = run(model, [Request(prompt, 0, plan)], 1, temperature=0)[0]
    fed = torch.tensor([prompt + done.token_ids])[:, :-1]
    steering = BatchSteering([plan], [0], model)
    steering.positions(torch.ones_like(fed, dtype=torch.bool), torch.arange(fed.shape[1])[None] >= len(prompt))
    with steer(model, steering):
        logits = model(fed).logits[0, len(prompt) - 1 :]
    assert logits.argmax(-1).tolist() == done.token_ids
    assert steering.counted() == [done.expected_positions]


class Forgetful:
    """Removes a layer's hooks once a key-value cache is fed: steering that stops after the prompt."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __call__(self, _module: nn.Module, _inputs: Any, kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].shape[1] == 1:
            self.layer._forward_hooks.clear()


def test_steering_that_stops_after_the_prompt_fails(model: LlamaForCausalLM) -> None:
    model.register_forward_pre_hook(Forgetful(model.model.layers[1]), with_kwargs=True)
    with pytest.raises(SteeringError, match=r"condition add-1, row 0: steered at 5 of 24 positions"):
        run(model, [Request(PROMPTS[0], 0, make_steer("add"))], 1)


def test_ablation_that_misses_a_layer_fails(model: LlamaForCausalLM) -> None:
    model.register_forward_pre_hook(Forgetful(model.model.layers[2]), with_kwargs=True)
    with pytest.raises(SteeringError, match=r"condition ablate-1, row 0: ablated positions by layer \[24, 24, 5\]"):
        run(model, [Request(PROMPTS[0], 0, make_steer("ablate"))], 1)


def test_finished_batches_are_reported_once_each(model: LlamaForCausalLM) -> None:
    seen: list[tuple[int, Any]] = []
    engine = TransformersEngine(model, [STOP], 3)
    done = engine.generate(mixed_requests(), Sampling(0.7, 4), seen.extend)
    assert [outcome for _, outcome in sorted(seen, key=lambda pair: pair[0])] == done


def test_no_requests_give_no_outcomes(model: LlamaForCausalLM) -> None:
    assert run(model, [], 4) == []


def test_padding_ids_inside_a_prompt_are_tokens(model: LlamaForCausalLM) -> None:
    prompts = [[0, STOP, 9], [0, STOP, STOP, 30, 5, STOP]]
    for prompt, done in zip(prompts, run(model, [Request(p, 0) for p in prompts], 2, temperature=0), strict=True):
        ids = torch.tensor([prompt])
        stock = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False, eos_token_id=STOP
        )
        assert done.token_ids == [token for token in stock[0, len(prompt) :].tolist() if token != STOP]


def test_half_precision_is_steered_everywhere_too(model: LlamaForCausalLM) -> None:
    done = run(model.to(torch.bfloat16), mixed_requests(), 4)
    assert all(d.steered_positions == d.expected_positions for d in done)
    assert sum(d.steered_positions > 0 for d in done) == sum(plan is not None for plan in STEERS)


def test_half_precision_writes_what_the_library_writes(model: LlamaForCausalLM) -> None:
    """Longer than a block of the cache, with padded rows and rows that leave."""
    half = model.to(torch.bfloat16)
    ours = run(half, [Request(p, 0) for p in PROMPTS], 8, temperature=0, max_new_tokens=80)
    same = 0
    for prompt, done in zip(PROMPTS, ours, strict=True):
        stock = half.generate(torch.tensor([prompt]), max_new_tokens=80, do_sample=False, eos_token_id=STOP)
        wanted = [token for token in stock[0, len(prompt) :].tolist() if token != STOP]
        same += done.token_ids == wanted
        assert done.token_ids[:8] == wanted[:8]  # afterwards a tie within the rounding may part them
    assert same >= len(PROMPTS) - 2


def test_a_magnitude_that_leaves_no_number_finite_is_refused(model: LlamaForCausalLM) -> None:
    vast = Steer("vast", "add", 1, float("inf"), direction())
    with pytest.raises(SteeringError, match=r"logits are not finite in torch.float32, under vast; lower its magnitude"):
        run(model, [*mixed_requests(), Request(PROMPTS[0], 1, vast)], 4)
