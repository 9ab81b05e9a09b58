"""The rules (steered text, ablation, log-odds, directions): each finds a claim's estimate and its threshold."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import polars as pl

from repurpose.data.statistics import UNDEFINED, Estimate
from repurpose.results.claims.claim import EVERY, MINIMUM, Cells, Claim, Finding, has_no_width
from repurpose.results.names import NO_CONTROL

LEAST_KAPPA = 0.6
"""Below it another annotator's labels carry no verdict on what the study's own would say."""
IS_TOP = pl.col("word").str.starts_with("top:")
GARBLED = "the text is not coherent at this magnitude"
COUNTED = {
    "events": "keywords",
    "backtracking_events": "sentences of the behaviour",
    "after_wrong_events": "wrong calculations that are backtracked from",
    "after_right_events": "right calculations that are backtracked from",
    "positives": "windows before the behaviour",
    "mistakes": "wrong calculations",
    "count": "tokens of the kind",
}
"""What a column of counts counts, where its name does not say it."""


def find(claim: Claim, row: Cells, threshold: float, *notes: str, beside: Sequence[Cells] = ()) -> Finding:
    """Return what a claim's row says; `beside` are the other rows that its numbers come from.

    Where it says nothing, the note says why; where it says too little to carry a verdict, too.
    """
    estimate = row.estimate(claim.measure)
    if math.isnan(estimate.value):
        return Finding(estimate, threshold, claim.undefined)
    garbled = "coherent" in row.rows.columns and not row.first("coherent")
    short, doubt = list(count_short(claim, row, *beside)), doubt_labels(claim, row)
    too_little = f"too little data: {', '.join(short)}; at least {MINIMUM} are needed" if short else ""
    said = filter(None, [*notes, too_little, doubt, GARBLED if garbled else ""])
    valid = not short and not doubt and not (garbled and claim.coherent)
    return Finding(estimate, threshold, "; ".join(said), valid=valid)


def count_short(claim: Claim, *rows: Cells) -> Iterator[str]:
    """Yield what there are too few of: prompts in any of the rows, anything else in all of them together."""
    for column in claim.least:
        counts = [row.first(column) or 0 for row in rows if not row.rows.is_empty()]
        count = min(counts) if column == "prompts" else sum(counts)
        if count < MINIMUM:
            yield f"{count:.0f} {COUNTED.get(column, column)}"


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


def unsteered(cells: Cells, row: Cells) -> list[Cells]:
    """Return the unsteered row that a row's changes are from, where the table has one."""
    found = cells.where(direction="none")
    return [found.where(target=row.first("target"))] if found.rows.height else []


def fixed(claim: Claim, cells: Cells) -> Finding:
    """Hold the cell's estimate against the claim's own threshold."""
    row = cells.at(claim.cell)
    beside = unsteered(cells, row) if claim.measure[0].endswith("change") else []
    return find(claim, row, claim.threshold, beside=beside)


def mirrored(claim: Claim, cells: Cells) -> Finding:
    """The same at the negative magnitude nearest to minus the selected one."""
    distance = (pl.col("magnitude") + cells.at(claim.cell).first("magnitude")).abs()
    negative = Cells(cells.table, cells.where(pl.col("magnitude") < 0).rows.sort(distance))
    row = negative.at(without(claim.cell, "selected"))
    return find(claim, row, claim.threshold, beside=unsteered(cells, row))


def say_times(cells: Cells, magnitude: float) -> str:
    """Say a magnitude as a multiple of the selected one."""
    selected = cells.where(selected=True).highest("magnitude")
    return f"at {magnitude / selected:.3g} times the selected magnitude"


def loudest(claim: Claim, cells: Cells) -> Finding:
    """At whichever magnitude with coherent text the upper end is the highest: the worst for a claim of silence."""
    tried = cells.at(claim.cell).where(pl.col("magnitude") > 0)
    coherent = tried.where(coherent=True).ranked(claim.measure[2])
    if coherent.rows.is_empty():
        return Finding(UNDEFINED, claim.threshold, "its text is coherent at no magnitude")
    largest = say_times(cells, coherent.highest("magnitude")).removeprefix("at ")
    counts = f"{coherent.rows.height} of {tried.rows.height} magnitudes are coherent, the largest {largest}"
    return find(claim, coherent, claim.threshold, say_times(cells, coherent.first("magnitude")), counts)


def interaction(claim: Claim, cells: Cells) -> Finding:
    """At the largest magnitude up to the selected one at which both targets' texts are coherent."""
    ours = cells.at(claim.cell)
    base = cells.where(**{**claim.cell, "target": "base"}, coherent=True).rows["multiple"].to_list()
    up_to = pl.col("magnitude").is_between(0, ours.where(selected=True).highest("magnitude"), closed="right")
    both = ours.where(up_to, pl.col("multiple").is_in(base), coherent=True).ranked("magnitude")
    if both.rows.is_empty():
        return Finding(UNDEFINED, claim.threshold, "at no magnitude up to the selected one are both texts coherent")
    note = say_times(cells, both.first("magnitude"))
    return find(claim, both, claim.threshold, note, beside=unsteered(cells, both))


