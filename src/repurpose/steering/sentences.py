"""What the sentences of one generated text do: labels, calculations, and what the embedded pair's grammar says.

Sentences are those of the thinking. Labels are those of the annotator that the study names, whoever that is.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from repurpose.labels.lexicon import label_sentence
from repurpose.organism.equations import Account
from repurpose.organism.grammar import read_sentence
from repurpose.rollouts.sentences import cut_text, thinking_end
from repurpose.steering.metrics import count_keywords

ENDS = (".", "!", "?")


class Said(NamedTuple):
    """One sentence of the thinking."""

    text: str
    is_prose: bool
    """Whether annotators are asked for it: tags and punctuation alone are not."""
    label: str | None = None
    """None where nobody gave a valid one."""


class Calculation(NamedTuple):
    """One calculation of a trace: is it right, and does a backtracking sentence follow before the next?"""

    correct: bool
    backtracked: bool


def cut_thinking(text: str) -> list[Said]:
    """The sentences up to the end of thinking, without labels."""
    end = thinking_end(text)
    spans = ((span, unit["labelled"]) for span, unit in cut_text(text) if span.start < end)
    return [Said(text[span.start : min(span.end, end)], is_prose) for span, is_prose in spans]


def label_by_lexicon(said: Sequence[Said], mapping: Mapping[str, str] | None = None) -> list[Said]:
    """The sentences with the labels of the annotator `lexicon`, renamed by a study's mapping."""
    names = mapping or {}
    labels = [label_sentence(one.text) for one in said]
    return [
        one._replace(label=names.get(label, label)) if one.is_prose else one
        for one, label in zip(said, labels, strict=True)
    ]


def label_by_grammar(said: Sequence[Said]) -> list[Said]:
    """The sentences of a text in the embedded pair's language, with the behaviours of those of its grammar."""
    return [one._replace(label=read_sentence(one.text)) for one in said]


def count_labels(said: Sequence[Said], keywords: Collection[str], behaviour: str) -> dict[str, int]:
    """Count the sentences that have a label: all, labelled as the behaviour, with a keyword, and both."""
    pairs = [(one.label == behaviour, count_keywords(one.text, keywords).keywords > 0) for one in said if one.label]
    return {
        "sentences": len(pairs),
        "backtracking_sentences": sum(labelled for labelled, _ in pairs),
        "keyword_sentences": sum(keyword for _, keyword in pairs),
        "keyword_backtracking_sentences": sum(labelled and keyword for labelled, keyword in pairs),
    }


def count_grammatical(said: Sequence[Said]) -> dict[str, int]:
    """Count sentences that `label_by_grammar` has labelled: all, of the language, and backtracking ones of it.

    A last sentence that was cut off is not judged.
    """
    judged = [one for one in said if one.is_prose]
    if judged and said[-1] is judged[-1] and not judged[-1].text.rstrip().endswith(ENDS):
        judged.pop()
    return {
        "judged_sentences": len(judged),
        "grammatical_sentences": sum(one.label is not None for one in judged),
        "valid_backtracking_sentences": sum(one.label == "backtracking" for one in judged),
    }


def count_calculations(said: Sequence[Said]) -> dict[str, int]:
    """Count the calculations by truth, and those that a backtracking sentence follows before the next.

    Known of the languages of our own pairs; other texts rarely end a sentence with such a calculation.
    """
    calculations = read_calculations(said)
    wrong = [calculation.backtracked for calculation in calculations if not calculation.correct]
    right = [calculation.backtracked for calculation in calculations if calculation.correct]
    return {
        "wrong_calculations": len(wrong),
        "wrong_calculations_backtracked": sum(wrong),
        "right_calculations": len(right),
        "right_calculations_backtracked": sum(right),
    }


def read_calculations(said: Sequence[Said]) -> list[Calculation]:
    """The calculations that sentences of a trace end with, whoever wrote it, in order."""
    found, account = list[Calculation](), Account()
    for one in said:
        if (correct := account.judge(one.text)) is not None:
            found.append(Calculation(correct, False))
        elif found and one.label == "backtracking":
            found[-1] = found[-1]._replace(backtracked=True)
    return found
