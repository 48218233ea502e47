"""Neuron sets of two models: relative depth, cultures that look alike, and what a permutation says."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import culnig
from culnig.core.neurons import MLP_GATE, QUERY, Layout
from culnig.errors import InputError, MismatchError
from culnig.evaluation.stored import Evaluation
from culnig.reporting.depths import depth_bin
from culnig.reporting.model_comparison import neurons_compare
from culnig.reporting.sections.models import models_section
from culnig.reporting.sources import Sources, read_sources
from culnig.selection.neuron_set import NeuronSet
from culnig.store.files import write_json
from culnig.store.run import Run
from tests.toy import CULTURES, moments, neuron_set, toy_layout, write_run

SHALLOW = toy_layout(4, {QUERY: 4, MLP_GATE: 10})
DEEP = toy_layout(8, {QUERY: 6, MLP_GATE: 20})


def gates(layout: Layout, layers: dict[int, int]) -> NeuronSet:
    """So many gate neurons in each layer."""
    flat = [
        layout.segment(MLP_GATE, layer).start + number
        for layer, count in layers.items()
        for number in range(count)
    ]
    return neuron_set(layout, flat, "general")


def run_of(folder: Path, layout: Layout, order: tuple[int, ...]) -> Run:
    """Culture number c scores in the quarter order[c] of the depth, and hardly anywhere else."""
    sums = np.full((len(CULTURES), layout.n_neurons), 0.01)
    for row, quarter in enumerate(order):
        for layer in range(quarter * layout.n_layers // 4, (quarter + 1) * layout.n_layers // 4):
            sums[row, layout.segment(MLP_GATE, layer).columns] = 1.0 + row / 100
    table = moments(CULTURES, [3] * len(CULTURES), sums)
    return write_run(folder, layout, {"toy-target": ("target", table)})


def test_layers_are_compared_by_the_middle_of_their_depth():
    assert [depth_bin(layer, 4, 4) for layer in range(4)] == [0, 1, 2, 3]
    assert [depth_bin(layer, 8, 4) for layer in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [depth_bin(layer, 3, 2) for layer in range(3)] == [0, 1, 1]


def test_the_distance_is_the_share_of_neurons_that_would_have_to_move(tmp_path):
    runs = [run_of(tmp_path / "a", SHALLOW, (0, 1, 2, 3)), run_of(tmp_path / "b", DEEP, (0, 1, 2, 3))]
    alike = neurons_compare(gates(SHALLOW, {0: 5, 3: 5}), gates(DEEP, {0: 4, 1: 1, 7: 5}), runs=runs)["depth"]
    assert alike["n_bins"] == 4
    assert alike["counts"] == [[[5, 0, 0, 5]], [[5, 0, 0, 5]]]
    assert (alike["distance"], alike["p_value"]) == (0.0, 1.0)
    apart = neurons_compare(gates(SHALLOW, {0: 8, 3: 2}), gates(DEEP, {7: 10}), runs=runs)["depth"]
    assert apart["distance"] == pytest.approx(0.8)
    assert apart["p_value"] < 0.005  # hypergeometric: 8 or more of 8 shallow neurons in one set of 10 of 20


def test_cultures_that_lie_alike_are_found(tmp_path):
    """Four cultures in the same quarters of both models: no other naming fits as well, so p is 1/24."""
    first = run_of(tmp_path / "a", SHALLOW, (0, 1, 2, 3))
    same = run_of(tmp_path / "b", DEEP, (0, 1, 2, 3))
    sets = gates(SHALLOW, {0: 3}), gates(DEEP, {0: 3})
    profiles = neurons_compare(*sets, runs=[first, same])["profiles"]
    assert profiles["cultures"] == list(CULTURES)
    assert profiles["p_value"] == pytest.approx(1 / 24)
    assert profiles["own"] > 0.9 > profiles["other"]
    moved = neurons_compare(*sets, runs=[first, run_of(tmp_path / "c", DEEP, (1, 2, 3, 0))])["profiles"]
    assert moved["own"] < moved["other"]
    assert moved["p_value"] > 0.5


def matrix(change: list[list[float]], folder: str = "e") -> Evaluation:
    cultures = ["China", "Iran", "Mexico"]
    document: dict[str, Any] = {
        "metric": "p_gold",
        "masked": cultures,
        "evaluated": cultures,
        "change": change,
    }
    return Evaluation(Path(folder), {"matrix": [document]}, {})


def test_matrices_are_compared_by_ranks_over_all_namings_of_cultures():
    first = [[-5.0, -1.0, -2.0], [-0.5, -6.0, -3.0], [-1.5, -2.5, -7.0]]
    second = [[-50.0, -10.0, -20.0], [-5.0, -60.0, -30.0], [-15.0, -25.0, -70.0]]  # the same order
    sets = gates(SHALLOW, {0: 3}), gates(DEEP, {0: 3})
    found = neurons_compare(*sets, evaluations=[matrix(first), matrix(second)])["matrices"]
    assert found["rho"] == pytest.approx(1.0)
    renamed = [
        np.array(second)[np.ix_(order, order)].ravel().argsort().argsort()
        for order in itertools.permutations(range(3))
    ]
    ranks = np.array(first).ravel().argsort().argsort()
    assert found["p_value"] == pytest.approx(np.mean([bool((own == ranks).all()) for own in renamed]))


def test_versions_of_one_model_share_and_move_neurons(tmp_path):
    before, after = gates(SHALLOW, {0: 3, 1: 2}), gates(SHALLOW, {0: 2, 3: 1})
    same = neurons_compare(before, after)["same_layout"]
    assert (same["shared"], same["jaccard"]) == (2, pytest.approx(2 / 6))
    assert same["by_module"] == [{"module": MLP_GATE, "both": 2, "only_first": 3, "only_second": 1}]
    assert neurons_compare(before, gates(DEEP, {0: 1}))["same_layout"] is None


def test_inputs_that_do_not_belong_together_are_refused(tmp_path):
    run = run_of(tmp_path / "a", SHALLOW, (0, 1, 2, 3))
    sets = gates(SHALLOW, {0: 1}), gates(DEEP, {0: 1})
    with pytest.raises(InputError, match="runs: 1 given; give two, one of each model, or none"):
        neurons_compare(*sets, runs=[run])
    with pytest.raises(MismatchError, match="give the runs in the order of the sets"):
        neurons_compare(*sets, runs=[run, run])
    plain = Evaluation(Path("e"), {}, {})
    with pytest.raises(InputError, match="e has no matrix; evaluate with matrix"):
        neurons_compare(*sets, evaluations=[plain, plain])


def test_a_report_draws_several_models_side_by_side(tmp_path):
    runs = [run_of(tmp_path / "a", SHALLOW, (0, 1, 2, 3)), run_of(tmp_path / "b", DEEP, (0, 1, 2, 3))]
    sets = [gates(SHALLOW, {0: 3}), gates(DEEP, {7: 3})]
    sets[1] = NeuronSet(**{**vars(sets[1]), "model": "deep"})
    write_json(tmp_path / "pair.json", culnig.neurons_compare(*sets, runs=runs))
    sources = read_sources([tmp_path / "pair.json"])
    section = models_section(Sources(runs=runs, neuron_sets=sets, comparisons=sources.comparisons))
    depth, pairs = section.panels
    assert depth.title == "general, by model"
    assert [row[:2] for row in depth.table.rows] == [("toy", MLP_GATE), ("deep", MLP_GATE)]
    assert [row[2:] for row in depth.table.rows] == [(3, 0, 0, 0), (0, 0, 0, 3)]
    assert pairs.table.rows[0][2] == 1.0
