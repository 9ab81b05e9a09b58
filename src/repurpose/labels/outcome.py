"""Annotators: each names the behaviour of sentences that `repurpose.rollouts.sentences` has already cut."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """What an annotator made of one sentence."""

    label: str | None
    """One of the six behaviours, or null."""
    status: str
    """`ok`, `skipped`, or what was wrong with the answer."""
    reply: str | None = None
    """The answer as it came, where it was not valid."""
