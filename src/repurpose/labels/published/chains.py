"""The annotations of published chains: the sections that a language model has put into a copy of each.

`["deduction"] ... ["end-section"]` is what was asked for; some copies leave the quotes out, `[deduction]`, or number
their sections, `[1. deduction]`. What files and records are is said in `repurpose.study.published`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from repurpose.study.published import VENHOFF, WARD, PublishedError, read_each, read_text, read_thinking
from repurpose.study.settings import BEHAVIOURS

ENDS = ("end-section", "endsection", "/section")
KNOWN = (*BEHAVIOURS, *ENDS)
QUOTE = "[\"'“”‘’]"
NUMBER = r"\d{1,4}\s*[.):]?\s*"
TAG = re.compile(rf"\[\s*(?:{QUOTE}([^\"“”\[\]\n]{{1,60}}?){QUOTE}|{QUOTE}?([\w.:)/ -]{{1,40}}?){QUOTE}?)\s*\]")
"""A tag as it was asked for, or with another beginning or end: of the second kind only known labels are tags."""
CUT_TAG = re.compile(rf"\[\s*(?:({QUOTE}?)(?:{NUMBER})?([\w\s/-]{{0,40}}){QUOTE}?)?\s*$")
"""Perhaps the beginning of a tag, at the end of a copy that was cut off."""
NO_LABEL, SEVERAL, UNKNOWN = "no-label", "several-labels", "unknown-label"
CUT_OFF, NO_END, EMPTY = "cut-off", "no-end", "empty"


class Chain(NamedTuple):
    """A chain of thought and its annotated copy."""

    text: str
    annotated: str | None
    """None where the annotation failed (null in the file)."""


class Section(NamedTuple):
    """A labelled piece of a copy, or with the fault `no-label` what stands between two of them.

    The other faults: `several-labels` (label is None), `unknown-label`, `no-end` (it ends where the next begins),
    `cut-off` (the copy ends in it), `empty`.
    """

    label: str | None
    text: str
    fault: str | None = None


class Chains(NamedTuple):
    """What was read of a file."""

    chains: list[Chain]
    left_out: list[str]
    """Records that cannot be read, each with its name and what is wrong with it."""


def read_sections(copy: str | None, text: str = "") -> list[Section]:
    """Cut a copy into its sections and what stands between; what the text itself holds is text.

    But for a known label in quotes: no chain says that of its own.
    """
    copy = copy or ""
    found, labels, cursor = list[Section](), list[str](), 0
    own = {tag[0] for tag in TAG.finditer(text)}
    for tag in TAG.finditer(copy):
        label = _read_label(tag[1] or tag[2])
        quoted, is_own = tag[1] is not None, tag[0] in own
        if not ((quoted or not is_own) if label in KNOWN else (quoted and not is_own)):
            continue
        body, cursor = copy[cursor : tag.start()], tag.end()
        if labels and label not in ENDS and not body.strip():
            labels.append(label)  # several labels on one section
            continue
        found += _close(labels, body, None if label in ENDS else NO_END)
        labels = [] if label in ENDS else [label]
    return [*found, *_close(labels, _without_cut_tag(copy[cursor:]), CUT_OFF)]


def _read_label(inner: str) -> str:
    """A label as a study spells it; a number before it is left out where a known one follows."""
    label = re.sub(r"[\s_]+", "-", inner.strip().lower())
    plain = re.sub(rf"^{NUMBER}-?", "", label)
    return plain if plain in KNOWN else label


def _without_cut_tag(copy: str) -> str:
    found = CUT_TAG.search(copy)
    if found is None:
        return copy
    begun = _read_label(found[2] or "")
    is_tag = found[1] or any(name.startswith(begun) for name in KNOWN)
    return copy[: found.start()] if is_tag else copy


def _close(labels: list[str], body: str, fault: str | None) -> Iterator[Section]:
    label, body = labels[0] if len(set(labels)) == 1 else None, body.strip()
    if not body:
        fault = EMPTY
    elif label not in BEHAVIOURS:
        fault = NO_LABEL if not labels else SEVERAL if label is None else UNKNOWN
    if labels or body:
        yield Section(label, body, fault)


def read_chains(path: Path | str) -> Chains:
    """Read a file of annotated chains; a one-line PublishedError names a file of which nothing can be used."""
    readable = read_each(path, _read_chain)
    chains = [chain for _, chain in readable.found]
    if all(chain.annotated is None for chain in chains):
        raise PublishedError(f"{Path(path).name}: no record is annotated; each annotation is null")
    return Chains(chains, readable.left_out)


def _read_chain(record: dict[str, Any]) -> Chain:
    """Read one record; a ValueError says what is wrong with it."""
    text = read_thinking(record)
    is_ward = bool(record.keys() & {*WARD})
    key = WARD[1] if is_ward else VENHOFF[record.get(VENHOFF[0]) is None and VENHOFF[1] in record]
    annotated = None if record.get(key, "") is None else read_text(record, key)
    sections = read_sections(annotated, text)
    if annotated is not None and all(section.fault == NO_LABEL for section in sections):
        raise ValueError('the annotated copy has no section (["label"] ... ["end-section"])')
    return Chain(text, annotated)