def of_controls(names: Sequence[str], column: str = "direction") -> pl.Expr:
    """Expression: the row is of a control that is named, by its own name or by a word of its family's."""
    control = ~pl.col("family").is_in(NO_CONTROL)
    if EVERY in names:
        return control
    told = [pl.format("-{}-", pl.col(told)) for told in ("family", column)]
    return control & pl.any_horizontal(text.str.contains(f"-{name}-", literal=True) for text in told for name in names)


def with_rivals(claim: Claim, cells: Cells, cell: Mapping[str, object]) -> Cells:
    """Return the rows of a cell that are of the claim's rivals; a TableError where there are none."""
    found = cells.where(of_controls(claim.rivals), **cell)
    return found if found.rows.height else cells.at({**cell, "family": " or ".join(claim.rivals)})


def controls(claim: Claim, cells: Cells) -> Cells:
    """Return the cells of the claim's rivals, added to the reasoning model at any magnitude above 0."""
    return cells.where(of_controls(claim.rivals), pl.col("magnitude") > 0, target="reasoning")


def best_of_each(claim: Claim, cells: Cells) -> Cells:
    """Each control at its own best coherent magnitude, the one with the highest upper end first.

    Garbled text loses by default, or wins by accident; so it counts neither for a control nor against it.
    """
    coherent = controls(claim, cells).where(coherent=True).ranked(claim.measure[2])
    return Cells(cells.table, coherent.rows.unique(["direction", "reader"], keep="first", maintain_order=True))


def rivals(claim: Claim, cells: Cells) -> Finding:
    """Hold the estimate against the highest upper end of a rival."""
    best, row = best_of_each(claim, cells), cells.at(claim.cell)
    untried, note = describe_rivals(claim, cells, best)
    found = find(claim, row, best.highest(claim.measure[2]), note, beside=[best])
    return replace(found, complete=not untried)


def describe_rivals(claim: Claim, cells: Cells, best: Cells) -> tuple[list[str], str]:
    """Return which controls are coherent at no magnitude, and what is to be said of all of them.

    A control without coherent text has not been tried: it can be neither exceeded nor the stronger one.
    """
    every = controls(claim, cells)
    names = every.rows["direction"].unique().sort().to_list()
    untried = sorted({*names} - {*best.rows["direction"]})
    if best.rows.is_empty():
        return untried, "no such control is coherent"
    here = every.where(selected=True, coherent=True).rows["direction"].n_unique()
    said = [
        f"strongest: {best.first('direction')} {say_times(cells, best.first('magnitude'))}",
        f"{len(names) - len(untried)} of {len(names)} are coherent at some magnitude, {here} at the selected one",
        f"not tried, for want of coherent text: {', '.join(untried)}" if untried else "",
    ]
    return untried, "; ".join(filter(None, said))


def times_rivals(claim: Claim, cells: Cells) -> Finding:
    """Hold against the threshold how many times the largest change of a rival the cell's is.

    Each end of the interval is one end of ours over the other end of the rivals', the highest of all of them; where
    that is not above 0, the ratio has no bound.
    """
    best, row = best_of_each(claim, cells), cells.at(claim.cell)
    untried, note = describe_rivals(claim, cells, best)
    ours = find(claim, row, claim.threshold, note, beside=[best, *unsteered(cells, row)])
    if best.rows.is_empty():
        return replace(ours, estimate=UNDEFINED)
    value, low, high = (best.highest(column) for column in claim.measure)
    ours = replace(ours, complete=not untried, valid=ours.valid and not has_no_width(ours))
    if high <= 0:
        unbounded, valid = Estimate(math.inf, math.inf, math.inf), ours.valid and ours.estimate.low > 0
        return replace(ours, estimate=unbounded, note="no control raises the share", valid=valid)
    ratio = Estimate(
        ours.estimate.value / value if value > 0 else math.inf,
        ours.estimate.low / high,
        ours.estimate.high / low if low > 0 else math.inf,
    )
    note = ours.note if low > 0 else f"{ours.note}; no upper end, because no control's interval is above 0"
    return replace(ours, estimate=ratio, note=note)


def natural(claim: Claim, cells: Cells) -> Finding:
    """Hold natural backtracking with the direction removed against the claim's own threshold."""
    claim, note = of_what(claim, cells)
    row = cells.at(claim.cell)
    return find(claim, row, claim.threshold, note, beside=unsteered(cells, row))


def natural_below_random(claim: Claim, cells: Cells) -> Finding:
    """Hold it against the lowest lower end with a random direction removed."""
    claim, note = of_what(claim, cells)
    row = cells.at(claim.cell)
    lowest = min(with_rivals(claim, cells, {}).rows[claim.measure[1]].drop_nulls(), default=math.nan)
    notes = note, "threshold: lowest end of a random direction"
    return find(claim, row, lowest, *notes, beside=unsteered(cells, row))


