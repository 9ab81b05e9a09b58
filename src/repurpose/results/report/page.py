"""The page's parts, from tables and files to HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from repurpose.results.claims import PAPER, format_estimate, format_number, overall_verdicts
from repurpose.results.report.captions import CAPTIONS, ORDER
from repurpose.results.report.html import element, embed_image, escape, make_table
from repurpose.study.catalogue import AGREEMENT_FIGURES

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The page may show images that it holds and use its own styles; it may run and load nothing."""
SHORT = 14
"""Rows up to which a table is shown without a click."""
ROWS = 60
"""Rows of a table that are quoted at most; the CSV has all."""


@dataclass(frozen=True)
class ReportData:
    """What the page is made of."""

    study: str
    pair: tuple[str, str]
    keywords: tuple[str, ...]
    behaviour: str
    selection: Mapping[str, Any]
    claims: pl.DataFrame
    tables: Mapping[str, pl.DataFrame]
    figures: Mapping[str, Path]
    provenance: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, int]


def write_page(data: ReportData, style: str) -> str:
    """Return the whole page."""
    head = element(
        "head",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        element("title", escape(f"{data.study}: report")),
        element("style", style),
    )
    body = element(
        "main",
        _opening(data),
        _claims(data),
        *(_figure(name, data) for name in shown(data)),
        _rollouts(data),
        _provenance(data),
    )
    return f'<!doctype html>\n<html lang="en">{head}{element("body", body)}</html>\n'


def shown(data: ReportData) -> list[str]:
    """The figures and tables on the page; annotators are compared only where there are several."""
    return [name for name in ORDER if name not in AGREEMENT_FIGURES or name in data.tables]


def _opening(data: ReportData) -> str:
    base, reasoning = data.pair
    chosen = data.selection
    window = f"[{chosen['window_start']}, {chosen['window_start'] + chosen['window_length'] - 1}]"
    text = (
        f"Does a direction for {data.behaviour}, read from the base model {base}, steer the reasoning model "
        f"{reasoning}? Chosen on {chosen['prompts']} training prompts: layer {chosen['layer']}, window {window}, "
        f"magnitude {chosen['magnitude']:.3g} (dose {chosen['dose']:.2g}). The directions, their "
        "cosines and the logit lens, and what is shown for windows and layers, come from training prompts; what "
        "steering and ablation do at the chosen site, log-odds, projections and detection from held-out prompts. "
        "Intervals are over prompts."
    )
    names = [("claims", "Claims"), *((n, CAPTIONS[n].title) for n in shown(data)), ("rollouts", "Rollouts")]
    links = [element("a", escape(title), href=f"#{name}") for name, title in [*names, ("made", "How it was made")]]
    return element("h1", escape(f"Study “{data.study}”")) + element("p", escape(text)) + element("nav", " ".join(links))


def badge(verdict: str) -> str:
    """Return a verdict as a coloured word."""
    return element("span", escape(verdict), class_=f"verdict {verdict.replace(' ', '-')}")


def _claims(data: ReportData) -> str:
    verdicts = overall_verdicts(data.claims)
    folded = [_claim(name, text, verdicts.get(name), data.claims) for name, text in PAPER.items()]
    note = (
        "A verdict is computed from the tables: supported where the whole interval is on the claimed side of the "
        "threshold, not supported where it is on the other, and otherwise cannot tell. A claim is supported where "
        "all of its parts are; parts marked * ask for more than the paper did and do not count."
    )
    title = element("h2", "Claims", id="claims")
    overview = [_overview(name, text, verdicts[name]) for name, text in PAPER.items() if name in verdicts]
    explained = element("p", escape(note), class_="soft")
    return title + element("div", *overview, class_="overview") + explained + "".join(folded)


def _overview(name: str, text: str, verdict: str) -> str:
    link = element("a", escape(text), href=f"#claim-{name}")
    return element("div", element("span", escape(name), class_="number"), link, badge(verdict))


def _claim(name: str, text: str, verdict: str | None, claims: pl.DataFrame) -> str:
    summary = element(
        "summary",
        element("span", escape(name), class_="number"),
        element("span", escape(text)),
        badge(verdict) if verdict else "",
    )
    parts = claims.filter(pl.col("claim") == name)
    rows = [_claim_cells(row) for row in parts.iter_rows(named=True)]
    header = ("part", "estimate (interval)", "threshold", "verdict", "table")
    anchor = {"id": f"claim-{name}"} if verdict else {}
    return element("details", summary, make_table(header, rows, "claims"), class_="claim", open="", **anchor)


