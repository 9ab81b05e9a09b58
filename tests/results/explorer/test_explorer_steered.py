"""What the view of steered text says: seeds, strengths, what a text is compared with, answers that were cut off."""

from __future__ import annotations

import pytest
from looked_at import Visitor
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("visit", [{"page": "half"}, {"page": "explorer"}], indirect=True, ids=["bfloat16", "float32"])
def test_one_seed_is_said_to_hold_within_a_sweep(visit: Visitor) -> None:
    dtype = visit.explorer.inputs.settings.values["pair"]["dtype"]
    page = visit.open("view=steered&sweep=two_by_two")
    summary = page.locator(".prompt summary")
    expect(summary).to_contain_text("the same seed for all of this sweep")
    told = summary.get_attribute("title") or ""
    assert dtype in told and "may differ between sweeps" in told
    page = visit.open("view=about")
    expect(page.locator(".about")).to_contain_text(told)
