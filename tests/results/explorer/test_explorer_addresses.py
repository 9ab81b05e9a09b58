"""What stands in the address: views are kept as they were left, each choice is a step back, what is wrong is said."""

from __future__ import annotations

import pytest
from looked_at import Visitor
from playwright.sync_api import Page, expect

from synthetic import BEST_LAYER

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def choose(page: Page, words: str, value: str) -> None:
    """Take a value of a labelled choice."""
    page.get_by_label(words, exact=True).select_option(value)


def chosen(page: Page, words: str) -> str:
    return page.get_by_label(words, exact=True).input_value()


@pytest.mark.parametrize("how", ["links", "keys"])
def test_a_view_is_found_as_it_was_left(how: str, visit: Visitor) -> None:
    page = visit.open("view=rollouts&label=backtracking&sort=peak&direction=mean")
    page.locator(".side .row").nth(1).click()
    name = page.locator(".detail h2").inner_text()
    for key, link in (("2", "Steered text"), ("1", "Rollouts")):
        if how == "links":
            page.get_by_role("link", name=link).click()
        else:
            page.keyboard.press(key)
        expect(page.get_by_role("link", name=link)).to_have_attribute("aria-current", "page")
        if key == "2":
            choose(page, "Colour by", "keyword_share")
    expect(page.locator(".detail h2")).to_have_text(name)
    wanted = {"Sentences": "backtracking", "Order": "peak", "Direction": "mean"}
    assert {words: chosen(page, words) for words in wanted} == wanted
    page.get_by_role("link", name="Steered text").click()
    assert chosen(page, "Colour by") == "keyword_share"


def test_another_sweep_keeps_prompt_and_cells_that_it_has(visit: Visitor) -> None:
    a = f"reasoning,backtracking,base,{BEST_LAYER},-9,0.5"
    page = visit.open(f"view=steered&sweep=two_by_two&a={a}")
    page.get_by_role("button", name="Next prompt").click()
    prompt = chosen(page, "Prompt")
    choose(page, "Sweep", "baselines")
    expect(page.locator(".column h3").nth(1)).to_have_text("A: backtracking × 0.5 selected")
    assert chosen(page, "Prompt") == prompt
    choose(page, "Sweep", "two_by_two")
    expect(page.locator(".column h3").nth(1)).to_have_text("A: backtracking × 0.5 selected")


@pytest.mark.parametrize("visit", [{"page": "sweeps"}], indirect=True, ids=["all sweeps"])
def test_an_ablated_direction_is_not_the_same_as_a_steered_one(visit: Visitor) -> None:
    page = visit.open(f"view=steered&sweep=two_by_two&a=reasoning,backtracking,reasoning,{BEST_LAYER},-9,1")
    choose(page, "Sweep", "ablation")
    expect(page.locator(".column").nth(1)).to_contain_text("read from base")


def test_each_choice_is_a_step_back_and_a_movement_is_none(visit: Visitor) -> None:
    page = visit.open("view=rollouts")
    for words, value in (("Sentences", "backtracking"), ("Order", "peak"), ("Direction", "mean")):
        choose(page, words, value)
    page.get_by_role("listbox").focus()
    for key in ("ArrowDown", "ArrowDown", "n", "s"):
        page.keyboard.press(key)
    for words, before in (("Direction", "backtracking"), ("Order", ""), ("Sentences", "")):
        page.go_back()
        expect(page.get_by_label(words, exact=True)).to_have_value(before)


def test_each_choice_of_steered_text_is_a_step_back(visit: Visitor) -> None:
    page = visit.open("view=steered&sweep=two_by_two")
    first = chosen(page, "Prompt"), page.locator(".column h3").all_text_contents()
    choose(page, "Colour by", "keyword_share")
    page.keyboard.press("j")
    page.get_by_role("button", name="backtracking × 1.5 selected, reasoning model, read from base").click()
    choose(page, "Sweep", "baselines")
    page.go_back()
    expect(page.get_by_label("Sweep", exact=True)).to_have_value("two_by_two")
    expect(page.locator(".column h3").nth(1)).to_have_text("A: backtracking × 1.5 selected")
    page.go_back()
    expect(page.locator(".column h3").nth(1)).to_have_text(first[1][1])
    page.go_back()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(first[0])
    page.go_back()
    expect(page.get_by_label("Colour by", exact=True)).to_have_value("backtracking_share")


def test_each_choice_of_disagreements_is_a_step_back(visit: Visitor) -> None:
    page = visit.open("view=disagreements")
    choose(page, "Either says", "backtracking")
    page.go_back()
    expect(page.get_by_label("Either says", exact=True)).to_have_value("")


@pytest.mark.parametrize(
    ("state", "told", "seen"),
    [
        ("view=rollouts&direction=nope", "direction “nope”", {"Direction": "backtracking"}),
        ("view=rollouts&label=nope&category=no", "category “no”, label “nope”", {"Sentences": "", "Category": ""}),
        ("view=rollouts&sort=upwards&token=99999&rollout=no", "order “upwards”, rollout “no”", {"Order": ""}),
        ("view=steered&sweep=nope&measure=x", "sweep “nope”, measure “x”", {"Sweep": "two_by_two"}),
        ("view=steered&a=no&b=no&prompt=no", "cell A “no”, cell B “no”, prompt “no”", {"Sweep": "two_by_two"}),
        ("view=disagreements&one=nobody&said=nope", "annotator “nobody”, label “nope”", {"One annotator": "lexicon"}),
        ("view=nope", "view “nope”", {"Direction": "backtracking"}),
    ],
)
def test_what_the_address_asks_for_in_vain_is_said(state: str, told: str, seen: dict[str, str], visit: Visitor) -> None:
    page = visit.open(state)
    expect(page.locator(".notice")).to_contain_text(f"Not found, and left out: {told}")
    assert {words: chosen(page, words) for words in seen} == seen
    rollouts = visit.explorer.inputs.rollouts.height
    if "rollouts" in state:
        expect(page.locator(".side [role=status]")).to_have_text(f"{rollouts} of {rollouts} rollouts")


def test_what_is_found_needs_no_words(visit: Visitor) -> None:
    for state in ("", "view=rollouts&direction=mean&label=not-backtracking&token=3", "view=steered", "view=about"):
        expect(visit.open(state).locator(".notice")).not_to_be_visible()


@pytest.mark.parametrize("visit", [{"page": "sweeps"}], indirect=True, ids=["all sweeps"])
def test_windows_stand_for_the_sweep_that_has_several(visit: Visitor) -> None:
    page = visit.open("view=steered&sweep=windows")
    assert chosen(page, "Sweep") == "selection"
    expect(page.locator(".notice")).not_to_be_visible()


def test_where_no_rollout_is_left_one_click_shows_all(visit: Visitor) -> None:
    page = visit.open("view=rollouts&correct=cut&sort=peak")
    expect(page.locator(".side [role=status]")).to_contain_text("0 of ")
    page.get_by_role("button", name="show all").click()
    rollouts = visit.explorer.inputs.rollouts.height
    expect(page.locator(".side [role=status]")).to_have_text(f"{rollouts} of {rollouts} rollouts")
    expect(page.get_by_role("button", name="show all")).not_to_be_visible()
    assert chosen(page, "Order") == "peak"
    expect(page.locator(".detail h2")).to_be_visible()
