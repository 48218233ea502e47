"""The example that README shows runs with `import culnig` alone."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

import culnig
from tests.tiny_models import tiny_model

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


def test_it_scores_selects_evaluates_and_reports(tmp_path, monkeypatch, capsys):
    """With a tiny model: the demo takes the same steps with the embedded one (tests/cli/test_embedded.py)."""

    def load(source, dtype):
        assert (source, dtype) == ("embedded", "float32")
        return tiny_model()

    folder = tmp_path / "study"
    monkeypatch.setattr(culnig, "load_model", load)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(folder), "1"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    evaluation = culnig.open_evaluation(folder / "evaluation")
    assert evaluation.conditions == ["unmasked", "general", *(f"random {n} like general" for n in range(4))]
    neurons = culnig.read_neuron_set(folder / "general.neurons.json")
    assert evaluation.rows[1]["n_neurons"] == len(neurons.neurons) > 0
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")
    assert f"{len(neurons.neurons):,} neurons of tiny-llama" in capsys.readouterr().out
