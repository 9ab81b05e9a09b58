"""Figures of steered text: windows, layers, vector x target, baselines, ablation, coherence."""

import math
from collections.abc import Iterator

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from repurpose.results.figures import style
from repurpose.results.figures.style import BASE, BEST_RANDOM, READER, UNSTEERED_ROW, Context, Label
from repurpose.results.names import NO_CONTROL

GRID_NOTE = "Reasoning model, training prompts; bands: intervals; {unit}; × incoherent"
UNITS = {"dose": "dose: magnitude over residual norm", "L2": "L2: norm that is added"}
COLUMNS, PANEL_INCHES, ROW_INCHES = 4, 1.25, 0.155
"""Panels of controls in a row, and what a panel and a row of the list take."""
MOST_TICKS = 14
"""More values than this are ticked at round numbers."""
SHADES = {"base": "Blues", "reasoning": "Oranges"}
SHARE = "share", "low", "high"
LABELLED = ("backtracking_share", "backtracking_low", "backtracking_high"), "sentences labelled backtracking (%)"
AFTER_WRONG = ("after_wrong", "after_wrong_low", "after_wrong_high"), "wrong calculations, backtracked from (%)"
STEMS = {"share": "", "backtracking_share": "backtracking_", "after_wrong": "after_wrong_"}
"""How the columns of a measure's counts begin."""
METRICS = (
    ("nll", "surprise (nats a token)", 1.0),
    ("distinct_2", "distinct token pairs (share)", 1.0),
    ("longest_run", "longest run of one token", 1.0),
    ("compression_ratio", "compression ratio (zlib)", 1.0),
    ("finished", "texts that end (%)", 100.0),
    ("correct", "right answers, all texts (%)", 100.0),
)
"""The panels of the figure of coherence: column, title, and what it is multiplied by. The first three decide."""


def draw_windows(table: pl.DataFrame, context: Context) -> Figure:
    """Fig. 2: the share by where the vector is read, a panel per reader whose vectors are there, a shade per dose."""
    title = f"Keyword share by where the vector is read (windows of {context.window_length} tokens)"
    label = "window start (tokens from the sentence's start)"
    return _draw_grid(table, "window_start", label, title, context)


def draw_layers(table: pl.DataFrame, context: Context) -> Figure:
    """Fig. B.1: the share by layer."""
    title = "Keyword share by the layer at which the vector is read and added"
    return _draw_grid(table, "layer", "layer (resid_post, 0-based)", title, context)


def _draw_grid(table: pl.DataFrame, axis: str, label: str, title: str, context: Context) -> Figure:
    shares = style.percent(table)
    steered = shares.filter(pl.col("direction") == context.behaviour, pl.col("multiple") > 0)
    unsteered = shares.filter(UNSTEERED_ROW)["share"]
    readers = [reader for reader in READER if reader in steered["reader"]] or [*READER]  # whose vectors the sweep has
    figure, axes = style.panels(len(readers), 2.9, sharey=True)
    for panel, reader in zip(axes, readers, strict=True):
        style.limit_to_coherent(panel, steered)
        labels = [*_draw_doses(panel, steered.filter(pl.col("reader") == reader), axis, reader)]
        labels += style.draw_reference(panel, unsteered, "unsteered")
        panel.set(xlabel=label, title=f"{reader}-derived vector")
        style.label_lines(panel, labels)
        inside, right = 0.5 - context.window_length, panel.get_xlim()[1]  # windows that reach into the sentence itself
        if axis == "window_start" and right > inside:
            panel.axvspan(inside, right, color="#EEEEEE", zorder=0)
            panel.set_xlim(right=right)
            place = (inside, 1.0), (2, -2)
            style.annotate(panel, "reads into\nthe sentence", *place, fontsize=7, color=style.UNSTEERED)
    axes[0].set_ylabel(context.share_label)
    return style.add_title(figure, title, GRID_NOTE.format(unit=UNITS[_unit(steered)]))


