"""The grammar of reasoning traces in the embedded pair's language: can it produce a sentence, and as which behaviour?

Numbers are not judged: a sentence is one of the language whatever it says of them. Its calculations are judged by
`equations`.
"""

import re
from collections.abc import Iterator

from repurpose.organism.language import (
    BACKTRACKS,
    CLOSING,
    FILLERS,
    HESITATION,
    INITIALIZING,
    SCENES,
    SLOT,
    START,
    STEP_OPENERS,
    STEP_VERBS,
)

NUMBER = r"\d{1,2}"
FIELDS = {
    "goal": "|".join(re.escape(scene.goal) for scene in SCENES.values()),
    "op": "plus|minus",
    "opener": "|".join(map(re.escape, STEP_OPENERS)),
    "verb": "|".join(STEP_VERBS),
}
FIELD = re.compile(r"\{(\w+)\}")
STEP = "{opener} {a} {op} {b} {verb} {c}."


def templates() -> Iterator[tuple[str, str]]:
    """Yield (label, template) of every sentence of a trace."""
    yield from (("initializing", template) for template in (*INITIALIZING, START))
    yield from (("deduction", template) for template in (STEP, CLOSING))
    yield from (("backtracking", template) for template, _ in BACKTRACKS)
    yield from ((label, template) for label, fillers in FILLERS.items() for template in fillers)


def compile_template(template: str) -> re.Pattern[str]:
    """A pattern of all sentences that a template gives: numbers and words for its fields, either word for its slots."""
    either = SLOT.sub(lambda slot: f"(?:{slot[1]}|{slot[2]})", template.replace(".", r"\."))
    return re.compile(FIELD.sub(lambda field: f"(?:{FIELDS.get(field[1], NUMBER)})", either))


PATTERNS = [(label, compile_template(template)) for label, template in templates()]


def read_sentence(sentence: str) -> str | None:
    """The behaviour of a sentence that the grammar can produce; None for any other. A filler may hesitate once."""
    said = sentence.strip()
    fluent = said.replace(f"{HESITATION} ", "", 1)
    if fluent != said:
        return next((label for label, pattern in PATTERNS if label in FILLERS and pattern.fullmatch(fluent)), None)
    return next((label for label, pattern in PATTERNS if pattern.fullmatch(said)), None)
