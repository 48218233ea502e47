"""Parts of scoring by hand: powers of two, what is kept, earlier checks, forward methods."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from culnig.core.neurons import MLP_GATE
from culnig.core.processes import ALONE
from culnig.inference.encoding import Encoder
from culnig.scoring.accumulator import Accumulator
from culnig.scoring.checkpointing import _restore
from culnig.scoring.device_scores import DeviceScores
from culnig.scoring.keepers import TensorKeeper
from culnig.scoring.question_halves import WHOLE_QUESTIONS
from culnig.scoring.resumed import accept_earlier_version, keep_earlier_check
from culnig.scoring.run import _writer
from culnig.scoring.scaling import ATTEMPTS, LOWER_BY, Scale, is_narrow, overflowed, target_exponents
from culnig.scoring.scoring import ScoreSettings, Scoring
from culnig.scoring.targets import BatchPasses
from tests.tiny_models import tiny_items, tiny_model
from tests.toy import moments, record, toy_layout, write_run

EXPONENTS = np.array([3, 0, -2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_targets_are_multiplied_by_powers_of_two_and_gradients_divided(dtype):
    target = torch.tensor([1.0, 2.0, 4.0], dtype=dtype)
    assert Scale(EXPONENTS).of(target).tolist() == [8.0, 2.0, 1.0]
    assert Scale(np.zeros(3, int)).of(target) is target
    gradient = torch.ones(3, 2, 1, dtype=dtype)
    found = Scale(EXPONENTS).undone(gradient)
    assert found[..., 0].tolist() == [[1 / 8] * 2, [1.0] * 2, [4.0] * 2]
    assert found.dtype == (torch.float32 if dtype == torch.float16 else dtype)
    assert Scale(np.zeros(3, int)).undone(gradient) is gradient
    assert Scale(np.array([0, 0, 1])).undone(gradient)[..., 0].tolist() == [[1.0] * 2, [1.0] * 2, [0.5] * 2]


def test_exponents_of_targets_by_hand():
    sizes = np.array([0.0, 1.0, 0.5, 2.0**-10, 2.0**-70, 2.0**-140])
    # size = m · 2^own with 0.5 ≤ m < 1: own is 1, 0, -9, -69 and -139; 0 has none
    wide = target_exponents(sizes, 6, narrow=False).tolist()
    assert wide[:3] == [0, 0, 0]
    assert wide[4:] == [69, 120]
    narrow = target_exponents(sizes, 6, narrow=True).tolist()
    assert narrow[0] == 0
    assert [one - narrow[2] for one in narrow[1:5]] == [-1, 0, 9, 69]
    assert target_exponents(None, 2, narrow=False).tolist() == [0, 0]


def test_items_whose_gradients_overflow():
    gradient = torch.zeros(4, 2, 3)
    gradient[1, 0, 2], gradient[2, 1, 0], gradient[3, 1, 1] = torch.inf, torch.nan, -torch.inf
    assert overflowed(gradient).tolist() == [False, True, True, True]
    assert is_narrow(torch.nn.Linear(1, 1).half())
    assert not is_narrow(torch.nn.Linear(1, 1).bfloat16())


@pytest.mark.parametrize(("chosen", "tokens"), [(None, 12), ({3}, 7), ({1, 3}, 12), (set(), 0), ({5}, 0)])
def test_kept_tensors_take_the_tokens_of_the_chosen_items(chosen, tokens):
    keeper = TensorKeeper.__new__(TensorKeeper)
    keeper._cell, keeper._chosen = 10, chosen
    assert keeper.bytes_of(SimpleNamespace(lengths=np.array([5, 7]), numbers=[1, 3])) == 10 * tokens


def test_the_forward_method_of_a_layer_is_given_back():
    class Layer:
        def forward(self):
            return "the class's"

    layer = Layer()
    layer.forward = lambda: "ours"
    _restore(layer, None)
    assert layer.forward() == "the class's"
    layer.forward = lambda: "ours"
    _restore(layer, lambda: "its own")
    assert layer.forward() == "its own"


DONE, NOT = {"performed": True, "checks": ["a"]}, {"performed": False, "checks": []}


@pytest.mark.parametrize(
    ("earlier", "now", "expected"),
    [
        (None, None, None),
        (DONE, None, DONE),
        (NOT, None, NOT),
        (None, DONE, {**DONE, "performed": False}),
        (DONE, NOT, NOT),
        (NOT, DONE, {**DONE, "performed": False}),
        (DONE, DONE, DONE),
    ],
    ids=str,
)
def test_a_resumed_run_is_checked_if_all_its_parts_were(tmp_path, earlier, now, expected):
    asked = {} if now is None else {"check": now}
    keep_earlier_check(tmp_path / "nowhere", asked)
    assert asked.get("check") == now
    table = moments(["China"], [1], [[1, 2]])
    run = write_run(tmp_path / "run", toy_layout(1, {MLP_GATE: 2}), {"t": ("target", table)})
    document = {**run.record, **({} if earlier is None else {"check": earlier})}
    document.pop("checksum", None)
    (run.folder / "run.json").write_text(json.dumps(document))
    keep_earlier_check(run.folder, asked)
    assert asked.get("check") == expected


@pytest.mark.parametrize(
    ("n_batches", "firsts"),
    [(0, []), (1, [4]), (2, [4]), (3, [4, 6]), (4, [4, 6]), (5, [4, 6, 8]), (6, [4, 6, 8])],
)
def test_files_of_the_first_batches_of_a_portion(n_batches, firsts):
    """Batches 4 to 9, whose parts end before the batches 6, 8 and 10."""
    keeper = TensorKeeper.__new__(TensorKeeper)
    keeper._numbers, keeper._ends, keeper._portion = range(4, 10), {8, 10, 6}, "p"
    keeper._writer = SimpleNamespace(data_file=lambda folder, portion, first: (folder, portion, first))
    assert keeper.files(n_batches) == [(keeper.folder, "p", first) for first in firsts]


def test_a_score_that_is_no_number_is_said_with_its_item_and_neuron():
    accumulator = Accumulator.__new__(Accumulator)
    accumulator._batch = SimpleNamespace(item_ids=["a", "b"], lengths=np.array([3, 5]))
    scores = torch.zeros(2, 4)
    scores[1, 2:] = torch.tensor([torch.nan, torch.inf])
    (segment,) = toy_layout(1, {MLP_GATE: 4}).segments
    accumulator._arrived = {segment: None}
    accumulator._home = {segment: SimpleNamespace(columns_of=lambda segment, number: scores)}
    error = accumulator._non_finite_scores(1, SimpleNamespace(name="own"))
    assert (error.count, error.item, error.token, error.neuron) == (2, 1, 4, 2)
    assert "scorer own, mlp.gate_proj, layer 0 (item b)" in str(error)


@pytest.mark.parametrize("compression", ["none", "fast", "default"])
def test_the_folder_of_a_run_has_the_compression_asked_for(tmp_path, compression):
    bound = SimpleNamespace(layout=toy_layout(1, {MLP_GATE: 2}))
    folder = tmp_path / "run"
    with _writer(ALONE, folder, record(), bound, compression, resume=False, overwrite=False) as writer:
        assert writer.compression == compression


@pytest.mark.parametrize("settings", [{"halves": True}, {"halves": WHOLE_QUESTIONS}, {}], ids=str)
def test_halves_of_an_earlier_version_stay_as_they_were(tmp_path, settings):
    write_run(tmp_path / "run", toy_layout(), {}, settings=settings)
    given = {"settings": {"halves": WHOLE_QUESTIONS}, "benchmarks": {}}
    asked = True if settings.get("halves") is True else WHOLE_QUESTIONS
    assert accept_earlier_version(tmp_path / "run", given)["settings"]["halves"] == asked


def tables_of(segments, own, **options):
    """Scores on the CPU of these segments, with two kinds of sums."""
    return DeviceScores(torch.device("cpu"), segments, [own, own], keeps_peaks=False, **options)


def test_scores_of_a_further_kind_that_are_not_finite_are_told_though_the_rest_is():
    layout = toy_layout()
    scores = tables_of(layout.segments, moments(["China"], [0], np.zeros((1, layout.n_neurons))))
    scores.begin(np.ones((2, 3), dtype=bool))
    for table in scores.scores:
        table.zero_()
    assert scores.read_status()[1].tolist() == [False]
    scores.scores[1][1, 5] = float("nan")
    assert scores.read_status()[1].tolist() == [True]


def test_segments_in_any_order_are_one_run_where_none_is_missing():
    layout = toy_layout()
    own = moments(["China"], [0], np.zeros((1, layout.n_neurons)))
    (run,) = tables_of(layout.segments[::-1], own).runs
    assert run == (slice(0, layout.n_neurons), slice(0, layout.n_neurons))


def test_sums_with_gaps_go_on_from_what_was_added_before():
    layout = toy_layout()
    values = np.arange(layout.n_neurons, dtype=np.float64)[np.newaxis]
    first, last = layout.segments[0], layout.segments[-1]
    scores = tables_of([first, last], moments(["China"], [3], values))
    scores.begin(np.ones((1, 2), dtype=bool))
    copied = scores.sums(0, "sum").numpy()
    held = moments(["China"], [3], values).sum
    np.testing.assert_array_equal(copied, np.hstack([held[:, first.columns], held[:, last.columns]]))
    assert copied.any()


def test_portions_of_both_halves_hold_every_batch_once():
    bound, asked = tiny_model(), tiny_items(9)
    scoring = Scoring(
        *(bound, Encoder(bound).encode_all(asked), "target", ScoreSettings(token_budget=1)),
        halving=lambda items: np.arange(len(items)) % 2 + 1,
    )
    assert len(scoring.batches) == 9
    assert [number for portion in scoring.portions for number in portion] == list(range(9))
    assert set(scoring.half_of_portion) == {1, 2}


def test_sums_that_a_device_holds_come_to_the_moments_at_the_end():
    """With the first and the last segment alone, sums are kept apart from the moments until then."""
    layout = toy_layout()
    values = np.arange(layout.n_neurons, dtype=np.float64)[np.newaxis]
    own, expected = (moments(["China"], [3], values) for _ in range(2))
    accumulator = Accumulator(own, "max", clamp_at_zero=False)
    segments = (layout.segments[0], layout.segments[-1])
    accumulator.place(dict.fromkeys(segments, torch.device("cpu")))
    (on_device,) = accumulator._devices
    on_device.begin(np.ones((1, 2), dtype=bool))
    on_device._sums[0].sums.add_(1)
    accumulator.settle()
    held = np.zeros(layout.n_neurons, dtype=bool)
    for segment in segments:
        held[segment.columns] = True
    np.testing.assert_array_equal(own.sum, expected.sum + held)
    np.testing.assert_array_equal(own.sum_of_squares, expected.sum_of_squares)
    np.testing.assert_array_equal(own.positive_count, expected.positive_count)


@pytest.mark.parametrize(
    ("dtype", "may"), [(torch.float16, [True, True, False]), (torch.float32, [False] * 3)]
)
def test_the_last_attempt_of_a_narrow_model_may_not_overflow(dtype, may):
    asked = []
    accumulator = SimpleNamespace(
        begin=lambda batch, may_overflow: asked.append(may_overflow),
        finish=lambda: None,
        count_routed=lambda outcomes, experts: None,
    )
    model = torch.nn.Linear(1, 1, dtype=dtype)
    bound = SimpleNamespace(model=model, layout=SimpleNamespace(experts={}))
    passes = BatchPasses(bound, None, None, accumulator)
    steps = [0, ATTEMPTS - 2, ATTEMPTS - 1]

    def overflowing(batch, outcomes):
        if len(asked) == len(steps):
            return True
        passes._lowered["gold"] = np.array([0, LOWER_BY * steps[len(asked)]])
        return False

    passes._run = overflowing
    passes.run(None, None)
    assert asked == may
