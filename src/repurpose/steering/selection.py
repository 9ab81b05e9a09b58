"""Selection: layer, window and magnitude, chosen on training prompts.

The rule: among cells of the behaviour vector read from the base model and added to the reasoning model, keep
the windows that end before the sentence and the cells whose text is coherent; take the highest share of keywords
(Eq. 1, words pooled over the cell) or of sentences labelled as the behaviour. A tie goes to the smaller magnitude.
"""

import polars as pl

from repurpose.data.command import run_step
from repurpose.data.files import TableError
from repurpose.data.selected import Selected, write_selected
from repurpose.study.settings import Selection


def summarise_cells(rows: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    """Return per cell the pooled keyword share, the mean coherence metrics and the number of prompts."""
    return rows.group_by(keys, maintain_order=True).agg(
        share=pl.col("keyword_words").sum() / pl.col("words").sum(),
        backtracking_share=pl.col("backtracking_sentences").sum() / pl.col("sentences").sum(),
        distinct_2=pl.col("distinct_2").mean(),
        longest_run=pl.col("longest_run").mean(),
        dose=pl.col("dose").mean(),
        prompts=pl.col("prompt_id").n_unique(),
    )


def is_coherent(rules: Selection, unsteered_distinct_2: float) -> pl.Expr:
    """Expression over cells: distinct-2 and the longest run are within the study's rules."""
    varied = pl.col("distinct_2") >= rules.min_distinct_2 * unsteered_distinct_2
    return varied & (pl.col("longest_run") <= rules.max_longest_run)


def choose_cell(rows: pl.DataFrame, rules: Selection, behaviour: str, window_length: int) -> Selected:
    """Return the chosen cell and what it was compared with; raises TableError without unsteered rows or such a cell."""
    unsteered = summarise_cells(rows.filter(pl.col("direction") == "none"), ("direction",))
    if unsteered.is_empty():
        raise TableError("the selection sweep has no unsteered rows to compare with")
    reference = unsteered.row(0, named=True)
    steered = (pl.col("direction") == behaviour) & (pl.col("reader") == "base") & (pl.col("magnitude") > 0)
    cells = summarise_cells(rows.filter(steered), ("layer", "window_start", "magnitude"))
    early = cells.filter(pl.col("window_start") + window_length - 1 <= rules.latest_end)
    metric = "share" if rules.metric == "keyword_share" else rules.metric
    allowed = early.filter(is_coherent(rules, reference["distinct_2"]), pl.col(metric).is_finite())
    if allowed.is_empty():
        raise TableError(
            f"none of {cells.height} cells of the base-derived {behaviour} vector is coherent with a window "
            f"that ends by {rules.latest_end} ({early.height} end by then); try smaller magnitudes"
        )
    best = allowed.sort([metric, "magnitude"], descending=[True, False], maintain_order=True)
    return Selected(
        **best.row(0, named=True),
        window_length=window_length,
        unsteered_share=reference["share"],
        unsteered_backtracking_share=reference["backtracking_share"],
        unsteered_distinct_2=reference["distinct_2"],
        rule=describe_rule(rules, allowed.height, cells.height),
    )


def describe_rule(rules: Selection, allowed: int, cells: int) -> str:
    """Say how the cell was chosen."""
    metric = rules.metric.replace("_", " ")
    return (
        f"highest {metric} on training prompts among {allowed} of {cells} cells: window ends by "
        f"{rules.latest_end}, distinct-2 at least {rules.min_distinct_2:g} of the unsteered, mean longest "
        f"run at most {rules.max_longest_run:g} tokens"
    )


def main() -> None:
    with run_step("steering.selection", __doc__, one=["measurements"]) as step:
        settings, rows = step.settings, step.read("measurements").filter(pl.col("target") == "reasoning")
        length = settings.activations.window_length
        write_selected(step.given.output, choose_cell(rows, settings.selection, settings.vectors.behaviour, length))


if __name__ == "__main__":
    main()