def _unit(steered: pl.DataFrame) -> str:
    """What stays the same along a line: the norm added, where a study gives norms, otherwise the dose."""
    as_given = (steered["magnitude"] - steered["multiple"]).abs() <= 1e-6 * steered["multiple"]
    return "L2" if steered.height and as_given.all() else "dose"


def _draw_doses(axes: Axes, cells: pl.DataFrame, axis: str, reader: str) -> Iterator[Label]:
    multiples, unit = sorted(cells["multiple"].unique()), _unit(cells)
    for number, multiple in enumerate(multiples):
        color = to_hex(colormaps[SHADES[reader]](0.45 + 0.5 * number / max(1, len(multiples) - 1)))
        line = cells.filter(pl.col("multiple") == multiple).sort(axis)
        value = multiple if unit == "L2" else line["dose"][0]
        yield from style.draw_cell_line(axes, line, axis, color, f"{unit} {value:.2g}")
        for row in line.filter("selected").iter_rows(named=True):
            point = row[axis], min(row["share"], axes.get_ylim()[1] * 0.985)
            axes.plot(*point, marker="o", markersize=10, fillstyle="none", color=style.INK, zorder=5)
            size = {"fontsize": 7.5, "color": style.INK, "ha": "center", "va": "baseline"}
            style.annotate(axes, "selected", point, (0, 8), xycoords="data", **size)
    ticks = sorted(cells[axis].unique())
    if len(ticks) <= MOST_TICKS:
        axes.set_xticks(ticks)


def draw_two_by_two(table: pl.DataFrame, context: Context) -> Figure:
    """Fig. 3: the share by magnitude, a panel per target, a line per reader; × marks incoherent cells."""
    shares = style.percent(table)
    figure, axes = style.panels(2, 3.0, sharey=True)
    style.limit_to_coherent(axes[0], shares)
    for panel, target in zip(axes, ("reasoning", "base"), strict=True):
        cells = shares.filter(pl.col("target") == target)
        labels: list[Label] = []
        for label, color, line in style.lines_of_vectors(cells, context):
            labels += style.draw_cell_line(panel, line, "magnitude", color, label)
            ring = line.filter("selected", "coherent")
            panel.plot(ring["magnitude"], ring["share"], "o", markersize=9, fillstyle="none", color=style.INK)
        labels += style.draw_reference(panel, cells.filter(UNSTEERED_ROW)["share"], "unsteered")
        panel.axvline(0, color="#DDDDDD", linewidth=0.8, zorder=0)
        panel.set(xlabel="L2 norm added at every position", title=f"{target} model steered")
        style.label_lines(panel, labels)
    axes[0].set_ylabel(context.share_label)
    note = (
        "Held-out prompts; bands: intervals; ring: selected on training prompts; × incoherent (number: off the scale)"
    )
    head = "Which vector moves which model: keyword share by vector, target and magnitude"
    return style.add_title(figure, head, note)


def draw_baselines(table: pl.DataFrame, context: Context) -> Figure:
    """Fig. 4: the behaviour's vector and every control by magnitude, a panel for each kind of control; below, each
    at its own best coherent magnitude."""
    shares = style.percent(table.filter(pl.col("target") == "reasoning"))
    kinds = _kinds(shares)
    rows, best = max(1, -(-len(kinds) // COLUMNS)), _at_best(shares)
    heights = [PANEL_INCHES * rows, ROW_INCHES * (best.height + 4)]
    figure = Figure(figsize=(style.WIDTH, sum(heights) + 0.9))
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=heights)).flat
    panels = list(above.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True).flat)
    style.limit_to_coherent(panels[0], shares)
    for panel, kind in zip(panels, kinds, strict=False):
        _draw_kind(panel, shares, kind, context)
    for panel in panels[len(kinds) :]:
        panel.set_axis_off()
    above.supylabel(context.share_label, fontsize=7.5)
    above.supxlabel("L2 norm added at every position", fontsize=7.5)
    _draw_at_best(below.subplots(), best, context)
    note = "Reasoning model, held-out prompts; blue: the vector; bands, bars: intervals; × incoherent, its number above"
    head = "The vector against every control, each at every magnitude and at its own best"
    return style.add_title(figure, head, note)


