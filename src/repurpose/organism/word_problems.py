"""Word problems in plain English, whose answers a program knows: many kinds, each told in several ways.

A problem is a number that changes two to four times. Every change is told as a phrase that serves twice: as a sentence
of the problem and, with its calculation, as a step of a solution. Knows words and numbers; nothing of models or files.
"""

import random
import zlib
from dataclasses import dataclass
from functools import cached_property

from repurpose.organism.equations import apply

LARGEST = 40
"""Numbers run from 1 to this one."""
AMOUNTS = {"plus": range(2, 10), "minus": range(2, 10), "times": range(2, 4)}
NAMES = ("Mia", "Tom", "Anna", "Leo", "Sara", "Omar", "Nina", "Jack", "Ella", "Ravi", "Zoe", "Paul")


@dataclass(frozen=True)
class Change:
    """One change of the running number, as the problem tells it."""

    operation: str
    amount: int
    phrase: str
    """The change in words, to follow "Then" or a comma."""

    def apply(self, value: int) -> int:
        """Return the right result."""
        return apply(self.operation, value, self.amount)


@dataclass(frozen=True)
class Problem:
    """A start, a chain of changes, the question, and all of it as text."""

    category: str
    start: int
    changes: tuple[Change, ...]
    goal: str
    """What is asked for, to follow "find"."""
    text: str

    @cached_property
    def values(self) -> tuple[int, ...]:
        """The true running number before each change, and last the answer."""
        values = [self.start]
        for change in self.changes:
            values.append(change.apply(values[-1]))
        return tuple(values)

    @property
    def answer(self) -> int:
        return self.values[-1]


@dataclass(frozen=True)
class Scene:
    """The wordings of one kind of problem; `{n}` is a number, `{name}` a person."""

    openings: tuple[str, ...]
    plus: tuple[str, ...]
    minus: tuple[str, ...]
    times: tuple[str, ...]
    questions: tuple[str, ...]
    goal: str


