"""Coherence: whether the text of a cell is likely enough to the unsteered model, and does not loop (docs/method.md)."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from repurpose.study.settings import Selection

NATS = pl.col("nll") * pl.col("length")
"""Of a row: nats of all its tokens."""
READ_TOKENS = pl.when(pl.col("nll").is_not_null()).then(pl.col("length"))
"""Of a row: the tokens whose likelihood is known."""


def is_coherent(rules: Selection, unsteered: Mapping[str, Any]) -> pl.Expr:
    """Expression over cells with `nll`, `distinct_2`, `longest_run` and `grammatical`; `unsteered` is such a cell.

    What is not known is not coherent, but for the grammar, which only the embedded pair's language has.
    """
    limit, varied = nll_limit(rules, unsteered), rules.min_distinct_2 * (unsteered["distinct_2"] or 0.0)
    likely = pl.lit(False) if limit is None else pl.col("nll") <= limit
    loops = (pl.col("distinct_2") < varied) | (pl.col("longest_run") > rules.max_longest_run)
    found = likely.fill_null(False) & ~loops.fill_null(True)
    if unsteered["grammatical"] is not None:
        found &= (pl.col("grammatical") >= rules.min_grammatical * unsteered["grammatical"]).fill_null(False)
    return found


def nll_limit(rules: Selection, unsteered: Mapping[str, Any]) -> float | None:
    """Nats per token up to which text is coherent; None where the unsteered text's are not known."""
    known = unsteered["nll"]
    return None if known is None else known + rules.max_nats