def _claim_cells(row: Mapping[str, Any]) -> Sequence[str]:
    star = "" if row["counts"] else "*"
    note = f" {row['note'][0].upper()}{row['note'][1:]}." if row["note"] else ""
    rule = f"{row['rule'][0].upper()}{row['rule'][1:]}.{note}".replace(" %", "\N{NO-BREAK SPACE}%")
    return (
        escape(f"{row['part']}{star}. {row['text']}") + element("div", escape(rule), class_="rule"),
        escape(format_estimate(row)) + element("div", escape(row["interval"]), class_="rule"),
        escape(format_number(row["threshold"], row["unit"])),
        badge(row["verdict"]),
        element("a", escape(row["table"]), href=f"#{row['table']}"),
    )


def _figure(name: str, data: ReportData) -> str:
    caption, table = CAPTIONS[name], data.tables.get(name, pl.DataFrame())
    title = element("h2", escape(caption.title), id=name)
    if table.is_empty():
        return title + element("p", "Not measured in this study.", class_="soft")
    image = embed_image(data.figures[name], caption.title) if name in data.figures else ""
    words = element("p", escape(caption.shows)) + element("p", escape(caption.caveat), class_="caveat soft")
    return title + element("figure", image, element("figcaption", words, _numbers(name, table)))


def _numbers(name: str, table: pl.DataFrame) -> str:
    caption = CAPTIONS[name]
    kept = table.filter(caption.keep).select([c for c in caption.columns if c in table.columns])
    rows = [[format_cell(value) for value in row] for row in kept.head(ROWS).iter_rows()]
    more = f", {kept.height - ROWS} more rows in the CSV" if kept.height > ROWS else ""
    label = f"Numbers ({min(kept.height, ROWS)} of {table.height} rows of tables/{name}.csv{more})"
    opened = {"open": ""} if kept.height <= SHORT or name == "keyword_rule" else {}
    summary = element("summary", escape(label))
    return element("details", summary, make_table(kept.columns, rows), class_="numbers", **opened)


def format_cell(value: object) -> str:
    """Return a table's value as HTML, numbers to four figures."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return escape(f"{value:.4g}" if isinstance(value, float) else value)


def _rollouts(data: ReportData) -> str:
    table = data.tables.get("rollout", pl.DataFrame())
    title = element("h2", "Rollouts", id="rollouts")
    legend = element(
        "p",
        escape(f"Held-out rollouts: the tokens that are read before a {data.behaviour} sentence "),
        element("mark", "green", class_="window"),
        escape(", its first token "),
        element("mark", "red", class_="start"),
        escape(". The text is the model's own."),
        class_="soft rollout-legend",
    )
    if table.is_empty():
        return title + element("p", "No held-out rollout has such a sentence.", class_="soft")
    shown = [_rollout(group) for group in table.partition_by("example", maintain_order=True)]
    return title + legend + "".join(shown)


def _rollout(tokens: pl.DataFrame) -> str:
    first = tokens.row(0, named=True)
    name = f"{first['prompt_id']}, sample {first['sample']}, from token {first['position']}"
    spans = [mark_tokens(mark, run) for mark, run in _runs(tokens.iter_rows(named=True))]
    return element("h3", escape(name)) + element("div", *spans, class_="rollout")


def _runs(tokens: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    """Yield (mark, text) for stretches of tokens with one mark."""
    mark, text = "", ""
    for token in tokens:
        if (token["mark"] or "") != mark:
            yield mark, text
            mark, text = token["mark"] or "", ""
        text += token["token"] or ""
    yield mark, text


def mark_tokens(mark: str, text: str) -> str:
    """Return a stretch of text with its background."""
    if mark not in ("window", "start", "behaviour") or not text:
        return escape(text)
    return element("mark", escape(text), class_=mark)


def _provenance(data: ReportData) -> str:
    chosen = element("p", escape(f"Selection: {data.selection.get('rule', '')}."))
    counted = [[escape(name), escape(count)] for name, count in data.counts.items()]
    rows = [
        [escape(name), escape(note.get("commit") or "–"), escape(note.get("package") or "–"), *_versions(note)]
        for name, note in data.provenance.items()
    ]
    header = (
        "file",
        "commit",
        "package",
        "python",
        "machine",
        "libraries",
        "model digest",
        "device",
        "settings digest",
    )
    return (
        element("h2", "How it was made", id="made")
        + chosen
        + make_table(("what", "count"), counted)
        + make_table(header, rows)
    )


def _versions(note: Mapping[str, Any]) -> Sequence[str]:
    libraries = note.get("libraries") or {}
    listed = ", ".join(f"{name} {version}" for name, version in libraries.items() if version)
    models = ", ".join(f"{role} {digest}" for role, digest in (note.get("model_digest") or {}).items())
    made = (note.get("python"), note.get("machine"), listed, models, note.get("device"))
    values = (*made, note.get("settings_digest"))
    return [escape(value or "–") for value in values]