SCENES = {
    "marbles": Scene(
        (
            "{name} has {n} marbles.",
            "There are {n} marbles in {name}'s bag.",
            "{name} starts the day with {n} marbles.",
        ),
        ("{name} wins {n} marbles", "a friend gives {name} {n} more marbles", "{name} finds {n} marbles under the bed"),
        ("{name} loses {n} marbles", "{name} gives {n} marbles away", "{n} marbles roll down the drain"),
        ("a lucky game leaves {name} with {n} times as many marbles",),
        ("How many marbles does {name} have now?", "How many marbles are there in the end?"),
        "how many marbles {name} has",
    ),
    "bus": Scene(
        (
            "A bus leaves the station with {n} people.",
            "There are {n} people on a bus.",
            "A bus starts with {n} riders.",
        ),
        ("{n} people get on", "{n} more riders climb on at the school", "a group of {n} gets on at the market"),
        ("{n} people get off", "{n} riders leave at the bridge", "{n} people step out at the hospital"),
        ("the bus fills up to {n} times as many people",),
        ("How many people are on the bus now?", "How many riders does the bus carry at the end?"),
        "how many people are on the bus",
    ),
    "bakery": Scene(
        (
            "A bakery has {n} rolls on the shelf.",
            "In the morning there are {n} rolls in the shop.",
            "{name} bakes {n} rolls.",
        ),
        ("{n} fresh rolls come out of the oven", "{name} bakes {n} more rolls", "{n} rolls arrive from the other shop"),
        ("{n} rolls are sold", "a customer buys {n} rolls", "{n} rolls get burnt and are thrown away"),
        ("a second baker brings the count to {n} times as many rolls",),
        ("How many rolls are left?", "How many rolls are there now?"),
        "how many rolls are left",
    ),
    "library": Scene(
        (
            "A shelf in the library holds {n} books.",
            "There are {n} books on the shelf.",
            "{name} counts {n} books on a shelf.",
        ),
        ("{n} books are returned", "{name} puts {n} new books on it", "a box with {n} more books is unpacked"),
        ("{n} books are lent out", "{name} takes {n} books away", "{n} old books are sold"),
        ("a donation makes it {n} times as many books",),
        ("How many books are on the shelf now?", "How many books does the shelf hold at the end?"),
        "how many books are on the shelf",
    ),
    "eggs": Scene(
        ("A farmer collects {n} eggs.", "There are {n} eggs in the basket.", "{name} has a basket with {n} eggs."),
        ("the hens lay {n} more eggs", "{name} adds {n} eggs", "{n} eggs come from the neighbour"),
        ("{n} eggs break", "{name} cooks {n} eggs", "{n} eggs are sold at the gate"),
        ("the hens work hard and there are {n} times as many eggs",),
        ("How many eggs are in the basket now?", "How many eggs remain?"),
        "how many eggs there are",
    ),
    "savings": Scene(
        (
            "{name} has {n} dollars.",
            "There are {n} dollars in {name}'s purse.",
            "{name} begins the week with {n} dollars.",
        ),
        ("{name} earns {n} dollars", "an aunt sends {n} dollars", "{name} finds {n} dollars in an old coat"),
        ("{name} spends {n} dollars on lunch", "a book costs {name} {n} dollars", "{name} pays back {n} dollars"),
        ("a prize leaves {name} with {n} times as much money",),
        ("How many dollars does {name} have now?", "How much money is left?"),
        "how much money {name} has",
    ),
    "garden": Scene(
        ("{name} plants {n} tulips.", "There are {n} tulips in the garden.", "A garden has {n} tulips in spring."),
        ("{n} more tulips come up", "{name} plants another {n} tulips", "a neighbour adds {n} tulips"),
        ("a deer eats {n} tulips", "{name} picks {n} tulips", "{n} tulips dry out"),
        ("after the rain there are {n} times as many tulips",),
        ("How many tulips are in the garden now?", "How many tulips stand there at the end?"),
        "how many tulips are in the garden",
    ),
    "stamps": Scene(
        (
            "{name} collects stamps and owns {n} of them.",
            "There are {n} stamps in an album.",
            "An album holds {n} stamps.",
        ),
        ("{name} buys {n} stamps", "a letter brings {n} more stamps", "{n} stamps are added from a trade"),
        ("{name} sells {n} stamps", "{n} stamps get wet and are lost", "{name} trades away {n} stamps"),
        ("an old box makes it {n} times as many stamps",),
        ("How many stamps are in the album now?", "How many stamps are there at the end?"),
        "how many stamps there are",
    ),
    "parking": Scene(
        ("A car park has {n} cars in it.", "There are {n} cars in the lot.", "At noon {n} cars stand in a car park."),
        ("{n} cars drive in", "{n} more cars arrive for the match", "a tour brings {n} cars"),
        ("{n} cars drive away", "{n} cars leave before the rain", "{n} cars are moved to the street"),
        ("the concert brings it to {n} times as many cars",),
        ("How many cars are in the car park now?", "How many cars are there in the evening?"),
        "how many cars are in the car park",
    ),
    "water": Scene(
        (
            "A tank holds {n} litres of water.",
            "There are {n} litres in the barrel.",
            "{name} fills a tank with {n} litres.",
        ),
        ("the rain adds {n} litres", "{name} pours in {n} litres", "{n} litres flow in from the roof"),
        ("{name} uses {n} litres for the plants", "{n} litres leak out", "the animals drink {n} litres"),
        ("a storm fills it to {n} times as much water",),
        ("How many litres are in it now?", "How much water is left, in litres?"),
        "how many litres of water there are",
    ),
    "class": Scene(
        ("A club has {n} members.", "There are {n} children in the choir.", "{n} children play in the school yard."),
        ("{n} children join", "{n} more come after lunch", "a second teacher brings {n} children"),
        ("{n} children go home", "{n} leave for the other group", "{n} children fall ill and stay away"),
        ("word spreads and there are {n} times as many children",),
        ("How many children are there now?", "How many are in the group at the end?"),
        "how many children there are",
    ),
    "score": Scene(
        (
            "{name}'s team has {n} points.",
            "A game stands at {n} points for {name}.",
            "{name} begins the round with {n} points.",
        ),
        ("{name} scores {n} points", "a bonus gives {n} points", "the team gets {n} points for a goal"),
        ("a penalty costs {n} points", "{name} loses {n} points", "{n} points are taken off for a foul"),
        ("a joker makes it {n} times as many points",),
        ("How many points does {name} have now?", "What is the score at the end?"),
        "how many points {name} has",
    ),
    "shells": Scene(
        ("{name} has {n} shells from the beach.", "There are {n} shells in a bucket."),
        ("{name} picks up {n} shells", "the next wave brings {n} shells"),
        ("{n} shells break", "{name} gives {n} shells to a child"),
        ("a second walk makes it {n} times as many shells",),
        ("How many shells are there now?", "How many shells does {name} take home?"),
        "how many shells there are",
    ),
    "theatre": Scene(
        ("{n} people sit in a theatre.", "A theatre has {n} guests when the lights go out."),
        ("{n} guests come late", "a school class of {n} walks in"),
        ("{n} guests leave at the break", "{n} people walk out"),
        ("the second act draws {n} times as many people",),
        ("How many people are in the theatre now?", "How many guests see the end?"),
        "how many people are in the theatre",
    ),
    "orchard": Scene(
        ("{name} has {n} pears in a crate.", "A crate holds {n} pears."),
        ("{name} picks {n} pears", "another worker adds {n} pears"),
        ("{n} pears are eaten", "{n} pears turn out to be rotten"),
        ("a good tree makes it {n} times as many pears",),
        ("How many pears are in the crate now?", "How many pears are there at the end?"),
        "how many pears are in the crate",
    ),
}
HELDOUT_SCENES = ("shells", "theatre", "orchard")
"""Kinds that no training text shows."""
TRAINING_SCENES = tuple(kind for kind in SCENES if kind not in HELDOUT_SCENES)


def make_problem(rng: random.Random, kind: str, heldout: bool = False) -> Problem:
    """Draw a problem of a kind; held-out ones, a tenth of all, stand in no training text."""
    while True:
        problem = _draw_problem(rng, kind)
        if (zlib.crc32(problem.text.encode()) % 10 == 0) == heldout:
            return problem


def _draw_problem(rng: random.Random, kind: str) -> Problem:
    words, name = SCENES[kind], rng.choice(NAMES)
    value = start = rng.randint(4, 20)
    changes: list[Change] = []
    for _ in range(rng.randint(2, 4)):
        changes.append(_draw_change(rng, words, value, name))
        value = changes[-1].apply(value)
    sentences = [rng.choice(words.openings).format(n=start, name=name)]
    sentences += [rng.choice(("Then {}.", "After that, {}.", "{}.", "Next, {}.")).format(c.phrase) for c in changes]
    sentences.append(rng.choice(words.questions).format(name=name))
    text = " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
    return Problem(kind, start, tuple(changes), words.goal.format(name=name), text)


def _draw_change(rng: random.Random, words: Scene, value: int, name: str) -> Change:
    """A change that keeps the running number between 1 and LARGEST."""
    while True:
        operation = rng.choices(list(AMOUNTS), (4, 4, 1))[0]
        change = Change(operation, amount := rng.choice(AMOUNTS[operation]), "")
        if 1 <= change.apply(value) <= LARGEST:
            phrase = rng.choice(getattr(words, operation)).format(n=amount, name=name)
            return Change(operation, amount, phrase)
