"""Gradients of a small P(gold), against autograd of the same weights in a wider format, item by item."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.evaluation.instances.scores import score_items
from culnig.models.base import bind_model
from culnig.reanalysis.offline import reduce
from culnig.scoring import scaling, targets
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scaling import target_exponents
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from culnig.verification.passes import Passes
from tests import oracle
from tests.scoring.oracle_rows import oracle_row
from tests.tiny_models import byte_tokenizer, tiny_items, tiny_model

ITEMS = tiny_items(5)
GAIN = 8.0
"""Of the head: P(gold) is 1e-15 to 1e-7."""


def sharp(dtype, gain=GAIN):
    """A model whose head is so steep that P(gold) is tiny; weights are float16 numbers in any format."""
    model = tiny_model().model
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(gain)
    return bind_model("sharp", model.half().to(dtype), byte_tokenizer(), registry.adapters())


@pytest.fixture(scope="module")
def half():
    return sharp(torch.float16)


def rows_of(bound, wide):
    """Σ P(gold) · s(n) by the oracle: plain autograd in float64."""
    rows = np.zeros((3, bound.layout.n_neurons))
    for item in ITEMS:
        p_gold, scores = oracle.item_scores(wide, bound.tokenizer, item)
        rows[("Spain", "China", "Iran").index(item.culture)] += p_gold * oracle_row(bound, scores)
    return rows


def unscaled(sizes, n_items, *, narrow):
    return np.zeros(n_items, dtype=np.int64)


def zeros(rows):
    return float((rows == 0).mean())


def test_float16_scores_of_a_small_probability_do_not_underflow(half, monkeypatch):
    expected = rows_of(half, deepcopy(half.model).double())
    scored = score_benchmark(half, ITEMS, "target", ScoreSettings())
    assert scored.outcomes.p_gold.max() < 1e-6
    rows = scored.moments.sum
    monkeypatch.setattr(targets, "target_exponents", unscaled)
    before = score_benchmark(half, ITEMS, "target", ScoreSettings()).moments.sum
    assert zeros(expected) < 0.1
    assert zeros(before) > 0.5
    assert zeros(rows) < zeros(expected) + 0.01
    for row, own in zip(rows, expected, strict=True):
        assert np.corrcoef(row, own)[0, 1] > 0.98


@pytest.mark.parametrize("gain", [1.0, GAIN])
def test_float32_scores_are_scaled_by_nothing(gain, monkeypatch):
    bound = sharp(torch.float32, gain)
    rows = score_benchmark(bound, ITEMS, "target", ScoreSettings()).moments.sum
    monkeypatch.setattr(targets, "target_exponents", unscaled)
    assert score_benchmark(bound, ITEMS, "target", ScoreSettings()).moments.sum.tobytes() == rows.tobytes()


@pytest.mark.parametrize("aggregator", ["max", "absmax", "sum", "mean", "last"])
def test_a_power_of_two_changes_no_bit_of_float32_scores(aggregator, monkeypatch):
    bound, settings = sharp(torch.float32, 1.0), ScoreSettings(aggregator)
    scorers = tuple(map(registry.scorer, ("log-odds", "crispr", "gradient-norm", "integrated-gradients")))
    plain = score_benchmark(bound, ITEMS, "target", settings, scorers=scorers)
    powers = np.array([3, 40, 17, 29, 11])
    monkeypatch.setattr(
        targets, "target_exponents", lambda sizes, n_items, *, narrow: powers[:n_items].copy()
    )
    shifted = score_benchmark(bound, ITEMS, "target", settings, scorers=scorers)
    for table in ("sum", "sum_of_squares", "positive_count", "p_gold_sum"):
        assert getattr(plain.moments, table).tobytes() == getattr(shifted.moments, table).tobytes()
        for name in plain.scorers:
            first, second = (getattr(scored.scorers[name], table) for scored in (plain, shifted))
            assert first.tobytes() == second.tobytes(), name


def test_every_item_has_its_own_power():
    exponents = target_exponents(np.array([0.5, 0.75, 1e-8, 0.0]), 4, narrow=True)
    scaled = np.ldexp([0.5, 0.75, 1e-8], exponents[:3])
    assert ((scaled >= 2.0 ** (scaling.HEADROOM - 1)) & (scaled < 2.0**scaling.HEADROOM)).all()
    assert exponents[3] == 0
    assert target_exponents(np.array([0.5, 1e-8, 1e-18]), 3, narrow=False).tolist() == [0, 0, 0]
    (tiny,) = target_exponents(np.array([1e-30]), 1, narrow=False)
    assert 0.5 <= 1e-30 * 2.0**tiny < 1


def test_bfloat16_keeps_what_float32_keeps_of_a_probability_of_1e_30():
    """The score has P(gold) as a factor, and 1e-30 · 1e-10 is below the smallest float32."""
    bound = sharp(torch.bfloat16, 14.0)
    rows = score_benchmark(bound, ITEMS, "target", ScoreSettings()).moments
    assert zeros(rows.sum) < 0.1


def test_all_scorers_see_the_gradient_itself(half):
    """Log-odds and integrated gradients have passes of their own; expected: the same weights in float32."""
    names = ("log-odds", "crispr", "gradient-norm", "log-probability", "integrated-gradients")
    wide = sharp(torch.float32)
    scored = [
        score_benchmark(bound, ITEMS, "target", ScoreSettings(), scorers=tuple(map(registry.scorer, names)))
        for bound in (half, wide)
    ]
    for name in names:
        own, expected = (each.scorers[name].sum.sum(0) for each in scored)
        assert np.corrcoef(own, expected)[0, 1] > 0.97, name
        assert zeros(own) < zeros(expected) + 0.02, name


def run_at(folder, bound, level, **more):
    chosen = {"toy": ChosenItems("target", "identify", ITEMS, {})}
    return score_run(bound, chosen, ScoreSettings(), folder, run_settings=RunSettings(level=level), **more)


def test_stored_scores_and_tensors_are_those_of_the_target_itself(half, tmp_path):
    culture, item, token = (run_at(tmp_path / level, half, level) for level in ("culture", "item", "token"))
    sums = culture.moments("toy").sum
    p_gold = culture.outcomes("toy").p_gold
    for run in (item, token):
        assert run.moments("toy").sum.tobytes() == sums.tobytes()
    of_items = item.item_scores("toy")
    wide = run_at(tmp_path / "wide", sharp(torch.float32), "item").item_scores("toy")
    assert zeros(of_items) < zeros(wide) + 0.02
    part = token.tensor_parts("toy")[0]
    with token.open_tensors(part) as stored:
        for segment in stored.segments:
            activation, gradient = stored.pair(segment)
            assert (activation.dtype, gradient.dtype) == (np.float16, np.float32)
            products = activation.astype(np.float32) * gradient
            for row, index in enumerate(part.prompts.item):
                tokens = slice(*part.prompts.offsets[row : row + 2])
                np.testing.assert_array_equal(products[tokens].max(axis=0), of_items[index, segment.columns])
    reduced = reduce(token, tmp_path / "reduced")
    assert reduced.moments("toy").sum.tobytes() == sums.tobytes()
    chosen = np.array([0, 50, half.layout.n_neurons - 1])
    expected = of_items[:, chosen].astype(np.float64) * p_gold[:, None]
    np.testing.assert_array_equal(score_items(half, ITEMS, chosen), expected)


def test_verification_sees_the_gradient_itself(half):
    from culnig.inference.encoding import Encoder

    encoded = Encoder(half).encode_all(ITEMS[:2])
    narrow, wide = (Passes(model, encoded).hooked.captured for model in (half, sharp(torch.float32)))
    assert list(narrow) == list(wide)
    for segment, seen in narrow.items():
        assert seen.scores.dtype == np.float32
        assert seen.has_gradient == wide[segment].has_gradient
        if np.abs(wide[segment].scores[0]).max() > 0:
            assert np.corrcoef(seen.scores[0], wide[segment].scores[0])[0, 1] > 0.9


def passes(monkeypatch):
    """Number of passes of batches, in a list."""
    counted = []
    run = targets.BatchPasses._run
    monkeypatch.setattr(
        targets.BatchPasses, "_run", lambda self, *batch: counted.append(1) or run(self, *batch)
    )
    return counted


def test_a_power_that_overflows_is_lowered_for_the_items_that_overflow(half, monkeypatch, tmp_path):
    names = ("log-odds", "integrated-gradients")
    scorers = tuple(map(registry.scorer, names))
    plain = score_benchmark(half, ITEMS, "target", ScoreSettings(), scorers=scorers)
    monkeypatch.setattr(scaling, "HEADROOM", 22)
    counted = passes(monkeypatch)
    lowered = score_benchmark(half, ITEMS, "target", ScoreSettings(), scorers=scorers)
    assert len(counted) > 1
    for own, expected in [
        (lowered.moments, plain.moments),
        *((lowered.scorers[name], plain.scorers[name]) for name in names),
    ]:
        assert np.isfinite(own.sum).all()
        assert own.n_items.tolist() == expected.n_items.tolist()
        assert np.corrcoef(own.sum.sum(0), expected.sum.sum(0))[0, 1] > 0.99
    again = score_benchmark(half, ITEMS, "target", ScoreSettings(), scorers=scorers)
    assert again.moments.sum.tobytes() == lowered.moments.sum.tobytes()


def test_a_gradient_that_is_never_finite_is_an_error(half, monkeypatch):
    from culnig.errors import NonFiniteError

    monkeypatch.setattr(scaling, "HEADROOM", 100)
    with pytest.raises(NonFiniteError, match="are NaN or infinite"):
        score_benchmark(half, ITEMS, "target", ScoreSettings())