def _kinds(shares: pl.DataFrame) -> list[str]:
    """Names of the controls' panels: those of which there are many directions first, then the strongest."""
    named = _with_kinds(shares).filter(~pl.col("family").is_in(["behaviour", "none"]))
    ranked = named.group_by("panel").agg(
        pl.col("share").filter(pl.col("coherent")).max(), pl.col("direction").n_unique().alias("directions")
    )
    order = ranked.sort(pl.col("directions") == 1, "share", descending=[False, True], nulls_last=True)
    return order["panel"].to_list()


def _with_kinds(shares: pl.DataFrame) -> pl.DataFrame:
    together = style.is_numbered(pl.col("family"))
    return shares.with_columns(panel=pl.when(together).then(style.name_family()).otherwise("direction"))


def _draw_kind(axes: Axes, shares: pl.DataFrame, kind: str, context: Context) -> None:
    """Draw the lines of one kind of control, and before them the vector's."""
    unsteered, lines = shares.filter(UNSTEERED_ROW), _with_kinds(shares).filter(panel=kind).drop("panel")
    alone = lines["direction"].n_unique() == 1
    for line in lines.partition_by(["direction", "reader"], maintain_order=True):
        kept = pl.concat([unsteered, line])
        if alone:
            style.draw_cell_line(axes, kept, "magnitude", style.color_row(line.row(0, named=True), context), "")
        else:
            whole = kept.sort("magnitude").with_columns(pl.when("coherent").then("share").otherwise(math.nan))
            axes.plot(whole["magnitude"], whole["share"], color="#8C8C8C", linewidth=0.7, zorder=1)
            _cross(axes, line)
    own = shares.filter(pl.col("direction") == context.behaviour, pl.col("reader") == "base")
    if own.height:
        style.draw_cell_line(axes, pl.concat([unsteered, own]), "magnitude", BASE, "")
    style.draw_reference(axes, unsteered["share"], width=0.8, zorder=0)
    count = lines["direction"].n_unique()
    short = kind.removeprefix(f"{context.behaviour}-")  # of what is made of the vector, whole names would not fit
    axes.set_title(short if alone else f"{kind} ({count})", fontsize=7)
    axes.tick_params(labelsize=6.5)


def _cross(axes: Axes, line: pl.DataFrame) -> None:
    """Draw crosses where a thin line is interrupted, at the upper edge those above it with the highest number."""
    edge = axes.get_ylim()[1] * 0.985
    broken = line.filter(~pl.col("coherent"))
    if broken.height:
        heights = broken["share"].clip(upper_bound=edge)
        axes.plot(broken["magnitude"], heights, "x", color="#8C8C8C", markersize=3.5, clip_on=False)
    for place, value in broken.filter(pl.col("share") > edge).select("magnitude", "share").iter_rows():
        style.write_value(axes, value, (place, edge), "#8C8C8C")


def _at_best(shares: pl.DataFrame) -> pl.DataFrame:
    """The vector where it is selected, each control at its own best coherent magnitude, or where there is none at the
    selected one; the vector last, random directions first."""
    own, plain = pl.col("family") == "behaviour", UNSTEERED_ROW
    ever = pl.col("best").any().over("direction", "reader")
    kept = shares.filter(plain | (own & pl.col("selected")) | (~own & pl.col("best")) | (~ever & pl.col("selected")))
    return kept.sort(own, ~pl.col("family").str.contains("random"), "share", maintain_order=True)


