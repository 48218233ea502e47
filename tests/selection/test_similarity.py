from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.cluster import hierarchy

from culnig.core.neurons import MLP_GATE, QUERY
from culnig.errors import MismatchError
from culnig.selection.random import select_random
from culnig.selection.similarity import (
    compare,
    expected_shared,
    recorded_pools,
    similarity_matrix,
    tree,
)
from tests.toy import neuron_set, toy_layout

LAYOUT = toy_layout()
POOLS = {"mlp": {"neurons": 30}, "attention": {"neurons": 24}}


def of(flat, name="set", pools=POOLS):
    return replace(neuron_set(LAYOUT, flat, name), method={"name": "general", "pools": pools})


def test_jaccard_and_overlap_by_hand():
    pair = compare(of([8, 9, 10, 0], "a"), of([9, 10, 11], "b"))
    assert (pair.n_first, pair.n_second, pair.shared) == (4, 3, 2)
    assert pair.jaccard == 2 / 5
    assert pair.overlap == 2 / 3
    # three of the first and three of the second lie among 30 gate neurons, one and none among 24
    assert pair.expected_shared == pytest.approx(3 * 3 / 30)
    assert pair.expected_jaccard == pytest.approx(0.3 / (7 - 0.3))
    assert pair.expected_overlap == pytest.approx(0.3 / 3)


def test_with_a_layout_chance_keeps_modules_and_layers():
    first, second = of([8, 9, 0, 36]), of([9, 1, 2, 64])
    # gate of layer 0: 2·1/10, query of layer 0: 1·2/4, gate of layers 1 and 2: one each, apart
    assert expected_shared(first, second, LAYOUT) == pytest.approx(0.2 + 0.5)


def test_random_sets_share_the_expected_number_on_average():
    like = of([8, 9, 10, 11, 36, 37, 0, 1, 64])
    wanted = expected_shared(like, like, LAYOUT)
    random = np.random.default_rng(0)
    segments = {place: LAYOUT.segment(*place) for place in like.count_by_module_and_layer()}
    drawn = np.array(
        [
            sum(
                len(np.intersect1d(*(random.choice(segments[place].width, n, False) for _ in range(2))))
                for place, n in like.count_by_module_and_layer().items()
            )
            for _ in range(4000)
        ]
    )
    assert drawn.mean() == pytest.approx(wanted, abs=4 * drawn.std() / 4000**0.5)


def test_different_pools_of_the_same_neurons_are_one_stratum():
    first, second = of([8, 9, 0]), of([9, 1], pools={"all": {"neurons": 54}})
    assert expected_shared(first, second) == pytest.approx(3 * 2 / 54)


def test_without_pools_chance_is_not_known():
    pair = compare(of([8, 9]), neuron_set(LAYOUT, [9]))
    assert (pair.expected_shared, pair.expected_jaccard, pair.expected_overlap) == (None, None, None)
    assert expected_shared(of([8], pools={"mlp": {"neurons": 30}}), of([8])) is None


def test_a_random_set_has_the_pools_of_the_set_it_matches():
    drawn = select_random(of([8, 9, 0]), LAYOUT, 0)
    assert recorded_pools(drawn.method) == {"mlp": 30, "attention": 24}


def test_empty_sets_share_nothing():
    pair = compare(of([]), of([]))
    assert (pair.jaccard, pair.overlap, pair.expected_shared) == (0.0, 0.0, 0.0)


def test_sets_of_different_models_are_refused():
    with pytest.raises(MismatchError, match="sets of one model"):
        similarity_matrix([of([8]), of([9]), neuron_set(toy_layout(2), [8])])
    with pytest.raises(MismatchError, match="use a set made"):
        compare(of([8]), of([9]), toy_layout(2))


def test_the_matrix_is_symmetric_with_ones_and_every_pair_appears_once():
    sets = [of([8, 9], "a"), of([9, 10], "b"), of([20], "c")]
    matrix, pairs = similarity_matrix(sets, "overlap")
    assert matrix.tolist() == [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]
    assert [(pair.first, pair.second) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_the_tree_joins_the_nearest_first():
    near = [of([8, 9, 10], "Mexico"), of([20, 21], "China"), of([8, 9, 11], "Spain"), of([20, 22], "Korea")]
    matrix, _ = similarity_matrix(near)
    found = tree([those.name for those in near], matrix)
    # Mexico and Spain share 2 of 4, China and Korea 1 of 3, the two pairs nothing
    document = found.document()
    assert document["similarity"] == 0
    joined = {
        frozenset(leaf["name"] for leaf in branch["branches"]): branch["similarity"]
        for branch in document["branches"]
    }
    assert joined == {
        frozenset({"Mexico", "Spain"}): pytest.approx(0.5),
        frozenset({"China", "Korea"}): pytest.approx(1 / 3),
    }


def test_the_tree_is_scipys_average_linkage():
    random = np.random.default_rng(3)
    sets = [of(random.choice(54, 12, False).tolist(), f"s{number}") for number in range(7)]
    matrix, _ = similarity_matrix(sets)
    found = tree([those.name for those in sets], matrix)
    expected = hierarchy.linkage((1 - matrix)[np.triu_indices(7, 1)], "average")
    heights = []

    def walk(branch):
        if branch.name is None:
            heights.append(1 - branch.similarity)
            for inner in branch.branches:
                walk(inner)

    walk(found)
    np.testing.assert_allclose(sorted(heights), expected[:, 2])
    assert sorted(found.leaves()) == sorted(those.name for those in sets)


def test_modules_as_pools():
    pools = {MLP_GATE: {"neurons": 30}, QUERY: {"neurons": 12}}
    assert expected_shared(of([8, 0], pools=pools), of([9, 1, 2], pools=pools)) == pytest.approx(
        1 / 30 + 2 / 12
    )
