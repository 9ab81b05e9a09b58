"""Labels that others have published, brought to the rollouts whose text they are of.

The annotated copies are not faithful. Sections are aligned to the chain (`alignment.py`), our sentences take the label
that covers more than half of them (`sections.py`), and what cannot be placed is reported: nothing is guessed.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from repurpose.data.files import TableError
from repurpose.labels.annotation import Annotation, Outcome, RolloutKey, Row, by_rollout
from repurpose.labels.published.alignment import Folded, fold
from repurpose.labels.published.chains import Chain, read_chains
from repurpose.labels.published.sections import (
    NO_LABEL,
    UNKNOWN,
    Section,
    align_sections,
    label_sentences,
    read_sections,
)
from repurpose.rollouts.sentences import Span
from repurpose.study.settings import locate

OPENING = 48
"""Folded characters by which chains are looked up; shorter chains under their own text."""


def annotate_from_file(rows: Sequence[Row], texts: Mapping[RolloutKey, str], file: str) -> Annotation:
    """Bring published labels to SENTENCES rows of rollouts; says on stderr what could not be placed.

    Raises:
        TableError: where no rollout is among the published chains.
    """
    groups = by_rollout(rows)
    wanted = [texts[key] for key, _ in groups]
    chains = match_rollouts(read_chains(locate(file)), wanted)
    if not any(chains):
        raise TableError(f"{file}: none of its chains is the text of one of {len(wanted)} rollouts")
    report = Report()
    outcomes: list[Outcome] = []
    for text, (_, group), chain in zip(wanted, groups, chains, strict=True):
        spans = [Span(row["char_start"], row["char_end"]) for row in group]
        outcomes += _label_rollout(text, spans, chain, report)
    sys.stderr.write("\n".join(report.lines()) + "\n")
    return Annotation(outcomes, {"published": report.as_dict()})


def _label_rollout(text: str, spans: Sequence[Span], chain: Chain | None, report: Report) -> list[Outcome]:
    if chain is None:
        return [Outcome(None, "no-chain")] * len(spans)
    if chain.annotated is None:
        report.add(text, None)
        return [Outcome(None, "no-annotation")] * len(spans)
    sections = read_sections(chain.annotated, chain.text)
    aligned = align_sections(text, sections)
    outcomes = label_sentences(text, spans, sections, aligned)
    report.add(text, sections, aligned, outcomes)
    return outcomes


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
    by_text.pop("", None)
    sizes: dict[str, set[int]] = {}
    for text in by_text:
        sizes.setdefault(text[:OPENING], set()).add(len(text))
    return [_match(text, by_text, sizes) for text in texts]


def _match(text: str, by_text: Mapping[str, list[Chain]], sizes: Mapping[str, set[int]]) -> Chain | None:
    """Look a text up by its opening: `sizes` are the lengths of the chains that begin so."""
    folded = fold(text)
    for length in range(min(OPENING, len(folded.text)), 0, -1):
        for size in sorted(sizes.get(folded.text[:length], ()), reverse=True):
            known = by_text.get(folded.text[:size]) if size <= len(folded.text) else None
            if known and folded.is_word_border(size) and folded.is_whole(size):
                return _choose(known, text, folded, size)
    return None


def _choose(known: list[Chain], text: str, folded: Folded, size: int) -> Chain | None:
    annotated = [chain for chain in known if chain.annotated is not None]
    if len({chain.annotated for chain in annotated}) > 1:
        return None
    return replace((annotated or known)[0], text=text[: folded.unfold((0, size))[1]])


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
        aligned: Sequence[Span | None] = (),
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

    def _count_section(self, text: str, section: Section, place: Span | None) -> None:
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
        return {
            name: dict(sorted(value.items())) if isinstance(value, Counter) else value
            for name, value in vars(self).items()
        }

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
