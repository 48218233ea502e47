from __future__ import annotations

from dataclasses import replace

import pytest

from culnig.core.neurons import MLP_GATE, MLP_UP, QUERY
from culnig.errors import InputError, MismatchError
from culnig.selection.algebra import combine, difference
from tests.toy import neuron_set, toy_layout

LAYOUT = toy_layout()
A = neuron_set(LAYOUT, [8, 3, 40, 9], "a")  # scores 4/8, 3/8, 2/8, 1/8
B = neuron_set(LAYOUT, [9, 50, 3], "b")  # scores 3/8, 2/8, 1/8
C = neuron_set(LAYOUT, [3, 60], "c")


def flat(those):
    return those.flat(LAYOUT).tolist()


@pytest.mark.parametrize(
    ("operation", "sets", "expected"),
    [
        ("union", [A, B], [8, 3, 40, 9, 50]),
        ("union", [A, B, C], [8, 3, 40, 9, 50, 60]),
        ("union", [B, A], [9, 50, 3, 8, 40]),
        ("intersect", [A, B], [3, 9]),
        ("intersect", [B, A], [9, 3]),
        ("intersect", [A, B, C], [3]),
        ("minus", [A, B], [8, 40]),
        ("minus", [A, B, C], [8, 40]),
        ("minus", [B, A, C], [50]),
        ("minus", [A, A], []),
    ],
)
def test_sets_by_hand(operation, sets, expected):
    assert flat(combine(sets, operation)) == expected


def test_scores_come_from_the_first_set_with_the_neuron():
    assert combine([A, B], "union").scores.tolist() == [4 / 8, 3 / 8, 2 / 8, 1 / 8, 2 / 8]
    assert combine([B, A], "intersect").scores.tolist() == [3 / 8, 1 / 8]


def test_the_result_records_its_inputs():
    joined = combine([A, replace(B, sources=[{"scores_hash": "3" * 64}])], "union")
    assert joined.name == "a ∪ b"
    assert joined.method["name"] == "union"
    assert [part["name"] for part in joined.method["of"]] == ["a", "b"]
    assert [part["n_neurons"] for part in joined.method["of"]] == [4, 3]
    assert joined.sources == [*A.sources, {"scores_hash": "3" * 64}]
    assert combine([A, B], "minus").sources == A.sources  # the same run is named once


@pytest.mark.parametrize("operation", ["union", "intersect", "minus"])
def test_sets_of_different_models_are_refused(operation):
    other = neuron_set(toy_layout(n_layers=4), [3], "other")
    with pytest.raises(MismatchError, match=r"'a' belongs to 'toy' \(layout .*'other' to 'toy' \(layout"):
        combine([A, B, other], operation)


def test_one_set_is_too_few():
    with pytest.raises(InputError, match="1 neuron sets given; give at least 2"):
        combine([A], "union")


def test_a_difference_names_neurons_and_settings():
    one = replace(A, method={"name": "general", "exclude": 0.01, "pools": {"mlp": {"kept": 4}}})
    two = replace(B, method={"name": "general", "exclude": 0.05, "pools": {"mlp": {"kept": 3}}, "fdr": 0.1})
    found = difference(one, two)
    assert LAYOUT.neurons([8, 40]) == list(found.only_first)
    assert LAYOUT.neurons([50]) == list(found.only_second)
    assert LAYOUT.neurons([3, 9]) == list(found.both)
    assert found.settings == {"exclude": (0.01, 0.05), "pools.mlp.kept": (4, 3), "fdr": (None, 0.1)}
    assert found.by_module() == [(MLP_GATE, 1, 2, 0), (MLP_UP, 0, 0, 1), (QUERY, 1, 0, 0)]


def test_a_difference_needs_one_model():
    with pytest.raises(MismatchError, match="sets of one model"):
        difference(A, neuron_set(toy_layout(2), [3], "other"))
