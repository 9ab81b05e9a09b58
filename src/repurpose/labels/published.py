"""The `published` annotator: labels that others have published, brought to our sentences.

The field stores a chain of thought and a copy of it in which a language model has put sections,
`["deduction"] ... ["end-section"]`, as JSON lists of records:

* Ward et al.: task_id, problem, reasoning_chain, annotated_chain;
* Venhoff et al.: original_message, full_response, thinking_process, annotated_thinking (or annotated_response).

The copies are not faithful. Sections are aligned to the chain (`repurpose.labels.alignment`), our sentences take
the label that covers more than half of them, and what cannot be placed is reported: nothing is guessed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from repurpose.data.files import TableError
from repurpose.labels.alignment import Folded, fold, place_pieces
from repurpose.labels.outcome import Outcome
from repurpose.rollouts import sentences
from repurpose.study.settings import BEHAVIOURS

NAME = "published"
QUOTE = "[\"'“”‘’]"
TAG = re.compile(rf"\[\s*{QUOTE}([^\"“”\[\]\n]{{1,60}}?){QUOTE}\s*\]")
CUT_TAG = re.compile(rf"\[\s*(?:{QUOTE}[\w\s-]{{0,40}}{QUOTE}?)?\s*$")
"""The beginning of a tag at the end of a copy that was cut off."""
THINKING = re.compile(r"<think>(.*?)(?:</think>|\Z)", re.DOTALL)
ENDS = ("end-section", "endsection", "/section")
WARD, VENHOFF = ("reasoning_chain", "annotated_chain"), ("annotated_thinking", "annotated_response")
NO_LABEL, SEVERAL, UNKNOWN, CUT_OFF, NO_END, EMPTY = (
    "no-label",
    "several-labels",
    "unknown-label",
    "cut-off",
    "no-end",
    "empty",
)


@dataclass(frozen=True)
class Chain:
    """One record of a file: a chain of thought and its annotated copy."""

    record: int
    """Its place in the file, from 1."""
    problem: str
    text: str
    annotated: str | None
    """None where the annotation failed (null in the file)."""
    task_id: str | None = None


class Section(NamedTuple):
    """A labelled piece of a copy, or with the fault `no-label` what stands between two of them.

    The other faults: `several-labels` (label is None), `unknown-label`, `no-end` (it ends where the next begins),
    `cut-off` (the copy ends in it), `empty`.
    """

    label: str | None
    text: str
    fault: str | None = None


def read_chains(path: Path | str) -> list[Chain]:
    """Read a file of annotated chains.

    Raises:
        TableError: in one line with file, record and fault, where the file is not in one of the formats.
    """
    name = Path(path).name
    chains = []
    for number, record in enumerate(_read_records(Path(path)), start=1):
        try:
            chains.append(_read_chain(number, record))
        except ValueError as problem:
            raise TableError(f"{name}: record {number}{_name_task(record)}: {problem}") from None
    if all(chain.annotated is None for chain in chains):
        raise TableError(f"{name}: no record is annotated; each annotation is null")
    return chains


def _read_records(path: Path) -> list[Any]:
    try:
        records = json.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise TableError(f"{path.name}: no such file ({path})") from None
    except OSError as problem:
        raise TableError(f"{path.name}: cannot be read: {problem.strerror}") from None
    except (ValueError, RecursionError) as problem:
        raise TableError(f"{path.name}: is not JSON in UTF-8: {problem}") from None
    if not isinstance(records, list):
        raise TableError(f"{path.name}: is a JSON {_kind(records)}; a list of records is needed")
    if not records:
        raise TableError(f"{path.name}: the list of records is empty")
    return records


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}
    return kinds.get(type(value), "number")


def _name_task(record: Any) -> str:
    task = record.get("task_id") if isinstance(record, dict) else None
    return "" if task is None else f" (task_id {str(task)[:60]!r})"


def _read_chain(number: int, record: Any) -> Chain:
    """Read one record; a ValueError says what is wrong with it."""
    if not isinstance(record, dict):
        raise ValueError(f"is a JSON {_kind(record)}, not an object")
    if not any(key in record for key in (*WARD, *VENHOFF)):
        keys = ", ".join(map(str, list(record)[:8])) or "none"
        raise ValueError(f"has neither {WARD[1]} nor {' nor '.join(VENHOFF)}; its fields are {keys}")
    ward = any(key in record for key in WARD)
    problem, text, annotated = _read_ward(record) if ward else _read_venhoff(record)
    if not text.strip():
        raise ValueError("the chain is empty")
    if annotated is not None and not any(section.fault != NO_LABEL for section in read_sections(annotated, text)):
        raise ValueError('the annotated copy has no section (["label"] ... ["end-section"])')
    task = record.get("task_id")
    return Chain(number, problem, text, annotated, None if task is None else str(task))


def _read_ward(record: dict[str, Any]) -> tuple[str, str, str | None]:
    problem = _read_text(record, "problem") if "problem" in record else ""
    return problem, _read_text(record, WARD[0]), _read_annotation(record, WARD[1])


def _read_venhoff(record: dict[str, Any]) -> tuple[str, str, str | None]:
    message = record.get("original_message", {"content": ""})
    if not isinstance(message, dict):
        raise ValueError(f"original_message is a JSON {_kind(message)}, not an object with role and content")
    key = VENHOFF[0] if record.get(VENHOFF[0]) is not None or VENHOFF[1] not in record else VENHOFF[1]
    return _read_text(message, "content"), _read_thinking(record), _read_annotation(record, key)


def _read_thinking(record: dict[str, Any]) -> str:
    if record.get("thinking_process") is not None:
        return _read_text(record, "thinking_process")
    if "full_response" not in record:
        raise ValueError("field thinking_process is missing, and there is no full_response to take it from")
    found = THINKING.search(_read_text(record, "full_response"))
    if found is None:
        raise ValueError("field thinking_process is missing, and full_response has no <think>")
    return found[1]


def _read_annotation(record: dict[str, Any], key: str) -> str | None:
    return None if key in record and record[key] is None else _read_text(record, key)


def _read_text(record: dict[str, Any], key: str) -> str:
    if key not in record:
        raise ValueError(f"field {key} is missing")
    value = record[key]
    if not isinstance(value, str):
        raise ValueError(f"field {key} is a JSON {_kind(value)}, not a text")
    # Half a surrogate pair is legal JSON and could be neither printed nor stored.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_sections(annotated: str | None, text: str = "", mapping: Mapping[str, str] | None = None) -> list[Section]:
    """Cut an annotated copy into its sections and what stands between them, in order.

    Args:
        annotated: the copy; None has no sections.
        text: the chain; an unknown tag that it holds itself (a list in a program) is text, not a tag.
        mapping: renames labels.
    """
    found: list[Section] = []
    labels: list[str] | None = None
    cursor = 0
    for label, start, end in _read_tags(annotated or "", text, mapping or {}):
        body = (annotated or "")[cursor:start]
        cursor = end
        if labels is not None and label not in ENDS and not body.strip():
            labels.append(label)  # several labels on one section
            continue
        found += _close(labels, body, None if label in ENDS else NO_END)
        labels = None if label in ENDS else [label]
    rest = (annotated or "")[cursor:]
    return found + list(_close(labels, CUT_TAG.sub("", rest), CUT_OFF))


def _read_tags(annotated: str, text: str, mapping: Mapping[str, str]) -> Iterator[tuple[str, int, int]]:
    own = {found[0] for found in TAG.finditer(text)}
    for found in TAG.finditer(annotated):
        label = re.sub(r"[\s_]+", "-", found[1].strip().lower())
        label = mapping.get(label, label)
        if label in (*BEHAVIOURS, *ENDS) or found[0] not in own:
            yield label, found.start(), found.end()


def _close(labels: list[str] | None, body: str, fault: str | None) -> Iterator[Section]:
    if labels is None:
        if body.strip():
            yield Section(None, body.strip(), NO_LABEL)
        return
    label = labels[0] if len(set(labels)) == 1 else None
    if not body.strip():
        fault = EMPTY
    elif label is None:
        fault = SEVERAL
    elif label not in BEHAVIOURS:
        fault = UNKNOWN
    yield Section(label, body.strip(), fault)


def align_sections(text: str, sections: Sequence[Section]) -> list[sentences.Span | None]:
    """Find the characters of the chain that each section copies; None where there are none, or two equal choices."""
    places = place_pieces(text, [section.text for section in sections])
    return [sentences.Span(*place) if place else None for place in places]


def label_sentences(
    text: str,
    spans: Sequence[sentences.Span],
    sections: Sequence[Section],
    aligned: Sequence[sentences.Span | None],
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
    return Outcome(label, "ok") if label in BEHAVIOURS else Outcome(None, "unknown-label")


@dataclass
class Report:
    """What became of the sections and sentences of some chains, in counts; `unmatched` holds texts."""

    chains: int = 0
    unannotated: int = 0
    """Chains whose annotation is null."""
    sections: int = 0
    exact: int = 0
    near: int = 0
    unmatched: list[str] = field(default_factory=list)
    between: int = 0
    """Pieces of the copies that stand between sections and have no label."""
    unknown_labels: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    """Sentences by status; `ok` are the labelled ones."""

    def add(
        self,
        text: str,
        sections: Sequence[Section] | None,
        aligned: Sequence[sentences.Span | None] = (),
        outcomes: Sequence[Outcome] = (),
    ) -> None:
        """Count one chain; `sections` is None where it is not annotated."""
        self.chains += 1
        self.unannotated += sections is None
        for section, place in zip(sections or (), aligned, strict=True):
            if section.fault == NO_LABEL:
                self.between += 1
            else:
                self._count_section(text, section, place)
        self.statuses.update(outcome.status for outcome in outcomes)

    def _count_section(self, text: str, section: Section, place: sentences.Span | None) -> None:
        self.sections += 1
        if section.fault:
            self.faults[section.fault] += 1
        if section.fault == UNKNOWN:
            self.unknown_labels[str(section.label)] += 1
        if place is None:
            self.unmatched.append(section.text)
        elif fold(text[slice(*place)]).text == fold(section.text).text:
            self.exact += 1
        else:
            self.near += 1

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        counters = ("unknown_labels", "faults", "statuses")
        plain = {name: dict(sorted(getattr(self, name).items())) for name in counters}
        return {**vars(self), "unmatched": list(self.unmatched), **plain}

    def lines(self, most: int = 10) -> list[str]:
        """Return the report as lines, with at most so many unmatched texts."""
        shown = [
            f"{self.chains} chains, {self.unannotated} of them not annotated",
            f"{self.sections} sections: {self.exact} matched exactly, {self.near} nearly, "
            f"{len(self.unmatched)} not; {self.between} pieces between sections",
            f"sections with faults: {_list_counts(self.faults)}",
            f"unknown labels: {_list_counts(self.unknown_labels)}",
            f"{self.statuses.total()} sentences: {_list_counts(self.statuses)}",
        ]
        shown += [f"unmatched: {' '.join(text.split())[:100]}" for text in self.unmatched[:most]]
        left = len(self.unmatched) - most
        return [*shown, f"and {left} more unmatched"] if left > 0 else shown


def _list_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def match_rollouts(chains: Sequence[Chain], texts: Sequence[str]) -> list[Chain | None]:
    """Find the chain that each rollout is, or goes on from; white space and think tags do not count.

    Of several the longest is taken; where two records of one text are annotated differently, none is.

    Returns:
        For each rollout its chain, whose `text` is now the beginning of the rollout's text that holds it, so that
        places in it are places in the rollout.
    """
    by_text: dict[str, list[Chain]] = {}
    for chain in chains:
        by_text.setdefault(fold(chain.text).text, []).append(chain)
    sizes = _sizes_by_opening([text for text in by_text if text])
    return [_match(text, by_text, sizes) for text in texts]


OPENING = 48
"""Folded characters by which chains are looked up; shorter chains under their own text."""


def _sizes_by_opening(texts: Sequence[str]) -> dict[str, list[int]]:
    """Lengths of the chains that begin alike, longest first."""
    sizes: dict[str, set[int]] = {}
    for text in texts:
        sizes.setdefault(text[:OPENING], set()).add(len(text))
    return {opening: sorted(found, reverse=True) for opening, found in sizes.items()}


def _match(text: str, by_text: Mapping[str, list[Chain]], sizes: Mapping[str, list[int]]) -> Chain | None:
    folded = fold(text)
    for length in range(min(OPENING, len(folded.text)), 0, -1):
        for size in sizes.get(folded.text[:length], ()):
            known = by_text.get(folded.text[:size]) if size <= len(folded.text) else None
            if known and folded.is_word_border(size) and folded.is_whole(size):
                return _take(known, text, folded, size)
    return None


def _take(known: list[Chain], text: str, folded: Folded, size: int) -> Chain | None:
    annotated = [chain for chain in known if chain.annotated is not None]
    if len({chain.annotated for chain in annotated}) > 1:
        return None
    return replace((annotated or known)[0], text=text[: folded.unfold((0, size))[1]])
