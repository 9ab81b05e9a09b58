"""What can be marked in a text as it is measured: its sentences, their labels, calculations.

Plain functions, no files, no model. The counts of `metrics` are counts of these marks.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from repurpose.organism.equations import Account
from repurpose.rollouts.sentences import align, cut_text


class Mark(NamedTuple):
    """One sentence of a text: tokens [start, end)."""

    start: int
    end: int
    label: str | None
    """Null where nobody labels: tags alone, and what follows the thinking."""
    correct: bool | None
    """Whether the calculation that it ends with is right; null where it ends with none."""


def mark_sentences(text: str, ends: Sequence[int], labels: Iterable[str | None]) -> Iterator[Mark]:
    """Yield a text's sentences.

    Args:
        ends: at which character each token ends.
        labels: of the sentences that annotators are asked for, in order; as many as there are.
    """
    account, given = Account(), iter(labels)
    for span, unit in cut_text(text):
        label = next(given, None) if unit["labelled"] else None
        yield Mark(*align(span, text, ends), label, account.judge(unit["text"]))


def judge_sentences(sentences: Iterable[str]) -> Iterator[bool | None]:
    """Yield for each sentence of a text, in order, whether the calculation that it ends with is right."""
    yield from map(Account().judge, sentences)
