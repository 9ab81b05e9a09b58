"""Logit lens on the directions: which tokens does each decode to? (Fig. 5 of the paper)

The score of a word is the mean of W_U u over the vocabulary entries that hold it, u the unit direction, W_U a model's
unembedding, without the final norm, as in the paper. Beside it stands the mean percentile of those entries among the
whole vocabulary (0.5 = as any token), because raw logits of a direction have no scale of their own; and the best of
those entries, because most of them are never used.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from repurpose.data.command import run_step
from repurpose.data.schemas import LENS
from repurpose.data.selected import read_selected
from repurpose.directions.unit_directions import Directions, read_pair_directions
from repurpose.model.loading import common_vocabulary, load_model, made_with
from repurpose.model.tokens import decode, load_tokenizer
from repurpose.study.pair_files import ROLES
from repurpose.study.settings import BEHAVIOURS, Role, StepSettings

WORDS = ("wait", "but")
"""The paper's lens words; the study's keywords are added."""
TOP = 10
Row = dict[str, Any]


def entries(tokenizer: PreTrainedTokenizerBase, word: str, size: int) -> list[int]:
    """Vocabulary entries below `size` that hold the word, in any case."""
    return [i for i in range(min(len(tokenizer), size)) if word in decode(tokenizer, [i]).lower()]


def score_words(
    logits: NDArray[np.float64], words: Mapping[str, Sequence[int]], tokenizer: PreTrainedTokenizerBase
) -> Iterator[Row]:
    """Yield each word with its mean logit and percentile among the logits (v,) of one direction, and its best entry."""
    percentile = logits.argsort().argsort() / (len(logits) - 1)
    for word, found in words.items():
        best = max(found, key=lambda index: logits[index])
        yield {
            "word": word,
            "score": float(logits[found].mean()),
            "rank": float(percentile[found].mean()),
            "best_score": float(logits[best]),
            "best_rank": float(percentile[best]),
            "best_entry": decode(tokenizer, [best]),
            "entries": len(found),
        }


def top_tokens(logits: NDArray[np.float64], tokenizer: PreTrainedTokenizerBase) -> Iterator[Row]:
    """Yield the tokens of the highest logits (v,), as `top:<token>`, with logit and percentile."""
    for place, index in enumerate(np.argsort(-logits)[:TOP]):
        word = f"top:{decode(tokenizer, [int(index)])}"
        numbers = {"score": float(logits[index]), "rank": 1 - place / (len(logits) - 1)}
        yield {"word": word, **numbers, **dict.fromkeys(("best_score", "best_rank", "best_entry", "entries"))}


def apply_lens(
    directions: Directions,
    start: int,
    unembeddings: Mapping[Role, NDArray[np.float32]],
    tokenizer: PreTrainedTokenizerBase,
    words: Mapping[str, Sequence[int]],
) -> Iterator[Row]:
    """Yield the LENS rows of the labels' directions and of those from outside, these under the first reader.

    At one window: unembeddings (v, d), `words` with their entries.
    """
    outside = directions.outside()
    for key, unit in sorted(directions.units.items(), key=lambda item: item[0]):
        name, reader, layer, window_start = key
        shown = name in (*BEHAVIOURS, "mean") or (name in outside and reader == ROLES[0])
        if not shown or window_start != start:
            continue
        where = {"direction": name, "reader": reader, "layer": layer, "window_start": start}
        for role, unembedding in unembeddings.items():
            logits = unembedding.astype(np.float64) @ unit.astype(np.float64)
            for row in (*score_words(logits, words, tokenizer), *top_tokens(logits, tokenizer)):
                yield {**where, "unembedding": role, **row}


def make_lens(settings: StepSettings, vectors: Sequence[str], start: int) -> list[Row]:
    """Return the LENS rows of a study at one window."""
    tokenizer = load_tokenizer(settings.pair, "reasoning")
    unembeddings, size = {}, common_vocabulary(settings.pair)
    for role in ROLES:
        weight: torch.Tensor = load_model(settings.pair, role).get_output_embeddings().weight
        unembeddings[role] = weight.detach()[:size].to("cpu", torch.float32).numpy()
    asked = dict.fromkeys((*WORDS, *settings.keywords))
    words = {word: found for word in asked if (found := entries(tokenizer, word, size))}
    return list(apply_lens(read_pair_directions(vectors), start, unembeddings, tokenizer, words))


def main() -> None:
    with run_step("directions.lens", __doc__, one=["selection"], many=["vectors"]) as step:
        rows = make_lens(step.settings, step.given.vectors, read_selected(step.given.selection).window_start)
        step.write(rows, LENS, **made_with(step.settings.pair, "base", "reasoning"))


if __name__ == "__main__":
    main()
