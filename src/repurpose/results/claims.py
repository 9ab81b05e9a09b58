"""The claims of the paper, each with estimate, interval and verdict, computed from the tables and nothing else.

A claim is a small function from tables to a number with its interval and the threshold that it must pass. The
verdict follows from these three alone: supported where the whole interval is on the claimed side of the
threshold, not supported where it is all on the other side, and otherwise cannot tell.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from repurpose.data.csv_tables import read_csv, to_csv
from repurpose.data.files import TableError, write_text
from repurpose.data.statistics import UNDEFINED, Estimate
from repurpose.study.errors import one_line_errors
from repurpose.study.settings import StepSettings

Verdict = Literal["supported", "not supported", "cannot tell"]
Tables = Mapping[str, pl.DataFrame]
SUPPORTED: Verdict = "supported"
NOT_SUPPORTED: Verdict = "not supported"
CANNOT_TELL: Verdict = "cannot tell"

PAPER: dict[str, str] = {
    "1": "A direction for backtracking, read from the base model before backtracking sentences, makes the reasoning "
    "model backtrack when it is added.",
    "2": "The same direction does not make the base model backtrack, nor does the one read from the reasoning model.",
    "3": "The base-derived and the reasoning-derived direction are nearly the same.",
    "4": "The effect is not a token-level one: by logit lens the base-derived direction does not decode to keywords.",
    "5": "The effect is far larger than that of controls.",
    "6": "The direction is one heuristic of several: its projection is dense and does not track single keywords.",
    "+": "What the paper leaves open.",
}
"""The paper's six claims in our words, and what is asked beyond them."""


@dataclass(frozen=True)
class Finding:
    """What a claim's function returns: the estimate, and which side of which threshold it must be on."""

    estimate: Estimate
    threshold: float
    above: bool = True
    note: str = ""
    valid: bool = True
    """False where the numbers cannot carry the claim (text that is not coherent, say): then nobody can tell."""


@dataclass(frozen=True)
class Claim:
    """One testable part of a claim."""

    name: str
    text: str
    rule: str
    unit: str
    table: str
    find: Callable[[pl.DataFrame, str], Finding]
    interval: str = "{level} over prompts"
    counts: bool = True
    """Whether the paper's claim stands and falls with this part; others ask for more than the paper did."""

    @property
    def paper(self) -> str:
        """The paper's claim that this is a part of."""
        return self.name[0]


def judge(finding: Finding) -> Verdict:
    """Return the verdict on a finding."""
    _, low, high = finding.estimate
    if not finding.valid or not all(map(math.isfinite, (low, high, finding.threshold))):
        return CANNOT_TELL
    if not finding.above:
        low, high = -high, -low
    threshold = finding.threshold if finding.above else -finding.threshold
    if low > threshold:
        return SUPPORTED
    return NOT_SUPPORTED if high <= threshold else CANNOT_TELL


def judge_all(verdicts: Iterable[str]) -> Verdict:
    """Return the verdict on a claim from those on its parts: all must be supported; one refuted part refutes it."""
    found = list(verdicts)
    if NOT_SUPPORTED in found:
        return NOT_SUPPORTED
    return SUPPORTED if found and all(verdict == SUPPORTED for verdict in found) else CANNOT_TELL


def cell(table: pl.DataFrame, **wanted: Any) -> dict[str, Any] | None:
    """Return the one row with these values, or None; among several, the first."""
    if any(name not in table.columns for name in wanted):
        return None
    rows = table.filter(*(pl.col(name) == value for name, value in wanted.items()))
    return rows.row(0, named=True) if rows.height else None


def estimate_in(row: dict[str, Any] | None, name: str, prefix: str = "") -> Estimate:
    """Return an estimate from a row's columns; undefined where the row or a value is missing."""
    values = [row.get(key) if row else None for key in (name, f"{prefix}low", f"{prefix}high")]
    return Estimate(*(math.nan if value is None else float(value) for value in values))


def highest(table: pl.DataFrame, column: str) -> float:
    """Return the highest value of a column; NaN where there is none."""
    values = table[column].drop_nulls() if column in table.columns else pl.Series([], dtype=pl.Float64)
    return float(max(values)) if len(values) else math.nan


