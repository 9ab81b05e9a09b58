"""HTML as text, with every value escaped: rollouts and tokens are a model's words and may hold anything."""

from __future__ import annotations

import base64
import html
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path


def escape(value: object) -> str:
    """Return a value as HTML text: no markup, no control characters, no marks that turn the writing direction."""
    return html.escape("".join(map(_visible, str(value))), quote=True)


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character)[0] != "C":
        return character
    return "\N{REPLACEMENT CHARACTER}"


def element(name: str, *content: str, **attributes: str) -> str:
    """Return an element; content is HTML already, attributes are escaped (`class_` is written class)."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(v)}"' for key, v in attributes.items())
    return f"<{name}{written}>{''.join(content)}</{name}>"


def make_table(header: Sequence[str], rows: Iterable[Sequence[str]], class_: str = "numbers") -> str:
    """Return a table that scrolls within itself; cells are HTML already."""
    head = element("tr", *(element("th", escape(name), scope="col") for name in header))
    body = "".join(element("tr", *(element("td", cell) for cell in row)) for row in rows)
    table = element("table", element("thead", head), element("tbody", body), class_=class_)
    return element("div", table, class_="scroll", tabindex="0")


def embed_image(path: Path | str, description: str) -> str:
    """Return an SVG as an image with its bytes inside; as an image it can run nothing and load nothing."""
    data = base64.b64encode(Path(path).read_bytes()).decode("ascii")
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(description)}">'
