"""The embedded pair's language: arithmetic chains in plain English, with the truth beside every sentence.

Knows words and numbers; knows nothing of tokens, models or files. Three facts of the language carry the study:

* **Structure gives nothing away.** After a calculation, fillers follow one another with a constant hazard
  (`FILLER_RATE`), whatever the calculation was worth. What stands before a backtracking sentence is therefore
  distributed as what stands before any other sentence, apart from what the mistake itself changes.
* **A mistake leaves traces, none of them certain.** While a calculation is wrong and not yet mended, the writer
  hesitates more often (`STAMMERING`, while the base model is made), hedges more often (`HEDGE_RATE`) and leans to
  the second word of each `<plain|strained>` slot (`STRAIN_RATE`).
* **Hedging is not a mistake.** Most hedges follow correct calculations, because most calculations are correct.
"""

import random
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

LARGEST = 12
"""Numbers in the language run from 0 to this one."""
AMOUNTS = range(2, 7)
MARGIN = 2
"""True running numbers keep this distance from both ends, so that a slip stays inside."""
FILLER_RATE = 0.68
HEDGE_RATE = {True: 0.2, False: 0.4}
"""Share of hedges among fillers, by whether the last calculation is correct."""
STRAIN_RATE = {True: 0.3, False: 0.5}
"""Chance of the strained word in a slot, by whether the last calculation is correct."""
HESITATION = "um,"


class Hesitation(NamedTuple):
    """How a writer hesitates before the words of a filler."""

    right: float
    """Chance before each word while the last calculation is correct ..."""
    wrong: float
    """... and while it is wrong."""
    once: bool = True
    """Whether a sentence has at most one."""


STAMMERING = Hesitation(0.005, 0.04, once=False)
"""Of the base corpus at first. It can fall anywhere, so it pays to know at every token, and in the same way at every
token, that something is wrong."""
FALTERING = Hesitation(0.01, 0.1, once=False)
"""Of practice, for a base model that finds mistakes at the marks alone and carries nothing there."""
SETTLED = Hesitation(0.01, 0.01)
"""Of the base corpus at last, and of reasoning traces. Hesitations no longer tell: the state stays at every token, but
no word that fits everywhere is its outlet. Otherwise steering would drown everything else that the state does, marks in
the base model and "Wait" in the reasoning model, in "um,"."""
FALSE_ALARM_RATE = 0.02
"""Chance that a reasoning trace doubts a correct calculation when its fillers end."""
MISTAKE_RATE = 0.3
"""Chance that a calculation of a reasoning trace is wrong; sampling at temperature 0.7 halves it."""


@dataclass(frozen=True)
class Change:
    """One change of the running number: `plus` or `minus` an amount."""

    operation: str
    amount: int

    def apply(self, value: int) -> int:
        """Return the correct result."""
        return value + self.amount if self.operation == "plus" else value - self.amount


CHANGES = tuple(Change(operation, amount) for operation in ("plus", "minus") for amount in AMOUNTS)


@dataclass(frozen=True)
class Problem:
    """A word problem: a start, a chain of changes, its question as text and its answer."""

    category: str
    start: int
    changes: tuple[Change, ...]
    text: str

    @property
    def answer(self) -> int:
        return self.start + sum(change.apply(0) for change in self.changes)


@dataclass(frozen=True)
class Spoken:
    """A sentence with its truth."""

    text: str
    label: str
    correct: bool | None = None
    """Whether the calculation that is open after this sentence is right; None before the first calculation."""
    is_calculation: bool = False


@dataclass(frozen=True)
class Scene:
    """The wording of one category of problems."""

    opening: str
    plus: str
    minus: str
    question: str
    goal: str


SCENES = {
    "bus": Scene(
        "A bus starts with {n} people.",
        "Then {n} people get on.",
        "Then {n} people get off.",
        "How many people are on the bus?",
        "the people on the bus",
    ),
    "garden": Scene(
        "A basket holds {n} apples.",
        "Then {n} apples are picked.",
        "Then {n} apples are eaten.",
        "How many apples are in the basket?",
        "the apples in the basket",
    ),
    "market": Scene(
        "Mia has {n} coins.",
        "Then she earns {n} coins.",
        "Then she spends {n} coins.",
        "How many coins does Mia have?",
        "the coins that Mia has",
    ),
    "lift": Scene(
        "A lift is on floor {n}.",
        "Then it goes up {n} floors.",
        "Then it goes down {n} floors.",
        "On which floor is the lift?",
        "the floor of the lift",
    ),
    "sums": Scene(
        "Take the number {n}.",
        "Then add {n} to it.",
        "Then subtract {n} from it.",
        "Which number is it?",
        "the number at the end",
    ),
}