def lowest(table: pl.DataFrame, column: str) -> float:
    """Return the lowest value of a column; NaN where there is none."""
    values = table[column].drop_nulls() if column in table.columns else pl.Series([], dtype=pl.Float64)
    return float(min(values)) if len(values) else math.nan


def coherence_note(row: dict[str, Any] | None) -> str:
    """Say where a cell's text is not coherent."""
    return "the text is not coherent at this magnitude" if row and not row["coherent"] else ""


# 1 and 5: the reasoning model, steered


def find_raise(table: pl.DataFrame, behaviour: str) -> Finding:
    """The change of the keyword share."""
    row = cell(table, target="reasoning", direction=behaviour, reader="base", selected=True)
    return Finding(estimate_in(row, "change", "change_"), 0.0, note=coherence_note(row), valid=_coherent(row))


def _coherent(row: dict[str, Any] | None) -> bool:
    return bool(row and row["coherent"])


def find_sentences(table: pl.DataFrame, behaviour: str) -> Finding:
    """The change of the share of sentences that backtrack by their label, keyword or not."""
    row = cell(table, target="reasoning", direction=behaviour, reader="base", selected=True)
    estimate = estimate_in(row, "backtracking_change", "backtracking_change_")
    return Finding(estimate, 0.0, note=coherence_note(row), valid=_coherent(row))


def find_suppression(table: pl.DataFrame, behaviour: str) -> Finding:
    """The change at the negative magnitude nearest to minus the selected one."""
    selected = cell(table, target="reasoning", direction=behaviour, reader="base", selected=True)
    cells = table.filter(
        pl.col("target") == "reasoning",
        pl.col("direction") == behaviour,
        pl.col("reader") == "base",
        pl.col("magnitude") < 0,
    )
    if selected is None or cells.is_empty():
        return Finding(UNDEFINED, 0.0, above=False, note="no negative magnitude was run")
    mirror = cells.sort((pl.col("magnitude") + selected["magnitude"]).abs()).row(0, named=True)
    estimate = estimate_in(mirror, "backtracking_change", "backtracking_change_")
    return Finding(estimate, 0.0, above=False, note=coherence_note(mirror), valid=_coherent(mirror))


def controls_of(table: pl.DataFrame, chosen: pl.Expr) -> pl.DataFrame:
    """Cells of some controls in the reasoning model."""
    return table.filter(pl.col("target") == "reasoning", ~pl.col("family").is_in(["behaviour", "none"]), chosen)


def coherent_controls(table: pl.DataFrame, chosen: pl.Expr) -> pl.DataFrame:
    """Cells of controls in the reasoning model, at every magnitude up to the selected one where the text is coherent.

    A control whose text falls apart says few words or none: it would be beaten by default, or win by accident.
    """
    largest = table.filter("selected")["magnitude"].max()
    here = controls_of(table, chosen)
    return here.filter("coherent", pl.col("magnitude") > 0, pl.col("magnitude") <= largest)


def _note_controls(table: pl.DataFrame, chosen: pl.Expr, rivals: pl.DataFrame, end: str = "high") -> str:
    """Say which control is the strongest, how many are coherent where the vector is, and what the others reach."""
    if rivals.is_empty():
        return "no such control was run, or none is coherent"
    best, at = rivals.row(0, named=True), controls_of(table, chosen).filter("selected")
    note = (
        f"strongest: {best['direction']} at {best['multiple']:g} times the selected magnitude; "
        f"{at.filter('coherent').height} of {at.height} are coherent at it"
    )
    rest = at.filter(~pl.col("coherent")).drop_nulls(end).sort(end, descending=True)
    if rest.is_empty():
        return note
    return f"{note}, highest upper end of the others: {rest['direction'][0]}, {100 * rest[end][0]:.2f} %"


