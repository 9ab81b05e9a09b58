"""Tables of steered text: windows, layers, 2x2, baselines, ablation, coherence, the keyword rule."""

from collections.abc import Collection, Iterator
from typing import Any

import polars as pl

from repurpose.data.statistics import spread
from repurpose.results.names import ABLATION, BASELINES, LAYERS, TWO_BY_TWO, WINDOWS, bounded
from repurpose.results.tables import cells
from repurpose.results.tables.cells import CONDITION, EFFECT_COLUMNS, Resampling, conform, is_near, split_cells
from repurpose.results.tables.data import StudyData
from repurpose.steering.metrics import count_keywords
from repurpose.steering.stability import count_choices
from repurpose.study.settings import BEHAVIOURS, TOKEN_CONTROLS

CELL_COLUMNS = {name: EFFECT_COLUMNS[name] for name in ("target", "direction", "reader", "multiple", "magnitude")}
"""What tells a cell in the smaller tables."""
COHERENCE_COLUMNS: dict[str, Any] = {
    **CELL_COLUMNS,
    "selected": pl.Boolean,
    "metric": pl.String,
    **dict.fromkeys(("prompts", "rows"), pl.Int64),
    **dict.fromkeys(("estimate", "low", "high"), pl.Float64),
}
RULE_COLUMNS: dict[str, Any] = {
    "annotator": pl.String,
    **CELL_COLUMNS,
    **dict.fromkeys(("prompts", "sentences", "keyword_sentences", "labelled_sentences"), pl.Int64),
    **dict.fromkeys((*bounded("precision"), *bounded("recall"), *bounded("f1")), pl.Float64),
}
COSTS = ("share", "backtracking_share", "valid_backtracking", "nll", "grammatical")
"""Metrics beside the MEANS of cells in the table of what steering costs."""
STABILITY_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("layer", "window_start"), pl.Int64),
    **dict.fromkeys(("magnitude", "dose"), pl.Float64),
    "metric": pl.String,
    **dict.fromkeys(("chosen", "site_chosen", "coherent"), pl.Float64),
    "selected": pl.Boolean,
    **dict.fromkeys(("prompts", "resamples"), pl.Int64),
    "annotator": pl.String,
    "kappa": pl.Float64,
}
"""`chosen`: share of resamples of the training prompts in which the cell is chosen, `site_chosen` its layer and window
at any magnitude, `coherent` in which it is. `kappa`: see the effects table."""
NATURAL = {
    "target": pl.lit("reasoning"),
    "direction": pl.lit("natural"),
    "reader": pl.lit(""),
    "multiple": pl.lit(None, pl.Float64),
    "magnitude": pl.lit(0.0),
}
"""The condition of text that is not steered."""
MORE_KEYS = ("target", "direction", "reader", "multiple")
MORE_COLUMNS: dict[str, Any] = {
    **{name: EFFECT_COLUMNS[name] for name in MORE_KEYS},
    **dict.fromkeys(bounded("more_than_base"), pl.Float64),
}
DIFFERENCE_KEYS = ("target", "direction", "reader", "multiple")
DIFFERENCE_COLUMNS: dict[str, Any] = {
    **{name: EFFECT_COLUMNS[name] for name in DIFFERENCE_KEYS},
    **dict.fromkeys(bounded("difference"), pl.Float64),
}


def with_family(
    table: pl.DataFrame, behaviour: str, column: str = "direction", outside: Collection[str] = ()
) -> pl.DataFrame:
    """Add the column `family`, what kind of thing a direction is: the behaviour, which control, or from outside.

    A control's family is its name without a number, so that a new kind of control needs no entry here; `variant` is
    what is made of the behaviour's own vector and named after it.
    """
    direction = pl.col(column)
    own = pl.when(direction == behaviour).then(pl.lit("behaviour"))
    variant = own.when(direction.str.starts_with(f"{behaviour}-")).then(pl.lit("variant"))
    label = variant.when(direction.is_in(BEHAVIOURS)).then(pl.lit("other label"))
    family = label.when(direction.is_in(list(outside))).then(pl.lit("outside"))
    return table.with_columns(family=family.otherwise(direction.str.replace(r"-\d+$", "")))


