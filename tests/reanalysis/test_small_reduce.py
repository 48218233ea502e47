"""Reductions of a run that is written by hand: item scores of both signs, every role, small blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from culnig.core.moments import CultureMoments
from culnig.core.neurons import MLP_GATE, QUERY
from culnig.errors import InputError, StoreError
from culnig.reanalysis import reduce
from culnig.reanalysis.choice import ItemChoice
from culnig.reanalysis.reduce import Reducer, Reduction
from culnig.store import schema
from culnig.store.data_parts import PartName, Prompts
from culnig.store.item_scores import ItemScoresWriter
from culnig.store.run import Run
from culnig.store.writer import Portion, PortionState, RunWriter
from tests.toy import answered, items, record, toy_layout

LAYOUT = toy_layout(2, {QUERY: 2, MLP_GATE: 3})
CULTURES = ("China", "Iran")
ASKED = items(CULTURES, questions=3)
P_GOLD = np.array([0.5, 0.25, 1.0, 0.125, 0.5, 0.75])
ROLES = {"t": "target", "c": "control", "x": "exclusion"}
SCORES = {
    name: np.random.default_rng(seed).integers(-8, 8, (6, 10)).astype(np.float32) / 4
    for seed, name in enumerate(ROLES)
}


def run_of(folder: Path, level: str = "item") -> Run:
    """Three benchmarks of six items, each in two portions: items 3, 0, 5 and items 1, 4, 2."""
    settings = {"aggregator": "max", "level": level}
    benchmarks = {name: {"role": role, "items_hash": name * 8} for name, role in ROLES.items()}
    writer = RunWriter.open(folder, record(settings=settings, benchmarks=benchmarks), LAYOUT)
    outcomes = answered(ASKED, [True] * 6, P_GOLD)
    for name, role in ROLES.items():
        for number, indices in enumerate((np.array([3, 0, 5]), np.array([1, 4, 2]))):
            portion = Portion(name, number, 2, 1)
            prompts = Prompts.of(indices.tolist(), [[7, 8, 9]] * 3, str)
            part = ItemScoresWriter(
                writer.data_file(schema.ITEMS_FOLDER, portion, 0),
                PartName(writer.run_id, name, number, 0),
                prompts,
                LAYOUT.n_neurons,
            )
            part.write(0, SCORES[name][indices], np.ones((3, 10), np.int32))
            part.close()
            table = CultureMoments.zeros(CULTURES, LAYOUT.n_neurons)  # its sums are not read
            np.add.at(table.n_items, indices // 3, 1)
            state = PortionState(table, outcomes.take(indices), indices, 1)
            writer.save_part(portion, role, "identify", state)
    writer.finish(dict.fromkeys(ROLES, 2))
    return Run(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return run_of(tmp_path_factory.mktemp("small") / "run")


def by_hand(name, chosen=range(6), columns=slice(None), weight=P_GOLD, floor=False):
    """Σw, Σw² and the count of w > 0 of each culture, item by item."""
    tables = np.zeros((3, 2, 10))[:, :, columns]
    for item in chosen:
        w = SCORES[name][item, columns] * weight[item]
        if ROLES[name] == "control" or floor:
            w = np.where(w > 0, w, 0.0)
        tables[:, item // 3] += [w, w**2, w > 0]
    return tables


def assert_tables(made, name, expected):
    table = made.moments(name)
    np.testing.assert_allclose([table.sum, table.sum_of_squares, table.positive_count], expected, rtol=1e-12)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 7, 100])
def test_blocks_of_any_width_give_the_sums_of_each_role(run, tmp_path, monkeypatch, most):
    monkeypatch.setattr(reduce, "_LEAST_BLOCK", most)
    seen = []
    made = Reducer(run, Reduction(level="item"), 1).write(tmp_path / "run", progress=seen.append)
    for name, role in ROLES.items():
        assert_tables(made, name, by_hand(name))
        assert made.benchmarks[name].role == role
        assert made.moments(name).n_items.tolist() == [3, 3]
        np.testing.assert_allclose(made.moments(name).p_gold_sum, [1.75, 1.375])
        np.testing.assert_array_equal(made.item_scores(name), SCORES[name])
        assert made.total(name).tolist() == by_hand(name)[0].sum(axis=0).tolist()
    assert sum(seen) == Reducer(run, Reduction()).n_steps == 30
    widest = max(seen)
    assert widest <= max(most, 3)  # a segment of three is never split
    assert widest == {1: 3, 2: 3, 3: 3, 4: 3, 5: 5, 7: 7, 100: 10}[most]


@pytest.mark.parametrize(
    ("memory", "n_cultures", "most_items", "widths"),
    [
        # a neuron takes 2 · 2 · 20 + 2 · 3 · 8 = 128 bytes, and half of the memory is used
        (256 * 10, 2, 3, [10]),
        (256 * 10 - 1, 2, 3, [7, 3]),
        (256 * 5, 2, 3, [5, 5]),
        (256 * 5 - 1, 2, 3, [2, 3, 2, 3]),
        # 2 · 1 · 20 + 2 · 100 · 8 = 1640 bytes
        (2 * 1640 * 5, 1, 100, [5, 5]),
        (2 * 1640 * 5 - 1, 1, 100, [2, 3, 2, 3]),
    ],
)
def test_blocks_fit_into_half_of_the_memory(run, monkeypatch, memory, n_cultures, most_items, widths):
    monkeypatch.setattr(reduce, "_LEAST_BLOCK", 1)
    blocks = Reducer(run, Reduction(), memory)._blocks(n_cultures, most_items)
    assert [sum(segment.width for segment in block) for block in blocks] == widths


def test_without_confidence_and_with_padding_as_a_zero(run, tmp_path):
    plain = Reducer(run, Reduction(confidence=False)).write(tmp_path / "plain")
    padded = Reducer(run, Reduction(padding="zero")).write(tmp_path / "padded")
    for name in ROLES:
        assert_tables(plain, name, by_hand(name, weight=np.ones(6)))
        assert_tables(padded, name, by_hand(name, floor=True))


def test_chosen_modules_layers_items_and_benchmarks(run, tmp_path):
    reduction = Reduction(
        modules=(MLP_GATE,), layers=(1,), benchmarks=("x", "t"), items=ItemChoice(cultures=("Iran",))
    )
    made = Reducer(run, reduction).write(tmp_path / "run")
    assert list(made.benchmarks) == ["t", "x"]
    for name in ("t", "x"):
        assert made.benchmarks[name].cultures == ("Iran",)
        assert_tables(made, name, by_hand(name, chosen=[3, 4, 5], columns=slice(7, 10))[:, 1:])
        assert made.outcomes(name).id.tolist() == [item.id for item in ASKED[3:]]
        own = made.record["benchmarks"][name]
        assert (own["n_items"], own["items_hash"], own["role"]) == (3, None, ROLES[name])
    assert made.record["settings"]["reduced"]["layers"] == [1]
    assert made.record["settings"]["reduced"]["modules"] == [MLP_GATE]


def test_the_record_keeps_the_hash_of_items_that_all_take_part(run, tmp_path):
    made = Reducer(run, Reduction(level="item")).write(tmp_path / "run")
    assert made.record["benchmarks"]["t"] == {"role": "target", "items_hash": "t" * 8, "n_items": 6}
    assert made.record["settings"]["score_type"] == "float32"
    assert made.record["sources"][0]["run_id"] == run.run_id
    sums = Reducer(run, Reduction()).write(tmp_path / "sums")
    assert "score_type" not in sums.record["settings"]
    assert sums.record["settings"]["aggregator"] == "max"


@pytest.mark.parametrize(
    ("reduction", "error", "message"),
    [
        (
            {"aggregator": "mean"},
            StoreError,
            "keeps item scores made with aggregator 'max'; for 'mean' score",
        ),
        ({"items": ItemChoice(bootstrap=True), "level": "item"}, InputError, "contains items several times"),
        ({"items": ItemChoice(cultures=("Spain",))}, InputError, "leaves no stored item of benchmark"),
    ],
    ids=str,
)
def test_what_the_run_does_not_allow_is_refused(run, reduction, error, message):
    with pytest.raises(error, match=message):
        Reducer(run, Reduction(**reduction))


def test_a_run_of_sums_is_refused(tmp_path):
    with pytest.raises(StoreError, match="scored at level 'culture', which keeps sums only"):
        Reducer(run_of(tmp_path / "run", level="culture"), Reduction())
    with pytest.raises(InputError, match="padding is 'one'; exclude or zero"):
        Reduction(padding="one")
