"""Labels: sentences in, the same sentences out with one annotator's label each.

Annotators never cut or move a sentence; what they say of one that is not valid is kept as its `status`, with the
reply as it came, and never becomes a label. All shards are labelled in one job, so that a language model's limits on
requests and cost hold for the whole study, and a published file need not hold chains of every shard.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from repurpose.data.command import read_arguments
from repurpose.data.files import TableError, read_table, write_table
from repurpose.data.provenance import provenance
from repurpose.data.schemas import LABELS, USAGE
from repurpose.labels import lexicon, published
from repurpose.labels.outcome import Outcome
from repurpose.rollouts.sentences import Span
from repurpose.study.errors import one_line_errors
from repurpose.study.settings import Annotator, Llm, StepSettings, locate

Row = dict[str, Any]
Key = tuple[str, int]
"""(prompt_id, sample)"""
SKIPPED = Outcome(None, "skipped")
REPLIES = Path("results/replies")
"""Raw replies of language models: of all studies, and never an output of a rule, which a failed job would delete."""


def label_rows(rows: Sequence[Row], outcomes: Sequence[Outcome], name: str, mapping: Mapping[str, str]) -> list[Row]:
    """LABELS rows of SENTENCES rows; `outcomes` has one for each sentence that is to be labelled, in order.

    Raises:
        ValueError: where their numbers differ; no label may slide to another sentence.
    """
    if len(outcomes) != (asked := sum(row["labelled"] for row in rows)):
        raise ValueError(f"{name} gave {len(outcomes)} outcomes for {asked} sentences")
    waiting: Iterator[Outcome] = iter(outcomes)
    return [_label_row(row, next(waiting) if row["labelled"] else SKIPPED, name, mapping) for row in rows]


def _label_row(row: Row, outcome: Outcome, name: str, mapping: Mapping[str, str]) -> Row:
    label = mapping.get(outcome.label, outcome.label) if outcome.label is not None else None
    kept = {key: value for key, value in row.items() if key != "labelled"}
    return {**kept, "annotator": name, "label": label, "status": outcome.status, "reply": outcome.reply}


def by_rollout(rows: Sequence[Row]) -> list[tuple[Key, list[Row]]]:
    """The sentences of each rollout that are to be labelled, in the order of the table.

    `cell` tells the rollouts of one prompt apart that were steered in different ways.
    """
    groups = groupby(rows, key=lambda row: (row["prompt_id"], row["sample"], row.get("cell")))
    return [((prompt, sample), [row for row in group if row["labelled"]]) for (prompt, sample, _), group in groups]


def label_by_lexicon(rows: Sequence[Row]) -> list[Outcome]:
    """Label sentences by documented patterns."""
    return [Outcome(lexicon.label_sentence(row["text"]), "ok") for row in rows if row["labelled"]]


def label_by_model(rows: Sequence[Row], llm: Llm, account: str) -> tuple[list[Outcome], list[Row], Row]:
    """Outcomes in the order of the sentences, USAGE rows by rollout, and notes for the table's metadata.

    Args:
        rows: SENTENCES rows, rollout by rollout.
        llm: the annotator's settings.
        account: the study and the annotator, on which all jobs of the study spend together.
    """
    from repurpose.labels.llm import Passage, label_passages

    groups = by_rollout(rows)
    passages = [Passage("/".join(map(str, key)), [row["text"] for row in group]) for key, group in groups]
    found = label_passages(passages, llm, REPLIES, account=account)
    usage = [
        {"prompt_id": key[0], "sample": key[1], "sentences": len(group), **vars(used)}
        for (key, group), used in zip(groups, found.usages, strict=True)
    ]
    notes = {"labelled_twice": found.shared, "labelled_twice_alike": found.agreed}
    return [outcome for outcomes in found.outcomes for outcome in outcomes], usage, notes


def label_by_published(rows: Sequence[Row], rollouts: Mapping[Key, str], file: str) -> tuple[list[Outcome], Row]:
    """Bring published labels to our sentences; says on stderr what could not be placed.

    Raises:
        TableError: where no rollout is among the published chains.
    """
    groups = by_rollout(rows)
    texts = [rollouts[key] for key, _ in groups]
    chains = published.match_rollouts(published.read_chains(locate(file)), texts)
    if not any(chains):
        raise TableError(f"{file}: none of its chains is the text of one of {len(texts)} rollouts")
    report = published.Report()
    outcomes: list[Outcome] = []
    for text, (_, group), chain in zip(texts, groups, chains, strict=True):
        spans = [Span(row["char_start"], row["char_end"]) for row in group]
        outcomes += _label_chain(text, spans, chain, report)
    sys.stderr.write("\n".join(report.lines()) + "\n")
    return outcomes, {"published": report.as_dict()}


def _label_chain(
    text: str, spans: Sequence[Span], chain: published.Chain | None, report: published.Report
) -> list[Outcome]:
    if chain is None:
        return [Outcome(None, "no-chain")] * len(spans)
    if chain.annotated is None:
        report.add(text, None)
        return [Outcome(None, "no-annotation")] * len(spans)
    sections = published.read_sections(chain.annotated, chain.text)
    aligned = published.align_sections(text, sections)
    outcomes = published.label_sentences(text, spans, sections, aligned)
    report.add(text, sections, aligned, outcomes)
    return outcomes


def label(
    annotator: Annotator, rows: Sequence[Row], rollouts: Mapping[Key, str], account: str
) -> tuple[list[Outcome], list[Row], Row]:
    """Outcomes, USAGE rows (none where no model is asked) and notes of an annotator of any kind."""
    if annotator.llm is not None:
        return label_by_model(rows, annotator.llm, account)
    if annotator.file is not None:
        outcomes, notes = label_by_published(rows, rollouts, annotator.file)
        return outcomes, [], notes
    return label_by_lexicon(rows), [], {}


def account_of(settings: StepSettings) -> str:
    """Who pays for a step's requests."""
    return f"{settings.study}/{settings.values['annotator']}"


def write_shards(shards: Sequence[Sequence[Row]], labelled: Sequence[Row], paths: Sequence[str], notes: Row) -> None:
    """Write the labels of each shard to its own file."""
    rows = iter(labelled)
    for path, shard in zip(paths, shards, strict=True):
        own = list(islice(rows, len(shard)))
        counts = Counter(row["status"] for row in own)
        write_table(path, own, LABELS, {**notes, "statuses": dict(sorted(counts.items()))})


def main() -> None:
    arguments = read_arguments(__doc__ or "", many=["sentences"], maybe=["rollouts"], optional=["usage"], outputs=True)
    with one_line_errors("labels.labelling"):
        settings = StepSettings("labels.labelling", arguments.settings)
        name, annotator = settings.values["annotator"], settings.labels.annotators[settings.values["annotator"]]
        shards = [read_table(path).to_dicts() for path in arguments.sentences]
        rows = [row for shard in shards for row in shard]
        account = account_of(settings)
        outcomes, usage, notes = label(annotator, rows, read_texts(arguments.rollouts), account)
        notes = provenance(settings.values, **notes)
        write_shards(shards, label_rows(rows, outcomes, name, annotator.mapping), arguments.output, notes)
        if arguments.usage:
            write_table(arguments.usage, usage, USAGE, notes)


def read_texts(paths: list[str]) -> dict[Key, str]:
    """The texts of rollouts."""
    rows = read_table(paths, ["prompt_id", "sample", "text"]).iter_rows() if paths else ()
    return {(prompt, sample): text for prompt, sample, text in rows}


if __name__ == "__main__":
    main()
