"""The words around each figure and the excerpt of its table, read from `captions.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import yaml

SELECTED = pl.col("selected") | (pl.col("direction") == "none")
NOT_RANDOM = ~pl.col("direction").str.starts_with("random-")
QUOTED: dict[str, pl.Expr] = {
    "all": pl.lit(True),
    "selected": SELECTED,
    "selected reasoning": SELECTED & (pl.col("target") == "reasoning"),
    "selected multiple": pl.col("multiple") == pl.col("multiple").filter(pl.col("selected")).first(),
    "selected but random": SELECTED & (NOT_RANDOM | pl.col("best_random")),
    "steered but random": pl.col("selected") & NOT_RANDOM,
    "not random": NOT_RANDOM,
    "words": pl.col("selected") & ~pl.col("word").str.starts_with("top:"),
    "summary": pl.col("part") == "summary",
    "starts": pl.col("mark") == "start",
}
"""Which rows of a table are quoted; of the random directions at most the best."""


@dataclass(frozen=True, kw_only=True)
class Caption:
    """The words around a figure and the excerpt of its table."""

    title: str
    shows: str
    caveat: str
    columns: Sequence[str]
    rows: str = "all"
    """Which rows of the table are quoted, a name in QUOTED."""


FILE = Path(__file__).with_name("captions.yaml")
CAPTIONS = {name: Caption(**entry) for name, entry in yaml.safe_load(FILE.read_text(encoding="utf-8")).items()}
"""In the order on the page."""
