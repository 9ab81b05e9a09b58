"""Rows of a model's unembedding, read from its files alone: the rest of the weights is never loaded."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from repurpose.model.loading import ModelError, loaded_file
from repurpose.study.pair_files import WEIGHTS, WEIGHTS_INDEX
from repurpose.study.settings import Pair, Role

OUTPUTS = ("lm_head.weight", "embed_out.weight")
"""How the unembedding's name ends in the architectures whose layers are known."""
INPUTS = ("embed_tokens.weight", "embed_in.weight", "wte.weight")
"""The same of the embedding, which is the unembedding of a model that has none of its own."""


def unembedding_rows(pair: Pair, role: Role, ids: Sequence[int]) -> NDArray[np.float32]:
    """Rows (len(ids), d) of W_U; a ModelError where the model's files hold none."""
    files = _weight_files(pair, role)
    for ending in (*OUTPUTS, *INPUTS):
        for name, file in files.items():
            if name.endswith(ending):
                with safe_open(file, "pt") as weights:
                    rows = weights.get_slice(name)
                    return np.concatenate([rows[i : i + 1].float().numpy() for i in ids])
    raise ModelError(f"pair.{role}: {getattr(pair, role)} has no {' or '.join((*OUTPUTS, *INPUTS))} among its weights")


def _weight_files(pair: Pair, role: Role) -> dict[str, Path]:
    """The file of each tensor, by its name."""
    if (index := loaded_file(pair, role, WEIGHTS_INDEX)) is not None:
        return {
            name: index.parent / file
            for name, file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
        }
    if (file := loaded_file(pair, role, WEIGHTS)) is None:
        return {}
    with safe_open(file, "pt") as weights:
        return dict.fromkeys(weights.keys(), file)
