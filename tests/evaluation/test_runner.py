"""Conditions through a model: shared work, parts, order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from culnig.evaluation import sharing
from culnig.evaluation.conditions import Condition, make_conditions
from culnig.evaluation.runner import run_conditions
from culnig.inference import encoding
from culnig.inference.answers import AnswerReader
from tests.tiny_models import tiny_items, tiny_model
from tests.tolerances import assert_probabilities_equal
from tests.toy import neuron_set


def asked(n=12):
    """Items in groups of four that begin alike."""
    return [
        replace(
            item,
            id=f"{item.id}-{number}",
            prompt=f"Long shared question {number // 4} about food. " * 2 + f"Row {number % 4}",
        )
        for number, item in enumerate(tiny_items(n))
    ]


def conditions_of(bound, n_random=1):
    chosen = neuron_set(bound.layout, [3, 50, 90, 130], name="general")
    return make_conditions([chosen], bound.layout, n_random=n_random)


def same(first, second, *, bits=False):
    """The same answers: to the bit, or but for the float noise of other batches."""
    assert set(first) == set(second)
    for key, outcomes in first.items():
        assert outcomes.id.tolist() == second[key].id.tolist()
        assert outcomes.predicted.tolist() == second[key].predicted.tolist()
        compare = np.testing.assert_array_equal if bits else assert_probabilities_equal
        compare(outcomes.option_probabilities, second[key].option_probabilities)


class Kept:
    """Parts in memory that stop the evaluation before the given one is saved."""

    def __init__(self, stop_before=None):
        self.there, self.stop_before = {}, stop_before

    def read(self, benchmark, condition):
        return self.there.get((benchmark, condition))

    def save(self, benchmark, condition, outcomes):
        if (benchmark, condition) == self.stop_before:
            raise KeyboardInterrupt
        self.there[benchmark, condition] = outcomes


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt2"])
def test_shared_prompts_give_the_same_answers_under_every_condition(family):
    bound = tiny_model(family)
    conditions = conditions_of(bound)
    shared = run_conditions(bound, {"a": asked()}, conditions)
    alone = run_conditions(bound, {"a": asked()}, conditions, prefix_sharing=False)
    same(shared, alone)
    assert not np.allclose(shared["a", "unmasked"].p_gold, shared["a", "general"].p_gold, rtol=1e-3)


def test_fewer_tokens_go_through_the_model_where_prompts_begin_alike(monkeypatch):
    bound = tiny_model()
    seen = []
    logits = AnswerReader.logits

    def counting(self, batch):
        seen.append(batch.inputs().token_ids.numel())
        return logits(self, batch)

    monkeypatch.setattr(AnswerReader, "logits", counting)
    run_conditions(bound, {"a": asked()}, conditions_of(bound), prefix_sharing=False)
    alone = sum(seen)
    seen.clear()
    run_conditions(bound, {"a": asked()}, conditions_of(bound))
    assert sum(seen) < 0.6 * alone


def test_a_model_that_cannot_share_says_so_and_answers_whole():
    bound = tiny_model("gemma3")
    said = []
    shared = run_conditions(bound, {"a": asked()}, conditions_of(bound), say=said.append)
    alone = run_conditions(bound, {"a": asked()}, conditions_of(bound), prefix_sharing=False)
    same(shared, alone, bits=True)
    (line,) = said
    assert line.startswith("prompts are not shared: some prompts are longer")
    assert line.endswith("than its sliding window of 16")


def test_prompts_are_encoded_once_whatever_the_conditions(monkeypatch):
    bound = tiny_model()
    encoded = []
    encode = encoding.Encoder.encode
    monkeypatch.setattr(
        encoding.Encoder, "encode", lambda self, item: encoded.append(item.id) or encode(self, item)
    )
    run_conditions(bound, {"a": asked(), "b": tiny_items(3)}, conditions_of(bound, n_random=3))
    assert len(encoded) == 12 + 3


@pytest.mark.parametrize("benchmark", ["a", "b"])
@pytest.mark.parametrize("condition", ["unmasked", "general", "random 0 like general"])
def test_a_resumed_evaluation_ends_with_the_same_bits(benchmark, condition):
    bound = tiny_model()
    asked_of = {"a": asked(), "b": tiny_items(5)}
    whole = run_conditions(bound, asked_of, conditions_of(bound))
    parts = Kept(stop_before=(benchmark, condition))
    with pytest.raises(KeyboardInterrupt):
        run_conditions(bound, asked_of, conditions_of(bound), parts=parts)
    done = set(parts.there)
    assert (benchmark, condition) not in done
    parts.stop_before = None
    advanced = []
    resumed = run_conditions(
        bound,
        asked_of,
        conditions_of(bound),
        parts=parts,
        after_batch=lambda name, state, n_items: advanced.append((name, state, n_items)),
    )
    same(resumed, whole, bits=True)
    assert list(resumed) == list(whole)
    for name, items in asked_of.items():
        for state in ("unmasked", "general", "random 0 like general"):
            assert sum(n for b, c, n in advanced if (b, c) == (name, state)) == len(items)
    assert done <= set(parts.there)


def test_the_hooks_are_gone_after_an_interruption():
    bound = tiny_model()
    before = run_conditions(bound, {"a": asked()}, conditions_of(bound)[:1])
    with pytest.raises(KeyboardInterrupt):
        run_conditions(bound, {"a": asked()}, conditions_of(bound), parts=Kept(("a", "general")))
    assert all(not linear.linear._forward_hooks for linear in bound.linears)
    same(run_conditions(bound, {"a": asked()}, conditions_of(bound)[:1]), before, bits=True)


def test_the_trial_of_sharing_is_made_on_the_bare_model(monkeypatch):
    bound = tiny_model()
    states = []
    problem = sharing.sharing_problem
    monkeypatch.setattr(
        sharing,
        "sharing_problem",
        lambda *asked: (
            states.append(sum(len(linear.linear._forward_hooks) for linear in bound.linears))
            or problem(*asked)
        ),
    )
    run_conditions(bound, {"a": asked()}, [Condition("all off", 0.0, np.arange(20))])
    assert states == [0]
