"""Labels that others have published, brought to the rollouts whose text they are of.

The annotated copies are not faithful. Sections are aligned to the chain (`alignment.py`), the study's units take the
label that covers more than half of them, and what cannot be placed is reported: nothing is guessed. Of a rollout that
is a chain cut short, the sections are aligned to the whole chain, and those behind the cut left out.
"""

import bisect
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from repurpose.data.files import TableError
from repurpose.labels.annotation import Annotation, Outcome, RolloutKey, Row, by_rollout
from repurpose.labels.published.alignment import Folded, fold, place_pieces
from repurpose.labels.published.chains import NO_LABEL, UNKNOWN, Chain, Section, read_chains, read_sections
from repurpose.rollouts.sentences import Span
from repurpose.study.published import tell_left_out
from repurpose.study.settings import BEHAVIOURS, locate

SPLIT = "\ufffd"
"""What the beginning of a character that was cut in two is decoded to."""


class Placed(NamedTuple):
    """A section of an annotated copy, and where it stands."""

    section: Section
    place: Span | None
    """In the rollout's text; None where it was not found."""
    original: str
    """What stands at the place in the chain, which may go on behind the rollout's end."""


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
    behind: int = 0
    """Pieces that stand behind the token at which their rollout was cut; they count nowhere else."""
    unknown_labels: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    """Units by status; `ok` are the labelled ones."""
    left_out: list[str] = field(default_factory=list)
    """Records of the file that could not be read."""

    def count(self, placed: Placed) -> None:
        """Count a section, and whether its copy is faithful."""
        section = placed.section
        if section.fault == NO_LABEL:
            self.between += 1
            return
        self.sections += 1
        self.faults.update([section.fault] if section.fault else [])
        self.unknown_labels.update([str(section.label)] if section.fault == UNKNOWN else [])
        if placed.place is None:
            self.unmatched.append(section.text)
        elif fold(placed.original).text == fold(section.text).text:
            self.exact += 1
        else:
            self.near += 1

    def lines(self, most: int = 10) -> list[str]:
        """Return the report as lines, with at most so many unmatched texts."""
        shown = [
            f"{self.chains} chains, {self.unannotated} of them not annotated",
            f"{self.sections} sections: {self.exact} matched exactly, {self.near} nearly, "
            f"{len(self.unmatched)} not; {self.between} pieces between sections, {self.behind} behind a cut",
            f"sections with faults: {_list_counts(self.faults)}",
            f"unknown labels: {_list_counts(self.unknown_labels)}",
        ]
        shown += [f"{self.statuses.total()} units: {_list_counts(self.statuses)}"] if self.statuses else []
        shown += [f"unmatched: {' '.join(text.split())[:100]}" for text in self.unmatched[:most]]
        left = len(self.unmatched) - most
        return [*shown, f"and {left} more unmatched"] if left > 0 else shown


def annotate_from_file(rows: Sequence[Row], texts: Mapping[RolloutKey, str], file: str) -> Annotation:
    """Label SENTENCES rows, saying on stderr what found no place; a TableError where no rollout is among the chains."""
    groups, report = by_rollout(rows), Report()
    wanted = [texts[key] for key, _ in groups]
    outcomes = list[Outcome]()
    for text, (_, group), chain in zip(wanted, groups, find_chains(file, wanted, report), strict=True):
        spans = [Span(row["char_start"], row["char_end"]) for row in group]
        outcomes += label_rollout(text, spans, chain, report) if chain else [Outcome(None, "no-chain")] * len(spans)
    sys.stderr.write("\n".join([*tell_left_out(file, report.left_out), *report.lines()]) + "\n")
    return Annotation(outcomes, {"published": vars(report)})


def find_chains(file: str, texts: Sequence[str], report: Report) -> list[Chain | None]:
    """The chain of a file that each rollout's text is of; a TableError where none is of any."""
    read = read_chains(locate(file))
    report.left_out += read.left_out
    chains = match_rollouts(read.chains, texts)
    if not any(chains):
        raise TableError(f"{file}: none of its chains is the text of one of {len(texts)} rollouts")
    return chains


def label_rollout(text: str, spans: Sequence[Span], chain: Chain, report: Report) -> list[Outcome]:
    """Label the sentences of a rollout from its chain, and count what became of the chain."""
    placed = place_sections(text, chain, report)
    if chain.annotated is None:
        return [Outcome(None, "no-annotation")] * len(spans)
    outcomes = label_sentences(text, spans, [one.section for one in placed], [one.place for one in placed])
    report.statuses.update(outcome.status for outcome in outcomes)
    return outcomes


