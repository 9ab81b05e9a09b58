"""What all figures share: colours, bands, estimates in rows, labels beside lines, reproducible files."""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.data.files import atomic_write

WIDTH = 7.0
"""Inches; the text stays readable when the page scales it to a column."""

BASE, REASONING = "#0072B2", "#D55E00"
"""Base-derived and reasoning-derived (Okabe and Ito's palette, which colour-blind readers tell apart)."""
READER = {"base": BASE, "reasoning": REASONING}
UNSTEERED, RANDOM, BEST_RANDOM, INK = "#555555", "#BDBDBD", "#4D4D4D", "#222222"
OUTSIDE = ("#882255", "#117733", "#999933")
"""Vectors from outside, in the order of their names; from the fourth on the colours begin anew."""
CONTROL = {"uncertainty-estimation": "#009E73", "noise": "#CC79A7", "self": "#B8860B", "mean": "#56B4E9"}
DASHED = (0, (4, 3))
CUT_OFF = "cut-off"
"""Marks a number that stands for a cross above the axes."""
UNSTEERED_ROW = pl.col("direction") == "none"
WINDOW, START = "#BFE3C6", "#F4B6A6"
"""Green for what is read, red for where the behaviour starts, as in the paper's Fig. 1."""

mpl.rc_file(Path(__file__).with_name("figures.mplstyle"))

Label = tuple[float, str, str]
"""Height, text, colour."""


@dataclass(frozen=True)
class Context:
    """What a figure may know beside its table."""

    keywords: tuple[str, ...]
    behaviour: str
    window_length: int
    outside: tuple[str, ...] = ()
    """Names of the vectors from outside."""

    @property
    def colors(self) -> dict[str, str]:
        """The colour of each vector from outside."""
        return {name: OUTSIDE[place % len(OUTSIDE)] for place, name in enumerate(sorted(self.outside))}

    @property
    def named(self) -> dict[str, str]:
        """The colour of each direction that has its own, beside the behaviour's."""
        return {**CONTROL, **self.colors}

    @property
    def share_label(self) -> str:
        """Axis label of the keyword share."""
        return f"share of words in {{{', '.join(self.keywords)}}} (%)"


