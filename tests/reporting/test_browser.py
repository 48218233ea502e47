"""The page in a real browser: Debian's chromium without a window, through playwright.

Screenshots at three widths go to the folder that CULNIG_SCREENSHOTS names, where it is set.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.reporting.conftest import CHROMIUM
from tests.reporting.samples import HOSTILE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium; `apt-get install chromium` has it"),
]
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def ranks(page) -> list[str]:
    return page.locator("#neuron-table tbody tr:not(.details) td:nth-child(3)").all_inner_texts()


def test_a_hostile_question_is_text_and_its_word_is_marked(open_page, page_file):
    page = open_page(page_file)
    page.locator("#neuron-table .open").first.click()
    quote = page.locator("tr.details blockquote").first
    assert quote.text_content() == "".join(HOSTILE)
    assert quote.locator("mark").text_content() == HOSTILE[3]
    assert page.evaluate("window.stolen") is None
    assert page.locator("img, b").count() == 0
    page.locator("#neuron-table .open").first.click()
    assert page.locator("tr.details").count() == 0


def test_the_list_is_searched_filtered_and_sorted(open_page, page_file):
    page = open_page(page_file)
    count = page.locator("#count")
    assert count.inner_text() == "29 of 29 neurons"
    page.fill("input[name=text]", "المفضل noon")  # in a question, and among the words
    assert 0 < int(count.inner_text().split()[0]) < 29
    page.fill("input[name=text]", "")
    page.select_option("select[name=set]", "general <i>")
    assert count.inner_text() == "5 of 29 neurons"
    page.select_option("select[name=layer]", "0")
    assert count.inner_text() == "3 of 29 neurons"
    heading = page.locator("#neuron-table th", has_text="rank")
    heading.locator("button").click()
    first = ranks(page)
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert ranks(page) == first[::-1] == sorted(first, reverse=True)


def test_tabs_follow_mouse_and_keyboard(open_page, page_file):
    page = open_page(page_file)
    masking = page.locator("#masking")
    tabs, panels = masking.locator("[role=tab]"), masking.locator("[role=tabpanel]")
    assert tabs.count() == panels.count() > 3
    assert [panel.is_visible() for panel in panels.all()].count(True) == 1
    tabs.nth(1).click()
    assert panels.nth(1).is_visible()
    page.keyboard.press("ArrowRight")
    assert panels.nth(2).is_visible()
    assert not panels.nth(1).is_visible()
    page.keyboard.press("Home")
    assert tabs.nth(0).get_attribute("aria-selected") == "true"
    assert panels.nth(0).is_visible()


def test_plain_tables_are_sorted_by_number(open_page, page_file):
    page = open_page(page_file)
    page.locator("#masking [role=tab]").last.click()
    table = page.locator("#masking table:visible")
    place = table.locator("th").all_inner_texts().index("accuracy")
    table.locator("th button", has_text="accuracy").first.click()
    shown = [row.locator("td").nth(place).inner_text() for row in table.locator("tbody tr").all()]
    numbers = [float(text.removesuffix(" %")) for text in shown]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 2


def test_light_and_dark_follow_the_system_and_the_switch(open_page, page_file):
    colour = "getComputedStyle(document.body).backgroundColor"
    light, dark = open_page(page_file), open_page(page_file, scheme="dark")
    assert light.evaluate(colour) == "rgb(255, 255, 255)"
    assert dark.evaluate(colour) == "rgb(17, 22, 29)"
    light.click("#theme")
    assert light.evaluate(colour) == dark.evaluate(colour)
    light.keyboard.press("Space")
    assert light.evaluate(colour) == "rgb(255, 255, 255)"


def test_a_table_can_be_downloaded(open_page, page_file, report):
    page = open_page(page_file)
    with page.expect_download() as download:
        page.locator('[data-file="neurons"][data-kind="csv"]').click()
    table = next(one for one in report.tables if one.name == "neurons")
    assert download.value.suggested_filename == "neurons.csv"
    assert Path(download.value.path()).read_text(encoding="utf-8") == table.csv()


@pytest.mark.parametrize("width", [360, 1280, 3840])
def test_it_fits_every_width(open_page, page_file, width):
    page = open_page(page_file, width)
    page.locator("#neuron-table .open").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 14
    if folder := os.environ.get("CULNIG_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"report-{width}.png", full_page=True)
