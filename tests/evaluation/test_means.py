from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import culnig
from culnig.errors import InputError, MismatchError
from culnig.evaluation import means
from culnig.evaluation.means import activations_of, stored_prompts
from culnig.inference.encoding import Encoder
from culnig.store.data_parts import Prompts
from tests.stored_runs import N_TARGET, score_tiny
from tests.tiny_models import tiny_items, tiny_model
from tests.tolerances import assert_values_equal


def mean_activations(bound, items, flat, **options):
    prompts = [encoded.token_ids for encoded in Encoder(bound).encode_all(items)]
    return activations_of(bound, prompts, flat, **options).mean


@pytest.mark.parametrize("family", ["llama", "phi3"])
@pytest.mark.parametrize("budget", [1, 2048])
def test_means_are_over_all_real_tokens_whatever_the_batches(family, budget):
    bound, asked = tiny_model(family), tiny_items(4)
    flat = np.random.default_rng(0).permutation(bound.layout.n_neurons)[:12]
    found = mean_activations(bound, asked, flat, token_budget=budget)
    values = []
    handles = [
        linear.linear.register_forward_hook(
            lambda module, inputs, output, linear=linear: values.append(
                {piece.segment: piece.take(output)[0].double() for piece in linear.slices}
            )
        )
        for linear in bound.linears
    ]
    by_item = []
    for item in asked:
        values.clear()
        with torch.no_grad():
            bound.model(input_ids=torch.tensor([Encoder(bound).encode(item).token_ids]))
        held = {segment: taken for one in values for segment, taken in one.items()}
        by_item.append(torch.cat([held[segment] for segment in bound.layout.segments], dim=-1))
    for handle in handles:
        handle.remove()
    expected = torch.cat(by_item).mean(0).numpy()[flat]
    assert_values_equal(found, expected)


def test_a_neuron_set_to_its_mean_is_the_same_at_every_token():
    bound, asked = tiny_model(), tiny_items(3)
    flat = np.array([3, 70])
    means = mean_activations(bound, asked, flat)
    with culnig.intervene(bound, culnig.SetTo(flat, means)):
        np.testing.assert_allclose(mean_activations(bound, asked[:1], flat), means, rtol=1e-6)


def fails_once(module):
    """Let memory run out once in a module's forward pass, behind hooks that saw earlier modules."""
    failures = []

    def fail(module, inputs, output):
        if not failures:
            failures.append(len(output))
            raise torch.OutOfMemoryError("CUDA out of memory")

    module.register_forward_hook(fail)
    return failures


