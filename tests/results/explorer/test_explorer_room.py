"""What has room on wide screens, on phones and on paper."""

from __future__ import annotations

import pytest
from looked_at import Visitor
from playwright.sync_api import Locator

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