def site_rows(data: StudyData, name: str) -> pl.DataFrame:
    """Return a sweep's rows at the selected layer and window, or at its nearest; none where there is no such sweep.

    A sweep may have several sites, and what is claimed is of one. Unsteered rows have no site, and directions that no
    window changes stand under the sweep's first window.
    """
    rows = data.sweep_rows(name)
    direction = pl.col("direction")
    free = direction.str.starts_with("random-") | direction.is_in([*TOKEN_CONTROLS, *data.outside])
    layer = _nearest(rows["layer"], data.selection.layer)
    start = _nearest(rows.filter(~free)["window_start"], data.selection.window_start)
    here = (pl.col("layer") == layer) & (free | (pl.col("window_start") == start))
    return rows.filter((pl.col("direction") == "none") | here)


def _nearest(values: pl.Series, wanted: int) -> int:
    return min(values.drop_nulls().unique(), key=lambda value: (abs(value - wanted), value), default=wanted)


def summarise_sweep(data: StudyData, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the effects of a sweep's rows; empty where there are none."""
    if rows.is_empty():
        return pl.DataFrame(schema=EFFECT_COLUMNS)
    rules, magnitude = data.settings.selection, data.selection.magnitude
    return cells.summarise_effects(rows, data.resampling(rows), rules, magnitude, data.kappas)


def make_windows(data: StudyData) -> pl.DataFrame:
    """Fig. 2: window start x magnitude at the selected layer, both readers, training prompts."""
    return _along(data, WINDOWS, along="window_start", fixed="layer")


def make_layers(data: StudyData) -> pl.DataFrame:
    """Fig. B.1: layer x magnitude at the selected window, both readers, training prompts."""
    return _along(data, LAYERS, along="layer", fixed="window_start")


def _along(data: StudyData, name: str, along: str, fixed: str) -> pl.DataFrame:
    """Effects along one axis of a grid, at what was selected on the other axis, or at the nearest that there is."""
    rows = data.sweep_rows(name if name in data.settings.sweeps else data.settings.selection.sweep)
    here = pl.col(fixed) == _nearest(rows[fixed], getattr(data.selection, fixed))
    effects = summarise_sweep(data, rows.filter((pl.col("direction") == "none") | here))
    chosen = is_near(data.selection.magnitude) & (pl.col("reader") == "base")
    at = chosen & (pl.col(along) == getattr(data.selection, along))
    return effects.with_columns(selected=at.fill_null(False))


def make_two_by_two(data: StudyData) -> pl.DataFrame:
    """Fig. 3: vector x target, held-out prompts, negative magnitudes too.

    `more_than_base` is the reasoning model's change of the keyword share minus the base model's under the same vector
    and magnitude, paired by prompt.
    """
    rows = site_rows(data, TWO_BY_TWO)
    more = pl.DataFrame(_more_than_base(rows, data), schema=MORE_COLUMNS)
    return summarise_sweep(data, rows).join(more, on=list(MORE_KEYS), how="left", maintain_order="left")


def _more_than_base(rows: pl.DataFrame, data: StudyData) -> Iterator[dict[str, Any]]:
    """Yield the difference of the two targets' changes in each cell that both have."""
    if rows["target"].n_unique() < 2:
        return
    resampling, plain = data.resampling(rows), pl.col("direction") == "none"
    for cell in split_cells(rows.filter(~plain), ["direction", "reader", "multiple"]):
        targets = [
            (here, rows.filter(plain, pl.col("target") == target))
            for target in ("reasoning", "base")
            if (here := cell.filter(target=target)).height
        ]
        if len(targets) == 2:
            shares = [[cells.parts(text, "share", resampling) for text in texts] for texts in targets]
            keys = {name: cell[name][0] for name in MORE_KEYS} | {"target": "reasoning"}
            yield keys | spread("more_than_base", resampling.interaction(*shares[0], *shares[1]))


def make_baselines(data: StudyData) -> pl.DataFrame:
    """Fig. 4: the behaviour and every control at the same L2 norms.

    `difference` is the behaviour's share minus the row's at the same magnitude, paired by prompt; `best` marks each
    direction's coherent cell with the highest upper end, `best_random` the random direction, of any kind, whose best
    cell is the highest of all.
    """
    rows = site_rows(data, BASELINES)
    effects = with_family(summarise_sweep(data, rows), data.behaviour, outside=data.outside)
    differences = _differences(rows, data) if rows.height else pl.DataFrame(schema=DIFFERENCE_COLUMNS)
    joined = effects.join(differences, on=DIFFERENCE_KEYS, how="left")
    rivals = effects.filter("coherent", pl.col("magnitude") > 0).drop_nulls("high").sort("high", descending=True)
    best = rivals.unique(["target", "direction", "reader"], keep="first", maintain_order=True)
    random = best.filter(pl.col("family").str.contains("random"), pl.col("target") == "reasoning")
    found = best.select(*DIFFERENCE_KEYS, best=True)
    marked = joined.join(found, on=DIFFERENCE_KEYS, how="left", maintain_order="left")
    is_best = pl.col("direction").is_in(random["direction"].to_list()[:1])
    return marked.with_columns(pl.col("best").fill_null(False), best_random=is_best)


def _differences(rows: pl.DataFrame, data: StudyData) -> pl.DataFrame:
    resampling, found = data.resampling(rows), []
    for same in split_cells(rows.filter(pl.col("direction") != "none"), ["target", "multiple"]):
        behaviour = same.filter(pl.col("direction") == data.behaviour, pl.col("reader") == "base")
        for cell in split_cells(same, ["direction", "reader"]) if behaviour.height else ():
            change = cells.estimate_change(behaviour, cell, "share", resampling)
            keys = {name: cell[name][0] for name in DIFFERENCE_KEYS}
            found.append(keys | spread("difference", change))
    return pl.DataFrame(found, schema=DIFFERENCE_COLUMNS)


def make_ablation(data: StudyData) -> pl.DataFrame:
    """Ablation of a direction at every position: is it needed for natural backtracking?"""
    return with_family(summarise_sweep(data, site_rows(data, ABLATION)), data.behaviour, outside=data.outside)


def make_coherence(data: StudyData) -> pl.DataFrame:
    """Coherence and correctness beside the effect, with intervals, over the cells of the 2x2."""
    rows = site_rows(data, TWO_BY_TWO)
    if rows.is_empty():
        return pl.DataFrame(schema=COHERENCE_COLUMNS)
    resampling = data.resampling(rows)
    effects = summarise_sweep(data, rows).select(*CONDITION, "selected")
    found = [
        {
            **{name: cell[name][0] for name in CONDITION},
            "magnitude": cell["magnitude"].mean(),
            "metric": metric,
            "prompts": cell["prompt_id"].n_unique(),
            "rows": cell[metric].count() if metric in cells.MEANS else cell.height,
            **spread("estimate", cells.estimate_metric(cell, metric, resampling), ""),
        }
        for cell in split_cells(rows, CONDITION)
        for metric in (*COSTS, *cells.MEANS)
    ]
    table = pl.DataFrame(found, infer_schema_length=None)
    joined = table.join(effects, on=CONDITION, how="left", nulls_equal=True)
    return conform(joined, COHERENCE_COLUMNS)


def make_selection_stability(data: StudyData) -> pl.DataFrame:
    """How often each cell of the selection sweep is chosen when the training prompts are resampled."""
    rules, length = data.settings.selection, data.settings.activations.window_length
    rows = data.sweep_rows(rules.sweep).filter(target="reasoning")
    resampling = data.resampling(rows)
    found = count_choices(rows, rules, data.behaviour, length, resampling.weights)
    chosen = [is_near(data.selection.magnitude), pl.col("layer") == data.selection.layer]
    chosen.append(pl.col("window_start") == data.selection.window_start)
    annotator = rows["annotator"][0]
    table = found.with_columns(
        metric=pl.lit(rules.metric),
        site_chosen=pl.col("chosen").sum().over("layer", "window_start"),
        selected=pl.all_horizontal(chosen),
        prompts=pl.lit(len(resampling.prompts)),
        resamples=pl.lit(len(resampling.weights)),
        annotator=pl.lit(annotator, pl.String),
        kappa=pl.lit(data.kappas.get(annotator), pl.Float64),
    )
    return conform(table.sort("chosen", "magnitude", descending=[True, False], maintain_order=True), STABILITY_COLUMNS)


def make_beside(data: StudyData) -> pl.DataFrame:
    """The paper's window at its best layer and magnitude beside the selected cell, on held-out prompts."""
    name = next((name for name, sweep in data.settings.sweeps.items() if sweep.beside), "")
    rows = data.sweep_rows(name).filter(target="reasoning")
    here, there = (
        pl.all_horizontal(pl.col("layer") == layer, pl.col("window_start") == start, is_near(magnitude))
        for layer, start, magnitude in (
            (data.selection.layer, data.selection.window_start, data.selection.magnitude),
            (data.selection.beside_layer, data.selection.beside_window_start, data.selection.beside_magnitude or 0.0),
        )
    )
    own = (pl.col("direction") == data.behaviour) & (pl.col("reader") == "base")
    shown = rows.filter((pl.col("direction") == "none") | (own & (here | there).fill_null(False)))
    return summarise_sweep(data, shown).with_columns(selected=here.fill_null(False))


def make_keyword_rule(data: StudyData) -> pl.DataFrame:
    """Table C.1: `the sentence has a keyword` against each annotator's label, steered and natural text.

    Steered text is labelled by the annotator that it is measured by and, where there are language models, by others.
    """
    measured = site_rows(data, TWO_BY_TWO).filter(pl.col("target") == "reasoning", pl.col("annotator").is_not_null())
    labelled = data.others, data.steered.with_columns(pl.col("reader").fill_null(""))
    others, by_models = (table.partition_by("annotator", maintain_order=True) for table in labelled)
    heldout = [table.filter(pl.col("split") == "heldout") for table in (data.sentences, *others)]
    natural = [_count_sentences(table.with_columns(**NATURAL), data) for table in heldout]
    steered = [_count_sentences(table, data) for table in by_models]
    found = [
        _score_rule(cell, data.resampling(rows))
        for rows in (*natural, measured, *steered)
        for cell in split_cells(rows, [name for name in CONDITION if name in rows.columns])
    ]
    return pl.DataFrame(found, schema=RULE_COLUMNS)


def _score_rule(cell: pl.DataFrame, resampling: Resampling) -> dict[str, Any]:
    both = resampling.sums(cell, "keyword_backtracking_sentences")
    keyword = resampling.sums(cell, "keyword_sentences")
    labelled = resampling.sums(cell, "backtracking_sentences")
    return {
        **{name: cell[name][0] for name in ("annotator", *CELL_COLUMNS)},
        "prompts": cell["prompt_id"].n_unique(),
        "sentences": int(cell["sentences"].sum()),
        "keyword_sentences": int(keyword.sum()),
        "labelled_sentences": int(labelled.sum()),
        **spread("precision", resampling.ratio(both, keyword)),
        **spread("recall", resampling.ratio(both, labelled)),
        **spread("f1", resampling.ratio(2 * both, keyword + labelled)),
    }


def _count_sentences(sentences: pl.DataFrame, data: StudyData) -> pl.DataFrame:
    """Labelled sentences as rows of counts, as the measurements have them for rollouts."""
    labelled = sentences.filter(pl.col("label").is_not_null())
    counts = [count_keywords(text, data.settings.keywords).keywords for text in labelled["text"]]
    has_keyword = pl.Series(counts, dtype=pl.Int64) > 0
    is_behaviour = labelled["label"] == data.behaviour
    return labelled.with_columns(
        sentences=pl.lit(1),
        keyword_sentences=has_keyword.cast(pl.Int64),
        backtracking_sentences=is_behaviour.cast(pl.Int64),
        keyword_backtracking_sentences=(has_keyword & is_behaviour).cast(pl.Int64),
    )
