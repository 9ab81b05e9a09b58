"""The answers about causes, systems, science and clever ideas follow from what the prompts say."""

from __future__ import annotations

import heapq
from fractions import Fraction
from itertools import chain, combinations, count, permutations, product

import pytest
from tests.rollouts.prompts.ten_categories import Check, answers, numbers, only, whole

ANSWERS = answers("lateral", "causal", "systems", "creative", "scientific")


def flight_of_the_swallow(apart: int, speed: int, flight: int) -> int:
    gap, flown = Fraction(apart), Fraction(0)
    for _ in range(50):  # leg after leg; what is left of the gap soon does not matter
        time = gap / (flight + speed)
        flown += flight * time
        gap -= 2 * speed * time
    return whole(float(flown))


def candles_that_remain() -> int:
    burning, put_out = 10, 0
    for gust in (3, 2):
        burning, put_out = burning - gust, put_out + gust
    return put_out  # the burning ones burn down


def days_of_four_patches(days: int) -> int:
    wall = 2**days
    return next(day for day in count() if 4 * 2**day >= wall)


def way_of_the_worm(_: int, pages: int, cover: int, *volumes: int) -> int:
    """A book that stands with its spine to the reader has its front cover, and so its first page, at the right."""
    shelf = [(volume, part) for volume in (1, 2, 3) for part in ("back cover", "pages", "front cover")]
    start, end = shelf.index((volumes[0], "pages")), shelf.index((volumes[1], "pages"))
    return sum(pages if part == "pages" else cover for _, part in shelf[start + 1 : end])


def games_of_the_contest(players: int) -> int:
    games = 0
    while players > 1:
        games += players // 2
        players -= players // 2
    return games


def cost_of_the_fare(before_a: int, after_a: int, before_b: int, after_b: int) -> int:
    return (before_a - after_a) - (before_b - after_b)


def machines_in_the_mill(pump_is_blocked: bool) -> int:
    wheel = True  # the sluice is open
    pump = wheel and not pump_is_blocked
    stone = wheel or pump
    bell = not pump
    sieve = stone and bell
    return sum((wheel, pump, stone, bell, sieve))


def recoveries_with_remedy_a(*given: int) -> int:
    mild, severe, got_mild, cured_mild, _, _, got_severe, cured_severe, *_ = given
    return whole(mild * cured_mild / got_mild + severe * cured_severe / got_severe)


def rashes_avoided(exposed: int, others: int, cases: int, other_cases: int, _: int) -> int:
    return whole(cases - exposed * other_cases / others)


def sensors_that_were_needed(*given: int) -> int:
    *points, needed = given
    assert sum(points) >= needed
    return sum(sum(points) - point < needed for point in points)


def minimal_remedies() -> int:
    factors = {"sparks", "stove", "straw", "oil", "air"}

    def is_remedy(removed: frozenset[str]) -> bool:
        left = factors - removed
        return not ({"sparks", "stove"} & left and {"straw", "oil"} & left and "air" in left)

    subsets = map(frozenset, chain.from_iterable(combinations(factors, n) for n in range(6)))
    remedies = {subset for subset in subsets if is_remedy(subset)}
    return sum(not any(other < remedy for other in remedies) for remedy in remedies)


def days_of_renovation(*given: int) -> int:
    days = dict(zip("ABCDEF", given, strict=True))
    needs = {"C": "A", "D": "AB", "E": "C", "F": "DE"}

    def end(job: str) -> int:
        return days[job] + max(map(end, needs.get(job, "")), default=0)

    return max(map(end, days))


def laundry(*minutes_and_start: int) -> int:
    free = [0, 0, 0]  # when each station has finished all shirts so far
    for _ in range(10):
        ready = 0
        for station, minutes in enumerate(minutes_and_start[:3]):
            ready = free[station] = max(ready, free[station]) + minutes
    return free[-1]


