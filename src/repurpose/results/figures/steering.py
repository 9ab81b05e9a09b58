"""Figures of steered text: windows, layers, vector x target, baselines, ablation, coherence."""

from collections.abc import Iterator

import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from repurpose.results.figures import style
from repurpose.results.figures.style import BASE, BEST_RANDOM, RANDOM, READER, UNSTEERED_ROW, Context, Label

GRID_NOTE = "Reasoning model, training prompts; bands: intervals; {unit}; × incoherent"
UNITS = {"dose": "dose: magnitude over residual norm", "L2": "L2: norm that is added"}
MOST_TICKS = 14
"""More values than this are ticked at round numbers."""
SHADES = {"base": "Blues", "reasoning": "Oranges"}
SHARE = "share", "low", "high"
LABELLED = ("backtracking_share", "backtracking_low", "backtracking_high"), "sentences labelled backtracking (%)"
AFTER_WRONG = ("after_wrong", "after_wrong_low", "after_wrong_high"), "wrong calculations, backtracked from (%)"
METRICS = (
    ("distinct_2", "distinct token pairs (share)", 1.0),
    ("longest_run", "longest run of one token", 1.0),
    ("compression_ratio", "compression ratio (zlib)", 1.0),
    ("length", "length (tokens)", 1.0),
    ("finished", "texts that end (%)", 100.0),
    ("correct", "right answers, all texts (%)", 100.0),
)


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
            point = row[axis], row["share"]
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
            ring = line.filter("selected")
            panel.plot(ring["magnitude"], ring["share"], "o", markersize=9, fillstyle="none", color=style.INK)
        labels += style.draw_reference(panel, cells.filter(UNSTEERED_ROW)["share"], "unsteered")
        panel.axvline(0, color="#DDDDDD", linewidth=0.8, zorder=0)
        panel.set(xlabel="L2 norm added at every position", title=f"{target} model steered")
        style.label_lines(panel, labels)
    axes[0].set_ylabel(context.share_label)
    note = "Held-out prompts; bands: intervals; ring: selected on training prompts; × incoherent, cut off at the top"
    head = "Which vector moves which model: keyword share by vector, target and magnitude"
    return style.add_title(figure, head, note)


def draw_baselines(table: pl.DataFrame, context: Context) -> Figure:
    """Fig. 4: the behaviour's vector and every control at the same L2 norm: by magnitude, and at the selected one."""
    shares = style.percent(table)
    figure, (left, right) = style.panels(2, 4.4, gridspec_kw={"width_ratios": [1.0, 0.95]})
    style.limit_to_coherent(left, shares)
    _draw_controls(left, shares, context)
    _draw_at_selected(right, shares.filter(pl.col("selected") | UNSTEERED_ROW), context)
    limit = shares.filter(pl.col("family") == "random", "coherent")["high"].max()  # at whatever magnitude
    if isinstance(limit, float):
        right.axvline(limit, color=BEST_RANDOM, linewidth=0.8, linestyle=(0, (2, 2)))
        text = "highest upper end\nof a random direction"
        style.annotate(right, text, (limit, 0.35), (4, 0), fontsize=6.5, color=BEST_RANDOM)
    note = "Reasoning model, held-out prompts; bands, bars: intervals; thin grey: each random direction; × incoherent"
    return style.add_title(figure, "The vector against every control at the same L2 norm", note)


def _draw_controls(axes: Axes, shares: pl.DataFrame, context: Context) -> None:
    unsteered = shares.filter(UNSTEERED_ROW)
    labels: list[Label] = []
    for line in shares.filter(pl.col("family") == "random").partition_by("direction", maintain_order=True):
        kept = pl.concat([unsteered, line]).sort("magnitude")
        axes.plot(kept["magnitude"], kept["share"], color=RANDOM, linewidth=0.6, zorder=1)
    for name, color, text in (
        (pl.col("best_random"), BEST_RANDOM, "best random"),
        *((pl.col("direction") == name, color, name) for name, color in context.named.items()),
        (pl.col("direction") == context.behaviour, BASE, context.behaviour),
    ):
        line = shares.filter(name)
        if line.height:
            labels += style.draw_cell_line(axes, pl.concat([unsteered, line]), "magnitude", color, text)
    labels += style.draw_reference(axes, unsteered["share"], "unsteered")
    axes.set(xlabel="L2 norm added at every position", ylabel=context.share_label, title="by magnitude")
    style.label_lines(axes, labels)


def _draw_at_selected(axes: Axes, cells: pl.DataFrame, context: Context) -> None:
    is_random, is_own = pl.col("family") == "random", pl.col("direction") == context.behaviour
    ordered = cells.sort(is_own, ~is_random, "share", maintain_order=True)
    for place, row in enumerate(ordered.iter_rows(named=True)):
        color = BEST_RANDOM if row["best_random"] else style.color_row(row, context)
        line = "-" if row["coherent"] else (0, (1, 1.5))
        axes.plot([row["low"], row["high"]], [place, place], color=color, linewidth=1.3, linestyle=line)
        axes.plot(row["share"], place, "o" if row["coherent"] else "x", color=color, markersize=3.2)
    names = ["unsteered" if name == "none" else name for name in ordered["direction"]]
    style.name_rows(axes, names, size=6.3)
    limits = {"xlim": (0, None), "ylim": (-0.8, len(names) - 0.2)}
    axes.set(xlabel="share of words (%)", title="at the selected magnitude", **limits)


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
    style.name_axis(axes[0], names)
    note = "Reasoning model, held-out prompts; bars: intervals; dashed: unsteered"
    return style.add_title(figure, "Natural backtracking with a direction removed at every position", note)


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
        style.label_lines(panel, labels if metric == "compression_ratio" else [], size=7)  # beside one panel
        panel.set_title(title, fontsize=8.5)
    for panel in axes[3:]:
        panel.set_xlabel("L2 norm added")
    note = "Reasoning model, held-out prompts; bands: intervals; dashed: unsteered; blue: base-derived"
    return style.add_title(figure, "What steering costs: coherence, length and correctness by magnitude", note)