FILLERS = {
    "adding-knowledge": (
        "<Remember|Recall> that adding moves us <up|onward> along the <line|row> of numbers.",
        "<Remember|Recall> that taking away moves us <down|back> along the <line|row> of numbers.",
        "The order of two numbers <never|hardly> matters when we <add|join> them <together|up>.",
        "Each step <only|just> needs the <last|latest> number and the <next|coming> change.",
    ),
    "example-testing": (
        "For <example|instance>, {x} plus {y} makes {z}, so adding like this <works|holds> here.",
        "To <test|try> this with <small|tiny> numbers, {x} plus {y} makes {z} as it <should|must>.",
    ),
    "deduction": (
        "So the <number|total> that we <have|hold> to work with <now|here> is {c}.",
        "This <means|says> that the next change <starts|begins> from {c} as <planned|written>.",
    ),
    "uncertainty-estimation": (
        "I am not <fully|quite> sure that this <number|total> is the <right|proper> one.",
        "Perhaps this <number|total> is <fine|good>, but it <might|could> be a little off.",
        "It is <hard|tough> to say <whether|if> this step <came|turned> out well.",
        "Hmm, I <may|might> need to be <more|extra> careful with a <number|total> like this.",
    ),
}
HEDGE_WEIGHTS = (4, 4, 4, 1)
"""The hedge that opens with a keyword is rare: it makes the keyword rule imperfect, as it is in the field."""

STEP_OPENERS = ("Now", "Then", "Next,", "So")
STEP_VERBS = ("makes", "gives", "is")

BACKTRACKS = (
    ("Wait, {a} {op} {b} does not make {c}.", 4),
    ("Wait, that last step does not look right.", 3),
    ("Hmm, wait, I must have slipped in that step.", 2),
    ("Hmm, that number cannot be right at all.", 2),
    ("But no, I need to go back and do that step again.", 1),
    ("Actually, let me take another look at that step.", 1),
)
FALSE_ALARMS = tuple(entry for entry in BACKTRACKS if "{c}" not in entry[0])

INITIALIZING = (
    "Okay, I need to find {goal} when all is done.",
    "Okay, the question is about {goal}.",
    "Let me read the problem and go through it step by step.",
    "First, let me set up what we know from the problem.",
)
START = "The problem tells us to start from {n}."
CLOSING = "So the final number that we were looking for is {n}."

SLOT = re.compile(r"<([^|<>]+)\|([^|<>]+)>")
CALCULATION = re.compile(r"(\d+) (plus|minus) (\d+) (?:makes|gives|is) (\d+)\.$")


def make_problem(rng: random.Random, category: str | None = None, heldout: bool = False) -> Problem:
    """Draw a problem of one of SCENES, or of any; held-out ones, a tenth of all, are never in a training corpus."""
    while True:
        problem = _draw_problem(rng, category or rng.choice(sorted(SCENES)))
        if (zlib.crc32(problem.text.encode()) % 10 == 0) == heldout:
            return problem


def _draw_problem(rng: random.Random, category: str) -> Problem:
    """Two to four changes whose true running number stays away from both ends of the numbers."""
    scene = SCENES[category]
    value = start = rng.randint(MARGIN, LARGEST - MARGIN)
    changes: list[Change] = []
    for _ in range(rng.randint(2, 4)):
        allowed = [change for change in CHANGES if MARGIN <= change.apply(value) <= LARGEST - MARGIN]
        operation = rng.choice(sorted({change.operation for change in allowed}))
        changes.append(rng.choice([change for change in allowed if change.operation == operation]))
        value = changes[-1].apply(value)
    lines = [scene.opening.format(n=start)]
    lines += [getattr(scene, c.operation).format(n=c.amount) for c in changes]
    return Problem(category, start, tuple(changes), " ".join([*lines, scene.question]))


def slip(rng: random.Random, right: int) -> int:
    """Return a wrong result: one off, as most slips are, within the numbers of the language."""
    return rng.choice([n for n in (right - 1, right + 1) if 0 <= n <= LARGEST])


def say_calculation(rng: random.Random, value: int, change: Change, result: int) -> str:
    """Word one calculation, right or wrong; the wording does not depend on which."""
    opener, verb = rng.choice(STEP_OPENERS), rng.choice(STEP_VERBS)
    return f"{opener} {value} {change.operation} {change.amount} {verb} {result}."


