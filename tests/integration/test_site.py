"""The pages of the site: all are reachable, and links lead somewhere.

`make site` follows the links of the finished site too.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site() -> Any:
    specification = importlib.util.spec_from_file_location("culnig_site", ROOT / "docs" / "site.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def staged(site, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "docs"
    site.stage(folder)
    return folder


def test_every_page_is_in_the_navigation_once(site, staged):
    pages = {path.name for path in staged.glob("*.md")}
    assert {page for own in site.NAVIGATION.values() for page in own} <= pages
    (navigation,) = re.findall(r"^nav = \[\n(.*?)^\]", site.configuration(), flags=re.MULTILINE | re.DOTALL)
    assert sorted(re.findall(r'"([\w-]+\.md)"', navigation)) == sorted(pages)


def anchors(page: Path) -> set[str]:
    """What headings are called in links: lower case, without punctuation, joined by hyphens."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    texts = [re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts}


def test_links_between_pages_and_to_headings_lead_somewhere(staged):
    n_links = 0
    for page in staged.glob("*.md"):
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(#[^)\s]*)?\)", page.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            n_links += 1
            own = staged / target if target else page
            assert own.is_file(), f"{page.name}: {target}"
            assert not anchor or anchor[1:] in anchors(own), f"{page.name}: {target}{anchor}"
    assert n_links > 100


def test_marks_of_tests_are_not_shown(staged):
    for page in staged.glob("*.md"):
        assert "<!-- run -->" not in page.read_text(encoding="utf-8").splitlines(), page.name


def test_a_link_to_what_is_no_page_is_refused(site):
    with pytest.raises(ValueError, match=r"README.md links to setup.py, which is no page"):
        site.adapted("see [it](setup.py)", ROOT / "README.md")
    text = "[a](docs/store.md#files) [b](https://example.org/x) ![c](docs/images/overview.png)"
    assert site.adapted(text, ROOT / "README.md") == (
        "[a](store.md#files) [b](https://example.org/x) ![c](images/overview.png)"
    )


def test_dead_links_of_a_site_are_named(site, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "index.html").write_text('<h1 id="there">x</h1>')
    (tmp_path / "a.html").write_text(
        '<a href="b/#there"></a><a href="b/#not"></a><a href="c.html"></a>'
        '<a href="https://x.y/z"></a><img src="d.png">'
    )
    assert list(site.dead_links(tmp_path)) == [
        "a.html: b/#not names nothing on that page",
        "a.html: c.html does not exist",
        "a.html: d.png does not exist",
    ]
