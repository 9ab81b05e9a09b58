"""Labels that others have published, brought to the rollouts whose text they are of.

The annotated copies are not faithful. Sections are aligned to the chain (`alignment.py`), our sentences take the label
that covers more than half of them, and what cannot be placed is reported: nothing is guessed.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from repurpose.data.files import TableError
from repurpose.labels.annotation import Annotation, Outcome, RolloutKey, Row, by_rollout
from repurpose.labels.published.alignment import fold, place_pieces
from repurpose.labels.published.chains import NO_LABEL, UNKNOWN, Chain, Section, read_chains, read_sections
from repurpose.rollouts.sentences import Span
from repurpose.study.settings import BEHAVIOURS, locate


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

    def count(self, text: str, section: Section, place: Span | None) -> None:
        """Count a section, and where it stands in the text that it copies."""
        if section.fault == NO_LABEL:
            self.between += 1
            return
        self.sections += 1
        self.faults.update([section.fault] if section.fault else [])
        self.unknown_labels.update([str(section.label)] if section.fault == UNKNOWN else [])
        if place is None:
            self.unmatched.append(section.text)
        elif fold(text[slice(*place)]).text == fold(section.text).text:
            self.exact += 1
        else:
            self.near += 1

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
    report, outcomes = Report(), list[Outcome]()
    for text, (_, group), chain in zip(wanted, groups, chains, strict=True):
        spans = [Span(row["char_start"], row["char_end"]) for row in group]
        outcomes += label_rollout(text, spans, chain, report) if chain else [Outcome(None, "no-chain")] * len(spans)
    sys.stderr.write("\n".join(report.lines()) + "\n")
    return Annotation(outcomes, {"published": vars(report)})


def label_rollout(text: str, spans: Sequence[Span], chain: Chain, report: Report) -> list[Outcome]:
    """Label the sentences of a rollout from its chain, and count what became of the chain."""
    report.chains += 1
    if chain.annotated is None:
        report.unannotated += 1
        return [Outcome(None, "no-annotation")] * len(spans)
    sections = read_sections(chain.annotated, chain.text)
    aligned = place_pieces(text, [section.text for section in sections])
    outcomes = label_sentences(text, spans, sections, aligned)
    for section, place in zip(sections, aligned, strict=True):
        report.count(text, section, place)
    report.statuses.update(outcome.status for outcome in outcomes)
    return outcomes


def label_sentences(
    text: str, spans: Sequence[Span], sections: Sequence[Section], aligned: Sequence[Span | None]
) -> list[Outcome]:
    """Give each sentence the label that covers more than half of its characters, white space left out.

    Other statuses than ok: unmatched (no section covers it), mixed, unknown-label.

    Args:
        text: the chain or the rollout that holds it.
        spans: its sentences.
        sections: of the annotated copy.
        aligned: their places in `text`, in order and disjoint.
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
    """Find the chain that each rollout is, or goes on from; white space and think tags do not count.

    Of several the longest is taken; where two records of one text are annotated differently, none is.

    Returns:
        For each rollout its chain, whose `text` is now the beginning of the rollout's text that holds it, so that
        places in it are places in the rollout.
    """
    copies: dict[str, set[str | None]] = {}
    for chain in chains:
        copies.setdefault(fold(chain.text).text, set()).add(chain.annotated)
    copies.pop("", None)
    longest_first = {text: copies[text] - {None} for text in sorted(copies, key=len, reverse=True)}
    return [_match(text, longest_first) for text in texts]


def _match(text: str, copies: Mapping[str, Set[str | None]]) -> Chain | None:
    folded = fold(text)
    for beginning, annotated in copies.items():
        size = len(beginning)
        if folded.text.startswith(beginning) and folded.is_word_border(size) and folded.is_whole(size):
            whole = text[: folded.unfold((0, size)).end]
            return Chain(whole, next(iter(annotated), None)) if len(annotated) < 2 else None
    return None


def _list_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
