"""The report: self-contained, claims first, every word of a model escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from jinja2 import UndefinedError

from repurpose.data.csv_tables import to_csv
from repurpose.results.claims.weighing import CLAIMS
from repurpose.results.figures import __main__ as figures_step
from repurpose.results.figures.style import Context, save_figure
from repurpose.results.report import __main__ as step
from repurpose.results.report.__main__ import HTML, MARKDOWN
from repurpose.results.report.page import CAPTIONS, TEXTS, show_rollouts
from repurpose.study.catalogue import AGREEMENT_FIGURES, FIGURES, TABLES
from synthetic import built, make_study, run_step, settings_text

ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></title>",
    "javascript:alert(1)",
    "<!--",
    "]]>",
    "\u202egnp.exe",
    "\x00\x1b[2J",
    "&lt;b&gt;",
)
VOID = {"meta", "img"}


class Outline(HTMLParser):
    """Collects tags with their attributes and checks that they nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def outline(page: str) -> Outline:
    parsed = Outline()
    parsed.feed(page)
    parsed.close()
    assert parsed.open == []
    return parsed


@pytest.fixture(scope="module")
def figure_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One real figure under every name: drawing all of them is another test's work."""
    folder = tmp_path_factory.mktemp("figures")
    figure = figures_step.draw_figure("2x2", pl.DataFrame(), Context(("wait",), "backtracking", 6))
    for name in FIGURES:
        save_figure(figure, folder / f"{name}.svg", folder / f"{name}.png")
    return sorted(folder.glob("*.svg"))


