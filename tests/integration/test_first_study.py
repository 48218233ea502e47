"""The example that README shows runs with `import culnig` alone, on the embedded model."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import culnig

SCRIPT = Path(__file__).parents[2] / "examples" / "first_study.py"


def test_the_script_is_short_and_imports_culnig_only():
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 25
    imported = {
        alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported == {"culnig", "sys"}


@pytest.mark.slow
def test_it_scores_selects_evaluates_and_reports(tmp_path):
    folder = tmp_path / "study"
    done = subprocess.run(
        [sys.executable, SCRIPT, str(folder), "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    evaluation = culnig.open_evaluation(folder / "evaluation")
    assert evaluation.conditions == ["unmasked", "general", *(f"random {n} like general" for n in range(4))]
    neurons = culnig.read_neuron_set(folder / "general.neurons.json")
    assert evaluation.rows[1]["n_neurons"] == len(neurons.neurons) > 0
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")
    assert f"{len(neurons.neurons):,} neurons of embedded" in done.stdout
