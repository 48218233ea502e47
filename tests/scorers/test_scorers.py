"""Each scorer against plain numpy on the pairs that a backward pass gives, and its sums in a run."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.errors import InputError, PluginError, UnknownNameError
from culnig.scorers.base import PATH_STEPS, Pair, Scorer, Target
from culnig.scorers.builtin import MeanActivation
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from culnig.store.run import Run
from tests.tiny_models import tiny_items, tiny_model
from tests.tolerances import assert_scores_equal

NAMES = (
    *("gradient-norm", "mean-activation", "positive-tokens", "released-code", "log-probability"),
    *("crispr", "log-odds", "integrated-gradients", "relp", "relp-log-odds"),
)
OTHER_GRADIENTS = {name: torch.full((2, 5, 7), 0.5) for name in get_args(Target)}


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
    scores = registry.scorer(name).item_scores(Pair(activation, gradient, real))
    for item, n_tokens in enumerate((5, 3)):
        values = expected(name, activation[item, :n_tokens].numpy(), gradient[item, :n_tokens].numpy())
        np.testing.assert_allclose(scores[item].numpy(), values, rtol=1e-6)


def test_the_released_code_floors_padded_items_at_zero_and_rounds_products():
    activation, gradient, real = pair(seed=1)
    scores = registry.scorer("released-code").item_scores(Pair(activation, gradient, real)).numpy()
    rounded = (activation.bfloat16() * gradient.bfloat16()).float().numpy()
    np.testing.assert_array_equal(scores[0], rounded[0].max(0))
    np.testing.assert_array_equal(scores[1], np.maximum(rounded[1, :3].max(0), 0))
    assert (rounded[1, :3].max(0) < 0).any(), "the floor should bite somewhere"


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_models_are_scored(name):
    scores = registry.scorer(name).item_scores(Pair(*pair(dtype=torch.bfloat16), OTHER_GRADIENTS))
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    benchmarks = {
        "toy": ChosenItems("target", "identify", tiny_items(40)),
        "toy-control": ChosenItems("control", "identify", tiny_items(4)),
    }
    how = RunSettings(scorers=tuple(registry.scorer(name) for name in NAMES))
    folder = tmp_path_factory.mktemp("scorers") / "run"
    return score_run(tiny_model(), benchmarks, ScoreSettings(token_budget=200), folder, run_settings=how)


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


def gradients_by_autograd(bound, item, scalar, scale=1.0):
    """Activation and gradient of `scalar(probabilities, gold, wrong labels)` at every segment, one item."""
    from culnig.inference.encoding import Encoder

    encoded = Encoder(bound).encode_all([item])[0]
    outputs = {}

    def keep(linear):
        def hook(module, inputs, output):
            output = output * scale
            outputs[linear] = output
            return output

        return hook

    handles = [linear.linear.register_forward_hook(keep(linear)) for linear in bound.linears]
    with torch.enable_grad():
        probabilities = bound.model(torch.tensor([encoded.token_ids])).logits[0, -1].double().softmax(-1)
        wrong = [label for label in encoded.option_ids if label != encoded.gold_id]
        value = scalar(probabilities, encoded.gold_id, wrong)
        gradients = torch.autograd.grad(value, list(outputs.values()))
    for handle in handles:
        handle.remove()
    return (
        float(value.detach()),
        {linear: output.detach()[0] for linear, output in outputs.items()},
        {linear: gradient[0] for linear, gradient in zip(outputs, gradients, strict=True)},
    )


def p_gold(p, gold, wrong):
    return p[gold]


def p_wrong(p, gold, wrong):
    return p[wrong].max()


def odds(p, gold, wrong):
    return (p[gold] / p[wrong].sum()).log()


def crispr_by_hand(bound, item):
    _, activation, right = gradients_by_autograd(bound, item, p_gold)
    weight, _, wrong = gradients_by_autograd(bound, item, p_wrong)
    return {
        linear: weight
        * (activation[linear] * wrong[linear] - (activation[linear] * right[linear]).clamp(min=0)).amax(0)
        for linear in activation
    }


def log_odds_by_hand(bound, item):
    weight, activation, _ = gradients_by_autograd(bound, item, p_gold)
    _, _, gradient = gradients_by_autograd(bound, item, odds)
    return {linear: weight * (activation[linear] * gradient[linear]).amax(0) for linear in activation}


def log_probability_by_hand(bound, item):
    weight, activation, _ = gradients_by_autograd(bound, item, p_gold)
    _, _, gradient = gradients_by_autograd(bound, item, lambda p, gold, wrong: p[gold].log())
    return {linear: weight * (activation[linear] * gradient[linear]).amax(0) for linear in activation}


def integrated_by_hand(bound, item):
    weight, activation, _ = gradients_by_autograd(bound, item, p_gold)
    steps = [gradients_by_autograd(bound, item, p_gold, k / PATH_STEPS)[2] for k in range(1, PATH_STEPS + 1)]
    return {
        linear: weight * (activation[linear] * sum(step[linear] for step in steps) / PATH_STEPS).amax(0)
        for linear in activation
    }


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("crispr", crispr_by_hand),
        ("log-odds", log_odds_by_hand),
        ("log-probability", log_probability_by_hand),
        ("integrated-gradients", integrated_by_hand),
    ],
)
def test_scores_of_other_targets_are_those_of_plain_autograd(name, by_hand):
    bound, items = tiny_model(), tiny_items(3, cultures=("Spain",))
    scores = score_benchmark(
        bound, items, "target", ScoreSettings(token_budget=400), scorers=[registry.scorer(name)]
    ).scorers[name]
    expected = np.zeros(bound.layout.n_neurons)
    for item in items:
        made = by_hand(bound, item)
        for linear in bound.linears:
            for cut in linear.slices:
                expected[cut.segment.columns] += cut.take(made[linear]).double().numpy()
    assert_scores_equal(scores.sum[0], expected)


def test_other_targets_leave_the_engines_own_scores_alone():
    settings, items = ScoreSettings(token_budget=400), tiny_items(5)
    plain = score_benchmark(tiny_model(), items, "target", settings)
    with_others = score_benchmark(
        tiny_model(),
        items,
        "target",
        settings,
        scorers=[registry.scorer(name) for name in ("crispr", "log-odds", "integrated-gradients")],
    )
    np.testing.assert_array_equal(with_others.moments.sum, plain.moments.sum)
    np.testing.assert_array_equal(with_others.outcomes.p_gold, plain.outcomes.p_gold)


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
    with pytest.raises(UnknownNameError, match=r"unknown scorer of run .* 'lrp'.*add others when scoring"):
        Run(run.folder, "lrp")
    with pytest.raises(UnknownNameError, match="unknown scorer 'lrp'"):
        registry.scorer("lrp")


def test_a_scorer_that_makes_another_shape_is_named():
    class Wrong(Scorer):
        name = "wrong"
        summary = "makes one score too few"

        def item_scores(self, pair):
            return pair.activation[:, 0, :-1]

    with pytest.raises(PluginError, match=r"scorer 'wrong' returned scores of shape"):
        score_benchmark(tiny_model(), tiny_items(2), "target", ScoreSettings(), scorers=[Wrong()])


@pytest.mark.parametrize("name", ["a/b", "..", "x\0"])
def test_a_scorer_whose_name_would_be_several_groups_of_a_file_is_refused(name):
    scorer = MeanActivation()
    scorer.name = name
    with pytest.raises(InputError, match="cannot be stored under its name"):
        RunSettings(scorers=(scorer,))
