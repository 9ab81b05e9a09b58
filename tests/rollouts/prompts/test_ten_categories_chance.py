"""The answers about chance follow from what the prompts say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import combinations, count, permutations, product
from math import comb

import pytest
from tests.rollouts.prompts.ten_categories import Check, answers, numbers, only

ANSWERS = answers("probabilistic")
Moves = Mapping[int, Sequence[tuple[Fraction, int]]]
"""From each state, the states that may follow with their probabilities."""
HALF = Fraction(1, 2)


def exact(value: Fraction) -> int:
    assert value.denominator == 1
    return value.numerator


def both_terms(value: Fraction) -> int:
    return value.numerator + value.denominator


def mean(values: Sequence[int]) -> Fraction:
    return Fraction(sum(values), len(values))


def expected(moves: Moves, gain: int, ends: Mapping[int, int]) -> dict[int, Fraction]:
    """Return the expected total from each state: `gain` for every move and the value of the end reached."""
    states = list(moves)
    rows = []
    for state in states:
        row = [Fraction(state == other) for other in states] + [Fraction(gain)]
        for probability, target in moves[state]:
            if target in ends:
                row[-1] += probability * ends[target]
            else:
                row[states.index(target)] -= probability
        rows.append(row)
    for i in range(len(rows)):  # Gauss and Jordan
        pivot = next(j for j in range(i, len(rows)) if rows[j][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for j in set(range(len(rows))) - {i}:
            rows[j] = [value - rows[j][i] * by for value, by in zip(rows[j], rows[i], strict=True)]
    return {state: row[-1] for state, row in zip(states, rows, strict=True)}


def unusual_dice(*faces: int) -> int:
    return sum(a > b for a, b in product(faces[:6], faces[6:12]))


def flagged_parcels(parcels: int, broken: int, found: int, mistaken: int) -> int:
    alarms = Fraction(broken * found, 100), Fraction((parcels - broken) * mistaken, 100)
    return both_terms(alarms[0] / sum(alarms))


def blue_balls(red: int, *chance: int) -> int:
    return only(blue for blue in range(1, 100) if Fraction(comb(red, 2), comb(red + blue, 2)) == Fraction(*chance))


def cents_for_tails(cents: int) -> int:
    return exact(mean([cents * ("".join(tosses) + "H").index("H") for tosses in product("HT", repeat=4)]))


def token_that_climbs(start: int, low: int, high: int, *chances: int) -> int:
    up, down = Fraction(*chances[:2]), Fraction(*chances[2:4])
    moves = {square: [(up, square + 1), (down, square - 1)] for square in range(low + 1, high)}
    return both_terms(expected(moves, 0, {low: 0, high: 1})[start])


def common_birth_month() -> int:
    shared = sum(len(set(months)) < 5 for months in product(range(12), repeat=5))
    return round(100 * shared / 12**5)


def families_with_two_girls(families: int, _: int) -> int:
    girls = [sum(children) for children in product((0, 1), repeat=3) if any(children)]
    return exact(families * mean([n == 2 for n in girls]))


def prize_after_changing() -> int:
    chance, doors = Fraction(0), {0, 1, 2, 3, 4}
    for prize in doors:  # the player's first choice is door 0
        opened = list(combinations(doors - {0, prize}, 2))
        for pair in opened:
            chance += Fraction(1, 5) / len(opened) * mean([door == prize for door in doors - {0, *pair}])
    return exact(100 * chance)


def accepted_boxes(bulbs: int, faulty: int, tested: int, boxes: int) -> int:
    samples = combinations([number < faulty for number in range(bulbs)], tested)
    return exact(boxes * mean([sum(sample) <= 1 for sample in samples]))


def tosses_until_hth() -> int:
    # States: nothing useful yet, H, HT, HTH.
    moves = {0: [(HALF, 1), (HALF, 0)], 1: [(HALF, 1), (HALF, 2)], 2: [(HALF, 3), (HALF, 0)]}
    return exact(expected(moves, 1, {3: 0})[0])


def two_right_envelopes(ways: int) -> int:
    orders = list(permutations(range(6)))
    assert len(orders) == ways
    return sum(sum(i == letter for i, letter in enumerate(letters)) == 2 for letters in orders)


def coin_with_two_heads() -> int:
    heads = [coin for coin in ("HT", "HT", "HH") for tosses in product(coin, repeat=3) if tosses == ("H", "H", "H")]
    return exact(100 * mean([coin == "HH" for coin in heads]))


def always_ahead(for_a: int, for_b: int, orders: int) -> int:
    papers = for_a + for_b

    def ahead(places: tuple[int, ...]) -> bool:
        lead = [sum(1 if i in places else -1 for i in range(n + 1)) for n in range(papers)]
        return min(lead) > 0

    counts = list(combinations(range(papers), for_a))
    assert len(counts) == orders
    return sum(map(ahead, counts))


def friends_on_a_bench(stay: int) -> int:
    """The time in which the other one's arrival leads to a meeting is linear within each minute, so means are exact."""
    spans = [min(60, minute + stay) - max(0, minute - stay) for minute in range(61)]
    return both_terms((sum(spans) - Fraction(spans[0] + spans[60], 2)) / 60**2)