def test_memory_that_runs_out_in_a_forward_pass_counts_no_token_twice():
    items, bound = tiny_items(4), tiny_model()
    flat = np.arange(0, bound.layout.n_neurons, 7)
    prompts = [encoded.token_ids for encoded in Encoder(bound).encode_all(items)]
    expected = activations_of(bound, prompts, flat)
    failures = fails_once(bound.linears[-1].linear)
    halved = activations_of(bound, prompts, flat)
    assert failures == [4]
    np.testing.assert_allclose(halved.mean, expected.mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(halved.samples, expected.samples, rtol=1e-4, atol=1e-6)


def test_no_items_have_no_mean():
    with pytest.raises(InputError, match="no items to average over"):
        mean_activations(tiny_model(), [], np.array([1]))


@pytest.mark.parametrize("level", ["item", "token"])
def test_prompts_of_a_run_are_those_of_its_target_items_in_file_order(tmp_path, level, monkeypatch):
    run, bound = score_tiny(tmp_path / "run", level), tiny_model()
    expected = [one.token_ids for one in Encoder(bound).encode_all(tiny_items(N_TARGET))]
    assert stored_prompts(run, bound) == expected
    monkeypatch.setattr(means, "MOST_PROMPTS", 3)
    assert stored_prompts(run, bound) == [expected[0], expected[round((N_TARGET - 1) / 2)], expected[-1]]


def test_a_run_of_other_weights_or_without_prompts_gives_no_means(tmp_path):
    run = score_tiny(tmp_path / "item", "item", items=slice(3))
    with pytest.raises(MismatchError, match="layout or weights differ from those of"):
        stored_prompts(run, tiny_model(seed=1))
    with pytest.raises(InputError, match="level='item'"):
        stored_prompts(score_tiny(tmp_path / "culture", items=slice(3)), tiny_model())


def test_samples_are_the_values_at_one_token_of_each_prompt_whatever_the_batches():
    bound = tiny_model()
    flat = np.array([90, 3, 70])
    prompts = [one.token_ids for one in Encoder(bound).encode_all(tiny_items(5))]
    found = activations_of(bound, prompts, flat, seed=4)
    alone = activations_of(bound, prompts, flat, seed=4, token_budget=1)
    assert_values_equal(found.samples, alone.samples)
    for number, prompt in enumerate(prompts):
        # the mean over one prompt cut at each token, times its length, grows by the value at that token
        sums = [np.zeros(3)] + [
            activations_of(bound, [prompt[:end]], flat).mean * end for end in range(1, len(prompt) + 1)
        ]
        values = np.diff(sums, axis=0)
        assert np.isclose(values, found.samples[number], rtol=1e-3, atol=1e-4).all(axis=1).any()
    other = activations_of(bound, prompts, flat, seed=5)
    assert not np.allclose(other.samples, found.samples)
    np.testing.assert_allclose(other.mean, found.mean)


def run_with_prompts(n, prompts=None):
    """A run with one target of `n` prompts of one token, in two parts out of order, and a control."""

    def part(numbers):
        return SimpleNamespace(prompts=Prompts.of(numbers, [[1000 + n] for n in numbers], str))

    return SimpleNamespace(
        folder="RUN",
        model="toy",
        level="item",
        record={
            "model": {"layout_hash": "a", "weights_hash": "b"},
            "benchmarks": {"t": {"prompts": prompts}},
        },
        with_role=lambda role: [SimpleNamespace(name="t")] if role == "target" else [],
        item_parts=lambda name: [part(range(n // 2, n)), part(range(n // 2))],
    )


BOUND = SimpleNamespace(layout=SimpleNamespace(hash="a"), weights_hash="b", source="toy")


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (3, [0, 1, 2]),
        (512, list(range(512))),
        (1023, [round(k * 1022 / 511) for k in range(512)]),
        (513, None),
    ],
)
def test_at_most_512_prompts_are_taken_at_even_distances(n, expected):
    taken = [token - 1000 for (token,) in stored_prompts(run_with_prompts(n), BOUND)]
    if expected is None:
        assert len(taken) == 512
        assert (taken[0], taken[-1]) == (0, n - 1)
        assert set(np.diff(taken)) <= {1, 2}
    else:
        assert taken == expected


PROMPTS = {"template": "t", "date": "2026-01-02", "hash": "h"}


def test_prompts_of_other_items_fit_if_they_are_written_alike():
    run = run_with_prompts(2, PROMPTS)
    assert len(stored_prompts(run, BOUND, {"other": PROMPTS | {"hash": "of other items"}})) == 2
    for changed, message in (
        ({"date": "2026-01-03"}, "show the date 2026-01-02"),
        ({"template": "u"}, "different chat"),
    ):
        with pytest.raises(MismatchError, match=f"'t' of RUN does not fit 'other': .*{message}"):
            stored_prompts(run, BOUND, {"same": PROMPTS, "other": PROMPTS | changed})


def test_a_run_without_a_target_or_prompts_has_no_means():
    run = run_with_prompts(2)
    run.with_role = lambda role: []
    with pytest.raises(InputError, match="RUN has no target benchmark to average over"):
        stored_prompts(run, BOUND)
    run.level = "culture"
    with pytest.raises(InputError, match="level 'culture', which keeps no prompts"):
        stored_prompts(run, BOUND)
