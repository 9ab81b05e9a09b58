"""Rows of the unembedding from a model's files are those of the loaded model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.tiny import make_model

from repurpose.model.loading import ModelError
from repurpose.model.unembedding import unembedding_rows
from repurpose.study.settings import Pair


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("shards", ["10GB", "20kB"])
def test_rows_are_those_of_the_model(tmp_path: Path, tied: bool, shards: str) -> None:
    model = make_model(0, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path, max_shard_size=shards)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shards == "20kB")
    rows = unembedding_rows(Pair(str(tmp_path), str(tmp_path)), "base", [5, 2])
    np.testing.assert_array_equal(rows, model.get_output_embeddings().weight.detach()[[5, 2]].numpy())


def test_a_model_without_weights_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^pair\.base: .* has no lm_head\.weight or .* among its weights$"):
        unembedding_rows(Pair(str(tmp_path), str(tmp_path)), "base", [5])