def against(families: Sequence[str], names: Sequence[str] = ()) -> Callable[[pl.DataFrame, str], Finding]:
    """Return a claim function: the share against the highest upper end among some controls, where they are coherent.

    Args:
        families: families of controls; with none, every control that is not a random direction.
        names: only these directions of them; with none, all.
    """

    def find(table: pl.DataFrame, behaviour: str) -> Finding:
        row = cell(table, target="reasoning", direction=behaviour, reader="base", selected=True)
        chosen = pl.col("family").is_in(list(families)) if families else pl.col("family") != "random"
        chosen &= pl.col("direction").is_in(list(names)) if names else pl.lit(True)
        rivals = coherent_controls(table, chosen).sort("high", descending=True)
        note = coherence_note(row) or _note_controls(table, chosen, rivals)
        return Finding(estimate_in(row, "share"), highest(rivals, "high"), note=note, valid=_coherent(row))

    return find


def find_noise(table: pl.DataFrame, behaviour: str) -> Finding:
    """The change of the keyword share by noise."""
    del behaviour
    row = cell(table, target="reasoning", direction="noise", selected=True)
    return Finding(estimate_in(row, "change", "change_"), 0.0, note=coherence_note(row), valid=row is not None)


def find_factor(table: pl.DataFrame, behaviour: str) -> Finding:
    """How many times the change of the best of the paper's controls and random directions the behaviour's is.

    The interval is conservative: each end of ours over the other end of the control's.
    """
    row = cell(table, target="reasoning", direction=behaviour, reader="base", selected=True)
    ours = estimate_in(row, "change", "change_")
    compared = (pl.col("family") == "random") | pl.col("direction").is_in(PAPER_CONTROLS)
    rivals = coherent_controls(table, compared).sort("change", descending=True)
    if row is None or rivals.is_empty():
        return Finding(UNDEFINED, FAR_LARGER)
    theirs = estimate_in(rivals.row(0, named=True), "change", "change_")
    note = coherence_note(row) or _note_controls(table, compared, rivals, "change_high")
    if theirs.high <= 0:
        valid = _coherent(row) and ours.low > 0
        return Finding(Estimate(LARGE, LARGE, LARGE), FAR_LARGER, note="no control raises the share", valid=valid)
    ratio = Estimate(
        ours.value / theirs.value if theirs.value > 0 else LARGE,
        ours.low / theirs.high,
        ours.high / theirs.low if theirs.low > 0 else LARGE,
    )
    return Finding(ratio, FAR_LARGER, note=note, valid=_coherent(row))


PAPER_CONTROLS = ("mean", "noise", "self", "deduction", "initializing")
FAR_LARGER = 3.0
LARGE = 1e6
"""Stands for a ratio without an upper bound."""


def find_false_alarms_of_controls(table: pl.DataFrame, behaviour: str) -> Finding:
    """How often right steps are backtracked from, against every control and random direction."""
    row = cell(table, target="reasoning", direction=behaviour, reader="base", selected=True)
    rivals = coherent_controls(table, pl.lit(True)).drop_nulls("after_right_high")
    rivals = rivals.sort("after_right_high", descending=True)
    note = coherence_note(row) or _note_controls(table, pl.lit(True), rivals, "after_right_high")
    limit = highest(rivals, "after_right_high")
    return Finding(estimate_in(row, "after_right", "after_right_"), limit, note=note, valid=_coherent(row))


# 2: the base model, steered


def base_target(reader: str) -> Callable[[pl.DataFrame, str], Finding]:
    """Return a claim function: the base model's keyword share under the vector of one reader.

    At the largest magnitude up to the selected one at which its text is coherent: a model that no longer says anything
    does not say the keywords either.
    """

    def find(table: pl.DataFrame, behaviour: str) -> Finding:
        selected = cell(table, target="base", direction=behaviour, reader=reader, selected=True)
        row = largest_coherent(table, selected) or selected
        same = row is None or row == selected
        note = coherence_note(row) if same else f"at {row['multiple']:g} times the selected magnitude"
        return Finding(estimate_in(row, "share"), 0.01, above=False, note=note, valid=_coherent(row))

    return find


