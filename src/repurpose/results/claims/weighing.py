"""From `claims.yaml` and the tables to the claims table: each estimate, interval, threshold and verdict."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from repurpose.data.files import TableError
from repurpose.data.statistics import UNDEFINED, defined, spread
from repurpose.results.claims import rules
from repurpose.results.claims.claim import (
    CANNOT_TELL,
    EVERY,
    NOT_MEASURED,
    NOT_SUPPORTED,
    OWN,
    SUPPORTED,
    Cells,
    Claim,
    Finding,
    Verdict,
    has_no_width,
    judge,
    judge_all,
)
from repurpose.results.names import SWEEP_OF, bounded
from repurpose.study.prompt_counts import OWN_PROMPTS
from repurpose.study.settings import Study

CLAIM_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("claim", "part", "text"), pl.String),
    **dict.fromkeys(("estimate", "low", "high"), pl.Float64),
    **dict.fromkeys(("unit", "interval"), pl.String),
    "threshold": pl.Float64,
    **dict.fromkeys(("rule", "verdict"), pl.String),
    "counts": pl.Boolean,
    **dict.fromkeys(("table", "note"), pl.String),
}
"""A number that is not known, or has no bound, is empty; `note` then says why."""


def read_claim(entry: Mapping[str, Any]) -> Claim:
    """Return an entry typed; a key or a rule that does not exist is an error."""
    written = {name: entry[name] for name in ("measure", "instead") if name in entry}
    measures = {name: bounded(value) if isinstance(value, str) else tuple(value) for name, value in written.items()}
    return Claim(**{**entry, **measures, "rule": getattr(rules, entry["rule"])})


CONTENT = yaml.safe_load(Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8"))
PAPER: dict[str, str] = CONTENT["paper"]
"""The paper's six claims in our words, and what is asked beyond them."""
CLAIMS: tuple[Claim, ...] = tuple(read_claim(entry) for entry in CONTENT["claims"])


def weigh_claims(tables: Mapping[str, pl.DataFrame], study: Study) -> pl.DataFrame:
    """Return the claims table, one row per part.

    Raises:
        TableError: where a table lacks a column or a cell that the study's settings ask for.
    """
    weighed = pl.DataFrame([weigh_claim(claim, tables, study) for claim in CLAIMS], schema=CLAIM_COLUMNS)
    return leave_open_what_explains_nothing(weighed)


def leave_open_what_explains_nothing(claims: pl.DataFrame) -> pl.DataFrame:
    """Take back the verdicts on parts that explain an effect of another claim, where that is not supported."""
    overall, explained = overall_verdicts(claims), {claim.part: claim.explains for claim in CLAIMS}
    effect = pl.col("part").replace_strict(explained, default="")
    verdict = effect.replace_strict(overall, default=SUPPORTED)
    told = pl.col("verdict").is_in([SUPPORTED, NOT_SUPPORTED]) & (verdict != SUPPORTED)
    why = pl.format("no effect to explain: claim {} is “{}”", effect, verdict)
    note = pl.concat_str(why, pl.when(pl.col("note") != "").then("note"), separator="; ", ignore_nulls=True)
    return claims.with_columns(
        verdict=pl.when(told).then(pl.lit(CANNOT_TELL)).otherwise("verdict"),
        note=pl.when(told).then(note).otherwise("note"),
    )


def weigh_claim(claim: Claim, tables: Mapping[str, pl.DataFrame], study: Study) -> dict[str, Any]:
    """Return a claim's row of the claims table."""
    reason = why_not_measured(claim, study)
    finding = Finding(UNDEFINED, math.nan, reason) if reason else find(claim, tables, study.vectors.behaviour)
    flat = "the interval has no width" if has_no_width(finding) else ""
    return {
        **{name: getattr(claim, name) for name in ("part", "text", "unit", "counts", "table")},
        "claim": claim.part[0],
        **spread("estimate", finding.estimate, ""),
        "interval": claim.interval.format(level=f"{100 * study.statistics.level:g} %"),
        "threshold": defined(finding.threshold),
        "rule": claim.asks,
        "verdict": NOT_MEASURED if reason else judge(finding, claim.above),
        "note": "; ".join(filter(None, [finding.note, flat])),
    }


def find(claim: Claim, tables: Mapping[str, pl.DataFrame], behaviour: str) -> Finding:
    """Apply a claim's rule to its table.

    Raises:
        TableError: where the table, a column or a cell is missing.
    """
    if claim.table not in tables:
        raise TableError(f"{claim.table}.csv is missing; claim {claim.part} is read off it")
    if claim.may_lack_rows and tables[claim.table].is_empty():
        return Finding(UNDEFINED, math.nan, f"too little data: {claim.table}.csv has no rows")
    cell = {name: behaviour if value == OWN else value for name, value in claim.cell.items()}
    try:
        return claim.rule(replace(claim, cell=cell), Cells(claim.table, tables[claim.table]))
    except pl.exceptions.ColumnNotFoundError as problem:
        column = re.findall('"([^"]*)"', str(problem))[0]
        raise TableError(f"{claim.table}.csv: no column {column}; claim {claim.part} is read off it") from None


def why_not_measured(claim: Claim, study: Study) -> str:
    """Say what the study's settings leave out of what a claim is read off; nothing where all is asked for."""
    if claim.needs == "truth" and study.prompts.source not in OWN_PROMPTS:
        return "which calculations are right is known of our own pairs' prompts alone"
    if claim.needs == "marks" and study.prompts.source != "organism":
        return "marks on calculations are in the embedded pair's language alone"
    name = SWEEP_OF.get(claim.table, "")
    if name not in study.sweeps:
        return f"the study has no sweep {name}" if name else ""
    sweep, behaviour = study.sweeps[name], study.vectors.behaviour
    steered = {"target": sweep.targets, "reader": sweep.readers, "direction": sweep.directions}
    for column, values in steered.items():
        wanted = behaviour if claim.cell.get(column) == OWN else claim.cell.get(column)
        if wanted not in (None, *values):
            return f"sweeps.{name} has no {column} {wanted}"
    if claim.needs == "base target" and "base" not in sweep.targets:
        return f"sweeps.{name} has no target base"
    others = [f"-{direction}-" for direction in sweep.directions if direction != behaviour]
    if claim.rivals and not any(rival == EVERY or f"-{rival}-" in other for rival in claim.rivals for other in others):
        return f"sweeps.{name} has no direction {' or '.join(claim.rivals)}"
    sign = -1 if claim.needs == "negative magnitude" else 1
    if sweep.operation == "add" and not any(sign * value > 0 for value in sweep.magnitudes.values):
        return f"sweeps.{name} has no {'negative' if sign < 0 else 'positive'} magnitude"
    return ""


def overall_verdicts(claims: pl.DataFrame) -> dict[str, Verdict]:
    """Return the verdict on each of the paper's claims from those on the parts that count."""
    counting = claims.filter("counts")
    return {name: judge_all(counting.filter(claim=name)["verdict"]) for name in PAPER if name != "+"}
