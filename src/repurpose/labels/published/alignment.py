"""Where the pieces of a copied text stand in the text, although the copy is not faithful.

A copy loses blank lines and spaces, changes quotes, leaves out, invents and rewords. Texts are compared folded:
without white space, zero-width characters and special tokens, with straight quotes. Pieces keep their order, so of all
ways to place them, in order and disjoint, the one that covers most of the copy is taken; among equals the one whose
pieces touch most often (a copy goes on where it stopped). A piece that two best ways place differently stays
unplaced, and so does a piece that is nowhere: it takes part in no way and moves nothing.

Units: places are [start, end) in folded characters inside this module and in the text's own characters outside.
"""

import bisect
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import NamedTuple

from repurpose.rollouts.sentences import Span

NO_TEXT = re.compile(r"</?think(?:ing)?>|<[|｜][^|｜>]*[|｜]>")
FOLDS = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", None),
        "…": "...",
    }
)
SHORT = 16
"""Shorter pieces must stand at the borders of words: "so" is part of "reason"."""
TOLERANCE = 4
"""A near match differs in at most one character of so many (insertions, deletions, changes): that lets one word of an
ordinary sentence be another, while two unrelated English sentences differ in more than half of their characters."""
SHORTEST_NEAR = 12
"""Shorter pieces match exactly or not: three changes in ten characters make another sentence."""
REACH = 1000
"""A near match lies at most this far (some fifteen sentences) from where its neighbours let it be expected."""
MOST_PLACES = 300
"""A piece that stands in more places (a loop) is placed only where the whole copy is faithful; bounds the work."""
GRAM = 12

Place = tuple[int, int]


class Folded(NamedTuple):
    """A text as it is compared, and the character of the original that each of its characters comes from."""

    text: str
    origin: list[int]

    def is_whole(self, border: int) -> bool:
        """Whether no character of the original lies on both sides (one "…" folds to three)."""
        return not 0 < border < len(self.text) or self.origin[border - 1] != self.origin[border]

    def is_word_border(self, border: int) -> bool:
        if not 0 < border < len(self.text):
            return True
        touching = self.origin[border] - self.origin[border - 1] == 1
        return not (touching and self.text[border - 1].isalnum() and self.text[border].isalnum())

    def unfold(self, place: Place) -> Span:
        """Characters of the original that a place stands for."""
        return Span(self.origin[place[0]], self.origin[place[1] - 1] + 1)


def fold(text: str) -> Folded:
    """Fold a text for comparison."""
    blanked = NO_TEXT.sub(lambda found: " " * len(found[0]), text)
    pieces = ["" if character.isspace() else character.translate(FOLDS) for character in blanked]
    return Folded("".join(pieces), [number for number, piece in enumerate(pieces) for _ in piece])


def place_pieces(text: str, pieces: Sequence[str]) -> list[Span | None]:
    """Find where each piece of a copy stands in the text.

    Returns:
        For each piece its characters without the space around it, or None; those found are disjoint and in order. The
        work grows with the length of text and copy, not with their product.
    """
    hay, needles = fold(text), [fold(piece).text for piece in pieces]
    if not (places := _place_whole(hay, needles)):
        find = _make_finder(hay)
        needles = [needle if len(find(needle)) <= MOST_PLACES else "" for needle in needles]
        exact = [find(needle) for needle in needles]
        fixed = _choose(exact, needles, len(hay.text))
        places = _choose(_fill_gaps(hay, needles, exact, fixed), needles, len(hay.text))
    return [hay.unfold(place) if place else None for place in places]


def _place_whole(hay: Folded, needles: list[str]) -> list[Place | None] | None:
    """Places in a copy that is faithful up to where it ends, even where sentences repeat; None where it is not."""
    joined = "".join(needles)
    start = hay.text.find(joined) if joined else -1
    if start < 0 or hay.text.find(joined, start + 1) >= 0:
        return None
    borders = list(accumulate(map(len, needles), initial=start))
    if not all(map(hay.is_whole, borders)):
        return None
    return [(a, b) if a < b else None for a, b in pairwise(borders)]


