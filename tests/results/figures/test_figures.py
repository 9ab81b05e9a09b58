"""Figures: each from its table alone, the same bytes twice, valid XML whatever a model wrote."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from repurpose.data.csv_tables import read_csv, to_csv
from repurpose.results.figures import __main__ as step
from repurpose.results.figures.reading import Shaded, lay_out
from repurpose.results.figures.style import BASE, CUT_OFF, WIDTH, Context, _push_apart, printable, save_figure
from repurpose.study.catalogue import FIGURES
from repurpose.study.settings import SettingsError
from synthetic import built, make_study, run_step, settings_text

CONTEXT = Context(("wait", "hmm"), "backtracking", 6)
HOSTILE = ["<b>", "&amp;", "$x^2$", "\x00", "\x1b[31m", "]]>", "--", "\u202e", "名", "\n\n", " " * 30, "a" * 300, ""]


def table(name: str) -> pl.DataFrame:
    return read_csv(built("present") / f"tables/{name}.csv")


@pytest.mark.filterwarnings("error:constrained_layout not applied")
@pytest.mark.parametrize("name", FIGURES)
def test_step_draws_each_figure(name: str, tmp_path: Path) -> None:
    svg, png = tmp_path / f"{name}.svg", tmp_path / f"{name}.png"
    source = built("present") / f"tables/{name}.csv"
    text = settings_text(make_study(), "results.figures", figure=name)
    run_step(step, ["--settings", text, "--table", str(source), "--output", str(svg), str(png)])
    root = ElementTree.parse(svg).getroot()
    assert root.tag.endswith("svg") and "date" not in svg.read_text().lower().split("<defs>")[0]
    with Image.open(png) as image:
        assert image.width == round(WIDTH * 200) and image.getcolors(1 << 20) is not None
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 2, "the figure is blank"


@pytest.mark.parametrize("name", FIGURES)
def test_undefined_numbers_are_left_out_of_a_figure(name: str, tmp_path: Path) -> None:
    """In each table's second row every number that may be undefined is."""
    whole = table(name)
    fixed = ("magnitude", "multiple", "dose", "random_high", "cosine", "value", "score", "rank")
    may = [c for c in whole.columns if whole[c].dtype == pl.Float64 and c not in fixed]
    row = pl.int_range(pl.len()) == 1
    holes = whole.with_columns(pl.when(row).then(None).otherwise(pl.col(c)).alias(c) for c in may)
    save_figure(step.draw_figure(name, holes, CONTEXT), tmp_path / "x.svg", tmp_path / "x.png")


@pytest.mark.parametrize("name", FIGURES)
def test_where_no_number_is_defined_a_figure_is_drawn(name: str, tmp_path: Path) -> None:
    whole = table(name)
    fixed = ("magnitude", "multiple", "dose", "random_high", "cosine", "value", "score", "rank")
    may = [c for c in whole.columns if whole[c].dtype == pl.Float64 and c not in fixed]
    (tmp_path / "table.csv").write_text(to_csv(whole.with_columns(pl.lit(None).alias(c) for c in may)))
    none = read_csv(tmp_path / "table.csv")
    save_figure(step.draw_figure(name, none, CONTEXT), tmp_path / "x.svg", tmp_path / "x.png")


def test_ablation_is_drawn_where_no_unsteered_text_has_a_wrong_calculation() -> None:
    whole, unsteered = table("ablation"), pl.col("direction") == "none"
    columns = ("after_wrong", "after_wrong_low", "after_wrong_high")
    wrong = whole.with_columns(pl.when(~unsteered).then(0.3).alias(column) for column in columns)
    left, right = step.draw_figure("ablation", wrong, CONTEXT).axes
    dashed = [[line.get_linestyle() for line in axes.lines].count("--") for axes in (left, right)]
    assert left.get_xlabel().startswith("wrong calculations") and dashed == [0, 1]


@pytest.mark.parametrize("name", FIGURES)
def test_empty_table_gives_a_figure_that_says_so(name: str, tmp_path: Path) -> None:
    figure = step.draw_figure(name, table(name).clear(), CONTEXT)
    save_figure(figure, tmp_path / "x.svg", tmp_path / "x.png")
    said = "No held-out sentence is labelled backtracking" if name == "rollout" else "Not measured in this study"
    assert figure.texts[0].get_text().startswith(f"“{name}”: {said}")


def test_projections_without_a_rollout_to_show_say_why(tmp_path: Path) -> None:
    """As where no held-out sentence backtracks: there was a figure with two blank panels."""
    none = table("projections").filter(pl.col("part") != "token", pl.col("group") != "behaviour")
    figure = step.draw_figure("projections", none, CONTEXT)
    save_figure(figure, tmp_path / "x.svg", tmp_path / "x.png")
    assert [" ".join(text.get_text() for text in axes.texts)[:48] for axes in figure.axes[:2]] == [
        "No held-out sentence is labelled backtracking wi"
    ] * 2


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("2x2", "rollout"):
        for copy in ("one", "two"):
            figure = step.draw_figure(name, table(name), CONTEXT)
            save_figure(figure, tmp_path / f"{copy}.svg", tmp_path / f"{copy}.png")
        for kind in ("svg", "png"):
            assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes(), name


