"""What has room on wide screens, on phones and on paper."""

from __future__ import annotations

import pytest
from looked_at import Visitor
from playwright.sync_api import Locator, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]
WIDE = {"width": 1400, "height": 900}
PHONE = {"width": 360, "height": 740}


def box_of(node: Locator) -> dict[str, float]:
    found = node.bounding_box()
    assert found is not None
    return dict(found)


@pytest.mark.parametrize("visit", [WIDE], indirect=True, ids=["wide"])
def test_a_narrow_heat_map_stands_beside_its_texts_and_is_high(visit: Visitor) -> None:
    page = visit.open("view=steered&sweep=baselines")
    heat, texts = box_of(page.locator(".scroll")), box_of(page.locator(".column").first)
    assert heat["height"] > 0.75 * WIDE["height"]
    assert heat["x"] + heat["width"] < texts["x"] and texts["y"] < WIDE["height"]


@pytest.mark.parametrize("visit", [WIDE, PHONE], indirect=True, ids=["wide", "phone"])
def test_rows_of_the_list_are_read_to_their_end(visit: Visitor) -> None:
    page = visit.open("view=rollouts")
    for line in page.locator(".side .row .small").all()[:6]:
        assert "answer" in line.inner_text()
        assert line.evaluate("one => one.scrollWidth <= one.clientWidth && one.scrollHeight <= one.clientHeight + 1")
        row = box_of(line.locator("xpath=.."))
        inner = box_of(line)
        assert inner["y"] + inner["height"] <= row["y"] + row["height"]


@pytest.mark.parametrize("visit", [PHONE], indirect=True, ids=["phone"])
@pytest.mark.parametrize("sweep", ["two_by_two", "baselines"])
def test_a_phone_shows_both_cells_that_are_chosen(sweep: str, visit: Visitor) -> None:
    page = visit.open(f"view=steered&sweep={sweep}")
    heat = box_of(page.locator(".scroll"))
    for letter in ("A", "B"):
        box = box_of(page.locator(".grid button[aria-pressed=true]", has_text=letter))
        assert heat["x"] <= box["x"] and box["x"] + box["width"] <= heat["x"] + heat["width"]
    first = box_of(page.locator(".grid button[aria-pressed=true]", has_text="A"))
    assert heat["y"] <= first["y"] and first["y"] + first["height"] <= heat["y"] + heat["height"]


@pytest.mark.parametrize("visit", [PHONE], indirect=True, ids=["phone"])
def test_rows_keep_their_names_where_the_map_is_moved(visit: Visitor) -> None:
    page = visit.open("view=steered&sweep=two_by_two")
    map_ = page.locator(".scroll")
    assert map_.evaluate("one => { one.style.width = '12rem'; one.scrollLeft = 90; return one.scrollLeft }") == 90
    assert all(box_of(name)["x"] >= box_of(map_)["x"] for name in page.locator(".grid tbody th").all())


@pytest.mark.parametrize("visit", [PHONE], indirect=True, ids=["phone"])
def test_nothing_lies_over_the_controls_of_a_phone_before_a_token_is_chosen(visit: Visitor) -> None:
    page = visit.open("view=rollouts")
    info = page.locator(".detail .info")
    expect(info).to_have_css("position", "static")
    page.keyboard.press("s")
    expect(info).to_have_css("position", "sticky")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("view=rollouts&direction=mean&reader=reasoning", "Direction mean, read from the reasoning model"),
        ("view=steered&sweep=baselines&measure=keyword_share", "Sweep baselines, coloured by keywords of all words"),
    ],
)
def test_paper_says_what_was_chosen(state: str, said: str, visit: Visitor) -> None:
    page = visit.open(state)
    line = page.get_by_text(said, exact=True)
    expect(line).not_to_be_visible()
    page.emulate_media(media="print")
    expect(line).to_be_visible()


@pytest.mark.parametrize("visit", [{"scheme": "dark"}], indirect=True, ids=["dark"])
def test_a_dark_page_is_printed_light(visit: Visitor) -> None:
    page = visit.open("view=rollouts")
    behind = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(behind)
    page.emulate_media(media="print")
    assert page.evaluate(behind) == "rgb(251, 251, 249)" != dark
    page.wait_for_timeout(200)
    colours = page.evaluate(
        """() => { const strip = document.querySelector(".strip");
          const data = strip.getContext("2d").getImageData(0, 0, strip.width, strip.height).data;
          return [...Array(data.length / 4).keys()].map((place) => data.slice(4 * place, 4 * place + 3).join()); }"""
    )
    assert "42,111,168" in colours, "the strip's bars below the mean, in their light colour"
