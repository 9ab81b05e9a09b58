"""Sections of an annotated copy, and what they say of the sentences of the text that it copies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from repurpose.labels.annotation import Outcome
from repurpose.rollouts.sentences import Span
from repurpose.study.settings import BEHAVIOURS

QUOTE = "[\"'“”‘’]"
TAG = re.compile(rf"\[\s*{QUOTE}([^\"“”\[\]\n]{{1,60}}?){QUOTE}\s*\]")
CUT_TAG = re.compile(rf"\[\s*(?:{QUOTE}[\w\s-]{{0,40}}{QUOTE}?)?\s*$")
"""The beginning of a tag at the end of a copy that was cut off."""
ENDS = ("end-section", "endsection", "/section")
NO_LABEL, SEVERAL, UNKNOWN = "no-label", "several-labels", "unknown-label"
CUT_OFF, NO_END, EMPTY = "cut-off", "no-end", "empty"


class Section(NamedTuple):
    """A labelled piece of a copy, or with the fault `no-label` what stands between two of them.

    The other faults: `several-labels` (label is None), `unknown-label`, `no-end` (it ends where the next begins),
    `cut-off` (the copy ends in it), `empty`.
    """

    label: str | None
    text: str
    fault: str | None = None


def read_sections(copy: str | None, text: str = "") -> list[Section]:
    """Cut an annotated copy into its sections and what stands between them, in order; where there is none, none.

    An unknown tag that the text itself holds (a list in a program) is text, not a tag.
    """
    copy = copy or ""
    found, labels, cursor = list[Section](), list[str](), 0
    own = {tag[0] for tag in TAG.finditer(text)}
    for tag in TAG.finditer(copy):
        label = re.sub(r"[\s_]+", "-", tag[1].strip().lower())
        if label not in (*BEHAVIOURS, *ENDS) and tag[0] in own:
            continue
        body, cursor = copy[cursor : tag.start()], tag.end()
        if labels and label not in ENDS and not body.strip():
            labels.append(label)  # several labels on one section
            continue
        found += _close(labels, body, None if label in ENDS else NO_END)
        labels = [] if label in ENDS else [label]
    return [*found, *_close(labels, CUT_TAG.sub("", copy[cursor:]), CUT_OFF)]


def _close(labels: list[str], body: str, fault: str | None) -> Iterator[Section]:
    label, body = labels[0] if len(set(labels)) == 1 else None, body.strip()
    if not body:
        fault = EMPTY
    elif label not in BEHAVIOURS:
        fault = NO_LABEL if not labels else SEVERAL if label is None else UNKNOWN
    if labels or body:
        yield Section(label, body, fault)


def label_sentences(
    text: str, spans: Sequence[Span], sections: Sequence[Section], aligned: Sequence[Span | None]
) -> list[Outcome]:
    """Give each sentence the label that covers more than half of its characters, white space left out.

    Other statuses than ok: unmatched (no section covers it), mixed, unknown-label.

    Args:
        text: the chain or the rollout that holds it.
        spans: its sentences, in order and disjoint.
        sections: of the annotated copy.
        aligned: their places in `text`, in order and disjoint.
    """
    counted = list(accumulate((not character.isspace() for character in text), initial=0))
    placed = [(section, place) for section, place in zip(sections, aligned, strict=True) if place]
    outcomes, first = [], 0
    for span in spans:
        while first < len(placed) and placed[first][1].end <= span.start:
            first += 1
        covered: Counter[str | None] = Counter()
        for section, place in placed[first:]:
            if place.start >= span.end:
                break
            if section.fault != NO_LABEL:
                covered[section.label] += counted[min(place.end, span.end)] - counted[max(place.start, span.start)]
        outcomes.append(_decide(covered, counted[span.end] - counted[span.start]))
    return outcomes


def _decide(covered: Counter[str | None], size: int) -> Outcome:
    if not covered.total():
        return Outcome(None, "unmatched")
    label, most = covered.most_common(1)[0]
    if label is None or 2 * most <= size:
        return Outcome(None, "mixed")
    return Outcome(label, "ok") if label in BEHAVIOURS else Outcome(None, UNKNOWN)
