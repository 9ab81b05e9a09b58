"""Tables as CSV: how they are written, and how figures, claims and the report read them."""

from pathlib import Path

import polars as pl

from repurpose.data.files import TableError

TEXT_COLUMNS = (
    *("token", "word", "prompt_id", "label", "direction", "reader", "group"),
    *("mark", "category", "annotator", "one", "other", "other_label"),
)
"""Columns that stay text even where all of their values look like numbers."""


def to_csv(table: pl.DataFrame) -> str:
    """Return a table as CSV, numbers to six figures: more would be noise, and the same on every machine."""
    return table.with_columns(pl.selectors.float().round_sig_figs(6)).write_csv()


def read_csv(path: Path | str) -> pl.DataFrame:
    """Read a table that `to_csv` wrote; raises TableError where the file is missing or is no table."""
    try:
        names = pl.read_csv(path, n_rows=0).columns
        texts = {name: pl.String for name in TEXT_COLUMNS if name in names}
        table = pl.read_csv(path, infer_schema_length=None, schema_overrides=texts)
        # of a column without any value polars makes texts: here it is numbers that are all undefined
        undefined = [c.name for c in table if c.null_count() == len(c) > 0 and c.name not in TEXT_COLUMNS]
        return table.with_columns(pl.col(undefined).cast(pl.Float64))
    except (OSError, pl.exceptions.PolarsError) as problem:
        raise TableError(f"{Path(path).name}: {str(problem).splitlines()[0]}") from None