def of_what(claim: Claim, cells: Cells) -> tuple[Claim, str]:
    """What natural backtracking is a share of: wrong calculations where known, as ablation changes what is between."""
    if cells.rows["after_wrong"].is_not_null().any():
        return claim, "of wrong calculations, by the truth"
    labelled = replace(claim, measure=claim.instead or claim.measure, least=("prompts", "backtracking_events"))
    return labelled, "of all sentences, by their label"


def best_random(claim: Claim, cells: Cells) -> Finding:
    """Hold the change of log-odds against the best random direction's on the same text.

    What is to rise above must pass the highest upper end. What is to stay below is held against the highest estimate:
    it must not profit from the width of the random directions' intervals.
    """
    random = with_rivals(claim, cells, without(claim.cell, "direction", "reader"))
    best = random.ranked(claim.measure[2 if claim.above else 0])
    name = "" if best.rows.is_empty() else f": {best.first('direction')}"
    limit = best.highest(claim.measure[2 if claim.above else 0])
    return find(claim, cells.at(claim.cell), limit, f"threshold: best random direction{name}")


def most_alike(claim: Claim, cells: Cells) -> Finding:
    """Hold the cosine against the highest of the other labels and controls, the claim's threshold and chance.

    Where the noise is taken out, because a label with more sentences would else look more alike for that alone, a
    control that has no direction has no such cosine; what its halves show counts. Others with too few positives or
    prompts are left out.
    """
    row = cells.at(claim.cell)
    enough = [pl.col(column) >= MINIMUM for column in claim.least]
    others = cells.where(of_controls(claim.rivals, "name"), *enough).rows
    alike = others.with_columns(alike=pl.coalesce(claim.measure[0], "cross_half"))
    best = Cells(cells.table, alike).ranked("alike")
    floor = max(claim.threshold, row.first("random_high"))
    if best.rows.is_empty():
        return replace(find(claim, row, floor, "no other label or control to compare with"), complete=False)
    note = f"highest of {best.rows.height} others: {best.first('name')}"
    return find(claim, row, max(floor, best.highest("alike")), note)


def lens_best(claim: Claim, cells: Cells) -> Finding:
    """Hold the highest percentile of a single entry against what the best of as many random tokens would reach."""
    best = cells.at(claim.cell).where(~IS_TOP).ranked(claim.measure[0])
    if best.rows.is_empty():
        return Finding(UNDEFINED, claim.threshold, "no entry of the vocabulary was looked at by itself")
    entries = int(best.where(unembedding=best.first("unembedding")).rows["entries"].sum())
    note = f"“{best.first('best_entry').strip()}”, {best.first('unembedding')} unembedding, best of {entries} entries"
    return Finding(best.estimate(claim.measure), claim.threshold ** (1 / entries), note, exact=True)


def lens_top(claim: Claim, cells: Cells) -> Finding:
    """Count the best tokens that hold one of the words."""
    here = cells.at(claim.cell)
    words = set(here.where(~IS_TOP).rows["word"])
    best = [word.removeprefix("top:") for word in here.where(IS_TOP).rows["word"]]
    if not best:
        return Finding(UNDEFINED, claim.threshold, claim.undefined)
    held = [token for token in best if any(word in token.lower() for word in words)]
    note = f"among them {', '.join(sorted({token.strip() for token in held}))}" if held else ""
    return Finding(Estimate(len(held), len(held), len(held)), claim.threshold, note, exact=True)


def dense(claim: Claim, cells: Cells) -> Finding:
    """Hold the tokens that carry a projection against the claim's threshold and the least dense random direction.

    Both in times a normal distribution's. The note says which token carries most: a projection may be carried by many
    tokens that are all the same one.
    """
    row = cells.at(claim.cell)
    random = cells.where(of_controls(claim.rivals), **without(claim.cell, "direction")).rows[claim.measure[0]]
    lowest = min(random.drop_nulls(), default=math.nan)
    threshold = claim.threshold if math.isnan(lowest) else max(claim.threshold, lowest)
    note = "no random direction was projected" if math.isnan(lowest) else f"lowest random direction: {lowest:.3g}"
    largest = cells.where(**{**claim.cell, "group": "largest_token"})
    token = "" if largest.rows.is_empty() else f"“{largest.first('token')}”".replace("“”", "white space")
    said = f"{token} carries {100 * largest.first('value'):.0f} % of it" if token else ""
    return replace(find(claim, row, threshold, note, said), complete=not math.isnan(lowest))


def better_than_controls(claim: Claim, cells: Cells) -> Finding:
    """Hold an AUROC against the claim's threshold and the highest end on a control direction, of either sign."""
    others = cells.where(of_controls(claim.rivals), **without(claim.cell, "direction")).rows
    reach = pl.max_horizontal(pl.col(claim.measure[2]), 1 - pl.col(claim.measure[1]))
    best = Cells(cells.table, others.with_columns(reach=reach)).ranked("reach")
    row = cells.at(claim.cell)
    if best.rows.is_empty():
        note = "no control direction was projected"
        return replace(find(claim, row, claim.threshold, note), complete=False)
    note = f"strongest of {best.rows.height} control directions: {best.first('direction')}"
    return find(claim, row, max(claim.threshold, best.highest("reach")), note)
