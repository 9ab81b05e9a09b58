"""The rules (steered text, ablation, log-odds, directions): each finds a claim's estimate and its threshold."""

import math
from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from repurpose.data.statistics import UNDEFINED, Estimate
from repurpose.results.claims.claim import Cells, Claim, Finding
from repurpose.results.numbers import format_number

LEAST_KAPPA = 0.6
"""Below it another annotator's labels carry no verdict on what the study's own would say."""
IS_TOP = pl.col("word").str.starts_with("top:")


def find(claim: Claim, row: Cells, threshold: float, note: str = "") -> Finding:
    """Return what a claim's row says; where it says nothing, the note says why."""
    estimate = row.estimate(claim.measure)
    note = claim.undefined if math.isnan(estimate.value) else note
    if doubt := doubt_labels(claim, row):
        return Finding(estimate, threshold, doubt, valid=False)
    garbled = (claim.coherent or "coherent" in row.rows.columns) and not row.first("coherent")
    if garbled and (claim.coherent or not note):
        return Finding(estimate, threshold, "the text is not coherent at this magnitude", valid=not claim.coherent)
    return Finding(estimate, threshold, note)


def doubt_labels(claim: Claim, row: Cells) -> str:
    """Say why a number that stands on labels of steered text carries no verdict; nothing where it does."""
    columns, measure = row.rows.columns, claim.measure[0]
    by_truth = "grammatical" in columns and row.first("grammatical") is not None  # the embedded pair's grammar says
    stands_on_labels = measure.startswith("backtracking") or (measure.startswith("after_") and not by_truth)
    if not stands_on_labels or "kappa" not in columns:
        return ""
    annotator, kappa = row.first("annotator"), row.first("kappa")
    if annotator is None:
        return "nobody labels steered text: a published annotator cannot, and labels.steered_annotator names no other"
    if kappa is None or float(kappa) >= LEAST_KAPPA:
        return ""
    agrees = f"whose kappa with the study's own annotator is {float(kappa):.2f}, below {LEAST_KAPPA:g}"
    return f"labelled by {annotator}, {agrees}"


def without(cell: Mapping[str, object], *names: str) -> dict[str, object]:
    """Return a cell that may have any values in some columns."""
    return {name: value for name, value in cell.items() if name not in names}


def fixed(claim: Claim, cells: Cells) -> Finding:
    """Hold the cell's estimate against the claim's own threshold."""
    return find(claim, cells.at(claim.cell), claim.threshold)


def mirrored(claim: Claim, cells: Cells) -> Finding:
    """The same at the negative magnitude nearest to minus the selected one."""
    distance = (pl.col("magnitude") + cells.at(claim.cell).first("magnitude")).abs()
    negative = Cells(cells.table, cells.where(pl.col("magnitude") < 0).rows.sort(distance))
    return find(claim, negative.at(without(claim.cell, "selected")), claim.threshold)


def largest_coherent(claim: Claim, cells: Cells) -> Finding:
    """At the largest magnitude up to the selected one with coherent text: who says nothing says no keyword either."""
    selected = cells.at(claim.cell)
    up_to = pl.col("magnitude").is_between(0, selected.first("magnitude"), closed="right")
    best = cells.where(up_to, **without(claim.cell, "selected"), coherent=True).ranked("magnitude")
    if best.rows.is_empty() or best.first("selected"):
        return find(claim, selected, claim.threshold)
    return find(claim, best, claim.threshold, f"at {best.first('multiple'):g} times the selected magnitude")


def controls(claim: Claim, cells: Cells) -> Cells:
    """Return the cells of the claim's rivals, added to the reasoning model at any magnitude."""
    named = pl.col("family").is_in(claim.rivals) | pl.col("direction").is_in(claim.rivals)
    return cells.where(named, pl.col("family") != "behaviour", target="reasoning")


def coherent_controls(claim: Claim, cells: Cells) -> Cells:
    """Those up to the selected magnitude with coherent text: garbled ones lose by default, or win by accident."""
    largest = cells.where(selected=True).highest("magnitude")
    return controls(claim, cells).where(pl.col("magnitude").is_between(0, largest, closed="right"), coherent=True)


def rivals(claim: Claim, cells: Cells) -> Finding:
    """Hold the estimate against the highest upper end of a rival."""
    best = coherent_controls(claim, cells).ranked(claim.measure[2])
    note = describe_rivals(claim, cells, best)
    return find(claim, cells.at(claim.cell), best.highest(claim.measure[2]), note)


def describe_rivals(claim: Claim, cells: Cells, best: Cells) -> str:
    """Say which control is the strongest, how many are coherent where the vector is, and what the others reach."""
    if best.rows.is_empty():
        return "no such control is coherent"
    at = controls(claim, cells).where(selected=True)
    garbled = at.where(coherent=False).ranked(claim.measure[2])
    note = (
        f"strongest: {best.first('direction')} at {best.first('multiple'):g} times the selected magnitude; "
        f"{at.where(coherent=True).rows.height} of {at.rows.height} are coherent at it"
    )
    if garbled.rows.is_empty():
        return note
    unit = "difference of shares" if claim.unit == "times" else "share"
    reached = format_number(garbled.first(claim.measure[2]), unit)
    return f"{note}, highest upper end of the others: {garbled.first('direction')}, {reached}"


