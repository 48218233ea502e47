"""The report of a 12 B model's run: 1.87 million neurons, 16 cultures, target and control."""

from __future__ import annotations

import time

import numpy as np
import pytest

from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout
from culnig.reporting.page import Report
from culnig.reporting.sources import Sources
from culnig.selection.specific import select_specific
from culnig.selection.tables import selection_tables
from tests.reporting.test_browser import CHROMIUM, FIRST_PAINT
from tests.toy import write_run

WIDTHS = {
    "self_attn.q_proj": 4096,
    "self_attn.k_proj": 2048,
    "self_attn.v_proj": 2048,
    "mlp.gate_proj": 15360,
    "mlp.up_proj": 15360,
}
N_LAYERS = 48
CULTURES = tuple(f"culture {number}" for number in range(16))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Inputs: the run, and a set of neurons for each culture."""
    layout = Layout.from_widths(
        [(n, module, width) for n in range(N_LAYERS) for module, width in WIDTHS.items()]
    )
    assert 1_860_000 < layout.n_neurons < 1_880_000
    generator = np.random.default_rng(0)

    def drawn() -> CultureMoments:
        made = CultureMoments.zeros(CULTURES, layout.n_neurons)
        made.n_items[:] = 100
        generator.standard_normal(out=made.sum)
        return made

    run = write_run(
        tmp_path_factory.mktemp("large") / "run",
        layout,
        {"big": ("target", drawn()), "big-control": ("control", drawn())},
    )
    tables = selection_tables(run, use_exclusion=False)
    sets = [select_specific(tables, culture) for culture in CULTURES]
    return Sources([run], neuron_sets=sets)


@pytest.fixture(scope="module")
def large_page(large, tmp_path_factory):
    path = tmp_path_factory.mktemp("large-page") / "report.html"
    begin = time.perf_counter()
    Report(large).write(path)
    return path, time.perf_counter() - begin


@pytest.mark.slow
def test_it_is_small_and_made_in_seconds(large_page):
    path, seconds = large_page
    print(f"{path.stat().st_size / 1e6:.2f} MB in {seconds:.1f} s")
    assert path.stat().st_size < 10_000_000
    assert seconds < 20


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium; `apt-get install chromium` has it")
def test_its_first_paint_is_quick(large_page):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(large_page[0].as_uri())
        page.wait_for_selector("#neuron-table tbody tr")
        paint = page.evaluate(FIRST_PAINT)
        browser.close()
    print(f"first contentful paint after {paint:.0f} ms")
    assert paint < 2000
