from __future__ import annotations

import numpy as np
import pytest

from culnig.core.neurons import MLP_GATE
from culnig.errors import StoreError
from culnig.reanalysis.drivers import _driver, best_neurons, drivers
from culnig.store.data_parts import Prompts
from tests.stored_runs import N_CONTROL, N_TARGET
from tests.toy import moments, toy_layout, write_run

NAME = "toy-target"


@pytest.mark.parametrize("level", ["item", "token"])
def test_the_items_that_raise_a_neuron_most_and_their_tokens(runs, level):
    run, whole = runs[level], runs["item"]
    flat = np.array([3, 200, 41])
    weighted = whole.item_scores(NAME) * whole.outcomes(NAME).p_gold[:, None]
    for neuron, found in zip(flat, drivers(run, NAME, flat, n_items=4), strict=True):
        best = np.argsort(-weighted[:, neuron], kind="stable")[:4]
        np.testing.assert_allclose([driver.score for driver in found], weighted[best, neuron])
        segment = run.layout.segments[int(run.layout.segment_of(np.array([neuron]))[0])]
        for driver in found:
            part, row = next(
                (part, part.prompts.item.tolist().index(driver.item))
                for part in runs["token"].tensor_parts(NAME)
                if driver.item in part.prompts.item
            )
            with runs["token"].open_tensors(part) as stored:
                activation, gradient = stored.pair(segment)
            own = slice(part.prompts.offsets[row], part.prompts.offsets[row + 1])
            products = (activation * gradient)[own, neuron - segment.start]
            assert driver.token == products.argmax()
            token = part.prompts.tokens(row)[driver.token]
            assert driver.text == part.prompts.vocabulary[int(token)]


def test_best_neurons_are_those_of_target_less_control(runs):
    run = runs["culture"]
    difference = run.moments(NAME).sum.sum(0) / N_TARGET - run.moments("toy-control").sum.sum(0) / N_CONTROL
    flat, scores = best_neurons(run, NAME, "toy-control", 5)
    assert flat.tolist() == np.argsort(-difference)[:5].tolist()
    np.testing.assert_allclose(scores, difference[flat])


def test_a_run_of_sums_has_no_items_to_show(runs):
    with pytest.raises(StoreError, match="scored at level 'culture'"):
        drivers(runs["culture"], NAME, np.array([0]))


def test_best_neurons_of_a_small_model_and_without_a_control(tmp_path):
    layout = toy_layout(1, {MLP_GATE: 3})
    tables = {
        "t": ("target", moments(["China", "Iran"], [3, 1], [[8, 4, 0], [0, 4, 2]])),
        "c": ("control", moments(["China", "Iran"], [1, 1], [[6, 0, 0], [0, 1, 1]])),
    }
    run = write_run(tmp_path / "run", layout, tables)
    # target 8, 8, 2 over 4 items; control 6, 1, 1 over 2
    flat, scores = best_neurons(run, "t", None, 2)
    assert (flat.tolist(), scores) == ([0, 1], [2.0, 2.0])
    flat, scores = best_neurons(run, "t", "c", 9)
    assert (flat.tolist(), scores) == ([1, 2, 0], [1.5, 0.0, -1.0])


def test_three_items_of_a_neuron_are_shown_by_default(runs):
    assert [len(found) for found in drivers(runs["item"], NAME, np.array([0, 5]))] == [3, 3]


def test_a_token_that_is_not_in_the_prompt_has_no_text():
    prompts = Prompts.of([7], [[5, 6]], {5: "ba", 6: "nana"}.__getitem__)
    texts = [_driver(prompts, 0, 1.5, token).text for token in (-1, 0, 1, 2)]
    assert texts == ["", "ba", "nana", ""]
