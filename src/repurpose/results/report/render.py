"""Filling templates so that every value is text: rollouts and tokens are a model's words and may hold anything."""

from __future__ import annotations

import unicodedata

from jinja2 import Environment, PackageLoader, StrictUndefined


def visible(value: object) -> object:
    """Return a text without control characters and marks that turn the writing direction; markup as it is."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "".join(
        c if c in "\n\t" or unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in value
    )


def escape_markdown(value: object) -> str:
    """Return a value for the cell of a Markdown table: no cell, tag or line ends early."""
    escaped = str(visible(value)).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
    return " ".join(escaped.split())


HTML = Environment(
    loader=PackageLoader(__package__, ""),
    autoescape=True,
    finalize=visible,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
"""Fills this package's templates: each value goes through `finalize`, a missing one is an error."""
MARKDOWN = HTML.overlay(autoescape=False, finalize=escape_markdown)
