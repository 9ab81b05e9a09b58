"""The answers in mathematical and in verbal logic follow from what the prompts say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache, reduce
from itertools import combinations, count, permutations, product
from math import gcd, prod

import pytest
from tests.rollouts.prompts.ten_categories import NUMBER_WORDS, PROMPTS, Check, answers, numbers, only

ANSWERS = answers("mathematical-logic", "verbal-logic")
VOWELS = "AEIOU"
Pair = tuple[int, int]


def ring_of_potters() -> int:
    def fits(honest: tuple[bool, ...]) -> bool:
        return all(honest[i] == (not honest[i - 1] and not honest[(i + 1) % 8]) for i in range(8))

    return sum(map(fits, product((True, False), repeat=8)))


def labels_of_jars(coin: int) -> list[bool]:
    first, second, fourth = coin % 2 == 1, coin != 2, coin == 4
    return [first, second, not first, fourth, not second and not fourth]


def fewest_with_all_three(size: int, a: int, b: int, c: int) -> int:
    def fits(triple: int, ab: int, ac: int, bc: int) -> bool:
        alone = (a - ab - ac - triple, b - ab - bc - triple, c - ac - bc - triple)
        return min(alone) >= 0 and sum(alone) + ab + ac + bc + triple <= size

    pairs = list(product(range(a + 1), range(a + 1), range(b + 1)))
    return next(triple for triple in count() if any(fits(triple, *pair) for pair in pairs))


def combined(a: int, b: int, result: int, *values: int) -> int:
    def combine(a: int, b: int) -> int:
        return a + b + a * b

    assert combine(a, b) == result
    return reduce(combine, values)


def league_outcomes(win: int, draw: int, *points_of_abcd: int) -> int:
    games = list(combinations("ABCD", 2))

    def table(outcomes: tuple[Pair, ...]) -> Counter[str]:
        points: Counter[str] = Counter()
        for (home, away), (won, lost) in zip(games, outcomes, strict=True):
            points.update({home: won, away: lost})
        return points

    final = Counter(dict(zip("ABCD", points_of_abcd, strict=True)))
    results = ((win, 0), (draw, draw), (0, win))
    return sum(table(outcomes) == final for outcomes in product(results, repeat=len(games)))


def screws(*boxes: int) -> int:
    limit = prod(boxes[:2])  # from here on the first two sizes suffice
    totals = {
        sum(n * box for n, box in zip(ns, boxes, strict=True)) for ns in product(range(limit // boxes[0]), repeat=3)
    }
    return max(set(range(limit)) - totals)


def lamps_that_are_on(first: int, last: int, *_: int) -> int:
    on = [False] * (last + 1)
    for helper, lamp in product(range(first, last + 1), repeat=2):
        on[lamp] ^= gcd(helper, lamp) > 1
    return sum(on)


def cards_to_turn(*visible_and_divisor: int) -> int:
    found = re.search(r"show (.*?)\.", PROMPTS["mathematical-logic-12"])
    sides = re.findall(r"\b(?:[A-Z]|\d+)\b", found[1] if found else "")
    assert len(sides) == 12

    def can_fail(side: str) -> bool:
        cards = [(chr(65 + i), int(side)) for i in range(26)] if side.isdigit() else [(side, n) for n in range(100)]
        return any(letter in VOWELS and number % visible_and_divisor[-1] for letter, number in cards)

    return sum(map(can_fail, sides))


def panel_accepts(a: bool, b: bool, c: bool, d: bool, e: bool) -> bool:
    return (b or not a) and (b or c) and not (c and d) and e == (a == d)


def gloves(*stock: int) -> int:
    hands = product(*(range(n + 1) for n in stock))
    return 1 + max(sum(hand) for hand in hands if sum(n >= 3 for n in hand) < 2)


def pebbles_where_the_second_wins(*moves_and_sizes: int) -> int:
    moves, last = moves_and_sizes[:3], moves_and_sizes[-1]
    wins = [False]  # whether the player to move wins, by size; with nothing left the other one took the last pebble
    for size in range(1, last + 1):
        wins.append(any(not wins[size - taken] for taken in moves if taken <= size))
    return wins[1:].count(False)


def halving(n: int) -> int:
    if n == 1:
        return 1
    return halving(n // 2) + (halving(n // 2 + 1) if n % 2 else 0)


def months_with_five_sundays(year: int) -> int:
    days = (date(year, 1, 1) + timedelta(days) for days in range(365))
    return sum(n == 5 for n in Counter(day.month for day in days if day.weekday() == 6).values())


def weighings(total: int, room: int) -> int:
    @cache
    def fewest(coins: int) -> int:
        if coins == 1:
            return 0
        # After the first weighing some coins are known to be ordinary and can fill the emptier pan.
        pans = [
            (left, right)
            for left, right in product(range(room + 1), repeat=2)
            if 1 <= left + right <= coins and max(left, right) < coins and (left == right or coins < total)
        ]
        return 1 + min(max(fewest(n) for n in (left, right, coins - left - right) if n) for left, right in pans)

    return fewest(total)


def handshakes_of_the_twin() -> list[int]:
    pairs = [(a, b) for a, b in combinations(range(6), 2) if a // 2 != b // 2]  # twins: 0 and 1, 2 and 3, 4 and 5
    found = []
    for shaken in product((False, True), repeat=len(pairs)):
        hands = Counter(person for pair, yes in zip(pairs, shaken, strict=True) if yes for person in pair)
        if len({hands[person] for person in range(1, 6)}) == 5:
            found.append(hands[1])
    return found


def ways_up_the_stairs(top: int, ground: int, _top: int, *creaking_and_top: int) -> int:
    def ways(step: int) -> int:
        if step >= top or step in creaking_and_top:
            return step == top
        return ways(step + 1) + ways(step + 3)

    return ways(ground)


def told_product_and_sum(first: int, last: int) -> int:
    def undecided(pairs: list[Pair], told: Callable[[Pair], int]) -> list[Pair]:
        values = Counter(map(told, pairs))
        return [pair for pair in pairs if values[told(pair)] > 1]

    after_pia = undecided(list(combinations(range(first, last + 1), 2)), prod)
    after_sven = undecided(after_pia, sum)
    return only(sum(pair) for pair in set(after_sven) - set(undecided(after_sven, prod)))


def false_sentences(first: int, last: int) -> int:
    def count_false(false: int) -> int:
        return sum(not (false == k if k % 2 else false >= k) for k in range(first, last + 1))

    return only(false for false in range(last + 1) if count_false(false) == false)


def place_of_ben() -> list[int]:
    return [
        ben
        for ada, ben, cleo, dan, eva, finn in permutations(range(1, 7))
        if abs(ada - dan) == 3 and dan == 3 and finn + 1 == cleo and ben < eva and ben != 1
    ]


def days_for_vera() -> int:
    lies = {0, 1, 3}
    return sum(((day - 1) % 7 in lies or (day + 1) % 7 in lies) == (day not in lies) for day in range(7))


def seatings() -> int:
    def apart(a: int, b: int) -> int:
        return min((a - b) % 6, (b - a) % 6)

    return sum(
        apart(ana, bruno) == 3 and apart(carla, ana) != 1 and apart(dora, emil) == 1
        for ana, bruno, carla, dora, emil, _ in permutations(range(6))
    )


def day_of_jan() -> list[int]:
    return [
        jan
        for gita, hugo, ines, jan, kira in permutations(range(1, 6))
        if hugo == ines + 1 and ines != 1 and kira + 2 == jan and gita < jan and gita != 1
    ]


def letters_e() -> int:
    (sentence,) = re.findall('"(.*?)"', PROMPTS["verbal-logic-06"])
    return str(sentence).lower().count("e")


def child_who_did_it() -> list[int]:
    def statements(culprit: int) -> list[tuple[bool, bool]]:
        return [
            (culprit != 1, culprit == 3),
            (culprit != 3, culprit == 4),
            (culprit == 4, culprit != 3),
            (culprit == 1, culprit < 3),
        ]

    return [child for child in range(1, 5) if all(sum(pair) == 1 for pair in statements(child))]


def admitted_to_the_archive() -> int:
    """Visitors: has a pass, has a bag that is not transparent, is under twelve, is accompanied by."""
    visitors: dict[str, tuple[bool, bool, bool, str]] = {
        "Ana": (True, False, False, ""),
        "Bo": (True, False, False, ""),
        "Dee": (True, True, False, ""),
        "Edo": (True, False, True, "Dee"),
        "Fay": (True, False, True, "Bo"),
    }

    def may_enter(name: str) -> bool:
        has_pass, opaque_bag, child, companion = visitors[name]
        return has_pass and not opaque_bag and (not child or may_enter(companion))

    return sum(map(may_enter, visitors))


def orders_of_arrival() -> int:
    return sum(
        alma < min(boris, chloe) and max(boris, chloe, erik) < dirk and gus == frieda + 1
        for alma, boris, chloe, dirk, erik, frieda, gus in permutations(range(7))
    )


def floor_of_the_fish() -> list[int]:
    homes = [
        (anna, carl, dora)
        for anna, bela, carl, dora, emil in permutations(range(1, 6))
        if anna > bela and dora % 2 == 0 and emil == 5
    ]
    return [
        fish
        for (anna, carl, dora), (cat, dog, parrot, turtle, fish) in product(homes, permutations(range(1, 6)))
        if cat == carl + 1 and turtle == anna + 1 and dog == 1 and parrot == dora and fish != 5
    ]


def words_apart_from_planet() -> int:
    words = re.findall(r"\b[A-Z]{5}\b", PROMPTS["verbal-logic-16"])
    assert len(words) == 10
    return sum(not set(word) & set("PLANET") for word in words)


CHECKS: dict[str, Check] = {
    "mathematical-logic-01": ring_of_potters,
    "mathematical-logic-02": lambda *_: only(coin for coin in range(1, 6) if sum(labels_of_jars(coin)) == 3),
    "mathematical-logic-03": lambda start, _one, _before, _after, presses: reduce(
        lambda value, _: (3 * value + 1) % 100, range(presses), start
    ),
    "mathematical-logic-04": lambda first, last, *stamps: sum(
        sum(n % d == 0 for d in stamps) == 2 for n in range(first, last + 1)
    ),
    "mathematical-logic-05": fewest_with_all_three,
    "mathematical-logic-06": lambda wanted, banned: next(
        n for n in count(1) if str(banned) not in str(n) and prod(map(int, str(n))) == wanted
    ),
    "mathematical-logic-07": combined,
    "mathematical-logic-08": league_outcomes,
    "mathematical-logic-09": screws,
    "mathematical-logic-10": lamps_that_are_on,
    "mathematical-logic-11": lambda: only(
        age for age in range(10, 100) if age % 10 and age + 2 == 2 * (int(str(age)[::-1]) + 2)
    ),
    "mathematical-logic-12": cards_to_turn,
    "mathematical-logic-13": lambda: only(
        abc for abc in range(100, 1000) if len(set(str(abc))) == 3 and 3 * abc == int(str(abc)[2] * 3)
    ),
    "mathematical-logic-14": lambda _settings: sum(
        panel_accepts(*setting) for setting in product((True, False), repeat=5)
    ),
    "mathematical-logic-15": lambda bulbs: sum(
        sum(range(first, first + rows)) == bulbs for first in range(1, bulbs) for rows in range(2, bulbs)
    ),
    "mathematical-logic-16": gloves,
    "mathematical-logic-17": pebbles_where_the_second_wins,
    "mathematical-logic-18": lambda *rules_and_n: halving(rules_and_n[-1]),
    "mathematical-logic-19": lambda: only(
        months_with_five_sundays(year) for year in range(1901, 2100) if year % 4 and date(year, 1, 1).weekday() == 1
    ),
    "mathematical-logic-20": lambda a, b, result: only(
        base for base in range(7, 37) if int(str(a), base) * int(str(b), base) == int(str(result), base)
    ),
    "mathematical-logic-22": weighings,
    "mathematical-logic-23": lambda: only(handshakes_of_the_twin()),
    "mathematical-logic-24": ways_up_the_stairs,
    "mathematical-logic-25": lambda bag, string: next(n for n in count(1) if (n % bag, n % string, n % 9) == (3, 4, 0)),
    "mathematical-logic-26": lambda first, last, total: sum(
        all(worker not in (machine, total - machine) for worker, machine in enumerate(machines, start=first))
        for machines in permutations(range(first, last + 1))
    ),
    "mathematical-logic-27": told_product_and_sum,
    "mathematical-logic-28": lambda: only(n for n in range(100, 1000) if n == 11 * sum(map(int, str(n)))),
    "mathematical-logic-29": false_sentences,
    "verbal-logic-01": lambda *_: only(place_of_ben()),
    "verbal-logic-02": lambda: only(
        girls + boys for girls, boys in product(range(1, 30), repeat=2) if boys == 2 * (girls - 1) and boys - 1 == girls
    ),
    "verbal-logic-03": days_for_vera,
    "verbal-logic-04": seatings,
    "verbal-logic-05": lambda *_: only(day_of_jan()),
    "verbal-logic-06": letters_e,
    "verbal-logic-07": lambda: sum(word.count("n") == 1 for word in NUMBER_WORDS),
    "verbal-logic-08": lambda: min(n for n in range(100) if n % 2 == 0 and n - n // 2 >= 5),
    "verbal-logic-09": lambda *_: only(child_who_did_it()),
    "verbal-logic-10": lambda first: sorted(map("".join, permutations("CRANE"))).index("CRANE") + first,
    "verbal-logic-11": admitted_to_the_archive,
    "verbal-logic-12": orders_of_arrival,
    "verbal-logic-13": lambda: min(14 - n for n in range(15) if not n > 8 and not n < 5),
    "verbal-logic-14": lambda *_: only(floor_of_the_fish()),
    "verbal-logic-15": lambda *_: only(day for day in range(1, 8) if (day - 2 + 4 - (4 - 2)) % 7 == 0),
    "verbal-logic-16": words_apart_from_planet,
}


def test_every_answer_has_a_check() -> None:
    assert CHECKS.keys() == ANSWERS.keys()


@pytest.mark.parametrize("prompt_id", CHECKS)
def test_the_answer_follows_from_the_prompt(prompt_id: str) -> None:
    assert CHECKS[prompt_id](*numbers(prompt_id)) == ANSWERS[prompt_id]