def place_sections(text: str, chain: Chain, report: Report) -> list[Placed]:
    """Find the sections of a rollout's chain in its text, and count them; those behind its end are left out."""
    report.chains += 1
    report.unannotated += chain.annotated is None
    sections = read_sections(chain.annotated, chain.text)
    hay, source = fold(text), fold(chain.text)
    is_cut = len(hay.text) < len(source.text)
    whole = chain.text if is_cut else text
    places = place_pieces(whole, [section.text for section in sections])
    found = [
        Placed(section, place, whole[slice(*place)] if place else "")
        for section, place in zip(sections, places, strict=True)
    ]
    if is_cut:
        end = len(hay.text.rstrip(SPLIT))
        found = [one for one in found if one.place is None or bisect.bisect_left(source.origin, one.place.start) < end]
        report.behind += len(sections) - len(found)
        found = [one._replace(place=one.place and _move(one.place, source, hay, end)) for one in found]
    for one in found:
        report.count(one)
    return found


def _move(place: Span, source: Folded, hay: Folded, end: int) -> Span:
    """Where a place in the whole chain is in a text that begins as it does, up to some folded character."""
    start, stop = (bisect.bisect_left(source.origin, border) for border in place)
    return hay.unfold((start, min(stop, end)))


def label_sentences(
    text: str, spans: Sequence[Span], sections: Sequence[Section], aligned: Sequence[Span | None]
) -> list[Outcome]:
    """Give each sentence the label that covers more than half of its characters, white space left out.

    Other statuses than ok: unmatched (no section covers it), mixed, unknown-label. `aligned` has the places of the
    sections of the annotated copy in the text, in order and disjoint.
    """
    pairs = [(section, place) for section, place in zip(sections, aligned, strict=True) if place]
    named = {at: section.label for section, place in pairs if section.fault != NO_LABEL for at in range(*place)}
    shown = ([at for at in range(*span) if not text[at].isspace()] for span in spans)
    return [_decide(Counter(named[at] for at in places if at in named), len(places)) for places in shown]


def _decide(covered: Counter[str | None], size: int) -> Outcome:
    if not covered:
        return Outcome(None, "unmatched")
    label, most = covered.most_common(1)[0]
    if label is None or 2 * most <= size:
        return Outcome(None, "mixed")
    return Outcome(label, "ok") if label in BEHAVIOURS else Outcome(None, UNKNOWN)


def match_rollouts(chains: Sequence[Chain], texts: Sequence[str]) -> list[Chain | None]:
    """Find the chain that each rollout is, goes on from, or is cut short; white space and think tags do not count.

    Of several that a rollout holds the longest is taken; where two records of one text are annotated differently, or
    those that a cut rollout may be of, none is. The `text` of a chain that a rollout holds is now the beginning of the
    rollout's text, so that places in it are places in the rollout.
    """
    copies: dict[str, dict[str | None, Chain]] = {}
    for chain in chains:
        copies.setdefault(fold(chain.text).text, {}).setdefault(chain.annotated, chain)
    copies.pop("", None)
    longest_first = {text: copies[text] for text in sorted(copies, key=len, reverse=True)}
    return [_match(text, longest_first) for text in texts]


def _match(text: str, copies: Mapping[str, Mapping[str | None, Chain]]) -> Chain | None:
    folded = fold(text)
    for beginning, records in copies.items():
        size = len(beginning)
        if folded.text.startswith(beginning) and folded.is_word_border(size) and folded.is_whole(size):
            chosen = _only(records.values())
            return chosen and chosen._replace(text=text[: folded.unfold((0, size)).end])
    beginning = folded.text.rstrip(SPLIT)
    longer = [records for whole, records in copies.items() if beginning and whole.startswith(beginning)]
    return _only([chain for records in longer for chain in records.values()])


def _only(chains: Iterable[Chain]) -> Chain | None:
    """The chain whose annotation is the only one; of chains without one any."""
    annotated = {chain.annotated: chain for chain in chains}
    if len(annotated) > 1:
        annotated.pop(None, None)
    return next(iter(annotated.values())) if len(annotated) == 1 else None


def _list_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
