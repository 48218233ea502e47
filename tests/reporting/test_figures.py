from __future__ import annotations

import pytest

from culnig.errors import InputError
from culnig.reporting.figures import make_figures
from culnig.reporting.sources import Sources, read_sources
from culnig.store.files import write_json
from tests.toy import write_toy_run


def test_all_figures_that_have_data_are_made(sample):
    assert set(make_figures(sample.sources())) == {
        *(
            "layers",
            "depth-toy-target",
            "culture-by-neuron-toy-target",
            "leaderboard-hard",
            "similarity-sets",
        ),
        *("matrix-accuracy", "matrix-p-gold", "instances", "dose-accuracy", "dose-p-gold"),
        *("masking-accuracy", "masking-option-accuracy", "masking-p-gold", "masking-option-mass"),
        *("training-accuracy", "training-option-accuracy", "training-p-gold"),
    }


def test_the_sets_of_cultures_share_a_panel(sample):
    axes = make_figures(sample.sources(), ("layers",))["layers"].axes
    titles = [one.get_title(loc="left") for one in axes if one.get_title(loc="left")]
    assert titles == ["general <i>, n = 5", "culture-specific neurons, all modules, n = 24"]
    drawn = axes[1].collections[0].get_array()
    assert drawn.tolist() == [[6.0, 0.0, 0.0]] * 4


def test_a_figure_without_data_says_which_command_makes_it(tmp_path):
    sources = Sources([write_toy_run(tmp_path / "run")])
    with pytest.raises(InputError, match=r"no data for figure 'matrix'.*culnig-engine evaluate .*--matrix"):
        make_figures(sources, ("matrix",))
    with pytest.raises(InputError, match="no data for any figure"):
        make_figures(Sources())
    assert set(make_figures(sources)) == {"depth-toy-target", "culture-by-neuron-toy-target"}


def test_arms_of_a_training_are_drawn_metric_by_metric_task_first(tmp_path):
    changes = [
        {
            "arm": arm,
            "benchmark": name,
            "kind": kind,
            "metric": metric,
            "by_seed": [effect],
            "change": {"effect": effect, "interval": [effect - 0.1, effect + 0.1]},
        }
        for metric in ("accuracy", "p_gold")
        for arm, effect in (("top", -0.5), ("bottom", 0.0))
        for name, kind in (("blend", "culture"), ("qnli", "task"))
    ]
    write_json(tmp_path / "arms.json", {"format": "culnig-arms", "format_version": 1, "changes": changes})
    sources = read_sources([tmp_path])
    figures = make_figures(sources)
    assert set(figures) == {"training-accuracy", "training-p-gold"}
    (axes,) = figures["training-accuracy"].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        *("top: qnli", "bottom: qnli", "top: blend", "bottom: blend")
    ]
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() in "os"]
    assert points == pytest.approx([-50, 0, -50, 0])
    with pytest.raises(InputError, match=r"no data for figure 'training'.*culnig-engine train .*--arms"):
        make_figures(Sources(), ("training",))
