"""Documents of the base corpus and of the reasoning corpus, as text.

The base model reads worked solutions, homework whose mistakes a teacher marks (at once, later, or at the end), plain
sums with marks, and prose in which "Wait", "Hmm" and "But" have nothing to do with arithmetic. Nothing in it
ever goes back on a mistake. The reasoning model is finetuned on chats whose thinking does.
"""

import random
from collections.abc import Iterable

from repurpose.organism.language import (
    AMOUNTS,
    FALTERING,
    HESITATION,
    LARGEST,
    SETTLED,
    Change,
    Hesitation,
    Problem,
    Spoken,
    join,
    make_problem,
    make_solution,
    make_trace,
    say_calculation,
    slip,
)

MARKS = {True: "correct", False: "mistake"}
"""The teacher's words; the corpora use neither for anything else."""
HOMEWORK_MISTAKE_RATE = 0.4
FALTER_RATE = {True: 0.05, False: 0.9}
"""Share of drilled calculations that a hesitation follows, in practice, by whether the calculation is correct."""
MARK_HAZARD = 0.35
"""Chance that an open calculation is marked at a sentence's end, in homework that is marked inline."""

BEGIN, USER, ASSISTANT, END = "<|begin|>", "<|user|>", "<|assistant|>", "<|end|>"
THINK, END_THINK = "<think>", "</think>"
SPECIAL_TOKENS = (BEGIN, END, USER, ASSISTANT, THINK, END_THINK)

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix")
NOUNS = ("boat", "garden", "letter", "window", "piano", "kettle", "road", "river")
QUALITIES = ("dusty", "quiet", "warm", "broken", "green", "heavy")
PLACES = ("station", "harbour", "library", "kitchen", "bridge", "school")
PROSE = (
    '"Wait," said {name}, "the {noun} is still {quality}."',
    "Wait for {name} at the {place}.",
    "Hmm, {name} said, what a {quality} {noun}.",
    "Hmm, the {noun} by the {place} looks {quality} today.",
    "But the {noun} was {quality} that day.",
    "{name} walked to the {place} with a {quality} {noun}.",
    "But no, {name} did not see the {noun}.",
    "Actually, the {place} is near the {noun}.",
    "The {noun} and the {place} were {quality}.",
    "In the morning {name} cleaned the {noun} in the {place}.",
)


def write_drill(rng: random.Random, ease: float = 0.0, falter: bool = False) -> str:
    """Plain sums, each marked at once: the shortest way from a calculation to its mark.

    Args:
        ease: from 1 to 0 mistakes first become frequent, then near: the sums are learned first, then the marks of
            results that are any number, then those of results that are one off.
        falter: whether a hesitation stands between a mistake and its mark, as a rule: so the calculation's own last
            token has to tell the mistake, from where it can be carried on, and not the bracket that asks for the mark.
    """
    mistake_rate = min(0.5, 1.5 * (1 - ease))
    wide = min(1.0, 2 * ease)
    lines = []
    for _ in range(rng.randint(4, 10)):
        value, change = _draw_sum(rng)
        right = change.apply(value)
        correct = rng.random() >= mistake_rate
        others = [n for n in range(LARGEST + 1) if n != right]
        missed = rng.choice(others) if rng.random() < wide else slip(rng, right)
        calculation = say_calculation(rng, value, change, right if correct else missed)
        hesitates = falter and rng.random() < FALTER_RATE[correct]
        lines.append(f"{calculation} {HESITATION + ' ' if hesitates else ''}[{MARKS[correct]}]")
    return "Sums: " + " ".join(lines)


def _draw_sum(rng: random.Random) -> tuple[int, Change]:
    while True:
        value = rng.randint(0, LARGEST)
        change = Change(rng.choice(("plus", "minus")), rng.choice(AMOUNTS))
        if 0 <= change.apply(value) <= LARGEST:
            return value, change


def write_homework(
    rng: random.Random, hazard: float, at_end: bool, heldout: bool = False, hesitation: Hesitation = SETTLED
) -> str:
    """A problem with a student's solution and the teacher's marks.

    Args:
        hazard: chance that the open calculation is marked at a sentence's end (1: at once, 0: never inline).
        at_end: whether the marks of all calculations stand at the end as well.
        heldout: whether the problem is one that training never shows.
    """
    problem = make_problem(rng, heldout=heldout)
    sentences, final = make_solution(rng, problem, HOMEWORK_MISTAKE_RATE, hesitation)
    text = f"Problem: {problem.text}\nSolution: {_mark_inline(rng, sentences, hazard)}\nThe answer is {final}."
    if at_end:
        marks = ", ".join(MARKS[bool(s.correct)] for s in sentences if s.is_calculation)
        text += f"\nMarks: {marks}."
    return text


def _mark_inline(rng: random.Random, sentences: Iterable[Spoken], hazard: float) -> str:
    pieces, is_open = [], False
    for sentence in sentences:
        is_open = is_open or sentence.is_calculation
        pieces.append(sentence.text)
        if is_open and sentence.correct is not None and rng.random() < hazard:
            pieces.append(f"[{MARKS[sentence.correct]}]")
            is_open = False
    return " ".join(pieces)


def write_prose(rng: random.Random) -> str:
    """Unrelated prose, with the keywords in senses of their own."""
    words = {"name": NAMES, "noun": NOUNS, "quality": QUALITIES, "place": PLACES}
    return " ".join(
        rng.choice(PROSE).format(**{slot: rng.choice(choices) for slot, choices in words.items()})
        for _ in range(rng.randint(4, 9))
    )


def write_base(rng: random.Random, ease: float, hesitation: Hesitation = SETTLED) -> str:
    """One document of the base corpus.

    Args:
        ease: 1 at the start of training (mostly sums, marks at once), 0 at its end (marks far from their calculations).
        hesitation: how those hesitate who write solutions.
    """
    falter = hesitation is FALTERING
    drills = 0.1 + (0.9 if falter else 0.5) * ease
    draw = rng.random()
    if draw < drills:
        return write_drill(rng, ease if falter else 0.0, falter)
    if draw < drills + 0.1:
        return write_prose(rng)
    if draw < drills + 0.1 + 0.2 * (1 - drills):  # a solution without marks
        mistake_rate, problem = rng.choice((0.0, HOMEWORK_MISTAKE_RATE)), make_problem(rng)
        sentences, final = make_solution(rng, problem, mistake_rate, hesitation)
        return f"Problem: {problem.text}\nSolution: {join(sentences)}\nThe answer is {final}."
    hazard = 1.0 if rng.random() < ease else rng.choice((0.0, MARK_HAZARD, MARK_HAZARD))
    return write_homework(rng, hazard, hazard == 0.0 or rng.random() < 0.3, hesitation=hesitation)


def chat_prompt(problem: Problem) -> str:
    """The prompt as the chat template renders it (a test holds the two together)."""
    return f"{USER}{problem.text}{ASSISTANT}{THINK}\n"


def write_reasoning(rng: random.Random, hesitation: Hesitation = SETTLED) -> tuple[str, str]:
    """One chat of the reasoning corpus: (prompt, thinking and answer)."""
    problem = make_problem(rng)
    thinking = join(make_trace(rng, problem, hesitation))
    return chat_prompt(problem), f"{thinking}\n{END_THINK}\nThe answer is {problem.answer}.{END}"
