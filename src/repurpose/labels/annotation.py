"""What an annotator of any kind makes of sentences, and the rows that become of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from repurpose.study.settings import SettingsError, StepSettings

Row = dict[str, Any]
RolloutKey = tuple[str, int]
"""(prompt_id, sample)"""


class Outcome(NamedTuple):
    """What an annotator made of one sentence."""

    label: str | None
    """One of the six behaviours, or null."""
    status: str
    """`ok`, `skipped`, or what was wrong with the answer."""
    reply: str | None = None
    """The answer as it came, where it was not valid."""


@dataclass(frozen=True)
class Annotation:
    """What an annotator made of many sentences."""

    outcomes: list[Outcome]
    """Of each sentence that is to be labelled, in the order of the table."""
    notes: Row = field(default_factory=dict)
    """For the table's metadata."""
    usage: list[Row] = field(default_factory=list)
    """USAGE rows by rollout; none where no model is asked."""


def by_rollout(rows: Sequence[Row]) -> list[tuple[RolloutKey, list[Row]]]:
    """The sentences of each rollout that are to be labelled, in the order of the table.

    `cell` tells the rollouts of one prompt apart that were steered in different ways.
    """
    groups = groupby(rows, key=lambda row: (row["prompt_id"], row["sample"], row.get("cell")))
    return [((prompt, sample), [row for row in group if row["labelled"]]) for (prompt, sample, _), group in groups]


def label_rows(rows: Sequence[Row], outcomes: Sequence[Outcome], name: str, mapping: Mapping[str, str]) -> list[Row]:
    """LABELS rows of SENTENCES rows; `outcomes` has one for each sentence that is to be labelled, in order.

    Raises:
        ValueError: where their numbers differ; no label may slide to another sentence.
    """
    if len(outcomes) != (asked := sum(row["labelled"] for row in rows)):
        raise ValueError(f"{name} gave {len(outcomes)} outcomes for {asked} sentences")
    waiting, labelled = iter(outcomes), []
    for row in rows:
        label, status, reply = next(waiting) if row["labelled"] else Outcome(None, "skipped")
        kept = {key: value for key, value in row.items() if key != "labelled"}
        named = mapping.get(label, label) if label else None
        labelled.append({**kept, "annotator": name, "label": named, "status": status, "reply": reply})
    return labelled


def check_behaviour(labels: Sequence[str], behaviour: str) -> None:
    """Refuse labels of training sentences that leave a study nothing to make its vector from (SettingsError)."""
    if behaviour in labels:
        return
    found = ", ".join(f"{count} {label}" for label, count in Counter(labels).most_common())
    raise SettingsError(
        f"vectors.behaviour: none of {len(labels)} labelled training sentences is {behaviour} "
        f"({found or 'there is none'}); take another annotator (labels.annotator), more prompts (prompts.train) or "
        "longer texts (rollouts.max_new_tokens)"
    )


def account_of(settings: StepSettings) -> str:
    """Who pays for a step's requests: one account for all steps of a study that ask one annotator."""
    return f"{settings.study}/{settings.labels.annotator}"