def litres_for_the_town(*litres: int) -> int:
    """The most that can flow is what the narrowest cut between spring and town lets through."""
    pipes = dict(zip(("SA", "SB", "AC", "AB", "BC", "BT", "CT"), litres, strict=True))
    sides = [{"S", *tanks} for n in range(4) for tanks in combinations("ABC", n)]
    return min(sum(size for pipe, size in pipes.items() if pipe[0] in side and pipe[1] not in side) for side in sides)


def cistern(pumped: int) -> int:
    litres = 0.0
    for _ in range(1000):
        litres = litres * 3 / 4 + pumped
    return whole(litres)


def year_without_a_catch(fish: int, odd: int, grown: int, catch: int, first: int, _: int) -> int:
    assert odd + odd // 2 == grown
    for year in count(first):
        fish += fish // 2
        if fish < catch:
            return year
        fish -= catch
    raise AssertionError


def intervals_with_heating(_minutes: int, low: int, high: int, up: int, down: int, start: int, intervals: int) -> int:
    degrees, heating, heated = start, False, 0
    for _ in range(intervals):
        heating = degrees <= low or (heating and degrees < high)
        degrees += up if heating else -down
        heated += heating
    return heated


def hours_until_100_know(people: int) -> int:
    calls_left = [3]
    for hour in count(1):
        callers = [calls > 0 for calls in calls_left]
        calls_left = [calls - may for calls, may in zip(calls_left, callers, strict=True)] + [3] * sum(callers)
        if len(calls_left) >= people:
            return hour
    raise AssertionError


def workshops_that_stop() -> int:
    needs = {"D": "ABC", "E": "BCF", "F": "ADG", "G": "CE", "H": "CDG"}
    stopped = {"A", "B"}
    for _ in needs:
        stopped |= {shop for shop, others in needs.items() if len(stopped & set(others)) >= 2}
    return len(stopped)


def arrival_of_car_18(crossing: int, back: int, _eight: int, _zero: int, gap: int, *_: int) -> int:
    home = 0
    for trip in (1, 2, 3):
        departure = max(home, gap * (6 * trip - 1))
        home = departure + crossing + back
    return departure + crossing


def jars_on_day_20(
    jars: int, first: int, sold: int, few: int, ordered: int, ordered_on: int, arrived_on: int, last: int
) -> int:
    arrival = 0
    for day in range(first, last + 1):
        jars += ordered * (day == arrival)
        jars -= sold
        assert jars >= 0
        if jars < few and arrival <= day:
            arrival = day + arrived_on - ordered_on
    return jars


def minutes_until_all_burn() -> int:
    trees = {(row, column) for row, column in product(range(1, 8), repeat=2) if column != 4 or row == 6}
    burning = {(1, 1)}
    for minute in count(1):
        burning |= {(x + a, y + b) for x, y in burning for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1))} & trees
        if burning == trees:
            return minute
    raise AssertionError


def servers_in_the_end(servers: int, each: int, high: int, low: int, *loads: int) -> int:
    for requests in [loads[0]] * 60 + [loads[1]] * 60:
        load = Fraction(requests, each * servers)
        servers += 2 if load > Fraction(high, 100) else -1 if load < Fraction(low, 100) else 0
    return servers


