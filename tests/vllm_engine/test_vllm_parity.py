"""Steered vLLM against the transformers engine: tokens, log-probabilities, counted positions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from vllm_cases import (
    CONFIGS,
    GREEDY,
    compare_with_transformers,
    mixed_requests,
    open_vllm,
    organism,
    random_pair,
    random_prompts,
    transformers_tokens,
)

from repurpose.model.engines.parity import TOLERANCES
from repurpose.study.settings import Pair, Role

NORMS = {"organism": 12.0, "llama": 20.0, "qwen2": 20.0, "qwen3": 20.0, "mistral": 20.0, "gemma": 20.0}


@pytest.mark.parametrize("role", ["base", "reasoning"])
def test_all_conditions_in_one_batch_equal_transformers(role: Role) -> None:
    pair = organism()
    requests = mixed_requests(pair, random_prompts(8, 600), NORMS["organism"])
    assert len(requests) > 240
    with open_vllm(pair, role) as engine:
        parity = compare_with_transformers(engine, pair, role, requests)
        tokens = [done.token_ids for done in engine.generate(requests, GREEDY)]
    assert parity.largest_difference < 1e-3 and parity.positions > 4000 and parity.tokens > 100, parity
    theirs = transformers_tokens(pair, role, requests)
    same = sum(ours == other for ours, other in zip(tokens, theirs, strict=True))
    assert same >= len(requests) - 2, f"{same} of {len(requests)} rows, {parity}"  # two near ties, at most


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_each_architecture_equals_transformers(kind: str, tmp_path: Path) -> None:
    pair = random_pair(kind, tmp_path)
    requests = mixed_requests(pair, random_prompts(4), NORMS[kind])
    with open_vllm(pair, "reasoning") as engine:
        parity = compare_with_transformers(engine, pair, "reasoning", requests)
    assert parity.tokens > 40 and parity.smallest_effect > 0.01, parity


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return random_pair("llama", tmp_path_factory.mktemp("llama"))


@pytest.mark.parametrize(
    ("batch_size", "prompts", "more"),
    [
        (1, 4, {}),
        (256, 9, {}),
        (64, 4, {"enable_chunked_prefill": True, "max_num_batched_tokens": 64}),
    ],
    ids=["one row at a time", "all at once", "prompts in pieces"],
)
def test_batches_and_split_prompts_change_nothing(
    llama: Pair, batch_size: int, prompts: int, more: dict[str, object]
) -> None:
    requests = mixed_requests(llama, random_prompts(prompts, longest=120), NORMS["llama"])
    assert len(requests) >= batch_size  # as many as one batch may hold
    with open_vllm(llama, "base", batch_size, **more) as engine:
        parity = compare_with_transformers(engine, llama, "base", requests)
    assert parity.rows == len(requests) and parity.tokens > 40, parity


def test_half_precision_agrees_within_its_rounding_and_counts_every_position() -> None:
    pair = replace(organism(), dtype="bfloat16")
    requests = mixed_requests(pair, random_prompts(8, 600), 10 * NORMS["organism"])
    with open_vllm(pair, "reasoning") as engine:
        parity = compare_with_transformers(engine, pair, "reasoning", requests, TOLERANCES["bfloat16"])
    assert parity.largest_difference > 1e-3 and parity.tokens > 100, parity