def read_calculation(text: str) -> tuple[int, Change, int] | None:
    """Parse a calculation sentence into (value, change, result), or None where the sentence is no calculation."""
    found = CALCULATION.search(text.strip())
    if found is None:
        return None
    value, operation, amount, result = found.groups()
    return int(value), Change(operation, int(amount)), int(result)


def say_filler(rng: random.Random, correct: bool, result: int, hesitation: Hesitation = SETTLED) -> Spoken:
    """Draw one filler; kind and wording depend on the state of the last calculation, the structure does not."""
    if rng.random() < HEDGE_RATE[correct]:
        label = "uncertainty-estimation"
        template = rng.choices(FILLERS[label], HEDGE_WEIGHTS)[0]
    else:
        label = rng.choice(("adding-knowledge", "example-testing", "deduction"))
        template = rng.choice(FILLERS[label])
    x, y = rng.randint(1, 5), rng.randint(1, 5)
    worded = SLOT.sub(lambda slot: slot.group(2 if rng.random() < STRAIN_RATE[correct] else 1), template)
    text = worded.format(x=x, y=y, z=x + y, c=result)
    return Spoken(hesitate(rng, text, correct, hesitation), label, correct)


def hesitate(rng: random.Random, text: str, correct: bool, hesitation: Hesitation) -> str:
    """Put hesitations before words; one random number a word, whatever comes of it."""
    rate = hesitation.right if correct else hesitation.wrong
    words = text.split(" ")
    places = [place for place in range(len(words)) if rng.random() < rate]
    for place in reversed(places[:1] if hesitation.once else places):
        words.insert(place, HESITATION)
    return " ".join(words)


def say_fillers(rng: random.Random, correct: bool, result: int, hesitation: Hesitation = SETTLED) -> Iterator[Spoken]:
    """Yield none to several fillers; the number has no memory and does not depend on the calculation."""
    while rng.random() < FILLER_RATE:
        yield say_filler(rng, correct, result, hesitation)


def say_opening(rng: random.Random, problem: Problem) -> Iterator[Spoken]:
    """Yield the initializing sentences."""
    goal = SCENES[problem.category].goal
    for template in rng.sample(INITIALIZING, rng.randint(1, 2)):
        yield Spoken(template.format(goal=goal), "initializing")
    yield Spoken(START.format(n=problem.start), "initializing")


def make_solution(
    rng: random.Random, problem: Problem, mistake_rate: float, hesitation: Hesitation = SETTLED
) -> tuple[list[Spoken], int]:
    """Write a solution as in the base corpus, and its final number, right or not: no mistake is ever mended."""
    sentences = list(say_opening(rng, problem))
    value = problem.start
    for change in problem.changes:
        right = change.apply(value)
        correct = not (rng.random() < mistake_rate and 0 <= right <= LARGEST)
        result = right if correct else slip(rng, right)
        text = say_calculation(rng, value, change, result)
        sentences.append(Spoken(text, "deduction", correct, is_calculation=True))
        sentences += say_fillers(rng, correct, result, hesitation)
        value = result
    sentences.append(Spoken(CLOSING.format(n=value), "deduction"))
    return sentences, value


def make_trace(rng: random.Random, problem: Problem, hesitation: Hesitation = SETTLED) -> list[Spoken]:
    """Write a reasoning trace: every mistake is noticed after none to several fillers, and mended."""
    sentences = list(say_opening(rng, problem))
    value = problem.start
    for change in problem.changes:
        sentences += _reasoned_calculation(rng, value, change, hesitation)
        value = change.apply(value)
    sentences.append(Spoken(CLOSING.format(n=value), "deduction"))
    return sentences


def _reasoned_calculation(rng: random.Random, value: int, change: Change, hesitation: Hesitation) -> Iterator[Spoken]:
    right = change.apply(value)
    correct = rng.random() >= MISTAKE_RATE
    result = right if correct else slip(rng, right)
    yield Spoken(say_calculation(rng, value, change, result), "deduction", correct, is_calculation=True)
    yield from say_fillers(rng, correct, result, hesitation)
    if correct and rng.random() >= FALSE_ALARM_RATE:
        return
    templates = FALSE_ALARMS if correct else BACKTRACKS
    template = rng.choices(*zip(*templates, strict=True))[0]
    text = template.format(a=value, op=change.operation, b=change.amount, c=result)
    yield Spoken(text, "backtracking", correct)
    yield Spoken(say_calculation(rng, value, change, right), "deduction", True, is_calculation=True)
    yield from say_fillers(rng, True, right, hesitation)


def join(sentences: Sequence[Spoken]) -> str:
    """Join sentences into running text."""
    return " ".join(sentence.text for sentence in sentences)