def largest_coherent(table: pl.DataFrame, selected: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the cell of the same vector and target with the largest magnitude up to this one and coherent text."""
    if selected is None:
        return None
    same = [pl.col(name) == selected[name] for name in ("target", "direction", "reader")]
    steered = table.filter(*same, "coherent", pl.col("magnitude").is_between(0, selected["magnitude"], closed="right"))
    return steered.sort("magnitude").row(-1, named=True) if steered.height else None


def find_base_logodds(table: pl.DataFrame, behaviour: str) -> Finding:
    """The base model's change of keyword log-odds against the random directions'."""
    cells = table.filter(pl.col("target") == "base", pl.col("context") == "keyword", pl.col("selected"))
    row = cell(cells, direction=behaviour, reader="base")
    # The estimate, not its upper end: what is to stay below random directions must not profit from their width.
    limit = highest(cells.filter(pl.col("family") == "random"), "change")
    return Finding(estimate_in(row, "change"), limit, above=False, note="threshold: best random direction")


def find_more_than_base(table: pl.DataFrame, behaviour: str) -> Finding:
    """How much more the reasoning model's keyword log-odds change than the base model's, on the same text."""
    cells = table.filter(pl.col("target") == "reasoning", pl.col("context") == "keyword", pl.col("selected"))
    row = cell(cells, direction=behaviour, reader="base")
    return Finding(estimate_in(row, "more_than_base", "more_than_base_"), 0.0)


def find_mark(table: pl.DataFrame, behaviour: str) -> Finding:
    """The base model's change of the log-odds of the mark `mistake` against the random directions'."""
    cells = table.filter(pl.col("target") == "base", pl.col("context") == "mark", pl.col("selected"))
    row = cell(cells, direction=behaviour, reader="base")
    limit = highest(cells.filter(pl.col("family") == "random"), "high")
    return Finding(estimate_in(row, "change"), limit, note="threshold: best random direction")


# 3: cosines


def find_cosine(table: pl.DataFrame, behaviour: str) -> Finding:
    """The cosine between readers, no noise shared and the noise of both vectors taken out."""
    row = cell(table, name=behaviour)
    return Finding(estimate_in(row, "disattenuated", "disattenuated_"), ALIKE, note=_reliability_note(row))


ALIKE = 0.7


def _reliability_note(row: dict[str, Any] | None) -> str:
    """Say where a reader has no direction whose cosine could be told."""
    return "halves of the prompts do not agree on a direction" if row and row["disattenuated"] is None else ""


def find_cosine_chance(table: pl.DataFrame, behaviour: str) -> Finding:
    """The cosine between readers on disjoint halves against that of random pairs, which have noise as well."""
    row = cell(table, name=behaviour)
    return Finding(estimate_in(row, "cross_half", "cross_half_"), row["random_high"] if row else math.nan)


def find_cosine_special(table: pl.DataFrame, behaviour: str) -> Finding:
    """The cosine without noise against the highest of the other labels and controls.

    Without noise, because a label with more sentences would else look more alike for that alone. A control that has no
    direction has no such cosine; what its halves show counts.
    """
    others = table.filter(pl.col("family").is_in(["other label", "shuffle", "same-offset"]))
    ranked = others.with_columns(alike=pl.coalesce("disattenuated", "cross_half")).sort(
        "alike", descending=True, nulls_last=True
    )
    row = cell(table, name=behaviour)
    note = _reliability_note(row) or (f"highest other: {ranked['name'][0]}" if ranked.height else "")
    return Finding(estimate_in(row, "disattenuated", "disattenuated_"), highest(ranked, "alike"), note=note)


# 4: logit lens


def find_lens(table: pl.DataFrame, behaviour: str) -> Finding:
    """The highest mean percentile of a keyword's entries, over words and unembeddings, at the selected layer."""
    here = table.filter(
        pl.col("direction") == behaviour,
        pl.col("reader") == "base",
        pl.col("selected"),
        ~pl.col("word").str.starts_with("top:"),
    )
    ranks = here["rank"].drop_nulls()
    if not len(ranks):
        return Finding(UNDEFINED, TOP_PERCENTILE, above=False)
    estimate = Estimate(*[float(max(ranks))] * 3)
    best = here.sort("rank", descending=True).row(0, named=True)
    return Finding(estimate, TOP_PERCENTILE, above=False, note=f"{best['word']}, {best['unembedding']} unembedding")


def find_lens_top(table: pl.DataFrame, behaviour: str) -> Finding:
    """How many of the best tokens hold one of the words."""
    here = table.filter(pl.col("direction") == behaviour, pl.col("reader") == "base", pl.col("selected"))
    words = {word for word in here["word"] if not word.startswith("top:")}
    best = [word.removeprefix("top:") for word in here["word"] if word.startswith("top:")]
    if not best:
        return Finding(UNDEFINED, 1, above=False)
    held = sorted({token.strip() for token in best if any(word in token.lower() for word in words)})
    count = sum(any(word in token.lower() for word in words) for token in best)
    return Finding(Estimate(count, count, count), 1, above=False, note=f"among them {', '.join(held)}" if held else "")


TOP_PERCENTILE = 0.95


# 6: projections


def find_dense(table: pl.DataFrame, behaviour: str) -> Finding:
    """The share of tokens that carry the projection against the share that stands in the behaviour's sentences."""
    del behaviour
    row = cell(table, part="summary", reader="base", group="participation")
    inside = cell(table, part="summary", reader="base", group="behaviour_tokens")
    return Finding(estimate_in(row, "value"), estimate_in(inside, "value").high, note="threshold: its upper end")


def projection_summary(group: str, threshold: float, above: bool) -> Callable[[pl.DataFrame, str], Finding]:
    """Return a claim function: a summary of the base reader's projections against a threshold."""

    def find(table: pl.DataFrame, behaviour: str) -> Finding:
        del behaviour
        row = cell(table, part="summary", reader="base", group=group)
        return Finding(estimate_in(row, "value"), threshold, above=above)

    return find


# beyond the paper


def find_ablation(table: pl.DataFrame, behaviour: str) -> Finding:
    """The change of natural backtracking when the base-derived direction is removed."""
    row, name = cell(table, target="reasoning", direction=behaviour, reader="base"), _natural(table)
    return Finding(estimate_in(row, f"{name}_change", f"{name}_change_"), 0.0, above=False, note=NATURAL[name])


NATURAL = {"after_wrong": "of wrong steps, by the truth", "backtracking": "of all sentences, by their label"}
"""What natural backtracking is a share of, by the columns' name."""


def _natural(table: pl.DataFrame) -> str:
    """Of wrong steps where the truth is known: ablation changes how much is said between steps, too."""
    known = "after_wrong" in table.columns and table["after_wrong"].is_not_null().any()
    return "after_wrong" if known else "backtracking"


def find_ablation_random(table: pl.DataFrame, behaviour: str) -> Finding:
    """Natural backtracking with the direction removed against that with random directions removed."""
    row, name = cell(table, target="reasoning", direction=behaviour, reader="base"), _natural(table)
    limit = lowest(table.filter(pl.col("family") == "random"), f"{name}_low")
    estimate = estimate_in(row, "backtracking_share" if name == "backtracking" else name, f"{name}_")
    return Finding(estimate, limit, above=False, note=f"{NATURAL[name]}; threshold: lowest end of a random direction")


def find_false_alarms(table: pl.DataFrame, behaviour: str) -> Finding:
    """The change of how often right steps are backtracked from."""
    row = cell(table, target="reasoning", direction=behaviour, reader="base", selected=True)
    estimate = estimate_in(row, "after_right_change", "after_right_change_")
    return Finding(estimate, 0.0, note=coherence_note(row), valid=_coherent(row))


def find_detection(table: pl.DataFrame, behaviour: str) -> Finding:
    """AUROC of the base reader's projection for an open mistake, over all tokens since the step."""
    del behaviour
    overall = table.filter(pl.col("since_low") == 0, pl.col("since_high").is_null())
    row = cell(overall, reader="base", tokens="unhedged")
    return Finding(estimate_in(row, "auroc"), 0.5)


MAGNITUDE = "at the selected magnitude, held-out prompts"
COHERENT = "; controls at every magnitude up to it at which their text is coherent"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "1a",
        "The base-derived vector raises the keyword share in the reasoning model.",
        f"change from unsteered, paired by prompt, {MAGNITUDE}: interval above 0, text coherent",
        "share",
        "2x2",
        find_raise,
    ),
    Claim(
        "1b",
        "It raises it more than every random direction of the same norm.",
        f"share {MAGNITUDE}: lower end above the highest upper end of the random directions{COHERENT}",
        "share",
        "baselines",
        against(["random"]),
    ),
    Claim(
        "1c",
        "It makes sentences backtrack by their label, not only by their words.",
        f"change of the share of sentences labelled as backtracking, {MAGNITUDE}: interval above 0",
        "share",
        "2x2",
        find_sentences,
    ),
    Claim(
        "2a",
        "The base-derived vector does not make the base model say the keywords.",
        "keyword share of the steered base model on held-out prompts, at the largest magnitude up to the selected one "
        "at which its text is coherent: interval below 1 %",
        "share",
        "2x2",
        base_target("base"),
    ),
    Claim(
        "2b",
        "Nor does the reasoning-derived vector.",
        "keyword share of the steered base model on held-out prompts, at the largest magnitude up to the selected one "
        "at which its text is coherent: interval below 1 %",
        "share",
        "2x2",
        base_target("reasoning"),
    ),
    Claim(
        "2c",
        "On the same text it raises the keywords' log-odds more in the reasoning model than in the base model.",
        "difference of the changes at sentence starts of the reasoning model's rollouts: interval above 0",
        "nats",
        "base_zero",
        find_more_than_base,
        counts=False,
    ),
    Claim(
        "2d",
        "On that text it does not raise the keywords' log-odds in the base model beyond random directions.",
        "change in the base model: interval below the highest estimate of a random direction",
        "nats",
        "base_zero",
        find_base_logodds,
        counts=False,
    ),
    Claim(
        "3a",
        "Base- and reasoning-derived vectors are nearly the same.",
        "cosine at the selected site, each reader on another half of the prompts, over the geometric mean of the "
        f"readers' split-half cosines: interval above {ALIKE} (the paper: about 0.74 on the same text)",
        "cosine",
        "cosines",
        find_cosine,
    ),
    Claim(
        "3b",
        "They are more alike than random directions are.",
        "cosine, each reader on another half of the prompts: interval above 97.5 % of random pairs in as many "
        "dimensions",
        "cosine",
        "cosines",
        find_cosine_chance,
    ),
    Claim(
        "4a",
        "The base-derived direction does not decode to the keywords.",
        f"mean percentile of a keyword's entries among all tokens, highest of all words and both unembeddings: below "
        f"{TOP_PERCENTILE}",
        "percentile",
        "lens",
        find_lens,
        "the highest alone",
    ),
    Claim(
        "4b",
        "None of its ten best tokens is one.",
        "best tokens by the base and the reasoning model's unembedding that hold a word of the lens: none",
        "tokens",
        "lens",
        find_lens_top,
        "a count",
    ),
    Claim(
        "5a",
        "It exceeds the paper's controls: mean, noise, self-amplification, deduction, initializing.",
        f"share {MAGNITUDE}: lower end above the highest upper end of these five{COHERENT}",
        "share",
        "baselines",
        against([], PAPER_CONTROLS),
    ),
    Claim(
        "5b",
        "It exceeds every other control: label shuffles, same-offset starts, each other label.",
        f"share {MAGNITUDE}: lower end above the highest upper end of every control but random directions{COHERENT}",
        "share",
        "baselines",
        against([]),
    ),
    Claim(
        "5c",
        "The effect is far larger than those of the paper's controls and of random directions.",
        f"change over the largest change of one of these {MAGNITUDE}: above {FAR_LARGER:g} times{COHERENT}",
        "times",
        "baselines",
        find_factor,
        "conservative, from both intervals",
    ),
    Claim(
        "6a",
        "The projection is dense: many tokens carry it.",
        "tokens that carry the base reader's projection (participation ratio; a normal distribution has 33 %): more "
        "than stand in sentences of the behaviour",
        "share",
        "projections",
        find_dense,
    ),
    Claim(
        "6b",
        "It does not track single keyword tokens.",
        "share of keywords among the highest projections, as many as there are keywords: below 0.5",
        "share",
        "projections",
        projection_summary("keyword_precision", 0.5, above=False),
    ),
    Claim(
        "+a",
        "The uncertainty-estimation vector, the hard control, does less.",
        f"share {MAGNITUDE}: lower end above the upper end of uncertainty-estimation{COHERENT}",
        "share",
        "baselines",
        against([], ["uncertainty-estimation"]),
    ),
    Claim(
        "+b",
        "Noise alone raises the keyword share a little.",
        f"change from unsteered {MAGNITUDE}: interval above 0",
        "share",
        "baselines",
        find_noise,
    ),
    Claim(
        "+c",
        "The negative vector suppresses backtracking.",
        "change of labelled sentences at minus the selected magnitude: interval below 0",
        "share",
        "2x2",
        find_suppression,
    ),
    Claim(
        "+d",
        "The direction is needed for natural backtracking.",
        "change of the share that is backtracked from when the direction is removed everywhere: interval below 0",
        "share",
        "ablation",
        find_ablation,
    ),
    Claim(
        "+e",
        "It is needed more than random directions are.",
        "the share with the direction removed: interval below the lowest lower end of random directions",
        "share",
        "ablation",
        find_ablation_random,
    ),
    Claim(
        "+f",
        "The base model uses the direction to mark mistakes.",
        "change of the log-odds of the mark `mistake`: lower end above the best random direction's upper end",
        "nats",
        "base_zero",
        find_mark,
    ),
    Claim(
        "+g",
        "In the base model the projection tells that a mistake is open.",
        "AUROC over tokens since the last step, hedging and backtracking sentences left out: above 0.5",
        "AUROC",
        "detection",
        find_detection,
    ),
    Claim(
        "+h",
        "The similarity of the two readers' vectors is special to the behaviour.",
        "cosine as in 3a: interval above the highest of the other labels, label shuffles and same-offset starts",
        "cosine",
        "cosines",
        find_cosine_special,
    ),
    Claim(
        "+i",
        "It makes the reasoning model backtrack from steps that are right.",
        f"change of the share of right steps that are backtracked from, {MAGNITUDE}: interval above 0, text coherent",
        "share",
        "2x2",
        find_false_alarms,
    ),
    Claim(
        "+j",
        "No control does that.",
        f"share of right steps that are backtracked from, {MAGNITUDE}: lower end above the highest upper end of all "
        f"controls and random directions{COHERENT}",
        "share",
        "baselines",
        find_false_alarms_of_controls,
    ),
)