def panels(columns: int, height: float, rows: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes in reading order."""
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def draw_band(axes: Axes, table: pl.DataFrame, x: str, y: str, color: str, **options: Any) -> None:
    """Draw a line with its interval as a band."""
    kept = table.drop_nulls([x, y]).sort(x)
    axes.fill_between(kept[x], kept["low"], kept["high"], color=color, alpha=0.18, linewidth=0)
    axes.plot(kept[x], kept[y], color=color, marker="o", **options)


def draw_cell_line(axes: Axes, line: pl.DataFrame, x: str, color: str, text: str) -> list[Label]:
    """Draw a condition's share: coherent cells as a line with its band, interrupted by crosses for the others.

    A cross above the axes stands at their upper edge with its number. Returns a label at the last coherent height; at
    the last cross where nothing that is steered is coherent.
    """
    whole, broken = line.filter(pl.col("coherent")).sort(x), line.filter(~pl.col("coherent"))
    columns = ("share", "low", "high")
    gaps = line.sort(x).with_columns(pl.when("coherent").then(c).otherwise(math.nan).alias(c) for c in columns)
    draw_band(axes, gaps, x, "share", color)
    axes.vlines(whole[x], whole["low"], whole["high"], color=color, linewidth=0.8, alpha=0.4)
    edge = axes.get_ylim()[1] * 0.985
    heights = broken.sort(x)["share"].clip(upper_bound=edge)
    if broken.height:  # an empty line that is not clipped would stretch the layout
        axes.plot(broken.sort(x)[x], heights, "x", color=color, markersize=6, clip_on=False)
    for above, value in broken.filter(pl.col("share") > edge).select(x, "share").iter_rows():
        write_value(axes, value, (above, edge), color)
    named = whole["share"] if broken.is_empty() or whole.filter(~UNSTEERED_ROW).height else heights
    return [(named[-1], text, color)] if len(named) else []


def write_value(axes: Axes, value: float, at: tuple[float, float], color: str) -> None:
    """Write the number of a cross that stands at the upper edge, above those that stand there already."""
    taken = [text for text in axes.texts if text.get_gid() == CUT_OFF and getattr(text, "xy", None) == at]
    options = {"ha": "center", "va": "bottom", "fontsize": 6.5, "color": color, "gid": CUT_OFF}
    annotate(axes, f"{value:.3g}", at, (0, 4 + 7 * len(taken)), xycoords="data", **options)


def draw_reference(
    axes: Axes, values: pl.Series | Sequence[float], text: str = "", width: float = 1, zorder: int = 1
) -> list[Label]:
    """Draw a dashed horizontal line at the first value, where there is one; return its label."""
    if not len(values) or values[0] is None:
        return []
    axes.axhline(values[0], color=UNSTEERED, linestyle=DASHED, linewidth=width, zorder=zorder)
    return [(values[0], text, UNSTEERED)]


def lines_of_vectors(cells: pl.DataFrame, context: Context) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """Yield (label, colour, cells by magnitude) of the behaviour's vectors and of those from outside.

    The unsteered cell is among the cells of each.
    """
    direction, reader = pl.col("direction"), pl.col("reader")
    own = {f"{name}-derived": ((direction == context.behaviour) & (reader == name), READER[name]) for name in READER}
    outside = {name: (direction == name, color) for name, color in context.colors.items()}
    for label, (chosen, color) in {**own, **outside}.items():
        line = cells.filter(chosen | UNSTEERED_ROW).sort("magnitude")
        if line.height > 1:
            yield label, color, line


def annotate(axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], **options: Any) -> None:
    """Write beside a point: x in the data, y as a share of the axes' height, the offset in typographic points."""
    place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
    axes.annotate(text, at, offset, annotation_clip=False, **{**place, **options})


def name_rows(axes: Axes, names: Sequence[str], size: float = 7.5) -> None:
    """Write the names of rows 0, 1, ... at the axis."""
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.tick_params(axis="y", length=0)


def name_counts(axes: Axes, counts: Sequence[str], size: float = 6.3) -> None:
    """Write what rows 0, 1, ... are counted from at the right of the axes."""
    for place, text in enumerate(counts):
        at = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": size, "color": "#777777"}
        annotate(axes, text, (1.0, place), (3, 0), **at)


FAMILIES = {"random": "random directions", "shuffle": "label shuffles", "none": "unsteered"}
"""How families of several directions are named; others bear their own name."""


def is_numbered(family: pl.Expr) -> pl.Expr:
    """Expression: the family has several directions, which only their numbers tell apart."""
    return family.str.contains("random") | family.str.contains("shuffle")


def name_family() -> pl.Expr:
    """Expression: what a family is called where its directions stand together."""
    return pl.col("family").replace(FAMILIES)


def with_names(table: pl.DataFrame) -> pl.DataFrame:
    """Add each row's `name`: random directions and shuffles share one each, others show their reader if need be."""
    family = pl.col("family")
    shared = pl.when(is_numbered(family) | (family == "none")).then(name_family())
    read = (pl.col("reader").n_unique().over("direction") > 1) | (pl.col("family") == "behaviour")
    own = pl.when(read).then(pl.format("{} ({})", "direction", "reader")).otherwise("direction")
    return table.with_columns(name=pl.coalesce(shared, own))


def color_row(row: dict[str, Any], context: Context) -> str:
    """Return a row's colour."""
    if row["family"] == "behaviour":
        return READER.get(str(row["reader"]), UNSTEERED)
    if row["direction"] == "none":
        return UNSTEERED
    return "#A5A5A5" if "random" in row["family"] else context.named.get(str(row["direction"]), "#7A7A7A")


def order_rows(table: pl.DataFrame) -> list[str]:
    """Return row names from bottom to top: controls, vectors from outside, unsteered, the behaviour."""
    rank = {"random": 0, "shuffle": 1, "outside": 7, "none": 8, "behaviour": 9}
    ordered = table.sort(pl.col("family").replace_strict(rank, default=5), "name")
    return ordered["name"].unique(maintain_order=True).to_list()


def draw_forest(
    axes: Axes, table: pl.DataFrame, names: Sequence[str], measure: tuple[str, str, str], context: Context
) -> None:
    """Draw each row's estimate and interval at its name's height; rows of one name are spread a little."""
    value, low, high = measure
    placed = table.sort(value).with_columns(at=pl.int_range(pl.len()).over("name"), last=pl.len().over("name") - 1)
    for row in placed.drop_nulls(value).iter_rows(named=True):
        thin, color = row["last"] > 0, color_row(row, context)
        place = names.index(row["name"]) + ((row["at"] / row["last"] - 0.5) * 0.7 if thin else 0.0)
        axes.plot([row[low], row[high]], [place] * 2, color=color, linewidth=0.7 if thin else 1.5)
        axes.plot(row[value], place, "o", color=color, markersize=2.2 if thin else 4.5)


def name_axis(axes: Axes, names: Sequence[str]) -> None:
    """Write the rows' names at the axis, and leave room above and below them."""
    name_rows(axes, names)
    axes.set_ylim(-0.7, len(names) - 0.3)


def label_lines(axes: Axes, labels: Sequence[Label], size: float = 7.5, filled: float = 0.72) -> None:
    """Write (y, text, colour) to the right of the axes, pushed apart so that none covers another.

    Call it when the limits of the axes are final; `filled` is about how much of a panel's height the axes take.
    """
    (low, high), coords = axes.get_ylim(), ("axes fraction", "data")
    place, figure = axes.get_subplotspec(), axes.get_figure(root=True)
    assert place is not None and isinstance(figure, Figure)
    inches = figure.get_size_inches()[1] / place.get_gridspec().nrows  # exact only when the figure is drawn
    step = (high - low) * (size * 1.3 / 72) / (inches * filled)
    for (y, text, color), height in zip(sorted(labels), _push_apart(sorted(labels), step), strict=True):
        ends = (1.0, min(max(y, low), high)), (1.025, height)
        annotate(axes, text, *ends, xycoords=coords, textcoords=coords, va="center", color=color, fontsize=size)


def _push_apart(labels: Sequence[Label], step: float) -> list[float]:
    """Return heights in order, at least `step` apart, centred on where they should be."""
    places = [y for y, _, _ in labels]
    for _ in range(200):
        for i in range(len(places) - 1):
            lack = step - (places[i + 1] - places[i])
            if lack > 1e-9 * max(1.0, abs(step)):
                places[i] -= lack / 2
                places[i + 1] += lack / 2
    return places


def add_title(figure: Figure, head: str, note: str) -> Figure:
    """Write what is shown above the panels, and below them how to read it; return the figure."""
    figure.suptitle(head, fontsize=9.5, fontweight="bold", x=0.01, ha="left")
    figure.supxlabel(note, fontsize=7.5, color="#666666", x=0.01, ha="left")
    return figure


def percent(table: pl.DataFrame, names: Sequence[str] = ("share", "low", "high")) -> pl.DataFrame:
    """Return shares as percentages; cells where the first is undefined (texts without a word, say) are left out."""
    return table.drop_nulls(names[0]).with_columns(pl.col(name) * 100 for name in names)


def limit_to_coherent(axes: Axes, table: pl.DataFrame) -> None:
    """Let coherent cells set the height: a loop of one word would flatten everything else."""
    top = float(max(table.filter("coherent")["high"].drop_nulls(), default=1.0))
    limit = max(top * 1.12, 0.5)
    axes.set_ylim(-0.02 * limit, limit)  # a line at zero stays visible


def printable(text: str) -> str:
    """Return a model's text as it can stand on one line of a figure: no controls, no line breaks."""
    shown = {"\n": "⏎", "\t": " ", "\r": ""}
    return "".join(shown[c] if c in shown else "·" if unicodedata.category(c)[0] == "C" else c for c in text)


def empty_figure(message: str) -> Figure:
    """Return a figure that says why there is nothing to draw."""
    figure = Figure(figsize=(WIDTH, 1.2))
    figure.text(0.5, 0.5, message, ha="center", va="center", color=UNSTEERED)
    return figure


def save_figure(figure: Figure, svg: Path | str, png: Path | str) -> None:
    """Write both files whole; equal tables give equal bytes."""
    with atomic_write(svg) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
    with atomic_write(png) as temporary:
        figure.savefig(temporary, format="png", dpi=200, metadata={"Software": None})
