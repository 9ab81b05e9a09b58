"""The lens finds the word that a direction was built from."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from repurpose.directions.lens import apply_lens, entries, score_words, top_tokens
from repurpose.directions.unit_directions import Directions


def test_a_direction_built_from_a_token_decodes_to_it(tokenizer: PreTrainedTokenizerFast) -> None:
    rng = np.random.default_rng(0)
    unembedding = rng.standard_normal((len(tokenizer), 256)).astype(np.float32)
    words = {"wait": entries(tokenizer, "wait", len(tokenizer)), "seven": entries(tokenizer, "seven", len(tokenizer))}
    built = unembedding[words["wait"]].mean(0)
    logits = (unembedding @ (built / np.linalg.norm(built))).astype(np.float64)
    scores = {row["word"]: row for row in score_words(logits, words, tokenizer)}
    assert scores["wait"]["score"] > 5 and scores["wait"]["rank"] > 0.95
    best = max(words["wait"], key=lambda entry: logits[entry])
    assert (scores["wait"]["best_entry"], scores["wait"]["best_score"]) == (tokenizer.decode([best]), logits[best])
    assert scores["wait"]["best_rank"] == 1 and scores["wait"]["entries"] == len(words["wait"])
    assert abs(scores["seven"]["score"]) < 3
    assert "Wait" in next(top_tokens(logits, tokenizer))["word"]


def test_every_label_layer_and_unembedding_has_its_rows(tokenizer: PreTrainedTokenizerFast) -> None:
    rng = np.random.default_rng(1)
    units = {
        (name, reader, layer, start): np.eye(8, dtype=np.float32)[0]
        for name in ("backtracking", "deduction", "random-00")
        for reader in ("base", "reasoning")
        for layer in range(2)
        for start in (-6, -3)
    }
    heads = {role: rng.standard_normal((len(tokenizer), 8)).astype(np.float32) for role in ("base", "reasoning")}
    rows = list(apply_lens(Directions(units, {}), -6, heads, tokenizer, {"wait": [6]}))
    assert len(rows) == 2 * 2 * 2 * 2 * (1 + 10)
    assert {row["window_start"] for row in rows} == {-6}
    assert all(row["rank"] == pytest.approx(row["rank"]) and 0 <= row["rank"] <= 1 for row in rows)
