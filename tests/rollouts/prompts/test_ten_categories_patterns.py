"""The answers in patterns follow from what the prompts show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate, count, islice, pairwise, product

import pytest
from tests.rollouts.prompts.ten_categories import NUMBER_WORDS, PROMPTS, Check, answers, following, numbers, only, shown

ANSWERS = answers("pattern-recognition")
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1))


def growing_steps(*terms: int) -> int:
    steps = [b - a for a, b in pairwise(terms)]
    return terms[-1] + steps[-1] + only(b - a for a, b in pairwise(steps))


def two_patterns(*start: int) -> int:
    terms = [term for k in range(6) for term in (3 * 2**k, 50 - 5 * k)]
    assert terms[: len(start)] == list(start)
    return sum(terms[10:12])


def digit_sums() -> Iterator[int]:
    term = 37
    while True:
        yield term
        term += sum(map(int, str(term)))


def sums_and_one() -> Iterator[int]:
    before, term = 2, 3
    while True:
        yield before
        before, term = term, before + term + 1


def machine_of_two_numbers(*given: int) -> int:
    *examples, a, b = given
    assert all(x * x - y * y == z for x, y, z in zip(*[iter(examples)] * 3, strict=True))
    return a * a - b * b


def blue_beads(places: int) -> int:
    beads = [("red", "red", "blue", "green", "blue")[place % 5] for place in range(places)]
    beads[5::6] = ["white"] * len(beads[5::6])
    return beads.count("blue")


def tiles_of_a_late_figure(_first: int, size: int, *given: int) -> int:
    sizes, figure = [], {(0, 0)}
    for _ in range(given[-1]):
        figure |= {(x + a, y + b) for x, y in figure for a, b in SIDES}
        sizes.append(len(figure))
    assert sizes[:4] == [size, *given[3:6]]
    return sizes[-1]


def digits_of_the_ninth_line(*_: int) -> int:
    lines = ["3"]
    while len(lines) < 9:
        lines.append("".join(f"{len(found[0])}{found[1]}" for found in re.finditer(r"(.)\1*", lines[-1])))
    assert list(map(int, lines[:5])) == shown("pattern-recognition-08")
    return len(lines[-1])


def table_with_three_columns(*given: int) -> int:
    *rows, a, b = given
    assert all(x * y + 1 == z for x, y, z in zip(*[iter(rows)] * 3, strict=True))
    return a * b + 1


def black_cells() -> int:
    black = {0}
    for tick in range(10):
        black = {cell for cell in range(-20, 21) if len(black & {cell - 1, cell, cell + 1}) % 2}
        assert tick or len(black) == 3
    return len(black)


def label_of_holly(*_: int) -> int:
    labels = re.findall(r"\b([A-Z]{5}) gets (\d+)", PROMPTS["pattern-recognition-12"])

    def label(name: str) -> int:
        return (ord(name[0]) - 64) * (ord(name[-1]) - 64)

    assert len(labels) == 4 and all(label(name) == int(number) for name, number in labels)
    return label("HOLLY")


def last_digits(base: int, *given: int) -> int:
    digits = [base**k % 10 for k in range(1, given[-1] + 1)]
    assert digits[:6] == shown("pattern-recognition-13")
    return sum(digits)


def sum_of_row_12(*given: int) -> int:
    entries = count(1)
    sums = [sum(islice(entries, length)) for length in range(1, 13)]
    assert sums[:4] == list(given[-4:])
    return sums[-1]


def below_in_rows_of_six(*given: int) -> int:
    asked = given[-1]
    rows = [list(range(6 * row + 1, 6 * row + 7))[:: -1 if row % 2 else 1] for row in range(asked)]
    return only(low for upper, lower in pairwise(rows) for up, low in zip(upper, lower, strict=True) if up == asked)


def number_in_the_spiral(*_: int) -> int:
    position, heading, entries, asked = 0j, 1 + 0j, {0j: 1}, 3 + 2j
    while asked not in entries:
        position += heading
        entries[position] = len(entries) + 1
        if position + heading * 1j not in entries:  # turn left wherever there is room
            heading *= 1j
    assert [entries[place] for place in (1, 1 + 1j, 1j, -1 + 1j, -1)] == [2, 3, 4, 5, 6]
    return entries[asked]


def digit_in_the_row(start: int, *given: int) -> int:
    row = "".join(map(str, range(1, given[-1] + 1)))
    assert row.startswith(str(start)) and all(int(row[n - 1]) == digit for n, digit in (given[:2], given[2:4]))
    return int(row[given[-1] - 1])


def products_of_neighbouring_primes() -> Iterator[int]:
    primes = (n for n in count(2) if all(n % d for d in range(2, n)))
    return (a * b for a, b in pairwise(primes))


def names_that_take_three_steps() -> int:
    def steps(number: int) -> int:
        return 0 if number == 4 else 1 + steps(len(NUMBER_WORDS[number - 1]))

    assert steps(17) == 2
    return sum(steps(number) == 3 for number in range(1, 21))


def ninth_bus(*_: int) -> int:
    times = [60 * int(h) + int(m) for h, m in re.findall(r"(\d+):(\d\d)", PROMPTS["pattern-recognition-21"])]
    gaps = [b - a for a, b in pairwise(times)]
    growth = only(b - a for a, b in pairwise(gaps))
    return sum(gaps[0] + growth * n for n in range(8))


def shuffles(*_: int) -> int:
    def shuffle(pile: list[int]) -> list[int]:
        return [card for pair in zip(pile[:7], pile[7:], strict=True) for card in pair]

    start = list(range(1, 15))
    pile = shuffle(start)
    assert pile == shown("pattern-recognition-22")
    for n in count(1):
        if pile == start:
            return n
        pile = shuffle(pile)
    raise AssertionError


def halved_or_seven_more(*given: int) -> int:
    *start, first, place = given
    terms = list(accumulate(range(place), lambda term, _: term + 7 if term % 2 else term // 2, initial=first))
    assert terms[: len(start)] == start
    return terms[place - 1]


def equal_neighbours(length: int) -> int:
    letters = "A"
    while len(letters) < length:
        letters += letters.translate({65: "B", 66: "A"})
    return sum(a == b for a, b in pairwise(letters))


def replaced_letters() -> int:
    row = "A"
    for _ in range(8):
        row = row.translate({65: "AB", 66: "AC", 67: "A"})
    return len(row)


def machine_of_one_number(*given: int) -> int:
    *examples, asked = given
    assert all(x**3 + 2 == y for x, y in zip(examples[::2], examples[1::2], strict=True))
    return asked**3 + 2


def numbers_of_nine_bars(*_: int) -> int:
    bars = dict(re.findall(r"(\d) needs (\d)", PROMPTS["pattern-recognition-27"]))
    assert len(bars) == 10
    return sum(sum(int(bars[digit]) for digit in str(n)) == 9 for n in range(10, 100))


def no_sum_of_two_squares(*given: int) -> int:
    sums = {a * a + b * b for a, b in product(range(1, 10), repeat=2)}
    return only(n for n in given[:7] if n not in sums)


CHECKS: dict[str, Check] = {
    "pattern-recognition-01": growing_steps,
    "pattern-recognition-02": two_patterns,
    "pattern-recognition-03": lambda *_: following("pattern-recognition-03", digit_sums()),
    "pattern-recognition-04": lambda *_: following("pattern-recognition-04", sums_and_one()),
    "pattern-recognition-05": machine_of_two_numbers,
    "pattern-recognition-06": blue_beads,
    "pattern-recognition-07": tiles_of_a_late_figure,
    "pattern-recognition-08": digits_of_the_ninth_line,
    "pattern-recognition-09": table_with_three_columns,
    "pattern-recognition-10": black_cells,
    "pattern-recognition-11": lambda letters, place, *_: [n for n in range(1, letters + 1) for _ in range(n)][
        place - 1
    ],
    "pattern-recognition-12": label_of_holly,
    "pattern-recognition-13": last_digits,
    "pattern-recognition-14": lambda *_: following(
        "pattern-recognition-14", (n for n in count(1) if f"{n:b}" == f"{n:b}"[::-1])
    ),
    "pattern-recognition-15": sum_of_row_12,
    "pattern-recognition-16": below_in_rows_of_six,
    "pattern-recognition-17": number_in_the_spiral,
    "pattern-recognition-18": digit_in_the_row,
    "pattern-recognition-19": lambda *_: following("pattern-recognition-19", products_of_neighbouring_primes()),
    "pattern-recognition-20": names_that_take_three_steps,
    "pattern-recognition-21": ninth_bus,
    "pattern-recognition-22": shuffles,
    "pattern-recognition-23": halved_or_seven_more,
    "pattern-recognition-24": equal_neighbours,
    "pattern-recognition-25": replaced_letters,
    "pattern-recognition-26": machine_of_one_number,
    "pattern-recognition-27": numbers_of_nine_bars,
    "pattern-recognition-28": no_sum_of_two_squares,
}


def test_every_answer_has_a_check() -> None:
    assert CHECKS.keys() == ANSWERS.keys()


@pytest.mark.parametrize("prompt_id", CHECKS)
def test_the_answer_follows_from_the_prompt(prompt_id: str) -> None:
    assert CHECKS[prompt_id](*numbers(prompt_id)) == ANSWERS[prompt_id]
