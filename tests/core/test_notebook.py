from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from culnig.core import notebook
from culnig.core.notebook import html_table
from culnig.errors import UnknownNameError
from culnig.evaluation.stored import Evaluation
from tests.reporting.test_summary import matrix, row, unmasked
from tests.toy import neuron_set, toy_layout, write_toy_run


def test_a_table_is_escaped_and_rounded():
    assert html_table("<c>", ["a&"], [["<b>"], [None], [0.123456], [1234567]]) == (
        "<table><caption>&lt;c&gt;</caption><thead><tr><th>a&amp;</th></tr></thead><tbody>"
        "<tr><td>&lt;b&gt;</td></tr><tr><td>–</td></tr><tr><td>0.123</td></tr><tr><td>1234567</td></tr>"
        "</tbody></table>"
    )


def test_a_run_shows_its_benchmarks_and_where_its_scores_are(tmp_path):
    run = write_toy_run(tmp_path / "run")
    assert "<td>toy-target</td><td>target</td><td>identify</td><td>12</td><td>" in run._repr_html_()
    drawn = run.plot("toy-target").axes[0].collections[0].get_array()
    total = run.moments("toy-target").sum.sum(axis=0) / 12
    for place, module in enumerate(run.layout.modules):
        for layer in range(run.layout.n_layers):
            own = total[run.layout.segment(module, layer).columns]
            assert drawn[place, layer] == pytest.approx(own[own > 0].sum())


def test_a_neuron_set_shows_its_best_neurons_and_where_they_are():
    layout = toy_layout()
    those = neuron_set(layout, range(8, 20), "<set>")
    shown = those._repr_html_()
    assert "&lt;set&gt;: 12 neurons of toy by by hand, the best 10 of them" in shown
    assert shown.count("<tr>") == 11
    drawn = those.plot(layout).axes[0].collections[0].get_array()
    expected = np.zeros((5, 3))
    expected[layout.modules.index("mlp.gate_proj"), 0] = 10
    expected[layout.modules.index("mlp.up_proj"), 0] = 2
    np.testing.assert_array_equal(drawn, expected)
    assert those.plot().axes[0].collections[0].get_array().shape == (2, 1)


def test_an_evaluation_shows_its_conditions():
    rows = [{"accuracy": 0.5, **one} for one in (unmasked(), row())]
    evaluation = Evaluation(Path("EVAL"), {"rows": rows}, {})
    assert (
        "<td>blend</td><td>general</td><td>0</td><td>900</td><td>400</td><td>50.0 %</td>"
        in evaluation._repr_html_()
    )
    assert evaluation.plot("p_gold").axes[0].get_xlabel().startswith("change of P(gold)")
    with pytest.raises(UnknownNameError, match="accuracy, p_gold"):
        evaluation.plot("speed")


def test_progress_is_one_bar_for_each_task(monkeypatch):
    shown = []

    class Display:
        HTML = staticmethod(str)

        @staticmethod
        def display(text, display_id):
            shown.append(text)
            return Handle()

    class Handle:
        def update(self, text):
            shown.append(text)

    monkeypatch.setattr(notebook, "optional_package", lambda name: Display)
    progress = notebook.NotebookProgress()
    progress("score <a>", 0, 4)
    progress("score <a>", 2, 4)
    progress("b", 0, 1)
    assert shown[1] == '<div><progress value="2" max="4"></progress> score &lt;a&gt;: 2/4</div>'
    assert shown[2].count("<progress") == 2


def test_a_matrix_is_drawn_and_a_missing_one_is_named():
    evaluation = Evaluation(Path("EVAL"), {"rows": [], "matrix": [matrix(0.3)]}, {})
    drawn = evaluation.plot_matrix("p_gold").axes[0].collections[0].get_array()
    assert drawn[0, 0] == pytest.approx(-30)
    with pytest.raises(UnknownNameError, match="'accuracy'; known: p_gold"):
        evaluation.plot_matrix()


def test_a_figure_shows_itself():
    layout = toy_layout()
    assert neuron_set(layout, range(8, 20), "set").plot(layout)._repr_png_().startswith(b"\x89PNG")
