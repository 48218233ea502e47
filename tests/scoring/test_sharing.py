"""Items scored behind a shared prefix have the scores that they have alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from culnig.benchmarks.base import ChosenItems

from culnig.core.processes import Processes
from culnig.errors import MismatchError, NonFiniteError
from culnig.inference.encoding import Encoder
from culnig.inference.grouping import share_prefixes
from culnig.inference.prefixes import PrefixReader
from culnig.inference.shared_batches import SharedBatch
from culnig.kernels import AGGREGATORS
from culnig.scorers.mean_activation import MeanActivation
from culnig.scoring.run import RunSettings, score_run, score_share
from culnig.scoring.scoring import ScoreSettings, Scoring, score_benchmark, settled
from culnig.scoring.sharing_trial import sharing_problem
from culnig.store.merge import merge
from tests import oracle
from tests.alike import variants
from tests.scoring.oracle_rows import oracle_row
from tests.tiny_models import ALL_CONFIGS, tiny_items, tiny_model

pytestmark = pytest.mark.usefixtures("cheap_passes")

SHARING = [family for family in ALL_CONFIGS if not family.startswith("gemma3") and family != "mistral"]
NOISE = 2e-5
"""Of the largest score of a table."""


def score(bound, aggregator="max", *, sharing=True, role="target", budget=2048, items=None):
    settings = ScoreSettings(aggregator, budget, prefix_sharing=sharing)
    return score_benchmark(bound, variants(uneven=True) if items is None else items, role, settings)


def assert_same(found, expected):
    for name in ("sum", "sum_of_squares"):
        table = getattr(expected.moments, name)
        np.testing.assert_allclose(
            getattr(found.moments, name), table, rtol=0, atol=NOISE * np.abs(table).max()
        )
    np.testing.assert_array_equal(found.moments.n_items, expected.moments.n_items)
    np.testing.assert_allclose(found.moments.p_gold_sum, expected.moments.p_gold_sum, rtol=1e-5)
    np.testing.assert_allclose(found.outcomes.p_gold, expected.outcomes.p_gold, rtol=1e-4)
    assert list(found.outcomes.predicted) == list(expected.outcomes.predicted)


def shares(bound, items, budget=2048):
    batches = share_prefixes(Encoder(bound).encode_all(items), budget)
    return batches is not None and any(isinstance(batch, SharedBatch) for batch in batches)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", SHARING)
def test_scores_are_those_of_whole_prompts(family, attention):
    bound = tiny_model(family)
    bound.model.set_attn_implementation(attention)
    assert shares(bound, variants(uneven=True))
    assert sharing_problem(bound) is None
    assert_same(score(bound), score(bound, sharing=False))


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize("role", ["target", "control"])
def test_every_aggregator_and_the_clamp(aggregator, role):
    bound = tiny_model()
    shared = score(bound, aggregator, role=role)
    assert_same(shared, score(bound, aggregator, role=role, sharing=False))
    if role == "control":
        assert (shared.moments.sum >= 0).all()


@pytest.mark.parametrize("aggregator", ["max", "absmax", "mean"])
def test_scores_equal_plain_autograd(aggregator):
    bound, items = tiny_model(), variants(2, uneven=True)[:-1]
    scores = score(bound, aggregator, items=items)
    sums = oracle.culture_sums(bound.model, bound.tokenizer, items, aggregator=aggregator)
    for culture, row in zip(scores.moments.cultures, scores.moments.sum, strict=True):
        expected = oracle_row(bound, sums[culture])
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=NOISE * np.abs(expected).max())


def test_half_precision_models_share_too():
    bound = tiny_model(dtype=torch.bfloat16)
    assert sharing_problem(bound) is None
    shared, whole = (score(bound, sharing=sharing).moments.sum.ravel() for sharing in (True, False))
    assert not np.array_equal(shared, whole)
    assert np.corrcoef(shared, whole)[0, 1] > 0.99


@pytest.mark.parametrize("budget", [130, 400, 1000])
def test_small_budgets_give_the_same(budget):
    bound = tiny_model()
    assert_same(score(bound, budget=budget), score(bound, sharing=False))


def kept(folder, aggregator, sharing):
    """Item scores and peak tokens (item, neuron) in file order, and the run's settings."""
    settings = ScoreSettings(aggregator, prefix_sharing=sharing)
    benchmarks = {"toy": ChosenItems("control", "identify", variants(uneven=True), {})}
    run = score_run(tiny_model(), benchmarks, settings, folder, how=RunSettings(level="item"))
    peaks = np.zeros((len(variants(uneven=True)), run.layout.n_neurons), dtype=np.int64)
    for part in run.item_parts("toy"):
        with run.open_item_scores(part) as stored:
            peaks[part.prompts.item] = stored.peak_tokens()
    assert run.record["settings"]["prefix_sharing"] is sharing
    return run.item_scores("toy"), peaks