def test_every_random_direction_is_a_line() -> None:
    axes = step.draw_figure("baselines", table("baselines"), CONTEXT).axes
    panels = {panel.get_title("left"): panel for panel in axes[:-1] if panel.axison}
    kinds = {"random directions (20)", "label shuffles (5)", "noise", "self", "mean", "same-offset"}
    assert kinds <= set(panels) and len(panels) == 11 and not {"backtracking", "unsteered"} & set(panels)
    thin = [line for line in panels["random directions (20)"].lines if line.get_linewidth() == 0.7]
    assert len(thin) == 20
    for panel in panels.values():  # the vector stands in front of each
        assert to_hex(BASE) in {to_hex(str(line.get_color())) for line in panel.lines}


def test_each_control_stands_at_its_own_best_with_its_counts() -> None:
    cells = table("baselines")
    axes = step.draw_figure("baselines", cells, CONTEXT).axes[-1]
    names = [label.get_text() for label in axes.get_yticklabels()]
    best = cells.filter("best", pl.col("family") != "behaviour")
    expected = {f"{d} ×{m / 8.0:.3g}" for d, m in best.select("direction", "magnitude").iter_rows()}
    assert {*names} == {*expected, "backtracking ×1", "unsteered"}
    counts = [f"{events} of {trials}" for events, trials in best.select("events", "trials").iter_rows()]
    assert {*counts} <= {text.get_text() for text in axes.texts}


def test_what_is_made_of_the_vector_is_no_control() -> None:
    """The dotted line stood at the upper end of a variant, and its name was cut off at the figure's edge."""
    cells = table("baselines")
    highest = cells.filter("best", pl.col("family") != "behaviour")["high"].max()
    name, noise = "backtracking-without-uncertainty", cells.filter(direction="noise")
    variant = noise.with_columns(direction=pl.lit(name), family=pl.lit("variant"), high=pl.col("high") + 0.5)
    figure = step.draw_figure("baselines", pl.concat([cells, variant]), CONTEXT)
    assert isinstance(highest, float)
    dotted = [line for line in figure.axes[-1].lines if line.get_linewidth() == 0.8]
    assert [line.get_xdata()[0] for line in dotted] == [pytest.approx(100 * highest)]
    assert "without-uncertainty" in {panel.get_title("left") for panel in figure.axes}


def test_a_control_that_is_coherent_nowhere_is_shown_as_such() -> None:
    noise = pl.col("direction") == "noise"
    changed = {name: pl.col(name) & ~noise for name in ("coherent", "best")}
    axes = step.draw_figure("baselines", table("baselines").with_columns(**changed), CONTEXT).axes[-1]
    place = [label.get_text() for label in axes.get_yticklabels()].index("noise ×1")
    crosses = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "x"]
    assert crosses == [place]


def test_ablation_says_what_it_counts() -> None:
    cells = table("ablation")
    left, right = step.draw_figure("ablation", cells, CONTEXT).axes
    random = cells.filter(pl.col("family") == "random")
    for axes, stem in ((left, "backtracking_"), (right, "")):
        said = f"{random[f'{stem}events'].sum()} of {random[f'{stem}trials'].sum()}"
        assert said in {text.get_text() for text in axes.texts}


def test_detection_shows_the_controls() -> None:
    axes = step.draw_figure("detection", table("detection"), CONTEXT).axes[0]
    assert len([line for line in axes.lines if line.get_linewidth() == 0.6]) == 6


def test_the_lens_shows_the_best_entry_where_it_was_looked_at() -> None:
    whole = table("lens")
    unread = whole.with_columns(pl.lit(None, whole[name].dtype).alias(name) for name in ("best_score", "best_entry"))
    left = step.draw_figure("lens", unread, CONTEXT).axes[0]
    assert left.get_ylabel() == "mean logit of its entries"
    best = whole.with_columns(best_score=pl.col("score") + 5.0, best_entry=pl.lit(" Wait"))
    left = step.draw_figure("lens", best, CONTEXT).axes[0]
    assert left.get_ylabel() == "logit of its best entry"
    assert {text.get_text() for text in left.texts} == {"“Wait”, base-derived", "“Wait”, reasoning-derived"}
    assert min(min(line.get_ydata()) for line in left.lines if line.get_marker() == "o") > 2


