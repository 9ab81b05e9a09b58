"""Labels of steered text: a sweep in, the sentences of its rollouts out with an annotator's label each.

The language model that a study names labels all of them, because what backtracks by its label is what that annotator
says; the lexicon does that where they are measured. The others label some, for Table C.1: does the keyword rule still
find backtracking where steering has changed the text? These are the base-derived vector's rollouts of the reasoning
model on some prompts, at every magnitude.
"""

from collections.abc import Sequence

import polars as pl

from repurpose.data.command import run_step
from repurpose.data.files import read_table
from repurpose.data.schemas import STEERED_KEY, STEERED_LABELS, USAGE
from repurpose.labels.annotation import Row, account_of, label_rows
from repurpose.labels.labelling import annotate
from repurpose.rollouts.sentences import cut_text
from repurpose.study.settings import SettingsError

COLUMNS = (*STEERED_KEY, "text")


def choose_rollouts(sweep: pl.DataFrame, behaviour: str, prompts: int) -> list[Row]:
    """Rollouts unsteered or with the base-derived vector, on the first prompts; a SettingsError without the latter."""
    steered = (pl.col("direction") == behaviour) & (pl.col("reader") == "base")
    rows = sweep.filter(steered | (pl.col("direction") == "none")).select(COLUMNS)
    if rows.filter(pl.col("direction") == behaviour).is_empty():
        raise SettingsError(f"labels.steered_sweep: no rollout is steered with the base-derived {behaviour} vector")
    first = rows["prompt_id"].unique(maintain_order=True).head(prompts)
    return rows.filter(pl.col("prompt_id").is_in(first.implode())).to_dicts()


def cut_rollouts(rollouts: Sequence[Row]) -> list[Row]:
    """Sentences of the thinking of each rollout; `cell` numbers the rollouts."""
    return [
        {**rollout, "cell": cell, **sentence}
        for cell, rollout in enumerate(rollouts)
        for _, sentence in cut_text(rollout["text"])
    ]


def main() -> None:
    flags = {"some": "label some rollouts, not all"}
    with run_step("labels.steered_labels", __doc__, one=["sweep", "usage"], flags=flags) as step:
        settings, labels = step.settings, step.settings.labels
        annotator = labels.annotators[labels.annotator]
        assert annotator.file is None  # a published one knows its own chains alone
        sweep = read_table(step.given.sweep, list(COLUMNS))
        some = choose_rollouts(sweep, settings.vectors.behaviour, labels.steered_prompts) if step.given.some else None
        rows = cut_rollouts(sweep.to_dicts() if some is None else some)
        found = annotate(annotator, rows, {}, account_of(settings))
        labelled = label_rows(rows, found.outcomes, labels.annotator, annotator.mapping)
        step.write(labelled, STEERED_LABELS, **found.notes)
        step.write(found.usage, USAGE, step.given.usage, **found.notes)


if __name__ == "__main__":
    main()
