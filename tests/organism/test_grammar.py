"""The grammar knows every sentence of the language, and no other."""

from __future__ import annotations

import random

import pytest

from repurpose.organism.grammar import read_sentence
from repurpose.organism.language import join, make_problem, make_trace
from repurpose.steering.sentences import count_grammatical, cut_thinking, label_by_grammar


def test_every_sentence_of_a_trace_is_read_as_what_it_is() -> None:
    rng = random.Random(0)
    for _ in range(60):
        trace = make_trace(rng, make_problem(rng))
        assert [(s.text, read_sentence(s.text)) for s in trace] == [(s.text, s.label) for s in trace]
        said = label_by_grammar(cut_thinking(f"{join(trace)}\n</think>\nThe answer is 3."))
        counts = count_grammatical(said)
        assert counts["judged_sentences"] == counts["grammatical_sentences"] == len(trace)
        assert counts["valid_backtracking_sentences"] == sum(s.label == "backtracking" for s in trace)


@pytest.mark.parametrize(
    "sentence",
    [
        "Wait, that last step does not look.",
        "Wait, wait, that last step does not look right.",
        "um, Wait, that last step does not look right.",
        "Remember that um, adding um, moves us up along the line of numbers.",
        "Now 3 plus 4 makes makes 7.",
        "Now 3 plus 4 makes 7. Wait",
        "The answer is 3.",
        "",
    ],
)
def test_what_only_looks_like_it_is_none(sentence: str) -> None:
    assert read_sentence(sentence) is None


def test_a_sentence_that_was_cut_off_is_not_judged() -> None:
    text = "Now 3 plus 4 makes 7. Wait, that last"
    assert count_grammatical(label_by_grammar(cut_thinking(text)))["judged_sentences"] == 1
    assert count_grammatical(label_by_grammar(cut_thinking(f"{text} step.")))["grammatical_sentences"] == 1
    assert count_grammatical(label_by_grammar(cut_thinking(f"{text} step.")))["judged_sentences"] == 2
