from __future__ import annotations

import numpy as np
import pytest

from culnig.errors import StoreError
from culnig.reanalysis.drivers import best_neurons, drivers
from tests.stored_runs import N_CONTROL, N_TARGET

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
