"""Tables as CSV: how they are written, and how figures, claims and the report read them.

Some text is a model's, and a table is opened in spreadsheets and shown in terminals. So a text that a spreadsheet would
compute begins with `'`, and signs that a terminal would obey stand as `\\x1b`; `read_csv` gives back the text itself.
"""

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl

from repurpose.data.files import TableError

TEXT_COLUMNS = (
    *("token", "word", "prompt_id", "label", "direction", "reader", "group"),
    *("mark", "category", "annotator", "one", "other", "other_label"),
)
"""Columns that stay text even where all of their values look like numbers."""
PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|\+[a-z]")
"""A number, or the name of a claim's part: `+a`."""
FORMULA = re.compile(r"'*[=+@\t-].", re.DOTALL)
"""How a text begins that a spreadsheet may compute; with `'` before it, how it is written. A sign alone is none."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|\\(?=x[0-9a-f]{2})")
"""Signs that a terminal obeys, but for tabs and newlines; and what would look like one that is written so."""
WRITTEN = re.compile(r"\\x([0-9a-f]{2})")


def to_csv(table: pl.DataFrame) -> str:
    """Return a table as CSV, numbers to six figures: more would be noise, and the same on every machine."""
    return _change_texts(table, _guard).with_columns(pl.selectors.float().round_sig_figs(6)).write_csv()


def read_csv(path: Path | str) -> pl.DataFrame:
    """Read a table that `to_csv` wrote; raises TableError where the file is missing or is no table."""
    try:
        names = pl.read_csv(path, n_rows=0).columns
        texts = {name: pl.String for name in TEXT_COLUMNS if name in names}
        table = pl.read_csv(path, infer_schema_length=None, schema_overrides=texts)
        # of a column without any value polars makes texts: here it is numbers that are all undefined
        undefined = [c.name for c in table if c.null_count() == len(c) > 0 and c.name not in TEXT_COLUMNS]
        return _change_texts(table, _bare).with_columns(pl.col(undefined).cast(pl.Float64))
    except (OSError, pl.exceptions.PolarsError) as problem:
        raise TableError(f"{Path(path).name}: {str(problem).splitlines()[0]}") from None


def _change_texts(table: pl.DataFrame, change: Callable[[str], str]) -> pl.DataFrame:
    texts = [column for column in table if column.dtype == pl.String]
    changed = [[None if text is None else change(text) for text in column] for column in texts]
    return table.with_columns(pl.Series(c.name, new, pl.String) for c, new in zip(texts, changed, strict=True))


def _guard(text: str) -> str:
    """A text as it is written."""
    shown = CONTROL.sub(lambda sign: f"\\x{ord(sign[0]):02x}", text)
    return f"'{shown}" if FORMULA.match(shown) and not PLAIN.fullmatch(shown) else shown


def _bare(text: str) -> str:
    """The text that `_guard` made another of."""
    shown = text[1:] if text.startswith("'") and FORMULA.match(text) else text
    return WRITTEN.sub(lambda code: chr(int(code[1], 16)), shown)
