"""What the view of rollouts says of calculations, answers and projections, and what is done by keys."""

from __future__ import annotations

import pytest
from looked_at import Visitor
from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def choose(page: Page, words: str, value: str) -> None:
    """Take a value of a labelled choice."""
    page.get_by_label(words, exact=True).select_option(value)


@pytest.mark.parametrize("value", ["right", "wrong"])
def test_a_calculation_is_judged_by_its_arithmetic_alone(value: str, visit: Visitor) -> None:
    page = visit.open("view=rollouts")
    choose(page, "Arithmetic", value)
    mark = page.locator(f".detail .step.{value}").first
    assert mark.inner_text().endswith(f"arithmetic {value}")
    assert "the right one to make here is not known" in (mark.get_attribute("title") or "")
    assert page.locator("text=/(right|wrong) step/").count() == 0
