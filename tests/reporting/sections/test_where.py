"""Where neurons of experts are: counted by layer and expert, and drawn without taking megabytes."""

from __future__ import annotations

import re

import numpy as np

from culnig.core.neurons import EXPERTS_GATE, EXPERTS_UP, MLP_GATE, MLP_UP, QUERY, Layout, Neuron, Segment
from culnig.reporting.heat_maps import MOST_CELLS
from culnig.reporting.sections.where import by_expert, where_section
from culnig.reporting.sources import Sources
from culnig.selection.neuron_set import NeuronSet
from tests.toy import random_moments, write_run

WIDTH = 5


def layout_with(n_experts: int, n_layers: int) -> Layout:
    """A dense first layer; experts of 5 neurons in the others."""
    segments = [Segment(QUERY, layer, 0, 4) for layer in range(n_layers)]
    segments += [Segment(module, 0, 0, 8) for module in (MLP_GATE, MLP_UP)]
    segments += [
        Segment(module, layer, 0, n_experts * WIDTH, n_experts)
        for module in (EXPERTS_GATE, EXPERTS_UP)
        for layer in range(1, n_layers)
    ]
    return Layout.of(segments)


def set_of(layout: Layout, neurons: list[Neuron]) -> NeuronSet:
    return NeuronSet(
        "general", "toy", layout.hash, {"name": "general"}, [], tuple(neurons), np.ones(len(neurons))
    )


CHOSEN = [
    Neuron(QUERY, 2, 1),
    Neuron(MLP_GATE, 0, 3),
    Neuron(EXPERTS_GATE, 1, 0),  # expert 0
    Neuron(EXPERTS_GATE, 1, 14),  # the last of expert 2
    Neuron(EXPERTS_GATE, 2, 10),  # the first of expert 2
    Neuron(EXPERTS_UP, 2, 12),  # expert 2 too
]


def test_neurons_are_counted_by_expert_and_layer_by_hand() -> None:
    layout = layout_with(3, 3)
    counts = by_expert(set_of(layout, CHOSEN), layout)
    assert np.isnan(counts[:, 0]).all()  # a dense layer
    assert counts[:, 1:].tolist() == [[1, 0], [0, 0], [1, 2]]


def panels(tmp_path, layout: Layout, chosen: list[Neuron]):
    run = write_run(tmp_path / "run", layout, {"toy-target": ("target", random_moments(0, layout.n_neurons))})
    sources = Sources(neuron_sets=[set_of(layout, chosen)], runs=[run])
    return {panel.title: panel for panel in where_section(sources).panels}


def test_the_figure_of_experts_shows_shares_of_the_set(tmp_path) -> None:
    panel = panels(tmp_path, layout_with(3, 3), CHOSEN)["general, experts"]
    assert panel.note == (
        "4 of 6 neurons are in routed experts, in 3 of the model's 6. Expert 2 of layer 2 has the most, 2."
    )
    said = dict(re.findall(r"<title>(expert \d, layer \d): ([^<]*)</title>", panel.chart))
    assert said["expert 2, layer 2"] == "33.3 %"
    assert said["expert 1, layer 1"] == "0 %"
    assert said["expert 0, layer 0"] == "no data"
    assert [row[:3] for row in panel.table.rows] == [(2, 2, 2), (1, 0, 1), (1, 2, 1)]


def test_a_large_mixture_is_drawn_in_few_steps_of_colour(tmp_path) -> None:
    """128 experts in 47 of 48 layers."""
    layout = layout_with(128, 48)
    generator = np.random.default_rng(0)
    flat = generator.choice(layout.pool(EXPERTS_GATE), 3000, replace=False)
    chosen = layout.neurons(flat)
    panel = panels(tmp_path, layout, chosen)["general, experts"]
    assert layout.n_layers * 128 > MOST_CELLS
    assert len(panel.chart) < 250_000
    drawn = sum(
        path.count("M") for path in re.findall(r'<path class="[^"]*" style="[^"]*" d="([^"]*)"', panel.chart)
    )
    assert drawn == 128 * 47  # the first layer has no experts
    counts = by_expert(set_of(layout, chosen), layout)
    lightest = re.search(r'<path class="q0" style="--t:0" d="([^"]*)"', panel.chart)[1].count("M")
    assert lightest == int((counts == 0).sum())
    assert len(panel.table.rows) == 500


def test_a_model_without_experts_has_no_such_figure(tmp_path) -> None:
    layout = Layout.of([Segment(QUERY, 0, 0, 4), Segment(MLP_GATE, 0, 0, 8)])
    assert list(panels(tmp_path, layout, [Neuron(MLP_GATE, 0, 3)])) == ["general"]
