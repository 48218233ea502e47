"""The picture that the demo makes: what it says, and that chance stands only where it is chance."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from culnig.errors import InputError
from culnig.reporting import overview
from tests.reporting.test_summary import against, compared, row, unmasked
from tests.toy import neuron_set, toy_layout

METRICS = {"accuracy": 0.4, "option_accuracy": 0.5, "p_gold": 0.3, "option_mass": 0.7}
CHANGE = {metric: compared(-0.1, 0.01, -0.2, 0.0) for metric in METRICS}


def drawn(tmp_path, monkeypatch, p) -> Figure:
    figures = []
    monkeypatch.setattr(overview, "_write", lambda figure, path: figures.append(figure))
    masked = row(chance=0.25, change=CHANGE, against_random={"p_gold": against(-0.015, p)}, **METRICS)
    random = row("random 0 like general", like="general", against_random=None, change=CHANGE, **METRICS)
    rows = [unmasked(**METRICS), masked, random]
    layout = toy_layout()
    overview.overview_figure(tmp_path / "x.png", neuron_set(layout, [8, 9], "general"), layout, rows, "blend")
    return figures[0]


@pytest.mark.parametrize(
    ("p", "said"),
    [(0.002, "Masking them lowers P(gold) more"), (0.4, "No effect found: masking them does not")],
)
def test_it_names_the_model_and_says_whether_there_is_a_finding(tmp_path, monkeypatch, p, said):
    title = drawn(tmp_path, monkeypatch, p)._suptitle.get_text()
    assert title.startswith("toy: 2 general neurons of 84\n")
    assert said in title


def test_chance_is_drawn_only_among_the_labels_and_changes_have_intervals(tmp_path, monkeypatch):
    axes = drawn(tmp_path, monkeypatch, 0.4).axes[1]
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["chance"].get_xdata()) == [0.6, 1.4]
    assert list(lines["chance"].get_ydata()) == [0.25, 0.25]
    intervals = [list(line.get_ydata()) for line in axes.lines if list(line.get_xdata()) == [2, 2]]
    assert intervals == [pytest.approx([0.3 - 0.2, 0.3])]
    assert "blend: 900 test items, 400 questions" in axes.get_title(loc="left")


def test_a_picture_of_another_type_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no name of a figure"):
        overview.similarity_figure(tmp_path / "x.jpg", ["a", "b"], np.eye(2), "jaccard")
