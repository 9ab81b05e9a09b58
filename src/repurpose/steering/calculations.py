"""What is true of a text in the embedded pair's language, whoever wrote it: which calculations are wrong or mended.

Free of models: a study's measurements read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from repurpose.labels.lexicon import label_sentence
from repurpose.organism.corpus import END_THINK
from repurpose.organism.language import read_calculation
from repurpose.rollouts.sentences import split_sentences


@dataclass(frozen=True)
class Calculation:
    """One calculation of a sampled trace: is it right, and does a backtracking sentence follow before the next?"""

    correct: bool
    backtracked: bool


def read_calculations(text: str) -> Iterator[Calculation]:
    """Yield the calculations of a trace in order."""
    correct: bool | None = None
    backtracked = False
    for span in split_sentences(text.split(END_THINK)[0]):
        sentence = text[span.start : span.end]
        calculation = read_calculation(sentence)
        if calculation is not None:
            if correct is not None:
                yield Calculation(correct, backtracked)
            value, change, result = calculation
            correct, backtracked = change.apply(value) == result, False
        elif label_sentence(sentence) == "backtracking":
            backtracked = True
    if correct is not None:
        yield Calculation(correct, backtracked)
