"""Vectors from outside in tables, figures and claims: they stand where directions do, and nothing else moves."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from matplotlib.text import Text

from repurpose.data.csv_tables import read_csv
from repurpose.data.files import read_table, write_table
from repurpose.data.schemas import LENS, LOGODDS, MEASUREMENTS, PROJECTIONS, VECTORS
from repurpose.results.claims import __main__ as claims_step
from repurpose.results.figures import __main__ as figures_step
from repurpose.results.figures.style import OUTSIDE, Context, save_figure
from repurpose.results.report.page import CAPTIONS, show_section
from repurpose.results.tables import __main__ as tables_step
from repurpose.study.catalogue import FIGURES, TABLES
from synthetic import BEST_LAYER, HELDOUT, STARTS, built, claims_arguments, make_study, run_step, tables_arguments

NAMES = {"sae": BEST_LAYER, "aside": BEST_LAYER - 1}
"""By layer: one at the selected site, one elsewhere."""
COLUMN = {"cosines": "name"}
"""What a table calls a direction, if not `direction`."""
OTHERWISE = ("projection", "keyword_words", "change", "score", "rank")
WHERE = {
    "sae": {"2x2", "baselines", "ablation", "coherence", "keyword_rule", "cosines", "lens", "log_odds", "projections"}
    | {"detection"},
    "aside": {"cosines", "lens", "projections", "detection"},
}


def copy_rows(path: Path, schema: Any, like: pl.Expr, names: dict[str, int], column: str = "direction") -> None:
    """Add rows like others under the names of vectors from outside, each at its layer, with values of their own.

    In sweeps they stand under the first window, whichever is selected.
    """
    table = read_table(path)
    own = table.filter(like)
    own = own.with_columns(pl.col(name).reverse() for name in OTHERWISE if name in own.columns)
    kind = {"kind": pl.lit("outside")} if "kind" in table.columns else {}
    if "sweep" in table.columns:
        kind["window_start"] = pl.lit(min(STARTS))
    copies = [
        own.with_columns(**{column: pl.lit(name), "layer": pl.lit(layer)}, **kind) for name, layer in names.items()
    ]
    write_table(path, pl.concat([table, *copies], how="vertical_relaxed"), schema, {})


@cache
def with_outside(root: str) -> Path:
    """The made-up study with two vectors from outside, its tables and claims."""
    folder = Path(root) / "study"
    shutil.copytree(built("present"), folder)
    direction, reader = pl.col("direction"), pl.col("reader")
    hard = (direction == "uncertainty-estimation") & (reader == "base")
    here = {"sae": BEST_LAYER}
    for sweep in ("baselines", "ablation"):
        copy_rows(folder / f"measurements/{sweep}/reasoning.parquet", MEASUREMENTS, hard, here)
    for target in ("base", "reasoning"):
        own = (direction == "backtracking") & (reader == "base")
        copy_rows(folder / f"measurements/two_by_two/{target}.parquet", MEASUREMENTS, own, here)
        copy_rows(folder / f"logodds/{target}.parquet", LOGODDS, hard, here)
        like = (pl.col("name") == "deduction") & (pl.col("layer") == BEST_LAYER)
        copy_rows(folder / f"vectors/{target}.parquet", VECTORS, like, NAMES, "name")
        copy_rows(folder / f"projections/{target}.parquet", PROJECTIONS, direction == "backtracking", NAMES)
    like = (direction == "random-00") & (pl.col("layer") == BEST_LAYER)
    copy_rows(folder / "lens.parquet", LENS, like, NAMES)
    paths: dict[str, Any] = {"study": make_study(HELDOUT)}
    for name in ("measurements", "vectors", "rollouts", "labels", "logodds", "projections"):
        paths[name] = sorted((folder / name).rglob("*.parquet"))
    paths |= {name: folder / f"{name}.parquet" for name in ("cosines", "permutations", "lens")}
    run_step(
        tables_step,
        with_vectors(tables_arguments({**paths, "selection": folder / "selection.json"}, folder / "tables")),
    )
    run_step(claims_step, with_vectors(claims_arguments(folder)))
    return folder


def with_vectors(arguments: list[str]) -> list[str]:
    """A command line whose settings name the vectors."""
    place = arguments.index("--settings") + 1
    settings = json.loads(arguments[place])
    outside = {name: {"file": "x.npy", "layer": layer} for name, layer in NAMES.items()}
    settings["vectors"]["outside"] = outside
    return [*arguments[:place], json.dumps(settings), *arguments[place + 1 :]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_outside(str(tmp_path_factory.mktemp("outside")))


def is_outside(table: pl.DataFrame, name: str) -> pl.Expr:
    column = COLUMN.get(name, "direction")
    return pl.col(column).cast(pl.String).is_in(list(NAMES)) if column in table.columns else pl.lit(False)


@pytest.mark.parametrize("name", TABLES)
def test_they_stand_in_every_table_of_directions(folder: Path, name: str) -> None:
    table = read_csv(folder / f"tables/{name}.csv")
    column = COLUMN.get(name, "direction")
    found = set(table[column]) & set(NAMES) if column in table.columns else set()
    assert found == {vector for vector, tables in WHERE.items() if name in tables}
    if "family" in table.columns:
        assert set(table.filter(is_outside(table, name))["family"]) == ({"outside"} if found else set())


@pytest.mark.parametrize("name", TABLES)
def test_no_other_row_changes(folder: Path, name: str) -> None:
    table, before = (read_csv(root / f"tables/{name}.csv") for root in (folder, built("present")))
    assert table.filter(~is_outside(table, name)).equals(before)


def test_no_claim_changes(folder: Path) -> None:
    assert (folder / "claims.csv").read_bytes() == (built("present") / "claims.csv").read_bytes()


def test_a_cosine_is_with_the_behaviour_alone(folder: Path) -> None:
    rows = {row["name"]: row for row in read_csv(folder / "tables/cosines.csv").iter_rows(named=True)}
    for name in NAMES:
        assert rows[name]["cosine"] is None and rows[name]["cross_half"] is None
        assert rows[name]["cosine_with_behaviour"] == pytest.approx(rows["deduction"]["cosine_with_behaviour"])


@pytest.mark.parametrize("name", FIGURES)
def test_figures_show_them(folder: Path, tmp_path: Path, name: str) -> None:
    context = Context(("wait", "hmm"), "backtracking", 6, tuple(NAMES))
    figure = figures_step.draw_figure(name, read_csv(folder / f"tables/{name}.csv"), context)
    texts = [text.get_text() for text in figure.findobj(Text)]
    for vector, tables in WHERE.items():
        words = [text for text in texts if vector in text.replace(",", " ").split()]
        assert bool(words) == (name in tables), (vector, words)
    save_figure(figure, tmp_path / "x.svg", tmp_path / "x.png")
    if name in WHERE["sae"]:
        svg = (tmp_path / "x.svg").read_text()
        assert any(color.lower() in svg for color in OUTSIDE)


def test_the_step_takes_their_names_from_the_settings(folder: Path, tmp_path: Path) -> None:
    settings = {
        "keywords": ["wait"],
        "figure": "2x2",
        "vectors": {"behaviour": "backtracking", "outside": {"sae": {"file": "x.npy", "layer": 2}}},
        "activations": {},
    }
    images = []
    for outside in (settings["vectors"]["outside"], {}):  # type: ignore[index]
        text = json.dumps({**settings, "vectors": {"outside": outside}})
        out = [str(tmp_path / f"{len(images)}.svg"), str(tmp_path / "x.png")]
        run_step(figures_step, ["--settings", text, "--table", str(folder / "tables/2x2.csv"), "--output", *out])
        images.append(Path(out[0]).read_text())
    assert [OUTSIDE[0].lower() in image for image in images] == [True, False]


@pytest.mark.parametrize("name", ["baselines", "lens", "projections", "detection", "cosines", "2x2"])
def test_the_report_quotes_them(folder: Path, name: str) -> None:
    section = show_section(name, read_csv(folder / f"tables/{name}.csv"), None)
    assert CAPTIONS[name].columns and any("sae" in row for row in section.rows)
