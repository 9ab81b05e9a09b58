"""Prompts of all categories in turn, so that the first few already represent each."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

Row = dict[str, Any]


def by_category(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by their category; categories, and the rows of each, in the order in which they come."""
    found = defaultdict(list)
    for row in rows:
        found[row["category"]].append(row)
    return found


def deal(categories: Iterable[list[Row]]) -> list[Row]:
    """Take a row of each category in turn, for as long as there are any."""
    return [row for turn in zip_longest(*categories) for row in turn if row is not None]