def write(folder: Path, figure_files: list[Path], output: Path, claims: Path | None = None) -> str:
    source = built("present")
    arguments = {
        "tables": [str(folder / f"tables/{name}.csv") for name in TABLES],
        "figures": [str(path) for path in figure_files],
        "rollouts": [str(source / "rollouts/0.parquet")],
        "labels": [str(source / "labels/lexicon/0.parquet")],
    }
    text = settings_text(make_study(), "results.report")
    outputs = [str(output), str(output.with_name("claims.md"))]
    one = ["--settings", text, "--claims", str(claims or source / "claims.csv"), "--output", *outputs]
    many = [part for name, paths in arguments.items() for part in (f"--{name}", *paths)]
    run_step(step, [*one, "--selection", str(folder / "selection.json"), *many])
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(figure_files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(built("present"), figure_files, tmp_path_factory.mktemp("report") / "report.html")


def test_page_is_whole_and_self_contained(page: str) -> None:
    parsed = outline(page)
    for tag, attributes in parsed.seen:
        assert tag not in ("script", "link", "iframe", "object", "embed", "form", "base"), tag
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith(("#", "explorer.html#view="))
        assert (attributes.get("src") or "data:image/svg+xml;base64,").startswith("data:image/svg+xml;base64,")
    assert "url(" not in page and "@import" not in page


def test_policy_forbids_everything_but_the_page(page: str) -> None:
    policies = [a for t, a in outline(page).seen if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    policy = policies[0]["content"] or ""
    assert "default-src 'none'" in policy and "script-src" not in policy and "unsafe-eval" not in policy


def test_claims_come_first_then_figures_then_rollouts(page: str) -> None:
    parts = [a["id"] for t, a in outline(page).seen if t == "h2" and a.get("id")]
    assert parts == ["claims", *(name for name in CAPTIONS if name in TABLES), "rollouts", "made"]
    assert {*TABLES, *AGREEMENT_FIGURES} == set(CAPTIONS)


def test_every_link_has_its_target(page: str) -> None:
    seen = outline(page).seen
    ids = {a["id"] for _, a in seen if a.get("id")}
    links = {a["href"] or "" for _, a in seen if a.get("href")}
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    texts = {f"explorer.html#{place}" for name, place in TEXTS.items() if name in TABLES}
    assert {link for link in links if link.startswith("explorer")} == texts


def test_verdicts_and_numbers_are_those_of_the_tables(page: str) -> None:
    text = outline(page).text
    claims = step.read_csv(built("present") / "claims.csv")
    for row in claims.iter_rows(named=True):
        assert row["text"] in text and row["verdict"] in text
    share = step.read_csv(built("present") / "tables/2x2.csv").filter("selected")["share"][0]
    assert f"{share:.4g}" in text


def test_rollouts_mark_window_and_start(page: str) -> None:
    marks = [a.get("class") for t, a in outline(page).seen if t == "mark"]
    assert {"window", "start", "behaviour"} <= set(marks)


def test_provenance_is_read_from_the_files(page: str) -> None:
    assert f"polars {pl.__version__}" in page and "settings digest" in page
    assert "reasoning 0123456789abcdef" in page and "<td>cpu</td>" in page


def test_page_holds_no_path_of_this_machine(page: str) -> None:
    without_images = re.sub(r"data:image/svg\+xml;base64,[A-Za-z0-9+/=]*", "", page)
    assert str(Path(__file__).parents[3]) not in without_images and "/tmp/" not in without_images


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[Path]:
    """The study, its rollouts' tokens and its lens's best tokens replaced by attacks."""
    (tmp_path / "tables").mkdir()
    for name in TABLES:
        table = step.read_csv(built("present") / f"tables/{name}.csv")
        for column in {"token", "word", "prompt_id", "label"} & set(table.columns):
            attacks = [ATTACKS[i % len(ATTACKS)] for i in range(table.height)]
            table = table.with_columns(pl.Series(column, attacks))
        (tmp_path / f"tables/{name}.csv").write_text(to_csv(table))
    chosen = json.loads((built("present") / "selection.json").read_text())
    (tmp_path / "selection.json").write_text(json.dumps({**chosen, "rule": ATTACKS[0]}))
    yield tmp_path


@pytest.mark.faults
def test_a_model_cannot_write_markup(attacked: Path, figure_files: list[Path], page: str) -> None:
    found = write(attacked, figure_files, attacked / "report.html")
    tags = {tag for tag, _ in outline(page).seen}
    parsed = outline(found)
    assert {tag for tag, _ in parsed.seen} == tags
    assert not any(name.startswith("on") for _, attributes in parsed.seen for name in attributes)
    assert ATTACKS[0] in parsed.text, "shown as text, not dropped"
    assert "\x00" not in found and "\u202e" not in found and "\x1b" not in found


@pytest.mark.parametrize("attack", ATTACKS)
def test_escaped_text_stays_text(attack: str) -> None:
    template = HTML.from_string('<p title="{{ text }}">{{ text }}</p><mark class="start">{{ text }}</mark>')
    parsed = outline(template.render(text=attack))
    assert [tag for tag, _ in parsed.seen] == ["p", "mark"]
    assert [set(attributes) for _, attributes in parsed.seen] == [{"title"}, {"class"}]


@pytest.mark.parametrize("attack", [*ATTACKS, "| a |", "`code`", "line\nbreak"])
def test_text_stays_in_its_cell_of_a_markdown_table(attack: str) -> None:
    written = MARKDOWN.from_string("| {{ text }} |").render(text=attack)
    assert "<" not in written and "`" not in written and "\n" not in written
    assert written.count("|") - written.count("\\|") == 2
    assert "\u202e" not in written and "\x00" not in written and "\x1b" not in written


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        HTML.get_template("report.html.jinja").render({"study": "x"})


def test_a_mark_is_one_of_those_known() -> None:
    tokens = pl.DataFrame({"example": [0, 0], "mark": ["start", "x onclick=y"], "token": ["a", "b"]})
    assert show_rollouts(tokens)[0]["runs"] == [("start", "a"), ("", "b")]


@pytest.mark.parametrize("kind", ["present", "absent"])
def test_markdown_holds_every_part_with_its_verdict(kind: str, figure_files: list[Path], tmp_path: Path) -> None:
    write(built("present"), figure_files, tmp_path / "report.html", built(kind) / "claims.csv")
    lines = (tmp_path / "claims.md").read_text(encoding="utf-8").splitlines()
    verdicts = dict(step.read_csv(built(kind) / "claims.csv").select("part", "verdict").iter_rows())
    for claim in CLAIMS:
        found = [line for line in lines if line.startswith((f"| {claim.part}. ", f"| {claim.part}*. "))]
        assert len(found) == 1 and f"| **{verdicts[claim.part]}** |" in found[0]
        assert (" points" in found[0]) >= (claim.unit == "difference of shares")


def test_study_without_sweeps_still_reports(figure_files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    for name in TABLES:
        table = step.read_csv(built("present") / f"tables/{name}.csv").clear()
        (tmp_path / f"tables/{name}.csv").write_text(to_csv(table))
    (tmp_path / "selection.json").write_text((built("present") / "selection.json").read_text())
    found = write(tmp_path, figure_files, tmp_path / "report.html")
    assert outline(found).text.count("Not measured in this study.") == len(TABLES) - 1
    assert outline(found).text.count("No held-out sentence is labelled backtracking with a whole window") == 2