def times_rivals(claim: Claim, cells: Cells) -> Finding:
    """Hold against the threshold how many times the change of the strongest rival the cell's is.

    Each end of the interval is one end of ours over the other end of the rival's; where that is not above 0, the
    ratio has no bound.
    """
    best = coherent_controls(claim, cells).ranked(claim.measure[0])
    ours = find(claim, cells.at(claim.cell), claim.threshold, describe_rivals(claim, cells, best))
    if best.rows.is_empty():
        return replace(ours, estimate=UNDEFINED)
    value, low, high = best.estimate(claim.measure)
    if high <= 0:
        unbounded = Estimate(math.inf, math.inf, math.inf)
        return Finding(unbounded, claim.threshold, "no control raises the share", ours.valid and ours.estimate.low > 0)
    ratio = Estimate(
        ours.estimate.value / value if value > 0 else math.inf,
        ours.estimate.low / high,
        ours.estimate.high / low if low > 0 else math.inf,
    )
    note = ours.note if low > 0 else f"{ours.note}; no upper end, because the control's interval reaches 0"
    return replace(ours, estimate=ratio, note=note)


def natural(claim: Claim, cells: Cells) -> Finding:
    """Hold natural backtracking with the direction removed against the claim's own threshold."""
    claim, note = of_what(claim, cells)
    return find(claim, cells.at(claim.cell), claim.threshold, note)


def natural_below_random(claim: Claim, cells: Cells) -> Finding:
    """Hold it against the lowest lower end with a random direction removed."""
    claim, note = of_what(claim, cells)
    ends = cells.at({"family": "random"}).rows[claim.measure[1]].drop_nulls()
    lowest = min(ends, default=math.nan)
    return find(claim, cells.at(claim.cell), lowest, f"{note}; threshold: lowest end of a random direction")


def of_what(claim: Claim, cells: Cells) -> tuple[Claim, str]:
    """What natural backtracking is a share of: wrong calculations where known, as ablation changes what is between."""
    if cells.rows["after_wrong"].is_not_null().any():
        return claim, "of wrong calculations, by the truth"
    return replace(claim, measure=claim.instead or claim.measure), "of all sentences, by their label"


def best_random(claim: Claim, cells: Cells) -> Finding:
    """Hold the change of log-odds against the best random direction's on the same text.

    What is to rise above must pass the highest upper end. What is to stay below is held against the highest estimate:
    it must not profit from the width of the random directions' intervals.
    """
    random = cells.at({**without(claim.cell, "direction", "reader"), "family": "random"})
    limit = random.highest(claim.measure[2 if claim.above else 0])
    return find(claim, cells.at(claim.cell), limit, "threshold: best random direction")


def chance(claim: Claim, cells: Cells) -> Finding:
    """Hold the cosine against that of random pairs in as many dimensions."""
    row = cells.at(claim.cell)
    return find(claim, row, row.first("random_high"))


def most_alike(claim: Claim, cells: Cells) -> Finding:
    """Hold the cosine against the highest of the other labels and controls.

    Without noise, because a label with more sentences would else look more alike for that alone. A control that has no
    direction has no such cosine; what its halves show counts.
    """
    others = cells.where(pl.col("family").is_in(["other label", "shuffle", "same-offset"])).rows
    values = others.with_columns(alike=pl.coalesce("disattenuated", "cross_half"))
    alike = Cells(cells.table, values).ranked("alike")
    note = "" if alike.rows.is_empty() else f"highest other: {alike.first('name')}"
    return find(claim, cells.at(claim.cell), alike.highest("alike"), note)


def lens_rank(claim: Claim, cells: Cells) -> Finding:
    """Hold the mean percentile of the word that ranks highest, in either unembedding, against the threshold."""
    best = cells.at(claim.cell).where(~IS_TOP).ranked("rank")
    if best.rows.is_empty():
        return Finding(UNDEFINED, claim.threshold, claim.undefined)
    note = f"{best.first('word')}, {best.first('unembedding')} unembedding"
    return Finding(best.estimate(claim.measure), claim.threshold, note)


def lens_top(claim: Claim, cells: Cells) -> Finding:
    """Count the best tokens that hold one of the words."""
    here = cells.at(claim.cell)
    words = set(here.where(~IS_TOP).rows["word"])
    best = [word.removeprefix("top:") for word in here.where(IS_TOP).rows["word"]]
    if not best:
        return Finding(UNDEFINED, claim.threshold, claim.undefined)
    held = [token for token in best if any(word in token.lower() for word in words)]
    note = f"among them {', '.join(sorted({token.strip() for token in held}))}" if held else ""
    return Finding(Estimate(len(held), len(held), len(held)), claim.threshold, note)


def inside(claim: Claim, cells: Cells) -> Finding:
    """Hold the estimate against the share of tokens that stand in the behaviour's sentences, its upper end."""
    limit = cells.at({**claim.cell, "group": "behaviour_tokens"}).first(claim.measure[2])
    return find(claim, cells.at(claim.cell), limit, "threshold: its upper end")