def huts_that_are_linked(*_: int) -> int:
    paths = ("AB", "AC", "BC", "BD", "CD")

    def linked(is_open: tuple[bool, ...]) -> bool:
        reached = {"A"}
        for _ in paths:
            for path, free in zip(paths, is_open, strict=True):
                if free and reached & set(path):
                    reached |= set(path)
        return "D" in reached

    return sum(map(linked, product((False, True), repeat=5)))


def tries_for_the_lock(total: int) -> int:
    codes = sum(len(set(code)) == 3 and sum(code) == total for code in product(range(10), repeat=3))
    return next(tries for tries in count(1) if Fraction(tries, codes) >= HALF)


def jumps_of_the_frog(*_: int) -> int:
    moves = {stone: [(HALF, (stone + 1) % 7), (HALF, stone - 1)] for stone in range(1, 7)}
    return exact(expected(moves, 1, {0: 0})[3])


def two_aces(cards: int, numerator: int) -> int:
    aces = [sum(card < 4 for card in hand) for hand in combinations(range(cards), 2)]
    return exact(numerator / Fraction(aces.count(2), len(aces) - aces.count(0)))


def one_between_ana_and_bo() -> int:
    return both_terms(mean([abs(ana - bo) == 2 for ana, bo, *_ in permutations(range(6))]))


def last_player_wins(first: int, faces: int, _: int) -> int:
    win = Fraction(1, faces - first + 1)
    # States: the three players in turn, 3 if one of the first two has won, 4 if the last one has.
    moves = {0: [(win, 3), (1 - win, 1)], 1: [(win, 3), (1 - win, 2)], 2: [(win, 4), (1 - win, 0)]}
    return both_terms(expected(moves, 0, {3: 0, 4: 1})[0])


def triangles_from_a_rod(length: int) -> int:
    cuts = combinations(range(1, length), 2)
    pieces = [sorted((a, b - a, length - b)) for a, b in cuts]
    return both_terms(mean([c < a + b for a, b, c in pieces]))


CHECKS: dict[str, Check] = {
    "probabilistic-01": unusual_dice,
    "probabilistic-02": flagged_parcels,
    "probabilistic-03": blue_balls,
    "probabilistic-04": cents_for_tails,
    "probabilistic-05": token_that_climbs,
    "probabilistic-06": common_birth_month,
    "probabilistic-07": families_with_two_girls,
    "probabilistic-08": prize_after_changing,
    "probabilistic-09": accepted_boxes,
    "probabilistic-10": lambda percent: next(n for n in count(1) if 1 - Fraction(4, 5) ** n > Fraction(percent, 100)),
    "probabilistic-11": tosses_until_hth,
    "probabilistic-12": two_right_envelopes,
    "probabilistic-13": lambda first, last, middle: exact(
        100 * mean([hand[1] == middle for hand in combinations(range(first, last + 1), 3)])
    ),
    "probabilistic-14": coin_with_two_heads,
    "probabilistic-15": always_ahead,
    "probabilistic-16": friends_on_a_bench,
    "probabilistic-17": lambda *_: both_terms(mean([len(set(throws)) for throws in product(range(6), repeat=3)])),
    "probabilistic-18": huts_that_are_linked,
    "probabilistic-19": lambda white, black: both_terms(
        mean([max(places) == 8 for places in combinations(range(1, white + black + 1), black)])
    ),
    "probabilistic-20": lambda first, last, cents, _: exact(
        mean([cents * max(throw) for throw in product(range(first, last + 1), repeat=2)])
    ),
    "probabilistic-21": jumps_of_the_frog,
    "probabilistic-22": tries_for_the_lock,
    "probabilistic-23": two_aces,
    "probabilistic-24": one_between_ana_and_bo,
    "probabilistic-25": lambda: exact(mean([min(blown) for blown in combinations(range(1, 12), 3)])),
    "probabilistic-26": last_player_wins,
    "probabilistic-27": triangles_from_a_rod,
    "probabilistic-28": lambda *_: sum(sheet.count(0) >= 3 for sheet in product(range(4), repeat=5)),
}


def test_every_answer_has_a_check() -> None:
    assert CHECKS.keys() == ANSWERS.keys()


@pytest.mark.parametrize("prompt_id", CHECKS)
def test_the_answer_follows_from_the_prompt(prompt_id: str) -> None:
    assert CHECKS[prompt_id](*numbers(prompt_id)) == ANSWERS[prompt_id]
