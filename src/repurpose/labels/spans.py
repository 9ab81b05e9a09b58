"""Spans: rollouts in, the sections of a published annotation out, which annotators then label as they do sentences.

The other labelled unit (`labels.unit: span`): a row is one span as it was annotated, be it several sentences or half of
one, and so one window is read before it. Spans come from the file of the study's own annotator. What could not be
placed in a rollout is no unit, and is counted; what stands between spans is none either.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from repurpose.data.command import run_step
from repurpose.data.files import TableError, read_table
from repurpose.data.schemas import SENTENCES
from repurpose.labels.published.annotator import Placed, Report, find_chains, place_sections
from repurpose.labels.published.chains import NO_LABEL
from repurpose.rollouts.sentences import Span, unit_rows
from repurpose.study.published import tell_left_out

Row = dict[str, Any]
COLUMNS = ["prompt_id", "sample", "split", "text", "token_ends"]


def cut_rollouts(rollouts: Sequence[Row], file: str, report: Report) -> Iterator[list[Row]]:
    """Yield the SENTENCES rows of each rollout; none of one whose text the file does not annotate.

    Raises:
        TableError: where no rollout is among the file's chains.
    """
    texts = [rollout["text"] for rollout in rollouts]
    for rollout, chain in zip(rollouts, find_chains(file, texts, report), strict=True):
        placed = place_sections(rollout["text"], chain, report) if chain else []
        yield list(unit_rows(rollout, number_spans(rollout["text"], placed)))


def number_spans(text: str, placed: Sequence[Placed]) -> Iterator[tuple[Span, Row]]:
    """Each annotated span with its number, its text and that it is to be labelled."""
    spans = [one.place for one in placed if one.place and one.section.fault != NO_LABEL]
    for number, span in enumerate(spans):
        yield span, {"sentence": number, "text": text[slice(*span)], "labelled": True}


def main() -> None:
    with run_step("labels.spans", __doc__, many=["rollouts"], outputs=True) as step:
        labels, report = step.settings.labels, Report()
        file = labels.annotators[labels.annotator].file
        assert file is not None  # the settings say so of the unit `span`
        shards = [read_table(path, COLUMNS).to_dicts() for path in step.given.rollouts]
        units = cut_rollouts([rollout for shard in shards for rollout in shard], file, report)
        rows = [[row for _ in shard for row in next(units)] for shard in shards]
        if not any(rows):
            raise TableError(f"{file}: none of its spans stands in one of {report.chains} rollouts")
        for path, shard in zip(step.given.output, rows, strict=True):
            step.write(shard, SENTENCES, path, published=vars(report))
        lines = [*tell_left_out(file, report.left_out), *report.lines(), f"{sum(map(len, rows))} spans are the units"]
        sys.stderr.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
