"""The `lexicon` annotator: documented patterns, no model.

A sentence gets the label of the first pattern that it matches; the order is from the most to the least specific.
The patterns know English phrases for each behaviour and were written with the languages of our own pairs in view (a
test scores them against their truth); on natural rollouts use an LLM annotator. Unlike the keyword rule of the metric,
they look at what a sentence does: "Hmm, I need to be careful" hedges, "But no, I need to go back" backtracks.
"""

import re

from repurpose.study.settings import BEHAVIOURS

NAME = "lexicon"

PATTERNS = {
    "backtracking": (
        r"\b(?:does not (?:make|give|look right)|doesn't (?:make|give|look right)|cannot be right|can't be right"
        r"|that is (?:not right|wrong)|that's (?:not right|wrong)|must have slipped|made a mistake"
        r"|go back (?:and|to the last)|another look at|let me (?:re-?check|redo|reconsider|check \d+)|scratch that"
        r"|i slipped in that|counted wrong|seems wrong|number is wrong|do this one over)\b"
    ),
    "uncertainty-estimation": (
        r"\b(?:not (?:\w+ )?(?:sure|certain)|perhaps|maybe|might|could be|(?:hard|tough) to say|need to be \w+ careful"
        r"|i wonder|unsure|uncertain)\b"
    ),
    "example-testing": r"\b(?:for (?:example|instance)|to (?:test|try) (?:this|it)|let me (?:test|try))\b",
    "initializing": (
        r"^(?:okay|alright|first)\b|\b(?:i need to (?:find|figure)|the question (?:is|asks)|read the problem"
        r"|the problem (?:tells|says|asks|wants)|step by step|to begin|we begin with|first number in the problem"
        r"|at the start there)\b"
    ),
    "adding-knowledge": (
        r"\b(?:remember that|recall that|the order of|each step \w+ needs|each line of the problem|in general"
        r"|by definition|it is known)\b"
    ),
}
FALLBACK = "deduction"
HESITATION = re.compile(r"\b(?:um|uh|erm)\b,?\s*", re.IGNORECASE)
"""Left out before matching: a phrase is the same phrase when somebody hesitates inside it."""
assert {*PATTERNS, FALLBACK} == set(BEHAVIOURS)


def label_sentence(text: str) -> str:
    """Return the label of one sentence."""
    return next(iter(matching_labels(text)), FALLBACK)


def matching_labels(text: str) -> tuple[str, ...]:
    """Return all labels whose patterns a sentence matches, the one that it gets first."""
    stripped = HESITATION.sub("", text.strip())
    return tuple(label for label, pattern in PATTERNS.items() if re.search(pattern, stripped, re.IGNORECASE))
