"""Reading a table: a column or a cell that is asked for and missing is an error that names it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from repurpose.data.files import TableError
from repurpose.data.statistics import Estimate
from repurpose.results.names import Measure


@dataclass(frozen=True)
class Cells:
    """Some rows of one table."""

    table: str
    rows: pl.DataFrame

    def where(self, *conditions: pl.Expr, **values: object) -> Cells:
        """Keep the rows that meet conditions and have values; None is the empty value."""
        equal = [pl.col(name).eq_missing(pl.lit(value)) for name, value in values.items()]
        return Cells(self.table, self.rows.filter(*conditions, *equal))

    def some(self, cell: Mapping[str, object]) -> Cells:
        """Return the rows with these values.

        Raises:
            TableError: where there is none; it names the table and the cell.
        """
        found = self.where(**cell)
        if found.is_empty():
            wanted = ", ".join(f"{name} {'empty' if value is None else value}" for name, value in cell.items())
            raise TableError(f"{self.table}.csv: no row with {wanted}")
        return found

    def one(self, cell: Mapping[str, object]) -> Cells:
        """Return the row with these values, the first of several; an error as in `some`."""
        return Cells(self.table, self.some(cell).rows.head(1))

    def ranked(self, column: str) -> Cells:
        """Return the rows where a column is defined, its highest value first."""
        return Cells(self.table, self.rows.drop_nulls(column).sort(column, descending=True))

    def is_empty(self) -> bool:
        """Say whether there are no rows."""
        return self.rows.is_empty()

    def first(self, column: str) -> Any:
        """Return a column's value in the first row."""
        return self.rows[column][0]

    def estimate(self, measure: Measure) -> Estimate:
        """Return the first row's estimate; NaN where the table has no value."""
        return Estimate(*(math.nan if value is None else float(value) for value in map(self.first, measure)))

    def highest(self, column: str) -> float:
        """Return a column's highest value; NaN where there is none."""
        return float(max(self.rows[column].drop_nulls(), default=math.nan))
