"""The file of prompts, and what a check reads from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[3] / "resources" / "prompts" / "ten-categories.jsonl"
RECORD = Path(__file__).with_name("checked.txt")
"""The digest of the file and of its checks when all answers were last found right."""
RECORDS: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
PROMPTS: dict[str, str] = {record["id"]: record["prompt"] for record in RECORDS}
NUMBER_WORDS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
"""The words for 1 to 20."""

Check = Callable[..., int]
"""Computes the answer to a prompt from what it states; is given the numbers that it writes in digits, in order."""


def answers(*categories: str) -> dict[str, int]:
    """Return the answers that the file gives in some categories."""
    return {r["id"]: r["answer"] for r in RECORDS if r["category"] in categories and "answer" in r}


def numbers(prompt_id: str) -> list[int]:
    """Return all numbers that a prompt writes in digits, in their order."""
    return [int(found.replace(",", "")) for found in re.findall(r"\d+(?:,\d{3}(?!\d))*", PROMPTS[prompt_id])]


def shown(prompt_id: str) -> list[int]:
    """Return the longest list of numbers in a prompt: the start of its sequence."""
    lists = [re.findall(r"\d+", found) for found in re.findall(r"\d+(?:, \d+)+", PROMPTS[prompt_id])]
    return [int(number) for number in max(lists, key=len)]


def following(prompt_id: str, terms: Iterator[int]) -> int:
    """Return the term after those that a prompt shows; the rule must produce these first."""
    start = shown(prompt_id)
    assert list(islice(terms, len(start))) == start
    return next(terms)


def only(found: Iterable[int]) -> int:
    """Return the value that all solutions share; a prompt with another solution has no one answer."""
    (value,) = set(found)
    return value


def whole(value: float) -> int:
    """Return the whole number that a numerical result stands for."""
    assert abs(value - round(value)) < 1e-3
    return round(value)


def digest_of_answers() -> str:
    """A digest of what an answer and its check consist of: the file of prompts and these modules."""
    digest = hashlib.sha256()
    for file in (FILE, Path(__file__), *sorted(Path(__file__).parent.glob("test_ten_categories_*.py"))):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


if __name__ == "__main__":
    RECORD.write_text(digest_of_answers() + "\n", encoding="ascii")
