"""How numbers are quoted: shares in per cent, differences of shares in percentage points, the rest to three figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Unit = Literal["share", "difference of shares", "nats", "cosine", "percentile", "tokens", "times", "AUROC"]


def format_number(value: float | None, unit: str) -> str:
    """Return a number with its unit, as one would quote it."""
    if value is None:
        return "–"
    suffix = {"share": " %", "difference of shares": " points"}.get(unit, "")
    return f"{_bare(value, unit)}{suffix}"


def format_estimate(row: Mapping[str, Any]) -> str:
    """Return a claim's estimate with its interval; an end that is not known is not bounded."""
    value, low, high, unit = (row[name] for name in ("estimate", "low", "high", "unit"))
    if low is None and high is None:
        return format_number(value, unit)
    if high is None:
        return f"{format_number(value, unit)} (at least {_bare(low, unit)})"
    return f"{format_number(value, unit)} ({_bare(low, unit)} to {_bare(high, unit)})"


def _bare(value: float, unit: str) -> str:
    """Return a number without its unit; a difference has its sign."""
    if unit == "difference of shares":
        written = f"{100 * value:+.2f}" if value else "0"
    else:
        written = f"{100 * value:.2f}" if unit == "share" else f"{value:.3g}"
    return written.replace("-", "−")
