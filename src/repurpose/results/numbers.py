"""How numbers are quoted: shares in per cent, differences of shares in percentage points, the rest to three figures."""

from collections.abc import Mapping
from typing import Any, Literal

Unit = Literal["share", "difference of shares", "nats", "cosine", "percentile", "tokens", "times", "AUROC"]


def format_number(value: float | None, unit: str) -> str:
    """Return a number with its unit, as one would quote it; a difference has its sign."""
    if value is None:
        return "–"
    sign = "+" if unit == "difference of shares" and value > 0 else ""
    suffix = {"share": " %", "difference of shares": " points"}.get(unit, "")
    return f"{sign}{_bare(value, unit, value)}{suffix}"


def format_estimate(row: Mapping[str, Any]) -> str:
    """Return a claim's estimate with its interval; an end that is not known is not bounded."""
    value, low, high, unit = (row[name] for name in ("estimate", "low", "high", "unit"))
    written = format_number(value, unit)
    if low is None:
        return written
    lower = _bare(low, unit, value)
    return f"{written} (at least {lower})" if high is None else f"{written} ({lower} to {_bare(high, unit, value)})"


def _bare(value: float, unit: str, beside: float | None) -> str:
    """Return a number without its unit; ends of an interval take as many digits as the estimate that they stand by."""
    if unit == "difference of shares":
        written = f"{100 * value:.{1 if abs(beside or 0) >= 0.1 else 2}f}" if value else "0"
    else:
        written = f"{100 * value:.2f}" if unit == "share" else f"{value:.3g}"
    return written.replace("-", "−")