def _draw_at_best(axes: Axes, best: pl.DataFrame, context: Context) -> None:
    names, counts, reach = [], [], best.filter("best", ~pl.col("family").is_in(NO_CONTROL))["high"].max()
    norm = best.filter("selected")["magnitude"].max()
    for place, row in enumerate(best.iter_rows(named=True)):
        color = BEST_RANDOM if row["best_random"] else style.color_row(row, context)
        line = "-" if row["coherent"] else (0, (1, 1.5))
        axes.plot([row["low"], row["high"]], [place, place], color=color, linewidth=1.3, linestyle=line)
        axes.plot(row["share"], place, "o" if row["coherent"] else "x", color=color, markersize=3.2)
        at = f" ×{row['magnitude'] / norm:.3g}" if isinstance(norm, float) and row["magnitude"] else ""
        names.append("unsteered" if row["direction"] == "none" else f"{row['direction']}{at}")
        counts.append(f"{row['events']} of {row['trials']}")
    style.name_rows(axes, names, size=6.3)
    style.name_counts(axes, counts)
    if isinstance(reach, float):
        axes.axvline(reach, color=BEST_RANDOM, linewidth=0.8, linestyle=(0, (2, 2)))
        text = "highest upper end\nof a control"
        inner = reach > 0.8 * axes.get_xlim()[1]  # else there is room where no control's bar ends
        side, offset = ("right", -4.0) if inner else ("left", 4.0)
        style.annotate(axes, text, (reach, 0.3), (offset, 0), ha=side, fontsize=6.5, color=BEST_RANDOM)
    limits = {"xlim": (0, None), "ylim": (-0.8, len(names) - 0.2)}
    axes.set_title("each control at its own best coherent magnitude (× the vector's)", fontsize=8)
    axes.set(xlabel="share of words (%); at the right: keywords of words", **limits)


def draw_ablation(table: pl.DataFrame, context: Context) -> Figure:
    """Draw natural backtracking (of wrong calculations, where the truth is known) and keywords under ablation."""
    natural = AFTER_WRONG if table["after_wrong"].is_not_null().any() else LABELLED
    cells = style.with_names(style.percent(table, (*SHARE, *natural[0])))
    names = style.order_rows(cells)
    figure, axes = style.panels(2, 0.3 * len(names) + 1.5, sharey=True)
    for panel, (measure, label) in zip(axes, (natural, (SHARE, context.share_label)), strict=True):
        style.draw_forest(panel, cells, names, measure, context)
        for unsteered in cells.filter(UNSTEERED_ROW)[measure[0]].drop_nulls().head(1):
            panel.axvline(unsteered, color=style.UNSTEERED, linestyle=style.DASHED, linewidth=1, zorder=0)
        panel.set(xlabel=label, xlim=(0, None))
        style.name_counts(panel, [_count(cells.filter(name=name), STEMS[measure[0]]) for name in names])
    style.name_axis(axes[0], names)
    note = "Reasoning model, held-out prompts; bars: intervals; dashed: unsteered; at the right: counted, of how many"
    return style.add_title(figure, "Natural backtracking with a direction removed at every position", note)


def _count(rows: pl.DataFrame, stem: str) -> str:
    """What the rows of one name are counted from, all together."""
    return f"{rows[f'{stem}events'].sum()} of {rows[f'{stem}trials'].sum()}"


def draw_coherence(table: pl.DataFrame, context: Context) -> Figure:
    """Draw coherence and correctness by magnitude in the reasoning model."""
    figure, axes = style.panels(3, 4.4, rows=2, sharex=True)
    for panel, (metric, title, scale) in zip(axes, METRICS, strict=True):
        cells = table.filter(pl.col("target") == "reasoning", pl.col("metric") == metric).drop_nulls("estimate")
        cells, labels = cells.with_columns(pl.col("estimate", "low", "high") * scale), list[Label]()
        for label, color, line in style.lines_of_vectors(cells, context):
            style.draw_band(panel, line, "magnitude", "estimate", color)
            labels.append((line["estimate"][-1], label, color))
        style.draw_reference(panel, cells.filter(UNSTEERED_ROW)["estimate"], width=0.9, zorder=0)
        style.label_lines(panel, labels if metric == "longest_run" else [], size=7)  # beside one panel
        panel.set_title(title, fontsize=8.5)
        if scale == 100:
            panel.set_ylim(0, max(1.0, panel.get_ylim()[1]))  # a share, which may be 0 everywhere
    for panel in axes[3:]:
        panel.set_xlabel("L2 norm added")
    note = "Reasoning model, held-out prompts; bands: intervals; dashed: unsteered; blue: base-derived"
    return style.add_title(figure, "What steering costs: coherence, endings and correctness by magnitude", note)