CLAIM_COLUMNS: dict[str, Any] = {
    "claim": pl.String,
    "part": pl.String,
    "text": pl.String,
    "estimate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "unit": pl.String,
    "interval": pl.String,
    "threshold": pl.Float64,
    "rule": pl.String,
    "verdict": pl.String,
    "counts": pl.Boolean,
    "table": pl.String,
    "note": pl.String,
}


def weigh_claims(tables: Tables, behaviour: str, level: float = 0.95) -> pl.DataFrame:
    """Return the claims table, one row per part; `level` is that of the tables' intervals."""
    return pl.DataFrame([_weigh(claim, tables, behaviour, level) for claim in CLAIMS], schema=CLAIM_COLUMNS)


def _weigh(claim: Claim, tables: Tables, behaviour: str, level: float) -> dict[str, Any]:
    table = tables[claim.table]
    finding = Finding(UNDEFINED, math.nan, note="not measured in this study")
    if not table.is_empty():
        finding = claim.find(table, behaviour)
    numbers = dict(zip(("estimate", "low", "high"), finding.estimate, strict=True))
    return {
        "claim": claim.paper,
        "part": claim.name,
        "text": claim.text,
        **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
        "unit": claim.unit,
        "interval": claim.interval.format(level=f"{100 * level:g} %"),
        "threshold": finding.threshold if math.isfinite(finding.threshold) else None,
        "rule": claim.rule,
        "verdict": judge(finding),
        "counts": claim.counts,
        "table": claim.table,
        "note": finding.note,
    }


