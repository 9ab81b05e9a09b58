"""What the page explains of its own words."""

from __future__ import annotations

import pytest
from looked_at import Visitor
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_every_direction_is_explained(visit: Visitor) -> None:
    inputs, page = visit.explorer.inputs, visit.open("view=about")
    explained = {name for dt in page.locator(".about dt").all_text_contents() for name in dt.split(", ")}
    swept = set(inputs.sweeps["direction"].unique()) - {"none"}
    assert swept | {"random-02", "mean", "two_by_two", "baselines", "lexicon", "nll", "dose"} <= explained
    assert (
        "read from base" in explained
        and "parts from the unsteered text at token 12" in explained
        and "unsteered" in explained
    )


def test_a_directions_name_says_what_it_is(visit: Visitor) -> None:
    words = "before deduction sentences"
    page = visit.open("view=rollouts&direction=deduction")
    assert words in (page.locator(".choice", has_text="Direction").first.get_attribute("title") or "")
    page = visit.open("view=steered&sweep=baselines")
    assert words in (page.get_by_role("rowheader", name="deduction").get_attribute("title") or "")
    told = [head.get_attribute("title") or "" for head in page.locator(".column h3").all()]
    assert "the model by itself" in told[0] and "backtracking sentences" in told[1] and "random direction" in told[2]


@pytest.mark.parametrize("visit", [{"page": "alone"}], indirect=True, ids=["one annotator"])
def test_one_annotator_alone_is_explained(visit: Visitor) -> None:
    page = visit.open("view=disagreements")
    for words in ("documented patterns: a rule, no person", "labels.annotators", "run the same command again"):
        expect(page.locator(".disagreements")).to_contain_text(words)


def test_the_report_is_one_click_away(visit: Visitor) -> None:
    page = visit.open("view=about")
    expect(page.get_by_role("link", name="report.html")).to_have_attribute("href", "report.html")
