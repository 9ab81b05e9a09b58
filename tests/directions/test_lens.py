"""The lens finds the word that a direction was built from."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from repurpose.directions.lens import entries, look, score_words, top_tokens
from repurpose.directions.unit_directions import Directions


def test_a_direction_built_from_a_token_decodes_to_it(tokenizer: PreTrainedTokenizerFast) -> None:
    rng = np.random.default_rng(0)
    unembedding = rng.standard_normal((len(tokenizer), 256)).astype(np.float32)
    words = {"wait": entries(tokenizer, "wait", len(tokenizer)), "seven": entries(tokenizer, "seven", len(tokenizer))}
    built = unembedding[words["wait"]].mean(0)
    unit = built / np.linalg.norm(built)
    scores = {word: (score, rank) for word, score, rank in score_words(unit, unembedding, words)}
    assert scores["wait"][0] > 5 and scores["wait"][1] > 0.95
    assert abs(scores["seven"][0]) < 3
    assert "Wait" in next(top_tokens(unit, unembedding, tokenizer))[0]


def test_every_label_layer_and_unembedding_is_looked_at(tokenizer: PreTrainedTokenizerFast) -> None:
    rng = np.random.default_rng(1)
    units = {
        (name, reader, layer, start): np.eye(8, dtype=np.float32)[0]
        for name in ("backtracking", "deduction", "random-00")
        for reader in ("base", "reasoning")
        for layer in range(2)
        for start in (-6, -3)
    }
    heads = {role: rng.standard_normal((len(tokenizer), 8)).astype(np.float32) for role in ("base", "reasoning")}
    rows = list(look(Directions(units, {}), -6, heads, tokenizer, {"wait": [6]}))
    assert len(rows) == 2 * 2 * 2 * 2 * (1 + 10)
    assert {row["window_start"] for row in rows} == {-6}
    assert all(row["rank"] == pytest.approx(row["rank"]) and 0 <= row["rank"] <= 1 for row in rows)