def overall_verdicts(claims: pl.DataFrame) -> dict[str, Verdict]:
    """Return the verdict on each of the paper's claims from those on the parts that count."""
    counting = claims.filter("counts")
    names = [name for name in PAPER if name != "+"]
    return {name: judge_all(counting.filter(pl.col("claim") == name)["verdict"]) for name in names}


def format_number(value: float | None, unit: str) -> str:
    """Return a number as one would quote it."""
    if value is None:
        return "–"
    return f"{_bare(value, unit)} %" if unit == "share" else _bare(value, unit)


def _bare(value: float | None, unit: str) -> str:
    """Return a number without its unit."""
    if value is None or value >= LARGE:
        return "–" if value is None else "∞"
    return (f"{100 * value:.2f}" if unit == "share" else f"{value:.3g}").replace("-", "−")


def format_estimate(row: Mapping[str, Any]) -> str:
    """Return an estimate with its interval."""
    if row["estimate"] is None and row["low"] is None:
        return "–"
    ends = " to ".join(_bare(row[end], row["unit"]) for end in ("low", "high"))
    return f"{format_number(row['estimate'], row['unit'])} ({ends})"


def write_markdown(claims: pl.DataFrame) -> str:
    """Return the claims as a Markdown page: the six first, then every part with its rule."""
    verdicts = overall_verdicts(claims)
    lines = ["# Claims", "", "| claim | verdict |", "|---|---|"]
    lines += [f"| {name}. {PAPER[name]} | **{verdict}** |" for name, verdict in verdicts.items()]
    lines += ["", "A claim is supported where all of its parts are; parts marked * ask for more and do not count."]
    for name, text in PAPER.items():
        lines += ["", f"## {name}. {text}" if name != "+" else f"## Beyond: {text[0].lower()}{text[1:]}", ""]
        lines += ["| part | estimate (interval) | threshold | verdict | rule |", "|---|---|---|---|---|"]
        parts = claims.filter(pl.col("claim") == name)
        lines += [_markdown_row(row) for row in parts.iter_rows(named=True)]
    return "\n".join(lines) + "\n"