@pytest.mark.parametrize("aggregator", ["max", "absmax", "mean", "last"])
def test_item_scores_and_peak_tokens(tmp_path, aggregator):
    shared, shared_peaks = kept(tmp_path / "shared", aggregator, True)
    whole, whole_peaks = kept(tmp_path / "whole", aggregator, False)
    largest = np.abs(whole).max(axis=1, keepdims=True)
    assert (np.abs(shared - whole) <= NOISE * largest).all()
    assert (shared_peaks == whole_peaks).mean() > 0.999, "elsewhere noise decides between two tokens"
    assert len(np.unique(whole_peaks)) > 10 or aggregator == "last"


class Counted:
    """Counts the tokens, padding included, of every pass through a module of the first layer."""

    def __init__(self, bound):
        self.forward, self.backward = [], []
        layer = bound.model.model.layers[0]
        layer.mlp.up_proj.register_forward_hook(self.note)

    def note(self, module, inputs, output):
        self.forward.append(output.shape[:2].numel())
        output.register_hook(lambda gradient: self.backward.append(gradient.shape[:2].numel()))


def test_a_prefix_goes_forward_once_and_backward_once_for_each_item(monkeypatch):
    """The regression guard on sharing: work is counted, not timed."""
    monkeypatch.setattr("culnig.inference.shared_batches.PASS_OVERHEAD", 12)  # both questions in one batch
    bound, items = tiny_model(), variants(2, 4, uneven=True)[:-1]
    (batch,) = share_prefixes(Encoder(bound).encode_all(items), 2048)
    turns = [batch.part(rows).rest_tokens for rows in batch.turns(2048)]
    settings, _ = settled(ScoreSettings(), bound)
    scoring = Scoring(bound, items, "target", settings)
    counted = Counted(bound)
    scoring.score(0, scoring.empty())
    assert counted.forward == [batch.prefix_tokens, *turns]
    assert counted.backward == [*turns, *[batch.prefix_tokens] * 4]
    real = sum(map(len, batch.prefixes)) + int(batch.rest_lengths.sum())
    assert sum(counted.forward) < 1.15 * real
    whole = int(batch.batch.lengths.sum())
    assert sum(counted.forward) < 0.8 * whole


def test_the_last_token_alone_needs_no_passes_through_the_prefixes():
    bound, items = tiny_model(), variants(2, uneven=True)
    counted = Counted(bound)
    score(bound, "last", items=items)
    assert len(counted.backward) < len(counted.forward)


def test_stopped_and_resumed_is_the_same_to_the_bit():
    bound, items = tiny_model(), variants(6, uneven=True)
    scoring = Scoring(bound, items, "target", ScoreSettings(token_budget=400))
    assert sum(isinstance(batch, SharedBatch) for batch in scoring.work) > 2
    whole = scoring.empty()
    scoring.score(0, whole)

    class Stopped(Exception):
        pass

    def stop(batches_done, n_items):
        if batches_done == 2:
            raise Stopped

    resumed = scoring.empty()
    with pytest.raises(Stopped):
        scoring.score(0, resumed, after_batch=stop)
    scoring.score(0, resumed)
    np.testing.assert_array_equal(resumed.moments.sum, whole.moments.sum)
    np.testing.assert_array_equal(resumed.moments.sum_of_squares, whole.moments.sum_of_squares)
    np.testing.assert_array_equal(resumed.outcomes.p_gold, whole.outcomes.p_gold)


def test_several_processes_are_one_to_the_bit(tmp_path):
    bound, benchmarks = (
        tiny_model(),
        {"toy": ChosenItems("target", "identify", variants(16, 2, uneven=True), {})},
    )
    settings = ScoreSettings(token_budget=150)
    whole = score_run(bound, benchmarks, settings, tmp_path / "whole")
    shards = [tmp_path / "first", tmp_path / "second"]
    for number, folder in enumerate(shards):
        score_share(bound, benchmarks, settings, folder, Processes(number, 2, is_shard=True))
    merged = merge(shards, tmp_path / "merged")
    assert merged.record["settings"]["prefix_sharing"] is True
    np.testing.assert_array_equal(merged.moments("toy").sum, whole.moments("toy").sum)


