"""What the view of steered text says: seeds, strengths, what a text is compared with, answers that were cut off."""

from __future__ import annotations

import pytest
from looked_at import Visitor
from playwright.sync_api import Page, expect

from synthetic import BEST_LAYER

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


TWO_MODELS = "view=steered&sweep=two_by_two&a=base,backtracking,base,{layer},-9,0.5&b=reasoning,{b}"


def heads_and_ends(page: Page) -> dict[str, str]:
    """What is said of the text under each heading, in their order."""
    columns = page.locator(".column").all()
    return {one.locator("h3").inner_text(): one.locator(".info").inner_text() for one in columns}


def test_a_text_is_compared_with_the_unsteered_one_that_stands_at_its_left(visit: Visitor) -> None:
    """Of its own model, where A and B are of two."""
    b = f"backtracking,base,{BEST_LAYER},-9,0.5"
    told = heads_and_ends(visit.open(TWO_MODELS.format(layer=BEST_LAYER, b=b)))
    steered = [f"backtracking × 0.5 selected, in {target}" for target in ("base", "reasoning")]
    wanted = ["unsteered, in base", f"A: {steered[0]}", "unsteered, in reasoning", f"B: {steered[1]}"]
    assert list(told) == wanted
    for head, words in told.items():
        assert ("unsteered text at token" in words or "as unsteered" in words) == ("selected" in head)


def test_an_unsteered_text_is_compared_with_none(visit: Visitor) -> None:
    page = visit.open(TWO_MODELS.format(layer=BEST_LAYER, b="none,,,,0"))
    told = heads_and_ends(page)
    assert list(told)[::2] == ["unsteered, in base", "B: unsteered, in reasoning"]
    assert not [words for head, words in told.items() if "unsteered" in head and "same text" in words]
    unsteered = page.locator(".column", has=page.locator("h3", has_text="unsteered"))
    assert unsteered.count() == 2 and unsteered.locator(".parted").count() == 0


def test_an_unsteered_cell_keeps_its_letter(visit: Visitor) -> None:
    a = f"reasoning,backtracking,base,{BEST_LAYER},-9,0.5"
    page = visit.open(f"view=steered&sweep=two_by_two&a={a}&b=reasoning,none,,,,0")
    assert list(heads_and_ends(page)) == ["B: unsteered", "A: backtracking × 0.5 selected"]


def test_texts_cut_off_before_an_answer_are_counted(visit: Visitor) -> None:
    """At twice the norm every made-up text is a loop without an answer."""
    a = f"reasoning,backtracking,base,{BEST_LAYER},-9,2"
    page = visit.open(f"view=steered&sweep=two_by_two&a={a}&measure=correct")
    column = page.locator(".column").nth(1)
    expect(column.locator(".facts")).to_contain_text("right answers (4 of 4 texts cut off before an answer)")
    expect(column.locator(".info")).to_contain_text("cut off, no answer yet")
    cell = page.get_by_role("button", name="backtracking × 2 selected, reasoning model, read from base")
    assert "4 of 4 texts cut off" in (cell.get_attribute("aria-label") or "")


def test_the_heat_map_is_one_stop_with_arrow_keys_inside(visit: Visitor) -> None:
    page = visit.open("view=steered&sweep=two_by_two")
    expect(page.locator(".grid button[tabindex='0']")).to_have_count(1)
    expect(page.locator(".scroll")).not_to_have_attribute("tabindex", "0")
    start = page.get_by_role("button", name="backtracking × 1 selected, reasoning model, read from base")
    expect(start).to_have_attribute("tabindex", "0")
    start.focus()
    page.keyboard.press("ArrowRight")
    beside = page.get_by_role("button", name="backtracking × 1.5 selected, reasoning model, read from base")
    expect(beside).to_be_focused()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    below = page.get_by_role("button", name="backtracking × −1 selected, reasoning model, read from reasoning")
    expect(below).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".column h3").nth(1)).to_have_text("A: backtracking × −1 selected")
    expect(below).to_be_focused()
    expect(page.locator(".grid button[tabindex='0']")).to_have_count(1)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.grid')") is None
