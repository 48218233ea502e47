"""Similarity of neuron sets, compared with chance, and a tree that groups similar sets.

The Jaccard index is the number of shared neurons divided by the size of the union; the overlap coefficient
divides by the size of the smaller set. Two random sets share Σ a·b / N neurons on average, where a and b are
the sets' counts in a stratum and N the size of the stratum. Strata are the modules of each layer if the
layout is known, otherwise the pools that the sets were selected from. The expected indices are computed from
that expected number of shared neurons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import POOLS, Layout
from culnig.errors import InputError
from culnig.selection.algebra import check_one_model
from culnig.selection.neuron_set import NeuronSet

Measure = Literal["jaccard", "overlap"]


@dataclass(frozen=True)
class Pair:
    """A comparison of two neuron sets."""

    first: str
    second: str
    n_first: int
    n_second: int
    shared: int
    jaccard: float
    overlap: float
    expected_shared: float | None
    """Neurons that random sets with these counts share; None if the pools are unknown."""
    expected_jaccard: float | None
    expected_overlap: float | None


def similarity(measure: Measure, shared: float, n_first: int, n_second: int) -> float:
    """Jaccard index or overlap coefficient; 0 if a set is empty."""
    size = n_first + n_second - shared if measure == "jaccard" else min(n_first, n_second)
    return shared / size if size else 0.0


def compare(first: NeuronSet, second: NeuronSet, layout: Layout | None = None) -> Pair:
    """Compare two sets of one model; with a `layout`, chance keeps each set's counts per module and layer."""
    check_one_model([first, second])
    n_first, n_second = len(first.neurons), len(second.neurons)
    shared = len(set(first.neurons) & set(second.neurons))
    expected = expected_shared(first, second, layout)

    def by_chance(measure: Measure) -> float | None:
        return None if expected is None else similarity(measure, expected, n_first, n_second)

    return Pair(
        *(first.name, second.name, n_first, n_second, shared),
        similarity("jaccard", shared, n_first, n_second),
        similarity("overlap", shared, n_first, n_second),
        *(expected, by_chance("jaccard"), by_chance("overlap")),
    )


def expected_shared(first: NeuronSet, second: NeuronSet, layout: Layout | None = None) -> float | None:
    """Mean number of neurons that random sets with the same counts share; None if pools are unknown."""
    if layout is not None:
        first.flat(layout), second.flat(layout)  # raises if a set does not belong to this layout
        counts, other_counts = first.count_by_module_and_layer(), second.count_by_module_and_layer()
        return float(
            sum(
                count * other_counts.get(key, 0) / layout.segment(*key).width for key, count in counts.items()
            )
        )
    pools, other_pools = recorded_pools(first.method), recorded_pools(second.method)
    if pools is None or other_pools is None or sum(pools.values()) != sum(other_pools.values()):
        return None
    if pools != other_pools:  # different pools of the same neurons: all are one stratum
        return len(first.neurons) * len(second.neurons) / sum(pools.values())
    return float(
        sum(_inside(first, pool) * _inside(second, pool) / size for pool, size in pools.items() if size)
    )


def recorded_pools(method: dict[str, Any]) -> dict[str, int] | None:
    """Sizes of the pools that a set was selected from; None if its method does not record them."""
    pools = method.get("pools")
    if isinstance(pools, dict) and all(
        isinstance(pool, dict) and "neurons" in pool for pool in pools.values()
    ):
        return {name: int(pool["neurons"]) for name, pool in pools.items()}
    inner = method.get("like")
    return recorded_pools(inner) if isinstance(inner, dict) else None


def _inside(neurons: NeuronSet, pool: str) -> int:
    counts = Counter(neuron.module for neuron in neurons.neurons)
    return sum(counts[module] for module in POOLS.get(pool, (pool,)))


def similarity_matrix(
    sets: Sequence[NeuronSet], measure: Measure = "jaccard", layout: Layout | None = None
) -> tuple[NDArray[np.float64], list[Pair]]:
    """Similarities, shape (set, set) with 1 on the diagonal, and every pair once."""
    check_one_model(sets)
    matrix, pairs = np.eye(len(sets)), []
    for i, first in enumerate(sets):
        for j in range(i + 1, len(sets)):
            pair = compare(first, sets[j], layout)
            matrix[i, j] = matrix[j, i] = pair.jaccard if measure == "jaccard" else pair.overlap
            pairs.append(pair)
    return matrix, pairs


@dataclass(frozen=True)
class Branch:
    """A node of the tree: a neuron set, or two branches joined at some similarity."""

    name: str | None
    similarity: float
    """Mean similarity between the sets of the two branches; 1 for a single set."""
    branches: tuple[Branch, ...] = ()

    def document(self) -> dict[str, Any]:
        """The tree as nested objects."""
        if self.name is not None:
            return {"name": self.name}
        return {
            "similarity": self.similarity,
            "branches": [branch.document() for branch in self.branches],
        }

    def leaves(self) -> list[str]:
        """Names in the order of the tree."""
        if self.name is not None:
            return [self.name]
        return [name for branch in self.branches for name in branch.leaves()]


def linkage(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average linkage (UPGMA) of the distances 1 − similarity in scipy's format, shape (set − 1, 4)."""
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    if len(matrix) < 2:
        raise InputError(f"{len(matrix)} neuron sets given; a tree needs at least 2")
    distances = squareform(1.0 - matrix, checks=False)
    joined: NDArray[np.float64] = hierarchy.linkage(distances, "average", optimal_ordering=True)
    return joined


def tree(names: Sequence[str], matrix: NDArray[np.float64]) -> Branch:
    """The tree of the sets; the two most similar join first."""
    nodes = [Branch(name, 1.0) for name in names]
    for left, right, distance, _ in linkage(matrix):
        nodes.append(Branch(None, 1.0 - float(distance), (nodes[int(left)], nodes[int(right)])))
    return nodes[-1]
