"""Labels of steered text: a language model labels some rollouts of a sweep, for Table C.1.

Does the keyword rule still find backtracking where steering has changed the text? The rules of `lexicon` are applied
to every steered rollout when it is measured; a language model costs, so it labels the base-derived vector's rollouts
of the reasoning model on some prompts, at every magnitude.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from repurpose.data.command import read_arguments
from repurpose.data.files import read_table, write_table
from repurpose.data.provenance import provenance
from repurpose.data.schemas import STEERED_KEY, STEERED_LABELS, USAGE
from repurpose.labels.annotation import Row, account_of, label_rows
from repurpose.labels.llm.annotator import annotate_by_model
from repurpose.rollouts.sentences import is_prose, split_sentences, thinking_end
from repurpose.study.errors import one_line_errors
from repurpose.study.settings import SettingsError, StepSettings

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
    rows = []
    for cell, rollout in enumerate(rollouts):
        text, end = rollout["text"], thinking_end(rollout["text"])
        for number, span in enumerate(split_sentences(text)):
            sentence = text[slice(*span)]
            labelled = span.start < end and is_prose(sentence)
            rows.append({**rollout, "cell": cell, "sentence": number, "text": sentence, "labelled": labelled})
    return rows


def main() -> None:
    arguments = read_arguments(__doc__ or "", one=["sweep", "usage"])
    with one_line_errors("labels.steered_labels"):
        settings = StepSettings("labels.steered_labels", arguments.settings)
        name, annotator = settings.labels.annotator, settings.labels.annotators[settings.labels.annotator]
        assert annotator.llm is not None  # no other kind is asked: they label every steered text, or none
        sweep = read_table(arguments.sweep, list(COLUMNS))
        rows = cut_rollouts(choose_rollouts(sweep, settings.vectors.behaviour, settings.labels.steered_prompts))
        found = annotate_by_model(rows, annotator.llm, account_of(settings))
        notes = provenance(settings.values, **found.notes)
        labelled = label_rows(rows, found.outcomes, name, annotator.mapping)
        write_table(arguments.output, labelled, STEERED_LABELS, notes)
        write_table(arguments.usage, found.usage, USAGE, notes)


if __name__ == "__main__":
    main()
