"""The page in a real browser at the widths and in the colours that readers have: nothing cut, all legible.

`CULNIG_AXE=…/axe.min.js` adds axe-core's rules (`npm install axe-core`).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from culnig.reporting.page import Report
from culnig.reporting.sources import read_sources
from tests.reporting.conftest import CHROMIUM

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium; `apt-get install chromium` has it"),
]
AXE = os.environ.get("CULNIG_AXE", "")
WIDTHS = (360, 400, 1280, 2560)
LOOK = (Path(__file__).parent / "layout.js").read_text(encoding="utf-8")


def ask(page, name: str):
    """The answer of a function of layout.js."""
    return page.evaluate(f"() => {{ {LOOK}\n return window.look.{name}(); }}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_at_any_width(open_page, page_file, width, scheme):
    page = open_page(page_file, width, scheme)
    ask(page, "showAll")
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.wait_for_timeout(100)  # hints follow the layout
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert ask(page, "cut") == []
    assert ask(page, "unmarked") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind(open_page, page_file, scheme):
    page = open_page(page_file, 1280, scheme)
    ask(page, "showAll")
    assert ask(page, "faint") == []


def test_a_wide_page_is_used(open_page, page_file):
    page = open_page(page_file, 2560)
    box = page.locator("main").bounding_box()
    assert box["width"] > 0.7 * 2560
    tables = page.locator(".panel:visible > details.table[open]")
    assert tables.count() > 3


def test_the_keyboard_reaches_everything(open_page, page_file):
    page = open_page(page_file, 1280)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    expected = set(ask(page, "reachable"))
    reached = set()
    for _ in range(len(expected) + 20):
        page.keyboard.press("Tab")
        at = page.evaluate("document.activeElement?.dataset?.reach")
        if at is not None:
            reached.add(int(at))
    assert expected - reached == set()


def test_evaluation_and_metric_are_two_choices(open_page, report, sample, tmp_path):
    other = tmp_path / "second"
    shutil.copytree(sample.evaluation, other)
    path = tmp_path / "report.html"
    Report(read_sources([sample.evaluation, other])).write(path)
    page = open_page(path)
    masking = page.locator("#masking")
    tabs = masking.locator("[role=tab]:visible")
    assert tabs.all_inner_texts()[:2] == ["accuracy", "option accuracy"]
    tabs.nth(1).click()
    masking.locator("select").select_option("second")
    shown = masking.locator(".panel:visible")
    assert shown.get_attribute("data-group") == "second"
    assert shown.get_attribute("data-title") == "option accuracy"


@pytest.mark.skipif(not Path(AXE).is_file(), reason="CULNIG_AXE names no axe.min.js; npm install axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_has_no_serious_finding(open_page, page_file, width, scheme):
    page = open_page(page_file, width, scheme)
    ask(page, "showAll")
    page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    violations = page.evaluate("axe.run().then((result) => result.violations)")
    serious = [
        f"{each['id']}: {each['nodes'][0]['html'][:200]}"
        for each in violations
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == []
