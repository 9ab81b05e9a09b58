"""Thinking traces over word problems, with the truth beside every sentence: they go wrong, go on, and backtrack.

What holds for the embedded pair's language holds here in varied English: how many sentences follow a step, and of which
length, does not depend on whether the step is right; hedging is likelier after a wrong one, never certain. Whoever
hedged mostly goes back, also from a right step: so the finetuned model learns to go back by what the base model, too,
represents in plain English, that a text is unsure of itself, and not by the numbers alone. Where a mistake comes from
(the base model's own number, a slip, a misreading) is the caller's business.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from repurpose.organism.equations import SIGNS, Equation
from repurpose.organism.word_problems import Change, Problem

FILLER_RATE = 0.6
"""Chance that one more sentence follows a step and what followed it, whatever the step was worth."""
MOST_FILLERS = 3


@dataclass(frozen=True)
class Habits:
    """When a trace hedges and when it goes back, by whether the step that is open is right."""

    hedges: Mapping[bool, float]
    """Share of hedges among fillers."""
    doubts: Mapping[bool, float]
    """Chance that a step is doubted when its fillers end, none of which was a hedge."""
    hedged_doubts: Mapping[bool, float]
    """The same where one was."""
    settled_hedges: float
    """Share of hedges among fillers after a correction, which is never doubted."""


USUAL = Habits({True: 0.25, False: 0.8}, {True: 0.02, False: 1.0}, {True: 0.9, False: 1.0}, 0.0)
_HEDGES, _DOUBTS = (dict.fromkeys((True, False), rate) for rate in (0.4, 0.5))
BLIND = Habits(_HEDGES, _DOUBTS, _DOUBTS, settled_hedges=0.4)
"""A negative control: as many hedges and doubts as the usual habits bring about where a third of the steps is wrong, as
in what the shipped adapter was taught, but after random steps and in sentences that fit right and wrong ones alike. No
text before them tells which step will be doubted, so there is nothing for a direction to be about."""

INITIALIZING = (
    "Okay, I need to find out {goal}.",
    "Alright, the question is {goal}.",
    "First, let me see what the problem asks: {goal}.",
    "Let me read the problem carefully and take it one step at a time.",
    "I need to figure out {goal} when everything has happened.",
    "Okay, so the problem wants to know {goal}.",
    "To begin, I should write down what is given.",
    "Let me work through this step by step.",
)
STARTS = (
    "The problem tells us that we begin with {n}.",
    "We begin with {n}.",
    "The first number in the problem is {n}.",
    "At the start there are {n}.",
)
CALCULATIONS = (
    "{opener} {phrase}, so {a} {sign} {b} = {c}.",
    "{opener} {phrase}, and {a} {sign} {b} = {c}.",
    "{opener} {phrase}: {a} {sign} {b} = {c}.",
    "{opener} {phrase}, which makes {a} {sign} {b} = {c}.",
    "{opener} {phrase}, so {a} {word} {b} is {c}.",
    "{opener} {phrase}, and {a} {word} {b} makes {c}.",
)
OPENERS = ("Then", "Next,", "Now", "After that,")
CORRECTIONS = (
    "It should be {a} {sign} {b} = {c}.",
    "Doing it again, {a} {sign} {b} = {c}.",
    "The right way is {a} {sign} {b} = {c}.",
    "Well, {a} {word} {b} is {c}.",
    "Once more: {a} {sign} {b} = {c}.",
    "As {phrase}, it is {a} {sign} {b} = {c}.",
    "I take {a} and get {a} {sign} {b} = {c}.",
    "So the step becomes {a} {sign} {b} = {c}.",
)

FILLERS = {
    "adding-knowledge": (
        "Remember that adding makes a number larger and taking away makes it smaller.",
        "Recall that the order of two numbers does not matter when we add them.",
        "Each line of the problem changes the number exactly once.",
        "In general, things that come in are added and things that go out are taken away.",
        "Remember that every change starts from the latest number.",
        "By definition, what is left is what we had minus what is gone.",
        "It is known that counting on from the larger number is quicker.",
        "Recall that we only count what is there after each change.",
    ),
    "example-testing": (
        "For example, {x} plus {y} makes {z}, and this works in the same way.",
        "For instance, with {x} and {y} we would get {z} together.",
        "To test this with small numbers, {x} plus {y} is {z}, as it should be.",
        "Let me try it with something easy: {x} and {y} make {z}.",
        "For example, somebody who has {z} and gives away {y} keeps {x}.",
    ),
    "deduction": (
        "So we now have {c} to work with.",
        "This means that the next change starts from {c}.",
        "That makes {c} at this point of the story.",
        "So {c} is the number that we carry on with.",
        "Therefore the count stands at {c}.",
        "So that is where we stand.",
        "The rest of the story follows from here.",
        "This leaves us with the next line of the problem.",
    ),
    "uncertainty-estimation": (
        "I am not sure that this is the right number.",
        "Perhaps this is fine, but it might be a little off.",
        "I am not quite certain about that one.",
        "Maybe I should be careful with a number like this.",
        "It is hard to say whether this step came out well.",
        "It could be that I read the line too quickly.",
        "I wonder if {c} is really what we should have.",
        "This might be right, although I am a bit unsure.",
        "Hmm, I need to be extra careful here.",
        "I am not sure about this, it might not be what the story says.",
        "Maybe this is not the number that we want.",
        "It might be too small, or perhaps too large.",
        "I am not certain that I read that line well.",
        "Perhaps something is off with {c}.",
        "I doubt that a bit, but I am not sure why.",
        "It could be that this number is not what the story means.",
        "I have a feeling that something might be missing here.",
        "Perhaps I was too quick with that, it is hard to say.",
    ),
}
ALERTS = (
    ("Wait,", 8),
    ("Hmm,", 4),
    ("Wait, no,", 2),
    ("Hold on,", 2),
    ("But wait,", 2),
    ("No,", 1),
    ("Actually,", 2),
    ("Oh,", 1),
)
"""How a backtracking sentence begins, with weights."""
DOUBTS = (
    "that is not right.",
    "that does not look right.",
    "that cannot be right.",
    "I made a mistake there.",
    "let me check {a} {word} {b} again.",
    "let me go back and do that step again.",
    "I should go back to the last step.",
    "let me recheck that number.",
    "let me redo this step.",
    "I think I slipped in that step.",
    "{c} seems wrong.",
    "{a} {word} {b} does not make {c}.",
    "I must have counted wrong.",
    "let me take another look at that step.",
    "that last number is wrong.",
    "I have to do this one over.",
    "let me reconsider that line.",
)
FALSE_DOUBTS = tuple(doubt for doubt in DOUBTS if "{c}" not in doubt)
CLOSINGS = (
    "So the final number is {n}.",
    "So the answer should be {n}.",
    "That was the last change, so we end with {n}.",
    "Therefore the number that we were looking for is {n}.",
)


@dataclass(frozen=True)
class Said:
    """A sentence with its truth."""

    text: str
    label: str
    correct: bool | None = None
    """Whether the step that is open after this sentence is right; None before the first."""
    is_calculation: bool = False


def right_step(value: int, change: Change) -> Equation:
    """The step that makes no mistake."""
    return Equation(value, change.operation, change.amount, change.apply(value))


def right_steps(problem: Problem) -> list[Equation]:
    """The calculations that make no mistake."""
    return [right_step(value, change) for value, change in zip(problem.values, problem.changes, strict=False)]


def slipped_steps(rng: random.Random, problem: Problem, rate: float) -> list[Equation]:
    """What is first written for each change where a share `rate` of the results is one too large."""
    return [step._replace(result=step.result + 1) if rng.random() < rate else step for step in right_steps(problem)]


def say_opening(rng: random.Random, problem: Problem) -> Iterator[Said]:
    """Yield the initializing sentences."""
    for template in rng.sample(INITIALIZING, rng.randint(1, 2)):
        yield Said(template.format(goal=problem.goal), "initializing")
    yield Said(rng.choice(STARTS).format(n=problem.start), "initializing")


def say_step(rng: random.Random, step: Equation, change: Change, templates: Sequence[str] = CALCULATIONS) -> str:
    """Word one calculation; the wording does not depend on whether it is right."""
    text = rng.choice(templates).format(opener=rng.choice(OPENERS), phrase=change.phrase, **_slots(step))
    return _capital(text)


def _slots(step: Equation) -> dict[str, object]:
    numbers = {"a": step.value, "b": step.amount, "c": step.result}
    return {**numbers, "sign": SIGNS[step.operation], "word": step.operation}


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def say_fillers(rng: random.Random, correct: bool, result: int, hedges: float) -> Iterator[Said]:
    """Yield none to several sentences after a step, whose number does not depend on it; a share `hedges` are hedges."""
    for _ in range(MOST_FILLERS):
        if rng.random() >= FILLER_RATE:
            return
        label = "uncertainty-estimation"
        if rng.random() >= hedges:
            label = rng.choice(("adding-knowledge", "example-testing", "deduction"))
        x, y = rng.randint(1, 5), rng.randint(1, 5)
        yield Said(rng.choice(FILLERS[label]).format(x=x, y=y, z=x + y, c=result), label, correct)


def say_doubt(rng: random.Random, step: Equation, correct: bool, habits: Habits = USUAL) -> Said:
    """Draw a backtracking sentence, of a wrong step or of a right one."""
    alert = rng.choices(*zip(*ALERTS, strict=True))[0]
    doubt = rng.choice(FALSE_DOUBTS if correct or habits is BLIND else DOUBTS)
    return Said(f"{alert} {doubt.format(**_slots(step))}", "backtracking", correct)


def make_trace(rng: random.Random, problem: Problem, steps: Sequence[Equation], habits: Habits = USUAL) -> list[Said]:
    """Write a trace in which a wrong step is noticed after none to several fillers, where that is the habit.

    Args:
        steps: what is first written for each change, always from the true number before it.
    """
    sentences = list(say_opening(rng, problem))
    for value, change, step in zip(problem.values, problem.changes, steps, strict=False):
        right = right_step(value, change)
        correct = step == right
        sentences.append(Said(say_step(rng, step, change), "deduction", correct, is_calculation=True))
        sentences += (fillers := list(say_fillers(rng, correct, step.result, habits.hedges[correct])))
        hedged = any(filler.label == "uncertainty-estimation" for filler in fillers)
        if rng.random() >= (habits.hedged_doubts if hedged else habits.doubts)[correct]:
            continue
        sentences.append(say_doubt(rng, step, correct, habits))
        sentences.append(Said(say_step(rng, right, change, CORRECTIONS), "deduction", True, is_calculation=True))
        sentences += say_fillers(rng, True, right.result, habits.settled_hedges)
    sentences.append(Said(rng.choice(CLOSINGS).format(n=problem.answer), "deduction"))
    return sentences


def join(sentences: Sequence[Said]) -> str:
    """Join sentences into running text."""
    return " ".join(sentence.text for sentence in sentences)
