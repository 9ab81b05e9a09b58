"""Labels of steered text: a language model labels some rollouts of a sweep, for Table C.1.

Does the keyword rule still find backtracking where steering has changed the text? The rules of `lexicon` are applied
to every steered rollout when it is measured; a language model costs, so it labels the base-derived vector's rollouts
of the reasoning model on some prompts, at every magnitude.
"""

from collections.abc import Sequence

import polars as pl

from repurpose.data.command import run_step
from repurpose.data.files import read_table
from repurpose.data.schemas import STEERED_KEY, STEERED_LABELS, USAGE
from repurpose.labels.annotation import Row, account_of, label_rows
from repurpose.labels.llm.annotator import annotate_by_model
from repurpose.rollouts.sentences import cut_text
from repurpose.study.settings import SettingsError

COLUMNS = (*STEERED_KEY, "text")


def choose_rollouts(sweep: pl.DataFrame, behaviour: str, prompts: int) -> list[Row]:
    """Unsteered rollouts and those steered with the base-derived vector, on the first prompts of the sweep.

    Raises:
        SettingsError: where the sweep has none.
    """
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
    with run_step("labels.steered_labels", __doc__, one=["sweep", "usage"]) as step:
        settings, labels = step.settings, step.settings.labels
        annotator = labels.annotators[labels.annotator]
        assert annotator.llm is not None  # no other kind is asked: they label every steered text, or none
        sweep = read_table(step.given.sweep, list(COLUMNS))
        rows = cut_rollouts(choose_rollouts(sweep, settings.vectors.behaviour, labels.steered_prompts))
        found = annotate_by_model(rows, annotator.llm, account_of(settings))
        labelled = label_rows(rows, found.outcomes, labels.annotator, annotator.mapping)
        step.write(labelled, STEERED_LABELS, **found.notes)
        step.write(found.usage, USAGE, step.given.usage, **found.notes)


if __name__ == "__main__":
    main()
