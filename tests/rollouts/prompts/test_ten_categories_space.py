"""The answers in space follow from what the prompts say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import accumulate, combinations, islice, pairwise, permutations, product, starmap
from math import cos, dist, pi, sin

import pytest
from tests.rollouts.prompts.ten_categories import (
    Check,
    answers,
    numbers,
    only,
    whole,
)

ANSWERS = answers("spatial")
Cell = tuple[int, int]
Die = tuple[int, int, int, int, int, int]
"""What is on top, below, north, south, east and west."""
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1))


def tip(die: Die, direction: str) -> Die:
    top, below, north, south, east, west = die
    return {
        "E": (west, east, north, south, top, below),
        "W": (east, west, north, south, below, top),
        "N": (south, north, top, below, east, west),
        "S": (north, south, below, top, east, west),
    }[direction]


def turned(die: Die) -> Iterator[Die]:
    """Yield the 24 positions of a die."""
    found = {die}
    while True:
        more = found | {tip(position, direction) for position in found for direction in "ENSW"}
        if more == found:
            break
        found = more
    yield from found


def painted_cubes(width: int, depth: int, height: int) -> int:
    cubes = product(range(width), range(depth), range(height))
    painted = [(x == 0, x == width - 1, y == 0, y == depth - 1, z == height - 1) for x, y, z in cubes]
    return sum(sum(faces) == 1 for faces in painted)


def way_back_of_the_robot(*turns_to_the_left: int) -> int:
    position, heading = 0j, 1j
    for move in range(1, 15):
        position += move * heading
        heading *= 1j if move in turns_to_the_left else -1j
    return whole(abs(position.real) + abs(position.imag))


def third_square_of_the_pile(first: int, last: int) -> int:
    piles = [[square] for square in range(first, last + 1)]  # each from the bottom to the top
    while len(piles) > 1:
        half = len(piles) // 2
        folded = [pile[::-1] for pile in reversed(piles[half:])]
        piles = [below + above for below, above in zip(piles[:half], folded, strict=True)]
    return piles[0][::-1][2]


def tops_of_the_die(total: int, top: int, south: int, east: int) -> int:
    dice = accumulate("ESSWNE", tip, initial=(top, total - top, total - south, south, east, total - east))
    return sum(die[0] for die in islice(dice, 1, None))


def courier_routes(east: int = 0, north: int = 0) -> int:
    if max(east, north) > 6 or (east, north) in ((3, 3), (5, 5)):
        return 0
    if (east, north) == (6, 6):
        return 1
    return courier_routes(east + 1, north) + courier_routes(east, north + 1)


def right_angles_of_the_hands(start: int, end: int) -> int:
    """Hands are at a right angle every 360/11 minutes, so elevenths of a minute hit every such moment."""
    moments = (Fraction(elevenths, 11) for elevenths in range(start * 60 * 11 + 1, end * 60 * 11))
    return sum((6 * minutes - minutes / 2) % 180 == 90 for minutes in moments)


def products_of_opposite_faces(*read: int) -> int:
    top_left, top_right, left, right, _, _, low_left, low_right, *_ = read
    assert read[4:6] == (left, top_right) and read[8:] == (low_left, right)  # what is below what
    net = {(0, 0): top_left, (1, 0): top_right, (1, 1): left, (2, 1): right, (2, 2): low_left, (3, 2): low_right}
    face: dict[int, int] = {}  # the number on each face of a die that rolls over the net

    def roll(cell: Cell, die: Die) -> None:
        if cell in net and die[1] not in face:
            face[die[1]] = net[cell]
            for direction, (x, y) in zip("EWSN", SIDES, strict=True):
                roll((cell[0] + x, cell[1] + y), tip(die, direction))

    roll((0, 0), (1, 6, 5, 2, 3, 4))
    return sum(face[number] * face[7 - number] for number in (1, 2, 3))


def spread_of_the_towers(*heights: int) -> int:
    front, side = heights[:3], heights[3:]
    rows = [[row for row in product(range(4), repeat=3) if max(row) == highest] for highest in side]
    fits = [towers for towers in product(*rows) if tuple(map(max, zip(*towers, strict=True))) == front]
    totals = [sum(map(sum, towers)) for towers in fits]
    return max(totals) - min(totals)


def layouts(width: int, length: int, *slab_sizes: int) -> int:
    a, b, c, d = slab_sizes

    def cover(free: frozenset[Cell]) -> int:
        if not free:
            return 1
        x, y = min(free)
        slabs = [frozenset(product(range(x, x + w), range(y, y + h))) for w, h in {(a, b), (b, a), (c, d)}]
        return sum(cover(free - slab) for slab in slabs if slab <= free)

    return cover(frozenset(product(range(length), range(width))))


def squares_of_the_knight() -> int:
    jumps = [(a * x, b * y) for x, y in ((1, 2), (2, 1)) for a in (1, -1) for b in (1, -1)]
    reached = {(0, 0)}
    for _ in range(3):
        reached = {(x + a, y + b) for x, y in reached for a, b in jumps if x + a in range(6) and y + b in range(6)}
    return len(reached)


def squares_on_pegs() -> int:
    def is_square(pegs: Iterable[Cell]) -> bool:
        side, *others = sorted((a - c) ** 2 + (b - d) ** 2 for (a, b), (c, d) in combinations(pegs, 2))
        return others == [side, side, side, 2 * side, 2 * side]

    return sum(map(is_square, combinations(product(range(4), range(5)), 4)))


def way_of_the_beetle(*size: int) -> int:
    """Every shortest way crosses one edge between a face at the start and a face at the end."""
    lengths = []
    for axis, steps in product(range(3), range(901)):
        for low in {0, 1, 2} - {axis}:
            edge = [size[i] * steps / 900 if i == axis else 0 if i == low else size[i] for i in range(3)]
            lengths.append(dist((0, 0, 0), edge) + dist(edge, size))
    return whole(min(lengths))


def surveyor(*miles: int) -> int:
    headings = (1j, 1, -1j, 1)  # north, right of it, right of that, left of that
    return whole(abs(sum(mile * heading for mile, heading in zip(miles, headings, strict=True))))


def times_that_can_be_turned(*_: int) -> int:
    upside_down = str.maketrans("0123456789", "012??59?86")
    times = (f"{hour:02}{minute:02}" for hour in range(24) for minute in range(60))
    return sum(time.translate(upside_down)[::-1] == time for time in times)


def pieces_without_rind(*cuts: int) -> int:
    pieces = product(*(range(n + 1) for n in cuts))
    return sum(all(0 < place < n for place, n in zip(piece, cuts, strict=True)) for piece in pieces)


def lines_through_three_dots() -> int:
    dots = list(product(range(5), range(5)))

    def line(a: Cell, b: Cell) -> frozenset[Cell]:
        return frozenset((x, y) for x, y in dots if (b[0] - a[0]) * (y - a[1]) == (b[1] - a[1]) * (x - a[0]))

    return sum(len(found) >= 3 for found in {line(a, b) for a, b in combinations(dots, 2)})


def rectangles_with_the_shaded_square() -> int:
    rows = [(top, bottom) for top in range(4) for bottom in range(top, 4)]
    columns = [(left, right) for left in range(5) for right in range(left, 5)]
    return sum(top <= 1 <= bottom and left <= 1 <= right for (top, bottom), (left, right) in product(rows, columns))


def turns_of_the_first_wheel(first: int, driven: int, _: int, same_axle: int, last: int, wanted: int) -> int:
    turn = Fraction(first, driven) * Fraction(same_axle, last)
    return only(turns for turns in range(1, 1000) if turns * turn == wanted)


def cells_of_the_bee() -> int:
    neighbours = [*SIDES, (1, -1), (-1, 1)]  # of a honeycomb whose rows are shifted by half a cell each
    reached = {(0, 0)}
    for _ in range(3):
        reached |= {(x + a, y + b) for x, y in reached for a, b in neighbours} - {(1, 0), (-1, 0)}
    return len(reached)


def kinds_of_painted_cubes() -> int:
    positions = list(turned((0, 1, 2, 3, 4, 5)))
    assert len(positions) == 24
    return len({min(tuple(faces[i] for i in p) for p in positions) for faces in set(permutations("RRBBWW"))})


def move_of_the_post(lamp: int, post: int, start: int) -> int:
    def shadow(distance: int) -> Fraction:
        hit = Fraction(distance * lamp, lamp - post)  # where the line from lamp over post meets the ground
        return hit - distance

    return only(move for move in range(1, start) if 2 * shadow(start - move) == shadow(start))


def routes_of_the_ant(corners: tuple[int, ...] = (0,)) -> int:
    if corners[-1] == 7:
        return 1
    return sum(
        routes_of_the_ant((*corners, new)) for new in (corners[-1] ^ bit for bit in (1, 2, 4)) if new not in corners
    )


def visible_numbers(total: int, highest: int) -> int:
    def around(top: int) -> int:
        return sum(set(range(1, 7)) - {top, total - top})

    return only(highest + around(highest) + sum(map(around, tops)) for tops in product(range(1, 7), repeat=3))


def skirting_boards(length: int, width: int, chimney: int, depth: int, closet: int) -> int:
    start = (length - chimney) // 2
    lost = {
        *product(range(start, start + chimney), range(depth)),
        *product(range(closet), range(width - closet, width)),
    }
    floor = set(product(range(length), range(width))) - lost
    return sum((x + a, y + b) not in floor for x, y in floor for a, b in SIDES)


def moved_point(right: int, up: int, centre_right: int, centre_up: int, mirror: int, down: int) -> int:
    centre = complex(centre_right, centre_up)
    point = centre + (complex(right, up) - centre) * 1j
    point = complex(2 * mirror - point.real, point.imag - down)
    return whole(point.real + point.imag)


def garland(height: int, circumference: int) -> int:
    radius, steps = circumference / (2 * pi), 4000
    turns = [4 * 2 * pi * step / steps for step in range(steps + 1)]
    points = [(radius * cos(turn), radius * sin(turn), height * step / steps) for step, turn in enumerate(turns)]
    return whole(sum(starmap(dist, pairwise(points))))


def shapes_of_five_squares() -> int:
    def at_origin(cells: Iterable[Cell]) -> tuple[Cell, ...]:
        cells = sorted(cells)
        left, low = min(x for x, _ in cells), min(y for _, y in cells)
        return tuple((x - left, y - low) for x, y in cells)

    def shape(cells: Iterable[Cell]) -> tuple[Cell, ...]:
        positions = [list(cells)]
        for _ in range(3):
            positions.append([(y, -x) for x, y in positions[-1]])
        return min(map(at_origin, positions))

    shapes: set[tuple[Cell, ...]] = {((0, 0),)}
    for _ in range(4):
        shapes = {
            shape({*cells, (x + a, y + b)})
            for cells in shapes
            for x, y in cells
            for a, b in SIDES
            if (x + a, y + b) not in cells
        }
    return len(shapes)


CHECKS: dict[str, Check] = {
    "spatial-01": painted_cubes,
    "spatial-02": way_back_of_the_robot,
    "spatial-03": third_square_of_the_pile,
    "spatial-04": tops_of_the_die,
    "spatial-05": courier_routes,
    "spatial-06": right_angles_of_the_hands,
    "spatial-07": products_of_opposite_faces,
    "spatial-08": spread_of_the_towers,
    "spatial-09": layouts,
    "spatial-10": squares_of_the_knight,
    "spatial-11": squares_on_pegs,
    "spatial-12": way_of_the_beetle,
    "spatial-13": surveyor,
    "spatial-14": times_that_can_be_turned,
    "spatial-15": pieces_without_rind,
    "spatial-16": lines_through_three_dots,
    "spatial-17": rectangles_with_the_shaded_square,
    "spatial-18": turns_of_the_first_wheel,
    "spatial-19": cells_of_the_bee,
    "spatial-20": kinds_of_painted_cubes,
    "spatial-21": move_of_the_post,
    "spatial-22": lambda _cm, metres, area, side: whole(area * (metres / side) ** 2),
    "spatial-23": routes_of_the_ant,
    "spatial-24": visible_numbers,
    "spatial-25": skirting_boards,
    "spatial-26": moved_point,
    "spatial-27": garland,
    "spatial-30": shapes_of_five_squares,
}


def test_every_answer_has_a_check() -> None:
    assert CHECKS.keys() == ANSWERS.keys()


@pytest.mark.parametrize("prompt_id", CHECKS)
def test_the_answer_follows_from_the_prompt(prompt_id: str) -> None:
    assert CHECKS[prompt_id](*numbers(prompt_id)) == ANSWERS[prompt_id]
