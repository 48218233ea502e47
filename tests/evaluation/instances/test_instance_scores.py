"""Scores of single problems, against plain autograd and against the sums of a run."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from culnig.errors import InputError, NonFiniteError, OutputExistsError
from culnig.evaluation.instances.file import write_instances
from culnig.evaluation.instances.scores import InstanceScores, instance_scores, score_items
from culnig.evaluation.instances.summary import by_group, neuron_topics, overall, summary
from culnig.inference.encoding import Encoder
from culnig.scoring.accumulator import Accumulator
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from culnig.store.output_folder import check_file
from tests.tiny_models import tiny_items, tiny_model
from tests.tolerances import assert_positive_counts_equal, assert_scores_equal
from tests.toy import items, toy_layout


def chosen_of(bound, n=25):
    return np.random.default_rng(1).permutation(bound.layout.n_neurons)[:n]


def by_autograd(bound, item, module_name, index):
    """P · max over tokens of activation · gradient of one neuron, one item alone, nothing of ours but ids."""
    encoded = Encoder(bound).encode(item)
    module = bound.model.get_submodule(module_name)
    kept = []

    def keep(module, inputs, output):
        output.retain_grad()
        kept.append(output)

    handle = module.register_forward_hook(keep)
    logits = bound.model(input_ids=torch.tensor([encoded.token_ids])).logits[0, -1].double()
    handle.remove()
    probability = logits.softmax(-1)[encoded.gold_id]
    probability.backward()
    (output,) = kept
    contribution = (output * output.grad)[0, :, index]
    return float((probability * contribution.max()).detach())


@pytest.mark.parametrize("budget", [1, 2048])
def test_scores_are_those_of_plain_autograd(budget):
    bound = tiny_model()
    asked = tiny_items(4)
    flat = chosen_of(bound, 6)
    found = score_items(bound, asked, flat, token_budget=budget)
    names = [(f"model.layers.{one.layer}.{one.module}", one.index) for one in bound.layout.neurons(flat)]
    expected = [[by_autograd(bound, item, *name) for name in names] for item in asked]
    assert_scores_equal(found, expected)


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt2", "gpt_neox"])
def test_their_sums_are_the_culture_sums_of_a_run(family):
    bound, asked = tiny_model(family), tiny_items(7)
    flat = chosen_of(bound)
    found = score_items(bound, asked, flat)
    moments = score_benchmark(bound, asked, "target", ScoreSettings()).moments
    cultures = np.array([item.culture for item in asked])
    for row, culture in enumerate(moments.cultures):
        assert_scores_equal(found[cultures == culture].sum(axis=0), moments.sum[row, flat])
        positive = (found[cultures == culture] > 0).sum(axis=0)
        assert_positive_counts_equal(positive, moments.positive_count[row, flat])


def without_question(asked):
    return [replace(item, prompt=item.prompt[-9:]) for item in reversed(asked)]


def test_the_control_is_matched_by_id_and_clamped():
    bound, asked = tiny_model(), tiny_items(5)
    flat = chosen_of(bound)
    found = instance_scores(bound, asked, flat, without_question(asked))
    moments = score_benchmark(bound, without_question(asked), "control", ScoreSettings()).moments
    cultures = np.array([item.culture for item in asked])
    for row, culture in enumerate(moments.cultures):
        assert_scores_equal(found.control[cultures == culture].sum(axis=0), moments.sum[row, flat])
    assert (found.control >= 0).all()
    np.testing.assert_array_equal(found.difference, found.raw - found.control)
    assert_scores_equal(found.raw, score_items(bound, asked, flat))


@pytest.mark.parametrize("call", [1, 3])
def test_memory_that_runs_out_changes_nothing(monkeypatch, call):
    bound, asked = tiny_model(), tiny_items(5)
    flat = chosen_of(bound)
    expected = score_items(bound, asked, flat)
    add, calls = Accumulator.add, []

    def fails_once(self, *pair):
        calls.append(pair)
        if len(calls) == call:
            raise torch.OutOfMemoryError("CUDA out of memory")
        add(self, *pair)

    monkeypatch.setattr(Accumulator, "add", fails_once)
    np.testing.assert_allclose(score_items(bound, asked, flat), expected, rtol=1e-4, atol=1e-12)
    assert len(calls) > call


def test_a_score_that_is_not_finite_names_the_neuron():
    bound = tiny_model()
    neuron = bound.layout.segment("mlp.gate_proj", 1)

    def break_gradient(module, inputs, output):
        output.register_hook(lambda gradient: gradient.index_fill(-1, torch.tensor([7]), float("nan")))

    bound.model.model.layers[1].mlp.gate_proj.register_forward_hook(break_gradient)
    with pytest.raises(NonFiniteError, match=r"of mlp\.gate_proj, layer 1 \(item item-.*neuron 7;"):
        score_items(bound, tiny_items(2), np.array([3, neuron.start + 7, neuron.start + 2]))


def test_an_item_without_control_is_named():
    bound, asked = tiny_model(), tiny_items(3)
    with pytest.raises(InputError, match="1 of 3 items have no control, the first is 'item-0'"):
        instance_scores(bound, asked, np.array([1]), without_question(asked)[:2])


@pytest.mark.parametrize(("flat", "message"), [([10**9], "outside the layout"), ([3, 3], "listed twice")])
def test_indices_that_are_not_neurons_are_refused(flat, message):
    with pytest.raises(InputError, match=message):
        score_items(tiny_model(), tiny_items(1), np.array(flat))


# summaries, by hand

ASKED = items(["China", "Iran"], questions=2)  # topics Sport, Food, Sport, Food
RAW = np.array([[3.0, -1.0], [1.0, -2.0], [2.0, 2.0], [-1.0, 0.0]])
CONTROL = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
SCORES = InstanceScores(tuple(ASKED), np.array([8, 36]), RAW, CONTROL)
"""Differences: (2, -1), (-1, -2), (2, 2), (-1, -1)."""


def test_shares_count_summed_scores_and_single_neurons():
    found = overall(SCORES)
    assert (found.n, found.positive, found.neuron_positive) == (4, 2 / 4, 3 / 8)
    assert found.mean_sum == pytest.approx((1 - 3 + 4 - 2) / 4)
    raw = overall(SCORES, "raw")
    assert (raw.positive, raw.neuron_positive) == (2 / 4, 4 / 8)


def test_groups_are_topics_or_cultures():
    topics = {group.group: group for group in by_group(SCORES, "topic")}
    assert (topics["Sport"].positive, topics["Food"].positive) == (1.0, 0.0)
    cultures = {group.group: group for group in by_group(SCORES, "culture")}
    assert cultures["China"].mean_sum == pytest.approx((1 - 3) / 2)
    assert cultures["Iran"].neuron_positive == 2 / 4


def test_groups_say_how_many_items_and_questions_they_have():
    asked = tuple(items(["China", "Iran"], questions=3))  # q0 and q2 are Sport, q1 is Food
    scores = InstanceScores(asked, np.array([8]), np.ones((6, 1)), None)
    sizes = {group.group: (group.n, group.n_questions) for group in by_group(scores, "topic", "raw")}
    assert sizes == {"Sport": (4, 2), "Food": (2, 1)}


def test_a_neuron_serves_the_topic_with_its_highest_mean():
    first, second = neuron_topics(SCORES, toy_layout(), "raw")
    # neuron 8: Sport 3 and 2, Food 1 and -1; positive means 2.5 and 0.5
    assert (first.topic, first.topic_mean, first.positive) == ("Sport", 2.5, 3 / 4)
    assert first.topic_share == pytest.approx(2.5 / 3)
    # neuron 36: Sport -1 and 2, Food -2 and 0; positive in Sport alone
    assert (second.topic, second.topic_share) == ("Sport", 1.0)
    assert tuple(second.neuron) == ("mlp.gate_proj", 1, 0)


def test_a_neuron_that_is_never_positive_has_no_share():
    scores = InstanceScores(tuple(ASKED), np.array([8]), -np.ones((4, 1)), None)
    (only,) = neuron_topics(scores, toy_layout())
    assert (only.topic_share, only.positive) == (0.0, 0.0)


def test_without_control_there_are_raw_scores_alone():
    assert set(summary(SCORES, toy_layout())["measures"]) == {"difference", "raw"}
    raw = InstanceScores(tuple(ASKED), np.array([8, 36]), RAW, None)
    assert set(summary(raw, toy_layout())["measures"]) == {"raw"}


def test_no_items_are_refused():
    with pytest.raises(InputError, match="no items or no neurons"):
        overall(InstanceScores((), np.array([8]), np.empty((0, 1)), None))


def test_the_file_holds_every_score(tmp_path):
    path = tmp_path / "deep" / "instances.h5"
    write_instances(path, SCORES, toy_layout(), {"model": "toy"})
    with h5py.File(path) as file:
        assert (file.attrs["format"].decode(), file.attrs["format_version"]) == ("culnig-instances", 1)
        np.testing.assert_array_equal(file["raw"][()], RAW)
        np.testing.assert_array_equal(file["control"][()], CONTROL)
        assert list(file["items/culture"].asstr()) == ["China", "China", "Iran", "Iran"]
        assert list(file["neurons/module"].asstr()) == ["mlp.gate_proj", "mlp.gate_proj"]
        assert file["neurons/index"][()].tolist() == [0, 0]
    with pytest.raises(OutputExistsError, match="add overwrite=True"):
        check_file(path, overwrite=False, inputs=())
    check_file(path, overwrite=True, inputs=())
    with pytest.raises(OutputExistsError, match="is a folder"):
        check_file(tmp_path, overwrite=True, inputs=())
