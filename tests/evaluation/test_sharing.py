"""Prompts share tokens where that takes less time on this machine, and the decision is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from culnig.benchmarks.base import ChosenItems
from culnig.errors import StoreError
from culnig.evaluation import sharing
from culnig.evaluation.evaluate import evaluate
from culnig.evaluation.parts import EvaluationParts
from culnig.evaluation.sharing import Sharing, choose_sharing, recorded
from culnig.inference.encoding import Encoder
from tests.tiny_models import tiny_items, tiny_model
from tests.toy import neuron_set

MANY = 1_000
"""Conditions, so that measuring costs next to nothing."""


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


class Clock:
    """Ticks by what each batch of a kind takes: trees, and whole prompts."""

    def __init__(self, tree, whole):
        self.now, self.tree, self.whole = 0.0, tree, whole

    def logits(self, logits, reader, batch):
        self.now += self.tree if hasattr(batch, "trees") else self.whole
        return logits(reader, batch)


@pytest.fixture
def takes(monkeypatch):
    """Set the seconds of a trial of trees and of whole prompts."""

    def install(tree, whole):
        clock = Clock(tree, whole)
        monkeypatch.setattr(sharing, "time", SimpleNamespace(perf_counter=lambda: clock.now))
        logits = sharing.AnswerReader.logits
        monkeypatch.setattr(sharing.AnswerReader, "logits", lambda *read: clock.logits(logits, *read))

    return install


def chosen(bound, n_conditions):
    return choose_sharing(bound, {"a": Encoder(bound).encode_all(asked())}, 10_000, n_conditions)["a"]


@pytest.mark.parametrize(("tree", "shared"), [(0.5, True), (0.96, True), (0.98, False), (2.0, False)])
def test_the_time_on_this_machine_decides_whatever_the_estimate_says(takes, tree, shared):
    takes(tree, 1.0)
    found = chosen(tiny_model(), MANY)
    assert found.shared is shared
    assert found.measured == pytest.approx(tree)
    assert 0 < found.estimated < 0.9


def test_a_small_evaluation_goes_by_the_estimate_on_a_cpu_and_shares_nothing_elsewhere(monkeypatch):
    bound = tiny_model()
    assert chosen(bound, 1) == Sharing(True, chosen(bound, 1).estimated, None)
    monkeypatch.setattr(sharing, "ESTIMATED_ON", ())
    found = chosen(bound, 1)
    assert found.shared is False
    assert found.estimated < 0.9


def test_prompts_that_are_not_alike_are_not_shared():
    bound = tiny_model()
    alone = [replace(item, prompt=f"{number} " * 200) for number, item in enumerate(tiny_items(3))]
    found = choose_sharing(bound, {"a": Encoder(bound).encode_all(alone)}, 10_000, MANY)["a"]
    assert (found.shared, found.measured) == (False, None)


def test_the_decision_is_recorded_and_a_resumed_evaluation_keeps_it(tmp_path, monkeypatch):
    bound = tiny_model()
    items = {"toy": ChosenItems("target", "test", asked(), {})}
    sets = [neuron_set(bound.layout, [3, 50], name="general")]
    monkeypatch.setattr(sharing, "_seconds", lambda *batches: 0.5)
    monkeypatch.setattr(sharing, "MEASURED_BELOW", 1e9)

    def run(folder, **options):
        return evaluate(bound, items, sets, tmp_path / folder, check=False, **options)

    expected = run("whole")
    with monkeypatch.context() as patch:
        save = EvaluationParts.save

        def stop_at_the_second(self, benchmark, condition, outcomes):
            if condition != "unmasked":
                raise KeyboardInterrupt
            save(self, benchmark, condition, outcomes)

        patch.setattr(EvaluationParts, "save", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            run("evaluation")
    request = json.loads((tmp_path / "evaluation" / "request.json").read_text())
    assert request["sharing"]["toy"]["measured"] == 0.5
    monkeypatch.setattr(sharing, "_seconds", lambda *batches: 2.0)
    resumed = run("evaluation", resume=True)
    results = json.loads((tmp_path / "evaluation" / "results.json").read_text())
    assert results["sharing"] == request["sharing"]
    for key, outcomes in expected.answers.items():
        found = resumed.answers[key].option_probabilities
        assert found.tobytes() == outcomes.option_probabilities.tobytes()
    assert run("other").results["sharing"]["toy"]["shared"] is False


def test_a_record_that_cannot_be_read_is_an_error():
    with pytest.raises(StoreError, match="no readable sharing"):
        recorded({"toy": {"shared": True, "by": "hand"}})
