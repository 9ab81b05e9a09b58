"""Selection: layer, window and magnitude, chosen on training prompts.

The rule: among cells of the behaviour vector read from the base model and added to the reasoning model, keep
the windows that end before the sentence and the cells whose text is coherent; take the highest share of keywords
(Eq. 1, words pooled over the cell), of sentences labelled as the behaviour or, in the embedded pair's language, of
sentences that its grammar produces as backtracking. A tie goes to the smaller magnitude.
"""

from typing import Any

import polars as pl

from repurpose.data.command import run_step
from repurpose.data.files import TableError
from repurpose.data.selected import Selected, write_selected
from repurpose.steering.coherence import NATS, READ_TOKENS, is_coherent, nll_limit
from repurpose.study.settings import Selection

METRICS = {
    "keyword_share": ("share", "keyword_words", "words"),
    "backtracking_share": ("backtracking_share", "backtracking_sentences", "sentences"),
    "valid_backtracking": ("valid_backtracking", "valid_backtracking_sentences", "judged_sentences"),
}
"""What a cell may be chosen by: the column of a cell, and the counts of a row whose sums are its numerator and
denominator."""
KEYS = ("layer", "window_start", "magnitude")
KEPT = ("valid_backtracking", "grammatical", "nll", "finished", "correct")
"""What `Selected` says of the chosen and of the unsteered text, beside what every study has."""


def summarise_cells(rows: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    """Return per cell the pooled shares, what coherence is judged by, endings, answers and the number of prompts."""
    pooled = {name: _ratio(pl.col(above), pl.col(below)) for name, above, below in METRICS.values()}
    return rows.group_by(keys, maintain_order=True).agg(
        **pooled,
        grammatical=_ratio(pl.col("grammatical_sentences"), pl.col("judged_sentences")),
        nll=_ratio(NATS, READ_TOKENS),
        distinct_2=pl.col("distinct_2").mean(),
        longest_run=pl.col("longest_run").mean(),
        finished=pl.col("finished").mean(),
        correct=pl.col("correct").mean(),
        dose=pl.col("dose").mean(),
        prompts=pl.col("prompt_id").n_unique(),
    )


def _ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """A ratio of sums; null where there is nothing to share."""
    return pl.when(denominator.sum() > 0).then(numerator.sum() / denominator.sum())


def candidates(rows: pl.DataFrame, rules: Selection, behaviour: str, window_length: int) -> pl.DataFrame:
    """The rows of the base-derived vector, added, of windows that end before the sentence."""
    steered = (pl.col("direction") == behaviour) & (pl.col("reader") == "base") & (pl.col("magnitude") > 0)
    return rows.filter(steered, pl.col("window_start") + window_length - 1 <= rules.latest_end)


def choose_cell(rows: pl.DataFrame, rules: Selection, behaviour: str, window_length: int) -> Selected:
    """Return the chosen cell and what it was compared with.

    Raises:
        TableError: without unsteered rows or a coherent cell, or where the best has less than the unsteered text.
    """
    unsteered = rows.filter(pl.col("direction") == "none")
    if unsteered.is_empty():
        raise TableError("the selection sweep has no unsteered rows to compare with")
    reference = summarise_cells(unsteered, ("direction",)).row(0, named=True)
    early = summarise_cells(candidates(rows, rules, behaviour, window_length), KEYS)
    metric = METRICS[rules.metric][0]
    allowed = early.filter(is_coherent(rules, reference), pl.col(metric).is_not_null())
    if allowed.is_empty():
        raise TableError(
            f"none of {early.height} cells of the base-derived {behaviour} vector with a window that ends by "
            f"{rules.latest_end} is coherent; try smaller magnitudes"
        )
    best = allowed.sort([metric, "magnitude"], descending=[True, False], maintain_order=True)
    chosen = best.row(0, named=True)
    check_not_below(chosen, reference, rules)
    return Selected(
        **{name: value for name, value in chosen.items() if name not in KEPT},
        **{name: chosen[name] for name in KEPT},
        **{f"unsteered_{name}": reference[name] for name in KEPT},
        window_length=window_length,
        annotator=rows["annotator"][0],
        unsteered_share=reference["share"],
        unsteered_backtracking_share=reference["backtracking_share"],
        unsteered_distinct_2=reference["distinct_2"],
        nll_limit=(limit := nll_limit(rules, reference)),
        unsteered_above_limit=None if limit is None else _share_above(unsteered["nll"], limit),
        rule=describe_rule(rules, allowed.height, early.height, reference["grammatical"] is not None),
        **beside(best, chosen, rules.beside_window),
    )


def check_not_below(chosen: dict[str, Any], reference: dict[str, Any], rules: Selection) -> None:
    """Raise a TableError that names the chosen cell where it has less of the metric than the unsteered text."""
    metric = METRICS[rules.metric][0]
    if reference[metric] is not None and chosen[metric] < reference[metric]:
        raise TableError(
            f"selection: the best coherent cell, layer {chosen['layer']}, window start {chosen['window_start']}, "
            f"magnitude {chosen['magnitude']:.3g}, has a {rules.metric.replace('_', ' ')} of {chosen[metric]:.4f}, "
            f"below the unsteered {reference[metric]:.4f}; nothing that was tried raises it: sweep other layers, "
            "windows or magnitudes"
        )


def beside(best: pl.DataFrame, chosen: dict[str, Any], window: int | None) -> dict[str, Any]:
    """The best of the coherent cells of a window, as `Selected` has it, where it is another than the chosen one."""
    own = best.clear() if window is None else best.filter(window_start=window)
    if own.is_empty() or chosen["window_start"] == window:
        return {}
    return {f"beside_{name}": own[name][0] for name in KEYS}


def _share_above(values: pl.Series, limit: float) -> float | None:
    share = (values.drop_nulls() > limit).mean()
    return None if share is None else float(share)  # type: ignore[arg-type]


def describe_rule(rules: Selection, allowed: int, cells: int, has_grammar: bool) -> str:
    """Say how the cell was chosen."""
    metric = rules.metric.replace("_", " ")
    grammar = f", grammatical sentences at least {rules.min_grammatical:g} of the unsteered" if has_grammar else ""
    return (
        f"highest {metric} on training prompts among {allowed} coherent ones of {cells} cells whose window ends by "
        f"{rules.latest_end}: at most {rules.max_nats:g} nats per token more than unsteered text{grammar}, distinct-2 "
        f"at least {rules.min_distinct_2:g} of the unsteered, mean longest run at most {rules.max_longest_run:g} tokens"
    )


def main() -> None:
    with run_step("steering.selection", __doc__, one=["measurements"]) as step:
        settings, rows = step.settings, step.read("measurements").filter(pl.col("target") == "reasoning")
        length = settings.activations.window_length
        write_selected(step.given.output, choose_cell(rows, settings.selection, settings.vectors.behaviour, length))


if __name__ == "__main__":
    main()
