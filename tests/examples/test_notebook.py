"""The notebook runs from its first cell to its last, with a tiny model in place of the embedded one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import model_folder  # noqa: F401 - a fixture

NOTEBOOK = Path(__file__).parents[2] / "examples" / "selectivity.ipynb"


def code_of(document) -> list[str]:
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]


def test_it_is_stored_with_the_outputs_of_one_run():
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {kind for cell in cells for output in cell["outputs"] for kind in output.get("data", ())}
    assert {"image/png", "text/html"} <= kinds
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert len(NOTEBOOK.read_bytes()) < 500_000
    assert not {"/home/", "/tmp/", "/Users/", "site-packages"} & set(
        re.findall(r"/\w+/|site-packages", str(cells))
    )


@pytest.mark.slow
def test_it_runs_with_a_tiny_model(model_folder, monkeypatch):  # noqa: F811
    nbformat = pytest.importorskip("nbformat", reason="needs the package nbformat")
    nbclient = pytest.importorskip("nbclient", reason="needs the package nbclient")
    pytest.importorskip("ipykernel", reason="needs the package ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    text = NOTEBOOK.read_text(encoding="utf-8").replace(
        '\\"embedded\\"', json.dumps(str(model_folder)).replace('"', '\\"')
    )
    text = text.replace("top=0.002", "top=0.5")  # a share of its few hundred neurons
    notebook = nbformat.reads(text, as_version=4)
    assert str(model_folder) in "".join(code_of(notebook))
    done = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    last = done.cells[-1].outputs[0].text
    assert last.startswith("own culture against the others:")
    html = "".join(
        output.get("data", {}).get("text/html", "")
        for cell in done.cells
        for output in cell.get("outputs", ())
    )
    assert "<progress" in html
    assert html.count("<caption>") >= 3
