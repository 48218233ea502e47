"""`verify`, `score` and `evaluate` refuse the same models in the same words; sound ones stay as they are."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import culnig
from culnig.benchmarks.base import ChosenItems
from culnig.errors import CheckError, NonFiniteError
from culnig.inference.encoding import Encoder
from culnig.verification import quick
from culnig.verification.checks import check_batches
from culnig.verification.passes import Passes
from tests.tiny_models import ALL_CONFIGS, PLAIN_CONFIGS, tiny_items, tiny_model
from tests.verification.unsound import UNSOUND, largest_of_the_batch, mean_of_the_batch


def benchmark(n=4):
    return {"tiny": ChosenItems("target", "identify", tuple(tiny_items(n)))}


@pytest.fixture(params=UNSOUND, ids=lambda unsound: unsound.make.__name__)
def unsound(request):
    return request.param


def refusal(function, *arguments, **options):
    with pytest.raises(CheckError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def without_numbers(text):
    """Prompts differ, and with them the size of a difference."""
    return re.sub(r"\d\.\de[+-]\d\d", "N", text)


def test_verify_score_and_evaluate_agree(unsound, tmp_path):
    document = culnig.verify(unsound.make())
    failed = {row["check"]: row["detail"] for row in document["checks"] if row["passed"] is False}
    assert not document["passed"]
    assert unsound.detail in failed[unsound.check]
    scored = refusal(culnig.score, unsound.make(), benchmark(), tmp_path / "run")
    evaluated = refusal(culnig.evaluate, unsound.make(), benchmark(), [], tmp_path / "evaluation")
    for message in (scored, evaluated):
        name, detail = re.search(
            r"fails the check '(.*?)': (.*)\. Its scores and masks would", message
        ).groups()
        assert without_numbers(detail) == without_numbers(failed[name])
        assert "check=False goes on without them" in message
    assert not any(tmp_path.iterdir())


def test_the_check_that_finds_a_model_is_named(unsound):
    results = {
        name: quick.result_of(name, check, Passes(unsound.make()))
        for name, check in quick.QUICK_CHECKS.items()
    }
    assert results[unsound.check].passed is False
    assert unsound.detail in results[unsound.check].detail


@pytest.mark.parametrize("family", ALL_CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_family_passes_on_its_own_prompts(family, dtype):
    bound = tiny_model(family, dtype=dtype)
    said = []
    result = quick.check_model(bound, Encoder(bound).encode_all(tiny_items(3)), said.append)
    assert [row["check"] for row in result["checks"]] == list(quick.QUICK_CHECKS)
    unlike_true = {row["check"] for row in result["checks"] if row["passed"] is not True}
    assert unlike_true == ({"gate and up projection"} if family in PLAIN_CONFIGS else set())
    assert result["performed"]
    assert 0 <= result["batch_dependence"] < (1e-3 if dtype == torch.float32 else 0.1)
    assert said == []


def scores_of(run):
    return {name: run.moments(name).sum for name in run.benchmarks}


def test_the_checks_change_no_score_and_leave_nothing_behind(tmp_path):
    runs = []
    for check in (True, False):
        bound = tiny_model()
        bound.model.train()
        bound.model.lm_head.weight.requires_grad_(False)
        flags = {name: p.requires_grad for name, p in bound.model.named_parameters()}
        torch.manual_seed(5)
        before = torch.get_rng_state()
        runs.append(culnig.score(bound, benchmark(), tmp_path / str(check), check=check))
        assert torch.equal(torch.get_rng_state(), before)
        assert all(module.training for module in bound.model.modules())
        assert {name: p.requires_grad for name, p in bound.model.named_parameters()} == flags
        assert all(p.grad is None for p in bound.model.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in bound.model.modules())
    for name, expected in scores_of(runs[1]).items():
        assert np.array_equal(scores_of(runs[0])[name], expected)
    assert runs[0].run_id == runs[1].run_id


def test_random_numbers_that_a_refused_model_used_are_given_back():
    model = next(own for own in UNSOUND if own.make.__name__ == "dropout_left_on").make()
    state = torch.get_rng_state()
    refusal(quick.check_model, model, (), lambda line: None)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_run_and_an_evaluation_without_checks_go_on_and_say_so(tmp_path):
    said = []
    run = culnig.score(mean_of_the_batch(), benchmark(), tmp_path / "run", check=False, say=said.append)
    assert run.record["check"] == {"performed": False, "checks": [], "batch_dependence": None}
    assert "the quick checks of the model are left out; the output records it" in said
    evaluation = culnig.evaluate(
        mean_of_the_batch(), benchmark(), [], tmp_path / "evaluation", check=False, prefix_sharing=False
    )
    assert evaluation.results["check"]["performed"] is False


def test_an_evaluation_of_free_answers_is_checked_on_its_prompts(tmp_path):
    items = tuple(
        replace(item, options=(), answer="tea", accepted=("tea",), language="English")
        for item in tiny_items(2)
    )
    bound = tiny_model()
    encoded = Encoder(bound).encode_answerable(items)
    assert not any(own.option_ids for own in encoded)
    done = quick.check_model(bound, encoded, lambda line: None)
    assert done["performed"]
    assert all(row["passed"] is not False for row in done["checks"])


def stopped_after(portions):
    """A progress callback that interrupts a run."""
    calls = []

    def progress(*arguments):
        calls.append(1)
        if len(calls) >= portions:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True)])
def test_a_resumed_run_was_checked_only_if_all_its_parts_were(tmp_path, first, second):
    out = tmp_path / "run"
    settings = {"token_budget": 150}
    with pytest.raises(KeyboardInterrupt):
        culnig.score(tiny_model(), benchmark(7), out, check=first, progress=stopped_after(2), **settings)
    begun = json.loads((out / "run.json").read_text())
    assert begun["check"]["performed"] is first
    run = culnig.score(tiny_model(), benchmark(7), out, check=second, resume=True, **settings)
    assert run.record["check"]["performed"] is (first and second)
    whole = culnig.score(tiny_model(), benchmark(7), tmp_path / "whole", **settings)
    assert np.array_equal(*(scores_of(own)["tiny"] for own in (run, whole)))


def test_a_finished_run_that_is_resumed_is_not_checked_again(tmp_path, monkeypatch):
    out = tmp_path / "run"
    record = culnig.score(tiny_model(), benchmark(), out).record["check"]
    culnig.evaluate(tiny_model(), benchmark(), [], tmp_path / "evaluation")
    monkeypatch.setattr(quick, "check_model", lambda *arguments, **options: pytest.fail("checked again"))
    assert culnig.score(tiny_model(), benchmark(), out, resume=True).record["check"] == record
    again = culnig.evaluate(tiny_model(), benchmark(), [], tmp_path / "evaluation", resume=True)
    assert again.results["check"]["performed"] is True


def test_merged_runs_are_checked_only_if_all_are(tmp_path):
    shards = [
        culnig.score(tiny_model(), benchmark(), tmp_path / f"{number}", shard=f"{number}/2", check=check)
        or tmp_path / f"{number}"
        for number, check in ((1, True), (2, False))
    ]
    assert culnig.merge(shards, tmp_path / "merged").record["check"]["performed"] is False
    halves = [
        culnig.score(
            tiny_model(),
            {"tiny": ChosenItems("target", "identify", tuple(own))},
            tmp_path / f"run {number}",
        )
        for number, own in enumerate((tiny_items(4)[:2], tiny_items(4)[2:]))
    ]
    check = culnig.merge(halves, tmp_path / "both").record["check"]
    assert check["performed"] is True
    assert len(check["checks"]) == len(quick.QUICK_CHECKS)


def test_checks_of_a_slow_model_are_left_out_and_named(monkeypatch):
    monkeypatch.setattr(quick, "PATIENCE", 0.0)
    said = []
    result = quick.check_model(mean_of_the_batch(), (), said.append)
    rows = {row["check"]: row["passed"] for row in result["checks"]}
    assert rows == {
        "binding and widths": True,
        "capture changes nothing": True,
        "query, key and value": True,
        "gate and up projection": None,  # of one item less the mean of its batch nothing is left
        "batches and padding": None,
        "repeated answers": None,
    }
    assert result["batch_dependence"] is None
    assert [line.split(":")[0] for line in said] == [
        "check 'batches and padding' left out",
        "check 'repeated answers' left out",
    ]


def test_activations_that_are_not_finite_are_named_as_in_scoring(tmp_path):
    bound = tiny_model()
    with torch.no_grad():
        bound.model.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"mlp.up_proj, layer 1"):
        culnig.score(bound, benchmark(), tmp_path / "run")


def rounding(levels):
    bound = largest_of_the_batch(levels)
    bound.model.to(torch.bfloat16)
    return bound


def test_batch_dependence_from_rounding_is_said_and_recorded(tmp_path):
    said = []
    bound = rounding(7)
    run = culnig.score(bound, benchmark(), tmp_path / "run", say=said.append)
    dependence = run.record["check"]["batch_dependence"]
    assert 0.1 < dependence <= 0.5
    (line,) = [line for line in said if "differ by" in line]
    assert line.endswith("compare only runs with the same items and token budget")
    assert check_batches(Passes(bound)).passed


def test_batch_dependence_beyond_rounding_is_refused():
    bound = mean_of_the_batch()
    bound.model.to(torch.bfloat16)
    assert check_batches(Passes(bound)).passed is False
