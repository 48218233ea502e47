"""Each scorer against plain numpy on the pairs that a backward pass gives, and its sums in a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig import registry
from culnig.errors import PluginError, UnknownNameError
from culnig.extraction.run import RunSettings, score_run
from culnig.extraction.scoring import ScoreSettings, score_benchmark
from culnig.items import ChosenItems
from culnig.scorer import Scorer
from culnig.store.run import Run
from tests.tiny_models import tiny_items, tiny_model

NAMES = ("gradient-norm", "mean-activation", "positive-tokens", "released-code")


def pair(seed=0, dtype=torch.float32):
    """Activation, gradient (2, 5, 7) and a mask: 5 and 3 real tokens; nonsense at the padding."""
    generator = torch.Generator().manual_seed(seed)
    activation = torch.randn(2, 5, 7, generator=generator).to(dtype)
    gradient = torch.randn(2, 5, 7, generator=generator).to(dtype)
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], dtype=torch.bool)
    activation[1, 3:], gradient[1, 3:] = 99.0, 99.0
    return activation, gradient, real


def expected(name, activation, gradient):
    """One item's score from its real tokens alone, (token, neuron) numpy."""
    return {
        "gradient-norm": lambda: np.sqrt((gradient**2).sum(0)),
        "mean-activation": lambda: np.abs(activation).mean(0),
        "positive-tokens": lambda: (activation > 0).sum(0).astype(float),
    }[name]()


@pytest.mark.parametrize("name", NAMES[:3])
def test_item_scores_are_their_definition_at_real_tokens(name):
    activation, gradient, real = pair()
    found = registry.scorer(name).item_scores(activation, gradient, real)
    for item, n_tokens in enumerate((5, 3)):
        values = expected(name, activation[item, :n_tokens].numpy(), gradient[item, :n_tokens].numpy())
        np.testing.assert_allclose(found[item].numpy(), values, rtol=1e-6)


def test_the_released_code_floors_padded_items_at_zero_and_rounds_products():
    activation, gradient, real = pair(seed=1)
    found = registry.scorer("released-code").item_scores(activation, gradient, real).numpy()
    rounded = (activation.bfloat16() * gradient.bfloat16()).float().numpy()
    np.testing.assert_array_equal(found[0], rounded[0].max(0))
    np.testing.assert_array_equal(found[1], np.maximum(rounded[1, :3].max(0), 0))
    assert (rounded[1, :3].max(0) < 0).any(), "the floor should bite somewhere"


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_models_are_scored(name):
    found = registry.scorer(name).item_scores(*pair(dtype=torch.bfloat16))
    assert found.dtype == torch.float32
    assert found.isfinite().all()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    benchmarks = {
        "toy": ChosenItems("target", "identify", tiny_items(40)),
        "toy-control": ChosenItems("control", "identify", tiny_items(4)),
    }
    how = RunSettings(scorers=tuple(registry.scorer(name) for name in NAMES))
    folder = tmp_path_factory.mktemp("scorers") / "run"
    return score_run(tiny_model(), benchmarks, ScoreSettings(token_budget=200), folder, how=how)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_holds_what_scoring_in_memory_gives(run, name):
    alone = score_benchmark(
        tiny_model(),
        tiny_items(40),
        "target",
        ScoreSettings(token_budget=200),
        scorers=[registry.scorer(name)],
    )
    stored = Run(run.folder, name).moments("toy")
    for table in ("sum", "sum_of_squares", "positive_count", "n_items"):
        np.testing.assert_array_equal(getattr(stored, table), getattr(alone.scorers[name], table))
    np.testing.assert_array_equal(run.moments("toy").sum, alone.moments.sum)


def test_positive_tokens_add_up_to_no_more_than_all_tokens(run):
    counts = Run(run.folder, "positive-tokens").moments("toy").sum.sum(0)
    n_tokens = run.outcomes("toy").n_tokens.sum()
    assert n_tokens > 0
    assert 0 < counts.max() <= n_tokens
    np.testing.assert_array_equal(counts, np.round(counts))


def test_the_released_code_clamps_controls_and_weighs(run):
    quirky = Run(run.folder, "released-code")
    assert (quirky.moments("toy-control").sum >= 0).all()
    plain, rounded = run.moments("toy").sum, quirky.moments("toy").sum
    assert np.corrcoef(plain.ravel(), rounded.ravel())[0, 1] > 0.95
    assert (plain != rounded).any()


def test_totals_follow_the_scorer(run):
    view = Run(run.folder, "mean-activation")
    np.testing.assert_array_equal(view.total("toy"), view.moments("toy").sum.sum(0))
    assert (view.total("toy") != run.total("toy")).any()


def test_a_scorer_that_the_run_does_not_have_is_named(run):
    with pytest.raises(UnknownNameError, match=r"unknown scorer of run .* 'lrp'.*score with --scorer"):
        Run(run.folder, "lrp")
    with pytest.raises(UnknownNameError, match="unknown scorer 'lrp'"):
        registry.scorer("lrp")


def test_a_scorer_that_makes_another_shape_is_named():
    class Wrong(Scorer):
        name = "wrong"
        summary = "makes one score too few"

        def item_scores(self, activation, gradient, real):
            return activation[:, 0, :-1]

    with pytest.raises(PluginError, match=r"scorer 'wrong' made scores of shape"):
        score_benchmark(tiny_model(), tiny_items(2), "target", ScoreSettings(), scorers=[Wrong()])
