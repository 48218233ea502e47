from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from culnig.reporting.page import Report
from tests.reporting.samples import Sample, write_sample


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Sample:
    return write_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="session")
def report(sample) -> Report:
    return Report(sample.sources())


@pytest.fixture(scope="session")
def page_file(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.write(path)
    return path


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser() -> Iterator:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser) -> Iterator:
    """Opens a page and sees afterwards that it complained about nothing and asked for nothing."""
    contexts, complaints, asked = [], [], []

    def start(path: Path, width: int = 1280, scheme: str = "light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield start
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file://", "blob:"))] == []
    assert len([url for url in asked if url.startswith("file://")]) == len(contexts)
