"""What a claim, the cells that it is read off, a finding and a verdict are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import polars as pl

from repurpose.data.files import TableError
from repurpose.data.statistics import Estimate
from repurpose.results.names import Measure
from repurpose.results.numbers import Unit

Verdict = Literal["supported", "not supported", "cannot tell", "not measured"]
SUPPORTED: Verdict = "supported"
NOT_SUPPORTED: Verdict = "not supported"
CANNOT_TELL: Verdict = "cannot tell"
"""The numbers are there and do not decide: too few, or of text that is not coherent."""
NOT_MEASURED: Verdict = "not measured"
"""The study's settings do not ask for the numbers."""

OWN = "own"
"""Stands in a claim's cell for the behaviour that the study names."""
EVERY = "every"
"""Stands among a claim's rivals for every control that the table has."""
MINIMUM = 20
"""Of everything that a claim counts (prompts, events, positives) there must be this many, or nobody can tell: with
fewer an interval over prompts is too short for its level, and a single prompt can turn a verdict."""


@dataclass(frozen=True)
class Cells:
    """Some rows of one table; a cell that is asked for and missing is an error that names it."""

    table: str
    rows: pl.DataFrame

    def where(self, *conditions: pl.Expr, **values: object) -> Cells:
        """Keep the rows that meet conditions and have values; None is the empty value."""
        equal = [pl.col(name).eq_missing(pl.lit(value)) for name, value in values.items()]
        return Cells(self.table, self.rows.filter(*conditions, *equal))

    def at(self, cell: Mapping[str, object]) -> Cells:
        """Return the rows with these values, of which the first is read; a TableError names a cell that is missing."""
        found = self.where(**cell)
        if found.rows.is_empty():
            wanted = ", ".join(f"{name} {'empty' if value is None else value}" for name, value in cell.items())
            raise TableError(f"{self.table}.csv: no row with {wanted}")
        return found

    def ranked(self, column: str) -> Cells:
        """Return the rows where a column is defined, its highest value first."""
        return Cells(self.table, self.rows.drop_nulls(column).sort(column, descending=True))

    def first(self, column: str) -> Any:
        """Return a column's value in the first row."""
        return self.rows[column][0]

    def estimate(self, measure: Measure) -> Estimate:
        """Return the first row's estimate; NaN where the table has no value."""
        return Estimate(*(math.nan if value is None else float(value) for value in map(self.first, measure)))

    def highest(self, column: str) -> float:
        """Return a column's highest value; NaN where there is none."""
        return float(max(self.rows[column].drop_nulls(), default=math.nan))


@dataclass(frozen=True)
class Finding:
    """What a rule finds in a table: the estimate, and the threshold that its interval must pass."""

    estimate: Estimate
    threshold: float
    note: str = ""
    valid: bool = True
    """False where the numbers cannot carry a verdict: too few, or of text that is not coherent."""
    complete: bool = True
    """False where they can refute the claim and not support it: something that it must exceed has no number."""
    exact: bool = False
    """True where there is nothing to resample, so that the estimate is its own interval."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One testable part of a claim of the paper."""

    part: str
    """Its first character names the paper's claim."""
    text: str
    asks: str
    """The question to the numbers, in words."""
    table: str
    cell: Mapping[str, object]
    """The row of the table, by its values in some columns."""
    measure: Measure
    """The columns of the estimate; in `claims.yaml` one name where the ends are named after it."""
    instead: Measure | None = None
    """The columns to read where the truth behind `measure` is not known."""
    unit: Unit
    coherent: bool = False
    """Whether the row is of steered text, which carries no verdict where it is not coherent."""
    least: Sequence[str] = ()
    """Columns of counts that must reach MINIMUM: `prompts` in each row that is compared, others in their sum."""
    explains: str = ""
    """The paper's claim whose effect this part explains: where that is not supported, there is nothing to explain."""
    rule: Rule
    """Finds the estimate and the threshold."""
    above: bool = True
    """Whether the interval must lie above the threshold, or below it."""
    threshold: float = 0.0
    """For the rules that do not read one off the table."""
    rivals: Sequence[str] = ()
    """The controls to compare with, by family: `random` stands for each family with that word in it; or EVERY."""
    interval: str = "{level} over prompts"
    """Of what kind the interval is."""
    undefined: str = "too little data: nothing to count"
    """What it means where the table has no estimate."""
    may_lack_rows: bool = False
    """Whether a small study's table may be empty; of other tables that is an error."""
    counts: bool = True
    """Whether the paper's claim stands and falls with this part; others ask for more than the paper did."""
    needs: Literal["", "negative magnitude", "base target", "truth", "marks"] = ""
    """What a study may lack beside the claim's cell; the truth says which calculations are right."""


Rule: TypeAlias = Callable[[Claim, Cells], Finding]
"""Finds a claim's estimate and threshold in its table."""


def judge(finding: Finding, above: bool) -> Verdict:
    """Return the verdict on a finding: supported where its whole interval is on the claimed side of the threshold."""
    _, low, high = finding.estimate
    threshold = finding.threshold
    if not finding.valid or any(map(math.isnan, (low, high, threshold))) or has_no_width(finding):
        return CANNOT_TELL
    if not above:
        low, high, threshold = -high, -low, -threshold
    if low > threshold:
        return SUPPORTED if finding.complete else CANNOT_TELL
    return NOT_SUPPORTED if high <= threshold else CANNOT_TELL


def has_no_width(finding: Finding) -> bool:
    """Whether the ends of an interval coincide though prompts were resampled: every one of them said the same."""
    low, high = finding.estimate[1:]
    return not finding.exact and math.isfinite(low) and low == high


def judge_all(verdicts: Iterable[str]) -> Verdict:
    """Return the verdict on a claim from those on its parts: all must be supported; one refuted part refutes it."""
    found = set(verdicts)
    if NOT_SUPPORTED in found:
        return NOT_SUPPORTED
    if found == {NOT_MEASURED}:
        return NOT_MEASURED
    return SUPPORTED if found == {SUPPORTED} else CANNOT_TELL
