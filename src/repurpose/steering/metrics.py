"""What is counted in one generated text; plain functions, no files, no model.

Every metric is over the GENERATED text or ids alone; the prompt never enters.
"""

import re
import zlib
from collections.abc import Collection, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
"""A maximal run of letters with the apostrophes inside it; quotation marks around it are no part of it."""
INTEGER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?![\w]|[.,]\d)")
TAG = re.compile(r"</?\w+>|<\|[^|]*\|>")
"""`</think>` and `<|end|>` are markup, not words."""
END_OF_THINKING = "</think>"
WINDOW = 64
"""Tokens over which the variety of a text is measured."""


class KeywordCount(NamedTuple):
    """Eq. 1 of the paper, still as counts so that cells can be pooled."""

    keywords: int
    words: int


def find_words(text: str) -> list[str]:
    """Return the words of a text, lower-cased; markup is no word."""
    return [found.lower() for found in WORD.findall(TAG.sub(" ", text))]


def count_keywords(text: str, keywords: Collection[str]) -> KeywordCount:
    """Count whole words that are keywords: `await` is not `wait`."""
    wanted = {keyword.lower() for keyword in keywords}
    words = find_words(text)
    return KeywordCount(sum(word in wanted for word in words), len(words))


def distinct_2(token_ids: Sequence[int]) -> float:
    """Share of token pairs that differ from one another, mean over windows of `WINDOW` tokens; 0 below two tokens.

    Pairs repeat as any text grows: over whole texts, one that steering keeps from ending would look less coherent
    than one that ends, whatever it says. What remains after the last whole window is left out.
    """
    starts = range(0, max(1, len(token_ids) - WINDOW + 1), WINDOW)
    windows = [list(pairwise(token_ids[start : start + WINDOW])) for start in starts]
    shares = [len(set(pairs)) / len(pairs) for pairs in windows if pairs]
    return sum(shares) / len(shares) if shares else 0.0


def longest_run(token_ids: Sequence[int]) -> int:
    """Length of the longest run of one token (0 for an empty text)."""
    return max((sum(1 for _ in run) for _, run in groupby(token_ids)), default=0)


def compression_ratio(text: str) -> float | None:
    """Bytes of the text over bytes of its zlib form: high where it repeats itself; None for an empty text."""
    raw = text.encode("utf-8", errors="surrogatepass")
    return len(raw) / len(zlib.compress(raw, 9)) if raw else None


def find_answer(text: str, tagged: bool = True) -> int | None:
    """The last integer after the end of thinking; where no thinking is `tagged`, that of a text without a tag, too."""
    before, tag, after = text.partition(END_OF_THINKING)
    given = INTEGER.findall(after if tagged or tag else before)
    return int(given[-1].replace(",", "")) if given else None


def is_correct(text: str, answer: str | None, tagged: bool = True) -> bool | None:
    """Compare the answer that a text gives with the right one; None where no integer is known.

    A text that gives no answer is wrong: left out, texts that steering keeps from ending would flatter it.
    """
    if answer is None or not INTEGER.fullmatch(answer.strip()):
        return None
    return find_answer(text, tagged) == int(answer.strip().replace(",", ""))