def _make_finder(hay: Folded) -> Callable[[str], list[Place]]:
    """Return a function that finds all exact places of a piece; an empty one has none."""
    starts = defaultdict[str, list[int]](list)
    for start in range(len(hay.text) - GRAM + 1):
        starts[hay.text[start : start + GRAM]].append(start)

    @cache
    def find(needle: str) -> list[Place]:
        if len(needle) >= GRAM:
            likely = starts.get(needle[:GRAM], [])
        else:
            likely = [found.start() for found in re.finditer(f"(?={re.escape(needle)})", hay.text)] if needle else []
        places = [(start, start + len(needle)) for start in likely if hay.text.startswith(needle, start)]
        if len(needle) < SHORT:
            places = [place for place in places if all(map(hay.is_word_border, place))]
        return [place for place in places if all(map(hay.is_whole, place))]

    return find


def _choose(candidates: list[list[Place]], needles: list[str], length: int) -> list[Place | None]:
    """Take the place of each piece that every best way of placing all of them takes."""
    best = _best_places(candidates, [len(needle) for needle in needles], length)
    ends = accumulate((max((e for _, e in places), default=0) for places in best), max, initial=0)
    starts = (min((s for s, _ in places), default=length) for places in reversed(best))
    later = list(accumulate(starts, min, initial=length))[-2::-1]
    # A place that is left out by some best way collides with a place of that way, or it could be added to it.
    return [
        places[0] if len(places) == 1 and end <= places[0][0] and places[0][1] <= start else None
        for places, end, start in zip(best, ends, later, strict=False)
    ]


def _best_places(candidates: list[list[Place]], lengths: list[int], length: int) -> list[list[Place]]:
    """Keep the places that are part of some best way."""
    weights = [size * (len(lengths) + 3) for size in lengths]  # any character counts more than all touching borders
    mirrored = [[(length - e, length - s) for s, e in places] for places in reversed(candidates)]
    before = _score(candidates, weights)
    after = _score(mirrored, weights[::-1])[::-1]
    totals = [
        [one + other - weight for one, other in zip(*scores, strict=True)]
        for *scores, weight in zip(before, after, weights, strict=True)
    ]
    best = max((total for row in totals for total in row), default=0)
    return [
        [place for place, total in zip(places, row, strict=True) if total == best]
        for places, row in zip(candidates, totals, strict=True)
    ]


def _score(candidates: list[list[Place]], weights: list[int]) -> list[list[int]]:
    """Score of the best way that ends with each place: weights placed, plus one for each border that touches."""
    ends, bests = [0], [0]  # the best score that ends at or before a character, where it rises
    exactly_at = {0: 0}
    scores = []
    for places, weight in zip(candidates, weights, strict=True):
        apart = [bests[bisect.bisect_right(ends, start) - 1] for start, _ in places]
        row = [weight + max(a, exactly_at.get(s, -1) + 1) for (s, _), a in zip(places, apart, strict=True)]
        for (_, end), score in zip(places, row, strict=True):
            exactly_at[end] = max(score, exactly_at.get(end, -1))
            at = bisect.bisect_right(ends, end)
            if bests[at - 1] < score:
                first = at - 1 if ends[at - 1] == end else at
                beyond = bisect.bisect_right(bests, score, lo=first)
                ends[first:beyond], bests[first:beyond] = [end], [score]
        scores.append(row)
    return scores


