"""Sentences: rollouts in, spans out, which annotators then label.

The split is lossless: spans follow one another without a gap, so joined they give the text back. Sentences are ours;
an annotator only names them. Tokens are aligned by where they end in the text, which is stored with the rollout.
"""

import bisect
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from repurpose.data.command import run_step
from repurpose.data.schemas import SENTENCES

BOUNDARY = re.compile(
    r"""(?<![\s\d.!?…])[.!?…]++[)\]"'”’*]*+\s+    # end marks, what closes with them, and the space after it
      |(?<=\d)[.!?]++[)\]"'”’*]*+\s+(?=\D)        # after a number too, unless a number follows ("1. 2")
      |(?<![.!?…])\.*+[!?…][.!?…]++[)\]"'”’*]*+\s+ # after a space or a number other marks than dots, if not alone
      |(?<!\s)\s*\n\s*                            # or a line's end
    """,
    re.VERBOSE,
)
"""Each begins where a run of marks or of space does and gives nothing of one back: long runs would take for ever."""
LIST_MARK = re.compile(r"\s*(?:\d+|[A-Za-z])[.)]\s+$")
"""A span that would be nothing but the number of a list item; it stays with its item."""


class Span(NamedTuple):
    """Characters [start, end) of a text, the space after the sentence included."""

    start: int
    end: int


def split_sentences(text: str) -> list[Span]:
    """Cut a text into sentences; the spans cover it without gap or overlap."""
    spans, start = [], 0
    for found in BOUNDARY.finditer(text):
        piece = text[start : found.end()]
        if not piece.strip() or LIST_MARK.fullmatch(piece):
            continue
        spans.append(Span(start, found.end()))
        start = found.end()
    if start < len(text):
        spans.append(Span(start, len(text)))
    if len(spans) > 1 and not text[slice(*spans[-1])].strip():
        spans[-2:] = [Span(spans[-2].start, spans[-1].end)]
    return spans


def align(span: Span, text: str, ends: Sequence[int]) -> tuple[int, int]:
    """Tokens [start, end) of a sentence: from the token that holds its first non-space character."""
    first = span.start + len(text[span.start : span.end]) - len(text[span.start : span.end].lstrip())
    last = span.start + len(text[span.start : span.end].rstrip()) if first < span.end else len(text[:first].rstrip())
    start = bisect.bisect_right(ends, first)
    # The last token may end behind the sentence (with a space), or several may share its last character.
    return start, max(start + 1, bisect.bisect_left(ends, last) + 1, bisect.bisect_right(ends, last))


def cut_rollout(rollout: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the SENTENCES rows of one rollout."""
    yield from unit_rows(rollout, cut_text(rollout["text"]))


def unit_rows(rollout: dict[str, Any], units: Iterable[tuple[Span, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield the SENTENCES rows of what stands at some places of a rollout's text, each with columns of its own."""
    for span, unit in units:
        token_start, token_end = align(span, rollout["text"], rollout["token_ends"])
        yield {
            **{name: rollout[name] for name in ("prompt_id", "sample", "split")},
            "char_start": span.start,
            "char_end": span.end,
            "token_start": token_start,
            "token_end": token_end,
            **unit,
        }


def cut_text(text: str) -> Iterator[tuple[Span, dict[str, Any]]]:
    """Yield each sentence's span with its number, its text and whether it is to be labelled."""
    end = thinking_end(text)  # the six behaviours are behaviours of thinking
    for number, span in enumerate(split_sentences(text)):
        sentence = text[slice(*span)]
        # Tags alone (`</think>`) say nothing, nor does punctuation.
        prose = any(c.isalpha() for c in re.sub(r"</?\w+>|<\|[^|]*\|>", "", sentence))
        yield span, {"sentence": number, "text": sentence, "labelled": span.start < end and prose}


def thinking_end(text: str) -> int:
    """Character at which the thinking ends."""
    found = text.find("</think>")
    return len(text) if found < 0 else found


def main() -> None:
    with run_step("rollouts.sentences", __doc__, one=["rollouts"]) as step:
        rollouts = step.read("rollouts").iter_rows(named=True)
        step.write([row for rollout in rollouts for row in cut_rollout(rollout)], SENTENCES)


if __name__ == "__main__":
    main()
