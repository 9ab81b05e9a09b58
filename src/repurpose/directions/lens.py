"""Logit lens on the directions: which tokens does each decode to? (Fig. 5 of the paper)

The score of a word is the mean of W_U u over the vocabulary entries that hold it, u the unit direction, W_U a model's
unembedding, without the final norm, as in the paper. Beside it stands the mean percentile of those entries among the
whole vocabulary (0.5 = as any token), because raw logits of a direction have no scale of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from repurpose.data.command import read_arguments
from repurpose.data.files import read_table, write_table
from repurpose.data.provenance import provenance
from repurpose.data.schemas import LENS
from repurpose.data.selected import read_selected
from repurpose.directions.unit_directions import Directions, read_directions
from repurpose.model.loading import load_model, made_with
from repurpose.model.tokens import load_tokenizer
from repurpose.study.errors import one_line_errors
from repurpose.study.settings import BEHAVIOURS, Role, StepSettings

WORDS = ("wait", "but")
"""The paper's lens words; the study's keywords are added."""
TOP = 10


def entries(tokenizer: PreTrainedTokenizerBase, word: str, size: int) -> list[int]:
    """Vocabulary entries below `size` that hold the word, in any case."""
    return [i for i in range(min(len(tokenizer), size)) if word in tokenizer.decode([i]).lower()]


def score_words(
    unit: NDArray[np.float32], unembedding: NDArray[np.float32], words: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, float, float]]:
    """Yield (word, mean logit, mean percentile) of one direction.

    Args:
        unit: (d,). unembedding: (v, d).
    """
    logits = unembedding.astype(np.float64) @ unit.astype(np.float64)
    percentile = logits.argsort().argsort() / (len(logits) - 1)
    for word, found in words.items():
        yield word, float(logits[found].mean()), float(percentile[found].mean())


def top_tokens(
    unit: NDArray[np.float32], unembedding: NDArray[np.float32], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[str, float, float]]:
    """Yield the tokens that a direction decodes to first, as (top:<token>, logit, percentile)."""
    logits = unembedding.astype(np.float64) @ unit.astype(np.float64)
    for place, index in enumerate(np.argsort(-logits)[:TOP]):
        yield f"top:{tokenizer.decode([int(index)])}", float(logits[index]), 1 - place / (len(logits) - 1)


def look(
    directions: Directions,
    start: int,
    unembeddings: Mapping[Role, NDArray[np.float32]],
    tokenizer: PreTrainedTokenizerBase,
    words: Mapping[str, Sequence[int]],
) -> Iterator[dict[str, Any]]:
    """Yield the LENS rows of every label's direction at one window, at every layer."""
    sites = [s for s in directions.units if s[0] in (*BEHAVIOURS, "mean") and s[3] == start]
    for name, reader, layer, _ in sorted(sites):
        unit = directions.units[name, reader, layer, start]
        for role, unembedding in unembeddings.items():
            found = [*score_words(unit, unembedding, words), *top_tokens(unit, unembedding, tokenizer)]
            for word, score, rank in found:
                yield {
                    "direction": name,
                    "reader": reader,
                    "unembedding": role,
                    "layer": layer,
                    "window_start": start,
                    "word": word,
                    "score": score,
                    "rank": rank,
                }


def main() -> None:
    arguments = read_arguments(__doc__, ["selection"], ["vectors"])
    with one_line_errors("directions.lens"):
        settings = StepSettings("directions.lens", arguments.settings)
        rows = _run(settings, arguments.vectors, arguments.selection)
        notes = provenance(settings.values, **made_with(settings.pair, "base", "reasoning"))
        write_table(arguments.output, rows, LENS, notes)


def _run(settings: StepSettings, vectors: list[str], selection: str) -> list[dict[str, Any]]:
    directions = read_directions(read_table(vectors).iter_rows(named=True))
    tokenizer = load_tokenizer(settings.pair, "reasoning")
    unembeddings: dict[Role, NDArray[np.float32]] = {}
    for role in ("base", "reasoning"):
        head = load_model(settings.pair, role).get_output_embeddings().weight
        unembeddings[role] = head.detach().to("cpu", torch.float32).numpy()
    size = min(len(matrix) for matrix in unembeddings.values())
    words = {word: entries(tokenizer, word, size) for word in dict.fromkeys((*WORDS, *settings.keywords))}
    known = {word: found for word, found in words.items() if found}
    start = read_selected(selection).window_start
    return list(look(directions, start, unembeddings, tokenizer, known))


if __name__ == "__main__":
    main()
