"""What the view of rollouts says of calculations, answers and projections, and what is done by keys."""

from __future__ import annotations

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
