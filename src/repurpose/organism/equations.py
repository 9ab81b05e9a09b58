"""Calculations as the texts of our pairs state them, at a sentence's end: "so 27 + 8 = 35." or "27 plus 8 is 35."

Whether one is right is read off the text: its sum, and in solutions of word problems, which say the number that they
start from, also whether it goes on from a number that stands and changes it by the amount that its sentence names. That
it adds what should be taken away is not seen.
"""

import re
from typing import NamedTuple

SIGNS = {"plus": "+", "minus": "-", "times": "x"}
OPERATIONS = {sign: operation for operation, sign in SIGNS.items()}
START = re.compile(r"(?:begin with|first number in the problem is|At the start there are) (\d+)\.$")
EQUATION = re.compile(r"(\d+) (\+|-|x|plus|minus|times) (\d+) (?:=|makes|gives|is) (\d+)\.$")


class Equation(NamedTuple):
    """One calculation, right or wrong."""

    value: int
    operation: str
    amount: int
    result: int

    @property
    def correct(self) -> bool:
        """Whether the sum is right, whatever the problem asks for."""
        return apply(self.operation, self.value, self.amount) == self.result


def apply(operation: str, value: int, amount: int) -> int:
    """The right result of `plus`, `minus` or `times`."""
    return {"plus": value + amount, "minus": value - amount, "times": value * amount}[operation]


def read_equation(sentence: str) -> Equation | None:
    """The calculation that a sentence ends with; None where it ends otherwise."""
    if not (found := EQUATION.search(sentence.strip())):
        return None
    value, sign, amount, result = found.groups()
    return Equation(int(value), OPERATIONS.get(sign, sign), int(amount), int(result))


class Account:
    """Follows a text sentence by sentence and says which of its calculations are right."""

    def __init__(self) -> None:
        self.standing: set[int] = set()
        """Numbers that the next calculation may go on from; none until the text says where it starts."""
        self.last: Equation | None = None
        """The last right calculation, which may be done again."""

    def judge(self, sentence: str) -> bool | None:
        """Whether the calculation that a sentence ends with is right; None where it ends with none."""
        equation = read_equation(sentence)
        if equation is None:
            if start := START.search(sentence.strip()):
                self.standing = {int(start[1])}
            return None
        if not self.standing or equation == self.last:
            return equation.correct
        right = equation.correct and equation.value in self.standing and _names_amount(sentence, equation)
        if right:
            self.last, self.standing = equation, {equation.result}
        else:
            self.standing.add(equation.result)  # it may be noticed or not
        return right


def _names_amount(sentence: str, equation: Equation) -> bool:
    """Whether the words before a calculation name its amount, if they name any number but the one to start from."""
    before = EQUATION.sub("", sentence.strip())
    named = {int(number) for number in re.findall(r"\d+", before)} - {equation.value}
    return not named or equation.amount in named
