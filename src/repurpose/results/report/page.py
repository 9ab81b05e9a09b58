"""What the two pages show, as plain values; the templates and `captions.yaml` beside hold the words around them."""

import base64
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from repurpose.results.claims.weighing import PAPER, overall_verdicts
from repurpose.results.numbers import format_estimate, format_number

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The page may show images that it holds and use its own styles; it may run and load nothing."""
SHORT = 14
"""Rows up to which a table is shown without a click."""
ROWS = 60
"""Rows of a table that are quoted at most; the CSV has all."""
MARKS = ("window", "start", "behaviour")
"""What a token of a shown rollout may be marked as."""
TEXTS: dict[str, str] = {
    "rollout": "view=rollouts&split=heldout",
    "windows": "view=steered&sweep=windows",
    "2x2": "view=steered&sweep=two_by_two",
    "baselines": "view=steered&sweep=baselines",
    "projections": "view=rollouts&split=heldout&sort=peak",
    "layers": "view=steered&sweep=layers",
    "ablation": "view=steered&sweep=ablation",
    "coherence": "view=steered&sweep=two_by_two&measure=distinct_2",
    "detection": "view=rollouts&split=heldout&steps=wrong",
    "confusion": "view=disagreements",
    "keyword_rule": "view=steered&sweep=two_by_two&measure=keyword_share",
}
"""Where explorer.html, which lies beside the report, shows the texts behind a figure; the others have none."""
MADE_WITH = ("commit", "package", "python", "machine", "libraries", "model_digest", "device", "settings_digest")
"""What a file's provenance is told by."""
SELECTED = pl.col("selected") | (pl.col("direction") == "none")
NOT_RANDOM = ~pl.col("direction").str.contains("random-")
OWN = pl.col("family") == "behaviour"
BEST = (pl.col("best") & ~OWN) | (pl.col("selected") & OWN) | (pl.col("direction") == "none")
"""The vector where it is selected, each control at its own best coherent magnitude."""
QUOTED: dict[str, pl.Expr] = {
    "all": pl.lit(True),
    "selected": SELECTED,
    "selected reasoning": SELECTED & (pl.col("target") == "reasoning"),
    "selected multiple": pl.col("multiple") == pl.col("multiple").filter(pl.col("selected")).first(),
    "best but random": BEST & (NOT_RANDOM | pl.col("best_random")),
    "steered but random": pl.col("selected") & NOT_RANDOM,
    "not random": NOT_RANDOM,
    "no control": pl.col("family").is_in(["behaviour", "outside"]),
    "words": pl.col("selected") & ~pl.col("word").str.starts_with("top:"),
    "summary": (pl.col("part") == "summary") & pl.col("family").is_in(["behaviour", "outside"]),
    "starts": pl.col("mark") == "start",
}
"""Which rows of a table are quoted; of the random directions at most the best."""


def show_stability(table: pl.DataFrame) -> dict[str, Any] | None:
    """The selected cell's row of the table of resampled choices; None where there is none."""
    rows = table.filter(pl.col("selected")).to_dicts() if table.height else []
    return rows[0] if rows else None


@dataclass(frozen=True, kw_only=True)
class Caption:
    """The words around a figure and the excerpt of its table."""

    title: str
    shows: str
    caveat: str
    columns: Sequence[str]
    rows: str = "all"
    """Which rows of the table are quoted, a name in QUOTED."""


CAPTION_FILE = Path(__file__).with_name("captions.yaml")
CAPTIONS = {name: Caption(**entry) for name, entry in yaml.safe_load(CAPTION_FILE.read_text(encoding="utf-8")).items()}
"""In the order on the page."""


@dataclass(frozen=True)
class ClaimShown:
    """A claim of the paper with its parts; what is asked beyond the paper has no verdict of its own."""

    name: str
    text: str
    verdict: str | None
    parts: list[dict[str, str]]


@dataclass(frozen=True)
class Section:
    """A figure with its words and the numbers that are quoted beside it."""

    name: str
    caption: Caption
    image: str
    """The SVG in base64: as an image it can run nothing and load nothing."""
    columns: list[str]
    rows: list[list[str]]
    total: int
    """Rows of the table in all."""
    more: int
    """Rows that would be quoted beside the others, were they not so many."""

    @property
    def texts(self) -> str | None:
        """The address of the texts behind the figure."""
        return f"explorer.html#{TEXTS[self.name]}" if self.name in TEXTS else None

    @property
    def open(self) -> bool:
        """Whether the numbers are shown without a click."""
        return len(self.rows) + self.more <= SHORT or self.name == "keyword_rule"


def show_claims(claims: pl.DataFrame) -> list[ClaimShown]:
    """Return the paper's claims in their order, each with its parts."""
    verdicts = overall_verdicts(claims)
    return [
        ClaimShown(name, text, verdicts.get(name), [_show_part(row) for row in claims.filter(claim=name).to_dicts()])
        for name, text in PAPER.items()
    ]


def _show_part(row: Mapping[str, Any]) -> dict[str, str]:
    """A part of a claim, its numbers as one would quote them."""
    sentences = [f"{text[0].upper()}{text[1:]}." for text in (row["rule"], row["note"]) if text]
    return {
        **{name: row[name] or "" for name in ("text", "interval", "verdict", "rule", "note", "table")},
        "name": row["part"] if row["counts"] else f"{row['part']}*",
        "estimate": format_estimate(row),
        "threshold": format_number(row["threshold"], row["unit"]),
        "explained": " ".join(sentences).replace(" %", "\N{NO-BREAK SPACE}%"),
    }


def show_section(name: str, table: pl.DataFrame, figure: Path | None) -> Section:
    """Return a figure's part of the page."""
    caption = CAPTIONS[name]
    kept = table if table.is_empty() else table.filter(QUOTED[caption.rows])
    kept = kept.select(column for column in caption.columns if column in kept.columns)
    rows = [[format_cell(value) for value in row] for row in kept.head(ROWS).iter_rows()]
    image = base64.b64encode(figure.read_bytes()).decode("ascii") if figure else ""
    return Section(name, caption, image, kept.columns, rows, table.height, kept.height - len(rows))


def format_cell(value: object) -> str:
    """Return a table's value as text, numbers to four figures."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def show_rollouts(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the examples, each with its first token's place and its stretches of text."""
    examples = [] if table.is_empty() else table.partition_by("example", maintain_order=True)
    return [{**tokens.row(0, named=True), "runs": list(_runs(tokens.iter_rows(named=True)))} for tokens in examples]


def _runs(tokens: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (mark, text) for stretches of tokens with one mark."""
    for mark, run in groupby(tokens, lambda token: token["mark"] if token["mark"] in MARKS else ""):
        if text := "".join(token["token"] or "" for token in run):
            yield mark, text


def show_provenance(notes: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield the names of the columns, then each file's row: what it was made with."""
    yield ["file", *(name.replace("_", " ") for name in MADE_WITH)]
    for file, note in notes.items():
        listed = {
            key: ", ".join(f"{name} {value}" for name, value in note.get(key, {}).items() if value)
            for key in ("libraries", "model_digest")
        }
        yield [file, *(str({**note, **listed}.get(name) or "–") for name in MADE_WITH)]
