from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import LlamaForCausalLM

from repurpose.directions.activations import QUANTILES, TokenSequence, plan_windows, read_windows

GENERATOR = np.random.default_rng(0)
SEQUENCES = [
    TokenSequence(GENERATOR.integers(2, 64, prompt + answer).tolist(), prompt)
    for prompt, answer in ((4, 20), (2, 9), (7, 31), (3, 1))
]
STARTS, LENGTH = (-6, -1, 0), 3


def sentences() -> list[dict[str, Any]]:
    starts = {0: (0, 6, 17), 1: (0, 7), 2: (0, 9, 22, 28), 3: (0,)}
    return [
        {"prompt_id": f"p{row}", "sample": 0, "sentence": number, "token_start": start}
        for row, places in starts.items()
        for number, start in enumerate(places)
    ]


def planned() -> tuple[Any, list[dict[str, Any]], dict[str, dict[str, int]]]:
    rollouts = {(f"p{i}", 0): (i, sequence) for i, sequence in enumerate(SEQUENCES)}
    return plan_windows(sentences(), rollouts, STARTS, LENGTH)


def read(model: LlamaForCausalLM, batch_tokens: int, layers: list[int]) -> tuple[np.ndarray, np.ndarray]:
    windows, keys, _ = planned()
    out = np.full((len(layers), len(keys), 32), np.nan, np.float32)
    quantiles = read_windows(model, SEQUENCES, windows, layers, batch_tokens, out, lambda _: None)
    return out, quantiles


def naive(model: LlamaForCausalLM, layer: int, key: dict[str, Any]) -> np.ndarray:
    """Mean over one window from transformers' own hidden states of one row alone."""
    row = int(key["prompt_id"][1:])
    starts = {(s["prompt_id"], s["sentence"]): s["token_start"] for s in sentences()}
    start = starts[key["prompt_id"], key["sentence"]]
    first = SEQUENCES[row].prompt + start + key["window_start"]
    with torch.no_grad():
        hidden = model(torch.tensor([SEQUENCES[row].ids]), output_hidden_states=True).hidden_states[layer + 1]
    return hidden[0, first : first + LENGTH].double().mean(0).numpy()


def test_windows_equal_output_hidden_states_of_a_row_alone(model: LlamaForCausalLM) -> None:
    out, _ = read(model, 1000, [0, 1])
    for slot, key in enumerate(planned()[1]):
        for layer in (0, 1):
            np.testing.assert_allclose(out[layer, slot], naive(model, layer, key), atol=2e-5)


def test_batches_change_nothing(model: LlamaForCausalLM) -> None:
    alone, together = read(model, 1, [1, 2]), read(model, 1000, [1, 2])
    np.testing.assert_allclose(alone[0], together[0], atol=2e-5)
    np.testing.assert_allclose(alone[1], together[1], atol=2e-4)


def test_windows_that_reach_beyond_the_answer_are_dropped_and_counted() -> None:
    windows, keys, dropped = planned()
    # By hand: nothing stands before a sentence at 0; p1 has 9 tokens and p3 one, too few for 7 + 3 and 0 + 3.
    assert dropped == {
        "-6": {"before_generated": 4, "past_end": 0},
        "-1": {"before_generated": 4, "past_end": 0},
        "0": {"before_generated": 0, "past_end": 2},
    }
    assert len(keys) == len(windows.position) == 3 * len(sentences()) - 10
    prompts = np.array([s.prompt for s in SEQUENCES])[windows.rollout]
    ends = np.array([len(s.ids) for s in SEQUENCES])[windows.rollout]
    assert (windows.position >= prompts).all() and (windows.position + LENGTH <= ends).all()
    assert [k["window_start"] for k in keys] == sorted(k["window_start"] for k in keys)


def test_norm_quantiles_are_those_of_generated_tokens(model: LlamaForCausalLM) -> None:
    _, quantiles = read(model, 60, [1])
    norms = []
    for sequence in SEQUENCES:
        with torch.no_grad():
            hidden = model(torch.tensor([sequence.ids]), output_hidden_states=True).hidden_states[2]
        norms += hidden[0, sequence.prompt :].norm(dim=-1).tolist()
    assert quantiles.shape == (1, QUANTILES)
    np.testing.assert_allclose(quantiles[0, [0, 500, 1000]], np.quantile(norms, [0, 0.5, 1]), rtol=1e-5)