def minutes_lost_by_the_link(trucks_in_all: int, motorway: int, _: int, link_minutes: int) -> int:
    def times(north: int, south: int, link: int) -> tuple[int, int, int]:
        first, second = north + link, south + link  # trucks on the two narrow roads
        return first + motorway, motorway + second, first + link_minutes + second

    def is_stable(trucks: tuple[int, int, int]) -> bool:
        def moved(a: int, b: int) -> tuple[int, int, int]:
            north, south, link = (n - (i == a) + (i == b) for i, n in enumerate(trucks))
            return north, south, link

        return all(times(*moved(a, b))[b] >= times(*trucks)[a] for a, b in permutations(range(3), 2) if trucks[a] > 0)

    splits = [
        (north, south, trucks_in_all - north - south)
        for north in range(trucks_in_all + 1)
        for south in range(trucks_in_all + 1 - north)
    ]
    later = only(times(*s)[route] for s in splits if is_stable(s) for route in range(3) if s[route])
    return later - only(times(trucks_in_all // 2, trucks_in_all // 2, 0)[:2])


def burners_that_suffice() -> int:
    stuck = {sum(held) for held in product(range(3), repeat=5)}  # all are taken and nobody has three
    return next(burners for burners in count(1) if stuck.isdisjoint(range(burners, 15)))


def steps_with_buckets(large: int, small: int, wanted: int) -> int:
    reached, steps = {(0, 0)}, 0
    while not any(wanted in litres for litres in reached):
        steps += 1
        for a, b in list(reached):
            to_b, to_a = min(a, small - b), min(b, large - a)
            reached |= {(large, b), (a, small), (0, b), (a, 0), (a - to_b, b + to_b), (a + to_a, b - to_a)}
    return steps


def marks_of_the_ruler(length: int, *_: int) -> int:
    def measures_all(marks: tuple[int, ...]) -> bool:
        return {b - a for a, b in combinations((0, *marks, length), 2)} == set(range(1, length + 1))

    return next(n for n in count() if any(map(measures_all, combinations(range(1, length), n))))


def largest_product(*digits: int) -> int:
    orders = permutations(map(str, digits))
    return max(int("".join(order[:3])) * int("".join(order[3:])) for order in orders)


def postage_without_a_gap(*_: int) -> int:
    def reach(values: tuple[int, ...]) -> int:
        sums = {sum(stamps) for stamps in product((0, *values), repeat=3)}
        return next(n for n in count(1) if n not in sums) - 1

    return max(map(reach, combinations(range(1, 20), 3)))


def minutes_over_the_bridge(*minutes_alone: int) -> int:
    hikers = frozenset(minutes_alone)
    queue: list[tuple[int, bool, tuple[int, ...]]] = [(0, True, tuple(hikers))]
    while True:
        minutes, near, left = heapq.heappop(queue)
        if not left:
            return minutes
        side = set(left) if near else hikers - set(left)
        for walkers in (*combinations(side, 2), *combinations(side, 1)):
            after = set(left) - set(walkers) if near else set(left) | set(walkers)
            heapq.heappush(queue, (minutes + max(walkers), not near, tuple(sorted(after))))


def molecules(carbon: int, hydrogen: int) -> int:
    """Butane, oxygen, carbon dioxide, water."""
    counts = product(range(1, 4), range(1, 20), range(1, 15), range(1, 15))
    return min(a + b + c + d for a, b, c, d in counts if (carbon * a, hydrogen * a, 2 * b) == (c, 2 * d, 2 * c + d))


def purple_and_short(total: int) -> int:
    seeds = [(a + b, c + d) for a, b, c, d in product("Aa", "Aa", "Bb", "bb")]
    return whole(total * sum("A" in colour and "B" not in stem for colour, stem in seeds) / len(seeds))


def hydrogen_bonds(pairs: int, percent: int, for_at: int, for_gc: int) -> int:
    adenine = 2 * pairs * percent // 100  # each lies opposite a thymine
    return for_at * adenine + for_gc * (pairs - adenine)


def height_of_the_tower(acceleration: int, last: int) -> int:
    def fallen(tenths: int) -> Fraction:
        return Fraction(acceleration, 2) * Fraction(tenths, 10) ** 2

    return only(whole(float(fallen(t))) for t in range(10, 1000) if fallen(t) - fallen(t - 10) == last)


def years_until_aligned(first: int, second: int) -> int:
    parts = 60  # of a year
    moments = (Fraction(n, parts) for n in count(1))
    return whole(float(next(years for years in moments if (years / first - years / second) % 1 == 0)))


CHECKS: dict[str, Check] = {
    "lateral-01": lambda _, first, last: sum(
        any(first <= page <= last for page in (front, front + 1)) for front in range(1, 100, 2)
    ),
    "lateral-02": lambda minutes, pieces, wanted: whole(minutes / (pieces - 1) * (wanted - 1)),
    "lateral-03": flight_of_the_swallow,
    "lateral-04": lambda total, more: only(stopper for stopper in range(total) if stopper + (stopper + more) == total),
    "lateral-05": candles_that_remain,
    "lateral-06": days_of_four_patches,
    "lateral-07": way_of_the_worm,
    "lateral-08": games_of_the_contest,
    "causal-01": cost_of_the_fare,
    "causal-02": lambda: machines_in_the_mill(pump_is_blocked=True),
    "causal-03": recoveries_with_remedy_a,
    "causal-04": rashes_avoided,
    "causal-05": sensors_that_were_needed,
    "causal-06": minimal_remedies,
    "systems-01": days_of_renovation,
    "systems-02": laundry,
    "systems-03": litres_for_the_town,
    "systems-04": cistern,
    "systems-05": year_without_a_catch,
    "systems-06": intervals_with_heating,
    "systems-07": hours_until_100_know,
    "systems-08": workshops_that_stop,
    "systems-09": arrival_of_car_18,
    "systems-10": jars_on_day_20,
    "systems-11": minutes_until_all_burn,
    "systems-12": servers_in_the_end,
    "systems-13": minutes_lost_by_the_link,
    "systems-14": burners_that_suffice,
    "creative-01": steps_with_buckets,
    "creative-02": marks_of_the_ruler,
    "creative-03": largest_product,
    "creative-04": postage_without_a_gap,
    "creative-05": minutes_over_the_bridge,
    "scientific-01": lambda shown, background, half_life, later: only(
        half_life * n for n in range(99) if Fraction(shown - background, 2**n) + background == later
    ),
    "scientific-02": molecules,
    "scientific-03": purple_and_short,
    "scientific-04": lambda hot, hot_degrees, cold, cold_degrees: only(
        t for t in range(cold_degrees, hot_degrees) if hot * (hot_degrees - t) == cold * (t - cold_degrees)
    ),
    "scientific-05": lambda a, a_cm, b, b_cm, c: only(cm for cm in range(1000) if c * cm == a * a_cm + b * b_cm),
    "scientific-06": lambda near, far, speed: whole(speed * near / 2 + speed * far / 2),
    "scientific-07": lambda grams, strong, weak: only(
        w for w in range(1000) if Fraction(grams * strong, grams + w) == weak
    ),
    "scientific-08": hydrogen_bonds,
    "scientific-09": lambda marked, caught, with_mark: only(
        n for n in range(marked, 9999) if Fraction(with_mark, caught) == Fraction(marked - marked // 6, n)
    ),
    "scientific-10": lambda a, b, c, volts: whole(volts**2 / (1 / (1 / a + 1 / b) + c)),
    "scientific-11": height_of_the_tower,
    "scientific-12": lambda v1, t1, p1, v2, t2: only(p for p in range(1000) if p * v2 * t1 == p1 * v1 * t2),
    "scientific-13": lambda volume: only(grams for grams in range(volume) if Fraction(3, 5) * volume + grams == volume),
    "scientific-14": years_until_aligned,
    "scientific-15": lambda start, minutes, end: only(60 + minutes * n for n in range(99) if start * 2**n == end),
    "scientific-16": lambda light, heavy, whole_units, tenths, atoms: only(
        n for n in range(atoms + 1) if heavy * n + light * (atoms - n) == (whole_units + Fraction(tenths, 10)) * atoms
    ),
}


def test_every_answer_has_a_check() -> None:
    assert CHECKS.keys() == ANSWERS.keys()


@pytest.mark.parametrize("prompt_id", CHECKS)
def test_the_answer_follows_from_the_prompt(prompt_id: str) -> None:
    assert CHECKS[prompt_id](*numbers(prompt_id)) == ANSWERS[prompt_id]
