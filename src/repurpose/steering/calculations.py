"""What is true of a text in the embedded pair's language, whoever wrote it: which steps are wrong, and which it mends.

Free of models: a study's measurements read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from repurpose.labels.lexicon import label_sentence
from repurpose.organism.corpus import END_THINK
from repurpose.organism.language import read_step
from repurpose.rollouts.sentences import split_sentences


@dataclass(frozen=True)
class Step:
    """One step of a sampled trace: its arithmetic and whether a backtracking sentence follows before the next."""

    correct: bool
    backtracked: bool


def read_steps(text: str) -> Iterator[Step]:
    """Yield the steps of a trace in order."""
    correct: bool | None = None
    backtracked = False
    for span in split_sentences(text.split(END_THINK)[0]):
        sentence = text[span.start : span.end]
        step = read_step(sentence)
        if step is not None:
            if correct is not None:
                yield Step(correct, backtracked)
            value, change, result = step
            correct, backtracked = change.apply(value) == result, False
        elif label_sentence(sentence) == "backtracking":
            backtracked = True
    if correct is not None:
        yield Step(correct, backtracked)
