"""Labels: sentences in, the same sentences out with one annotator's label each.

Annotators never cut or move a sentence; what they say of one that is not valid is kept as its `status`, with the
reply as it came, and never becomes a label. All shards are labelled in one job, so that a language model's limits on
requests and cost hold for the whole study, and a published file need not hold chains of every shard. Where no training
sentence bears the behaviour that is named, if one is, no vector could be made, and the step says so.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice

from repurpose.data.command import run_step
from repurpose.data.files import read_table
from repurpose.data.schemas import LABELS, USAGE
from repurpose.labels.annotation import Annotation, Outcome, RolloutKey, Row, account_of, check_behaviour, label_rows
from repurpose.study.settings import Annotator


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


def main() -> None:
    many, maybe, optional = ["sentences"], ["rollouts"], ["usage", "behaviour"]
    with run_step("labels.labelling", __doc__, many=many, maybe=maybe, optional=optional, outputs=True) as step:
        given, labels = step.given, step.settings.labels
        shards = [read_table(path).to_dicts() for path in given.sentences]
        rows = [row for shard in shards for row in shard]
        rollouts = (read_table(path, ["prompt_id", "sample", "text"]) for path in given.rollouts)
        texts = {(prompt, sample): text for table in rollouts for prompt, sample, text in table.iter_rows()}
        annotator = labels.annotators[labels.annotator]
        found = annotate(annotator, rows, texts, account_of(step.settings))
        every = label_rows(rows, found.outcomes, labels.annotator, annotator.mapping)
        if given.behaviour:
            check_behaviour(
                [row["label"] for row in every if row["label"] and row["split"] == "train"], given.behaviour
            )
        labelled = iter(every)
        for path, shard in zip(given.output, shards, strict=True):
            own = list(islice(labelled, len(shard)))
            statuses = Counter(row["status"] for row in own)
            step.write(own, LABELS, path, **found.notes, statuses=dict(sorted(statuses.items())))
        if given.usage:
            step.write(found.usage, USAGE, given.usage, **found.notes)


if __name__ == "__main__":
    main()