def _fill_gaps(
    hay: Folded, needles: list[str], exact: list[list[Place]], fixed: list[Place | None]
) -> list[list[Place]]:
    """Places of the pieces that are not fixed, each between its fixed neighbours: exact ones, or near ones."""
    copied = list(accumulate(map(len, needles), initial=0))  # where each piece stands in the copy
    size, filled = len(hay.text), list[list[Place]]()
    shifts = [(place, place[0] - at) for place, at in zip(fixed, copied, strict=False) if place]
    shifts = [((0, 0), 0), *shifts, ((size, size), size - copied[-1])]
    for needle, places, place, at in zip(needles, exact, fixed, copied, strict=False):
        if place:
            filled.append([place])
            shifts.pop(0)
            continue
        (before, shift), (after, next_shift) = shifts[:2]
        gap = (before[1], after[0])
        inside = [(start, end) for start, end in places if gap[0] <= start and end <= gap[1]]
        filled.append(inside or _find_near(hay, needle, gap, (at + shift, at + next_shift)))
    return filled


def _find_near(hay: Folded, needle: str, gap: Place, expected: tuple[int, int]) -> list[Place]:
    """Near places of a piece within reach; one that is at least twice as far off as the best is no rival."""
    if len(needle) < SHORTEST_NEAR:
        return []
    reach = REACH + len(needle) // TOLERANCE
    windows = [(max(gap[0], at - reach), min(gap[1], at + len(needle) + reach)) for at in sorted(expected)]
    if windows[1][0] <= windows[0][1]:
        windows = [(windows[0][0], windows[1][1])]
    found = {place: distance for low, high in windows for distance, place in _search(hay, needle, low, high)}
    limit = 2 * max(1, min(found.values(), default=1))
    return sorted(place for place, distance in found.items() if distance < limit)


def _search(hay: Folded, needle: str, low: int, high: int) -> list[tuple[int, Place]]:
    """Distances and places of a piece in [low, high) of the text, best first, apart from one another."""
    scores = enumerate(_distances(needle, hay.text[low : max(low, high)], anchored=False), 1)
    near = [(end, score) for end, score in scores if score <= len(needle) // TOLERANCE]
    likely = sorted((score, not hay.is_word_border(low + end), end) for end, score in near)
    taken, found = list[int](), []
    for score, _, end in likely:
        if any(abs(end - other) < len(needle) // 2 for other in taken):
            continue
        taken.append(end)
        place = _find_start(hay, needle, low, low + end)
        # Steps of a calculation differ from one another in little but their numbers, and a copy changes none.
        same = list(filter(str.isdigit, hay.text[slice(*place)])) == list(filter(str.isdigit, needle))
        if same and all(map(hay.is_whole, place)):
            found.append((score, place))
    return found


def _find_start(hay: Folded, needle: str, low: int, end: int) -> Place:
    earliest = max(low, end - len(needle) - len(needle) // TOLERANCE)
    scores = _distances(needle[::-1], hay.text[earliest:end][::-1], anchored=True)
    opens = {size for size in range(1, len(scores) + 1) if end - size == low or hay.text[end - size - 1] in ".!?:"}
    *_, size = min(
        (score, not hay.is_word_border(end - size), size not in opens, abs(size - len(needle)), size)
        for size, score in enumerate(scores, 1)
    )
    return end - size, end


def _distances(needle: str, text: str, *, anchored: bool) -> list[int]:
    """Least edit distance of the needle to a part of the text that ends after each of its characters.

    Anchored, the part begins where the text does. Myers 1999, "A fast bit-vector algorithm for approximate string
    matching", with one Python integer as the column: some operations a character, whatever the needle's length.
    """
    mask, last = (1 << len(needle)) - 1, 1 << (len(needle) - 1)
    equal: dict[str, int] = defaultdict(int)
    for number, character in enumerate(needle):
        equal[character] |= 1 << number
    plus, minus, score, scores = mask, 0, len(needle), []
    for character in text:
        same = equal.get(character, 0)
        vertical = same | minus
        horizontal = (((same & plus) + plus) ^ plus) | same
        up, down = minus | (~(horizontal | plus) & mask), plus & horizontal
        score += bool(up & last) - bool(down & last)
        scores.append(score)
        up, down = ((up << 1) | anchored) & mask, (down << 1) & mask
        plus, minus = down | (~(vertical | up) & mask), up & vertical
    return scores
