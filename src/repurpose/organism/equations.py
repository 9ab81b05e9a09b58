"""Calculations as the texts of our pairs state them, at a sentence's end: "so 27 + 8 = 35." or "27 plus 8 is 35."."""

import re
from typing import NamedTuple

SIGNS = {"plus": "+", "minus": "-", "times": "x"}
OPERATIONS = {sign: operation for operation, sign in SIGNS.items()}
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
