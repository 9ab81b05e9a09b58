"""What the view of rollouts says of calculations, answers and projections, and what is done by keys."""

from __future__ import annotations

import re

import pytest
from looked_at import Visitor
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def choose(page: Page, words: str, value: str) -> None:
    """Take a value of a labelled choice."""
    page.get_by_label(words, exact=True).select_option(value)


def test_a_calculation_is_judged_by_its_arithmetic_alone(visit: Visitor) -> None:
    page = visit.open("view=rollouts&steps=right")
    for view in ("rollouts&steps=right", "rollouts&steps=wrong"):
        page = visit.open(f"view={view}")
        for mark in page.locator(".passage .step").all()[:3]:
            name = "right" if "right" in (mark.get_attribute("class") or "") else "wrong"
            assert mark.inner_text().endswith(f"arithmetic {name}")
            assert "the right one to make here is not known" in (mark.get_attribute("title") or "")
    assert visit.open("view=rollouts&steps=right").locator(".passage .step").count() > 0
    expect(page.get_by_label("Arithmetic", exact=True)).to_be_visible()


@pytest.mark.parametrize("visit", [{"page": "thinking"}], indirect=True, ids=["thinking"])
def test_texts_cut_off_before_an_answer_are_not_called_wrong(visit: Visitor) -> None:
    page = visit.open("view=rollouts")
    choose(page, "Answer", "cut")
    expect(page.locator(".side .row").first).to_contain_text("no answer yet")
    cut = int(page.locator(".side [role=status]").inner_text().split()[0])
    choose(page, "Answer", "wrong")
    assert "no answer yet" not in page.locator(".side .list").inner_text()
    assert cut == visit.explorer.inputs.rollouts.filter(finish_reason="length").height > 0


def test_the_scale_of_projections_stands_beside_the_text(visit: Visitor) -> None:
    """The strip's lines are where its axis says, and the legend has every colour."""
    page = visit.open("view=rollouts")
    marks = page.locator(".strip-box .axis span")
    assert marks.all_text_contents() == ["+3 sd", "mean", "−3 sd"]
    strip = page.get_by_role("slider").bounding_box()
    assert strip is not None
    for place, height in enumerate((3, 0, -3)):
        box = marks.nth(place).bounding_box()
        assert box is not None
        middle = strip["y"] + strip["height"] * (1 - height / 4) / 2
        assert box["y"] + box["height"] / 2 == pytest.approx(middle, abs=2)
    expect(page.locator(".legend")).to_contain_text("in standard deviations (sd) of this direction")
    assert page.locator(".legend .swatch").count() == 11
    assert page.locator(".swatch.q5").get_attribute("title") == "3 or more sd above the mean"


def test_arrow_keys_move_from_the_first_token_at_once(visit: Visitor) -> None:
    page = visit.open("view=rollouts")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".detail .t.here")).to_have_attribute("data-token", "0")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".detail .t.here")).to_have_attribute("data-token", "1")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".detail .t.here")).to_have_attribute("data-token", "0")
    page.keyboard.press("s")
    middle = len(visit.explorer.inputs.rollouts["token_ids"][0]) // 2
    expect(page.locator(".detail .t.here")).to_have_attribute("data-token", str(middle))
    page.keyboard.press("ArrowRight")
    expect(page.locator(".detail .t.here")).to_have_attribute("data-token", str(middle + 1))
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".detail .t.here")).to_have_attribute("data-token", str(middle + 2))
    page.get_by_label("Direction", exact=True).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".detail .t.here")).to_have_attribute("data-token", str(middle + 2))
    page.keyboard.press("Escape")
    page.locator("body").press("?")
    expect(page.get_by_role("dialog")).to_contain_text("→")


def test_a_projection_is_written_alike_everywhere(visit: Visitor) -> None:
    """In the list, of the token that is chosen, and to those who hear the strip."""
    page = visit.open("view=rollouts")
    for row in range(4):
        page.locator(".side .row").nth(row).click()
        page.keyboard.press("s")
        expect(page.locator(".detail .info")).to_contain_text("projection")
        listed = page.locator(".side .row").nth(row).locator(".name").inner_text().partition("max ")[2]
        assert re.fullmatch(r"\d+\.\d\d sd", listed)
        expect(page.locator(".detail .info")).to_contain_text(f"({listed})")
        assert (page.get_by_role("slider").get_attribute("aria-valuetext") or "").endswith(f", {listed}")


LEAST = 1.3
"""Of the weakest colour of a token with what is behind the text (a ratio of luminances)."""


@pytest.mark.parametrize("visit", [{"scheme": "dark"}], indirect=True, ids=["dark"])
def test_even_weak_colours_are_seen_in_the_dark(visit: Visitor) -> None:
    page = visit.open("view=rollouts")
    light = page.evaluate(
        """() => [".swatch.q1", ".swatch.q-1", ".passage"].map((name) => {
          const rgb = getComputedStyle(document.querySelector(name)).backgroundColor.match(/\\d+/g).map(Number);
          const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05; })"""
    )
    assert min(light[:2]) / light[2] >= LEAST
