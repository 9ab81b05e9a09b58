"""Labels: sentences in, the same sentences out with one annotator's label each.

Annotators never cut or move a sentence; what they say of one that is not valid is kept as its `status`, with the
reply as it came, and never becomes a label. All shards are labelled in one job, so that a language model's limits on
requests and cost hold for the whole study, and a published file need not hold chains of every shard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice

from repurpose.data.command import read_arguments
from repurpose.data.files import read_table, write_table
from repurpose.data.provenance import provenance
from repurpose.data.schemas import LABELS, USAGE
from repurpose.labels.annotation import Annotation, Outcome, RolloutKey, Row, account_of, label_rows
from repurpose.study.errors import one_line_errors
from repurpose.study.settings import Annotator, StepSettings


def annotate(annotator: Annotator, rows: Sequence[Row], texts: Mapping[RolloutKey, str], account: str) -> Annotation:
    """Let an annotator of any kind label SENTENCES rows.

    Each kind is imported where it is asked for, so that the code behind a study's labels is that of its own kinds.

    Args:
        rows: rollout by rollout.
        texts: of the rollouts, where the annotator looks at more than the sentences.
        account: who pays for requests.
    """
    if annotator.llm is not None:
        from repurpose.labels.llm.annotator import annotate_by_model

        return annotate_by_model(rows, annotator.llm, account)
    if annotator.file is not None:
        from repurpose.labels.published.annotator import annotate_from_file

        return annotate_from_file(rows, texts, annotator.file)
    from repurpose.labels.lexicon import label_sentence

    return Annotation([Outcome(label_sentence(row["text"]), "ok") for row in rows if row["labelled"]])


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
        name, annotator = settings.labels.annotator, settings.labels.annotators[settings.labels.annotator]
        shards = [read_table(path).to_dicts() for path in arguments.sentences]
        rows = [row for shard in shards for row in shard]
        rollouts = (read_table(path, ["prompt_id", "sample", "text"]) for path in arguments.rollouts)
        texts = {(prompt, sample): text for table in rollouts for prompt, sample, text in table.iter_rows()}
        found = annotate(annotator, rows, texts, account_of(settings))
        notes = provenance(settings.values, **found.notes)
        labelled = label_rows(rows, found.outcomes, name, annotator.mapping)
        write_shards(shards, labelled, arguments.output, notes)
        if arguments.usage:
            write_table(arguments.usage, found.usage, USAGE, notes)


if __name__ == "__main__":
    main()
