"""How alike neuron sets are, beside what chance would give, and which go together.

Jaccard is shared / in either; the overlap coefficient is shared / size of the smaller set. Two random sets
share Σ a·b / N neurons on average, where in each stratum a and b are the sets' counts and N the neurons that
could have been drawn. Strata are the modules of each layer where the layout is known, else the pools that the
sets were selected from. The expected Jaccard and overlap are those of the expected number shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
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
    """Two sets beside each other."""

    first: str
    second: str
    n_first: int
    n_second: int
    shared: int
    jaccard: float
    overlap: float
    expected_shared: float | None
    """Shared by random sets with these counts; None where the pools are not known."""
    expected_jaccard: float | None
    expected_overlap: float | None


def similarity(measure: Measure, shared: float, n_first: int, n_second: int) -> float:
    """Jaccard or overlap coefficient; 0 where a set is empty."""
    below = n_first + n_second - shared if measure == "jaccard" else min(n_first, n_second)
    return shared / below if below else 0.0


def compare(first: NeuronSet, second: NeuronSet, layout: Layout | None = None) -> Pair:
    """Two sets of one model; `layout` makes chance keep each set's counts per module and layer."""
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
    """Neurons that random sets with the same counts share on average; None where pools are unknown."""
    if layout is not None:
        first.flat(layout), second.flat(layout)  # of this model, and inside it
        one, two = first.count_by_module_and_layer(), second.count_by_module_and_layer()
        return float(
            sum(count * two.get(place, 0) / layout.segment(*place).width for place, count in one.items())
        )
    pools, others = recorded_pools(first.method), recorded_pools(second.method)
    if pools is None or others is None or sum(pools.values()) != sum(others.values()):
        return None
    if pools != others:  # the same neurons in other pools: one stratum of all
        return len(first.neurons) * len(second.neurons) / sum(pools.values())
    return float(
        sum(_inside(first, pool) * _inside(second, pool) / size for pool, size in pools.items() if size)
    )


def recorded_pools(method: dict[str, Any]) -> dict[str, int] | None:
    """Sizes of the pools that a set was selected from, as its method tells; None where it does not."""
    pools = method.get("pools")
    if isinstance(pools, dict) and all(
        isinstance(pool, dict) and "neurons" in pool for pool in pools.values()
    ):
        return {name: int(pool["neurons"]) for name, pool in pools.items()}
    inner = method.get("like")
    return recorded_pools(inner) if isinstance(inner, dict) else None


def _inside(those: NeuronSet, pool: str) -> int:
    modules = POOLS.get(pool, (pool,))
    counts = Counter(neuron.module for neuron in those.neurons)
    return sum(counts[module] for module in modules)


def similarity_matrix(
    sets: Sequence[NeuronSet], measure: Measure = "jaccard", layout: Layout | None = None
) -> tuple[NDArray[np.float64], list[Pair]]:
    """(set, set) similarities, 1 on the diagonal, and every pair once."""
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
    """A node of the tree: a set, or two branches that join at a similarity."""

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
    """Average linkage (UPGMA) of the distances 1 − similarity, as scipy has it: (set − 1, 4)."""
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    if len(matrix) < 2:
        raise InputError("a tree needs at least 2 neuron sets")
    distances = squareform(1.0 - matrix, checks=False)
    joined: NDArray[np.float64] = hierarchy.linkage(distances, "average", optimal_ordering=True)
    return joined


def tree(names: Sequence[str], matrix: NDArray[np.float64]) -> Branch:
    """Which sets go together: the nearest two join first."""
    nodes = [Branch(name, 1.0) for name in names]
    for left, right, distance, _ in linkage(matrix):
        nodes.append(Branch(None, 1.0 - float(distance), (nodes[int(left)], nodes[int(right)])))
    return nodes[-1]


def chance_range(pairs: Sequence[Pair], of: Callable[[Pair], float | None]) -> tuple[float, float] | None:
    """Least and largest expected value over the pairs; None where one is unknown."""
    values = [value for value in map(of, pairs) if value is not None]
    return (min(values), max(values)) if values and len(values) == len(pairs) else None