def test_what_is_cut_off_has_its_number_and_no_ring_is_round_a_cross() -> None:
    axes = step.draw_figure("2x2", table("2x2"), CONTEXT).axes[0]
    cut = [text for text in axes.texts if text.get_gid() == CUT_OFF]
    assert [text.get_text() for text in cut] == ["100", "100"] and len({text.xyann for text in cut}) == 2
    rings = [line for panel in step.draw_figure("2x2", table("2x2"), CONTEXT).axes for line in panel.lines]
    assert sum(len(line.get_xdata()) for line in rings if line.get_markersize() == 9) == 4
    garbled = table("2x2").with_columns(coherent=pl.lit(False))
    rings = [line for panel in step.draw_figure("2x2", garbled, CONTEXT).axes for line in panel.lines]
    assert sum(len(line.get_xdata()) for line in rings if line.get_markersize() == 9) == 0


@pytest.mark.parametrize("name", ["windows", "layers"])
def test_readers_that_a_sweep_leaves_out_have_no_panel(name: str) -> None:
    """There was an empty one."""
    whole = table(name)
    titles = [f"{reader}-derived vector" for reader in ("base", "reasoning")]
    assert [axes.get_title("left") for axes in step.draw_figure(name, whole, CONTEXT).axes] == titles
    kept = whole.filter(pl.col("reader").is_null() | (pl.col("reader") != "reasoning"))
    assert [axes.get_title("left") for axes in step.draw_figure(name, kept, CONTEXT).axes] == titles[:1]


def test_contexts_that_a_language_lacks_have_no_panel() -> None:
    whole = table("log_odds")
    titles = [axes.get_title("left") for axes in step.draw_figure("log_odds", whole, CONTEXT).axes]
    kept = step.draw_figure("log_odds", whole.filter(pl.col("context") != "mark"), CONTEXT)
    assert [axes.get_title("left") for axes in kept.axes] == titles[:2] and len(titles) == 3
    assert not any("mistake" in text.get_text() for text in kept.texts)


def test_a_line_of_crosses_alone_is_named_at_its_last_cross() -> None:
    """Not at the unsteered cell, where nobody would look for it."""
    own = (pl.col("reader") == "base") & (pl.col("target") == "reasoning")
    whole = table("2x2").with_columns(coherent=pl.col("coherent") & ~own)
    axes = step.draw_figure("2x2", whole, CONTEXT).axes[0]
    (named,) = (text for text in axes.texts if text.get_text() == "base-derived")
    last = 100 * whole.filter(own).sort("magnitude")["share"][-1]
    assert named.xy[1] == pytest.approx(min(last, 0.985 * axes.get_ylim()[1]))  # a cross above stands at the edge


def test_loops_do_not_set_the_scale() -> None:
    """One cell is a loop of 'Wait', 100 % of its words; the others are below 15 %."""
    axes = step.draw_figure("2x2", table("2x2"), CONTEXT).axes[0]
    assert axes.get_ylim()[1] < 20


def test_hostile_tokens_are_drawn_as_text(tmp_path: Path) -> None:
    rollout = table("rollout").head(len(HOSTILE)).with_columns(token=pl.Series(HOSTILE))
    save_figure(step.draw_figure("rollout", rollout, CONTEXT), tmp_path / "x.svg", tmp_path / "x.png")
    ElementTree.parse(tmp_path / "x.svg")
    lens = table("lens").with_columns(
        word=pl.when(pl.col("word").str.starts_with("top:")).then(pl.lit("top:<script>$\x07")).otherwise("word")
    )
    save_figure(step.draw_figure("lens", lens, CONTEXT), tmp_path / "y.svg", tmp_path / "y.png")
    ElementTree.parse(tmp_path / "y.svg")


@pytest.mark.parametrize("text", HOSTILE)
def test_printable_is_one_line_without_controls(text: str) -> None:
    shown = printable(text)
    assert "\n" not in shown and all(ord(c) >= 32 for c in shown)


def test_text_is_laid_out_within_the_line() -> None:
    tokens = [Shaded(f" word{i}", None) for i in range(40)]
    placed = list(lay_out(tokens, line=50))
    assert all(column + len(token.text) <= 50 for _, column, token in placed)
    words = "".join(token.text if column else f" {token.text.lstrip()}" for _, column, token in placed)
    assert words == "".join(token.text for token in tokens)


def test_labels_are_pushed_apart_in_order() -> None:
    labels = [(1.0, "a", "k"), (1.01, "b", "k"), (1.02, "c", "k"), (5.0, "d", "k")]
    places = _push_apart(labels, 0.5)
    assert all(b - a >= 0.5 - 1e-6 for a, b in pairwise(places)) and places[3] == 5.0


def test_unknown_figure_is_named() -> None:
    with pytest.raises(SettingsError, match="'fig9' is not allowed"):
        step.draw_figure("fig9", table("2x2"), CONTEXT)