def test_a_run_is_resumed_with_the_sharing_it_began_with(tmp_path):
    benchmarks = {"toy": ChosenItems("target", "identify", variants(2, uneven=True), {})}
    score_run(tiny_model(), benchmarks, ScoreSettings(), tmp_path / "run")
    with pytest.raises(
        MismatchError, match=r"settings\.prefix_sharing: the run has True, asked for is False"
    ):
        score_run(
            tiny_model(), benchmarks, ScoreSettings(prefix_sharing=False), tmp_path / "run", resume=True
        )


@pytest.mark.parametrize("n_fitting", [1, 3])
@pytest.mark.parametrize("place", ["forward_prefixes", "forward_rests"])
def test_what_does_not_fit_is_halved_until_it_is_whole_prompts(monkeypatch, place, n_fitting):
    bound = tiny_model()
    expected = score(bound)
    forward, failures = getattr(PrefixReader, place), []

    def fits_few(self, shared, *cache):
        if len(shared.batch.items) > n_fitting and shared.batch.items[0].item.id != "trial":
            failures.append(shared)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, shared, *cache)

    monkeypatch.setattr(PrefixReader, place, fits_few)
    assert_same(score(bound), expected)
    assert failures


def test_memory_that_runs_out_in_the_last_pass_adds_nothing_twice(monkeypatch):
    bound = tiny_model()
    expected = score(bound)
    backward, calls = torch.autograd.backward, []

    def fails_once(tensors, *rest, **options):
        if isinstance(tensors, list):
            calls.append(options["retain_graph"])
            if calls.count(False) == 1 and not options["retain_graph"]:
                raise MemoryError
        return backward(tensors, *rest, **options)

    monkeypatch.setattr(torch.autograd, "backward", fails_once)
    assert_same(score(bound), expected)
    assert calls.count(False) > 2


@pytest.mark.parametrize("family", ["gemma3", "gemma3_multimodal", "mistral"])
def test_a_cache_with_a_window_is_not_shared(family):
    bound = tiny_model(family)
    settings, problem = settled(ScoreSettings(), bound)
    assert not settings.prefix_sharing
    assert "DynamicSlidingWindowLayer" in problem
    whole = score(bound, sharing=False)
    np.testing.assert_array_equal(score(bound).moments.sum, whole.moments.sum)


def test_a_model_that_scores_differently_behind_a_prefix_is_found_out(monkeypatch):
    bound = tiny_model()
    whole = score(bound, sharing=False)
    forward = PrefixReader.forward_rests

    def forgets(self, shared, cache):
        for layer in cache.layers:
            layer.keys = layer.keys * 0
        return forward(self, shared, cache)

    monkeypatch.setattr(PrefixReader, "forward_rests", forgets)
    assert "behind a stored prefix differ by" in sharing_problem(bound)
    np.testing.assert_array_equal(score(bound).moments.sum, whole.moments.sum)


def test_a_cache_without_a_graph_is_found_out(monkeypatch):
    bound = tiny_model()
    forward = PrefixReader.forward_prefixes

    def detached(self, shared):
        with torch.no_grad():
            return forward(self, shared)

    monkeypatch.setattr(PrefixReader, "forward_prefixes", detached)
    assert "a trial of it ended in RuntimeError" in sharing_problem(bound)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"tensors": True}, "level token"),
        ({"gradient_checkpointing": True}, "gradient checkpointing"),
        ({"scorers": [MeanActivation()]}, "scorer mean-activation"),
    ],
)
def test_what_needs_whole_prompts_gets_them(options, reason):
    settings, problem = settled(ScoreSettings(), tiny_model(), **options)
    assert not settings.prefix_sharing
    assert problem.startswith(reason)
    assert settled(ScoreSettings(prefix_sharing=False), tiny_model(), **options)[1] == ""


def test_where_nothing_is_alike_nothing_is_shared():
    bound = tiny_model()
    (item,) = tiny_items(1)
    items = [replace(item, id=str(number), system=f"{number} is it.") for number in range(6)]
    shared, whole = score(bound, items=items), score(bound, items=items, sharing=False)
    np.testing.assert_array_equal(shared.moments.sum, whole.moments.sum)


def test_a_gradient_that_is_not_finite_names_module_layer_and_item():
    bound = tiny_model()

    def break_gradient(module, inputs, output):
        output.register_hook(lambda gradient: gradient.index_fill(-1, torch.tensor([2]), float("nan")))

    bound.model.model.layers[1].mlp.gate_proj.register_forward_hook(break_gradient)
    scoring = Scoring(bound, variants(2, uneven=True), "target", ScoreSettings())
    with pytest.raises(NonFiniteError, match=r"products .* of mlp\.gate_proj, layer 1 \(item [01]-"):
        scoring.score(0, scoring.empty())