def _markdown_row(row: dict[str, Any]) -> str:
    note = f" ({row['note']})" if row["note"] else ""
    cells = (
        f"{row['part']}{'' if row['counts'] else '*'}. {row['text']}",
        f"{format_estimate(row)}; {row['interval']}",
        format_number(row["threshold"], row["unit"]),
        f"**{row['verdict']}**",
        f"{row['rule']}{note}",
    )
    return "| " + " | ".join(map(_escape_markdown, cells)) + " |"


def _escape_markdown(text: str) -> str:
    """Notes may hold a model's tokens: no cell, tag or line may end early."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
    return " ".join(escaped.split())


def read_tables(paths: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Read tables by their stems.

    Raises:
        TableError: where one that a claim reads is missing.
    """
    tables = {Path(path).stem: read_csv(path) for path in paths}
    missing = sorted({claim.table for claim in CLAIMS} - tables.keys())
    if missing:
        raise TableError(f"--tables: {missing[0]}.csv is missing; the claims are read off it")
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description="Weigh the paper's claims by the study's tables.")
    parser.add_argument("--settings", required=True, help="the step's settings as JSON")
    parser.add_argument("--tables", required=True, nargs="+")
    parser.add_argument("--output", required=True, nargs=2, metavar=("CSV", "MARKDOWN"))
    arguments = parser.parse_args()
    with one_line_errors("results.claims"):
        settings = StepSettings("results.claims", arguments.settings)
        claims = weigh_claims(read_tables(arguments.tables), settings.vectors.behaviour, settings.statistics.level)
        write_text(arguments.output[0], to_csv(claims))
        write_text(arguments.output[1], write_markdown(claims))


if __name__ == "__main__":
    main()
