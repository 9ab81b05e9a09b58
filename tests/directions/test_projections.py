"""Projections know each token's place: its sentence, and whether the last calculation before it is right."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM

from repurpose.directions.projections import follow_calculations, label_tokens, make_rows, token_activations


def test_token_activations_are_the_hidden_states(model: LlamaForCausalLM) -> None:
    rollout = {"prompt_token_ids": [3, 4, 5], "token_ids": [6, 7, 8, 9]}
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([[3, 4, 5, 6, 7, 8, 9]]), output_hidden_states=True).hidden_states
    found = token_activations(model, rollout, {2, 1})
    assert list(found) == [1, 2]
    torch.testing.assert_close(found[1], hidden[2][0, 3:], atol=1e-5, rtol=1e-5)


def test_steps_are_followed_until_the_next_one() -> None:
    sentences = [
        {"text": "Now 3 plus 4 makes 8. ", "token_start": 0, "token_end": 3, "label": "deduction", "sentence": 0},
        {"text": "Hmm. ", "token_start": 3, "token_end": 5, "label": "uncertainty-estimation", "sentence": 1},
        {"text": "So 3 plus 4 is 7.", "token_start": 5, "token_end": 8, "label": "deduction", "sentence": 2},
    ]
    state = follow_calculations(sentences, 9)
    assert state[:3] == [(None, None)] * 3
    assert state[3:8] == [(False, since) for since in range(5)]
    assert state[8] == (True, 0)
    assert label_tokens(sentences, 9)[4] == ("uncertainty-estimation", 1)
    assert label_tokens(sentences, 9)[8] == (None, None)


@pytest.mark.parametrize("text", ["A sentence.", "The answer is 7."])
def test_other_sentences_are_no_steps(text: str) -> None:
    assert follow_calculations([{"text": text, "token_end": 1}], 3) == [(None, None)] * 3


def test_a_token_is_told_by_its_place_in_the_text() -> None:
    """Three tokens make one character; the tokenizer of no model is asked."""
    rollout = {"prompt_id": "p", "sample": 0, "text": "So… Wait.", "token_ends": [2, 3, 3, 3, 8, 9]}
    sentences = [{"text": "Wait.", "token_start": 4, "token_end": 6, "label": "backtracking", "sentence": 1}]
    rows = list(make_rows(rollout, sentences, [0.5] * 6, {"wait"}))
    assert [row["token"] for row in rows] == ["So", "…", "", "", " Wait", "."]
    assert [row["keyword"] for row in rows] == [False] * 4 + [True, False]
    assert [row["label"] for row in rows] == [None] * 4 + ["backtracking"] * 2
