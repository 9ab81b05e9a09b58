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


@pytest.mark.parametrize("visit", [{"page": "sweeps"}], indirect=True, ids=["all sweeps"])
@pytest.mark.parametrize(
    ("sweep", "heads", "name"),
    [
        ("two_by_two", ["× −1 selected norm −8", "unsteered", "× 0.5 selected norm 4"], "backtracking × 1 selected"),
        ("selection", ["unsteered", "dose 0.5 norm 20", "dose 1 norm 40"], "backtracking dose 1"),
        ("ablation", ["unsteered", "ablated"], "backtracking ablated"),
    ],
)
def test_strengths_are_named_by_their_unit(sweep: str, heads: list[str], name: str, visit: Visitor) -> None:
    page = visit.open(f"view=steered&sweep={sweep}")
    found = page.locator(".grid thead th").all_text_contents()[1:]
    assert found[: len(heads)] == heads
    expect(page.locator(".column h3").nth(1)).to_have_text(f"A: {name}")


def test_dose_is_explained(visit: Visitor) -> None:
    page = visit.open("view=about")
    expect(page.locator(".about")).to_contain_text("divided by the median L2 norm of the reasoning model's")
