"""Score tables of resampled items: bootstrap, split halves, leave one group out.

A draw gives each item of each benchmark a weight, the number of times that it counts. Draws take whole
questions, with all their rows, wordings and cultures, among the questions that share cultures; a control item
has the weight of the target items of its question.
Item scores are read once for as many draws as fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout
from culnig.core.questions import linked_questions
from culnig.errors import SelectionError
from culnig.selection.tables import SelectionTables

Weights = NDArray[np.float64]
"""How often each item counts, shape (item,)."""

_TABLE_BYTES = 1 << 30
"""Memory for the tables of draws computed together."""
_MOST_DRAWS = 1_000
"""Draws that are tried until every culture has items."""
_BLOCK_CELLS = 1 << 23
"""Item scores read at once."""


@dataclass(frozen=True)
class ItemTable:
    """The items of one benchmark, with their weighted scores for any range of neurons."""

    culture: NDArray[np.object_]
    """Culture of each item, (item,)."""
    unit: NDArray[np.object_]
    """Unit that is drawn as a whole, the question, (item,)."""
    scores: Callable[[slice], NDArray[Any]]
    """Weighted scores w, clamped at zero for a control, (item, neuron of the range)."""

    @property
    def cultures(self) -> tuple[str, ...]:
        """The cultures in order of first appearance."""
        return tuple(dict.fromkeys(self.culture.tolist()))


@dataclass(frozen=True)
class ItemTables:
    """Items of the benchmarks that a selection uses."""

    layout: Layout
    target: ItemTable
    control: ItemTable | None
    exclusion: ItemTable | None
    model: str = ""

    @property
    def roles(self) -> dict[str, ItemTable]:
        """The benchmarks by role, without the missing ones."""
        tables = {"target": self.target, "control": self.control, "exclusion": self.exclusion}
        return {role: table for role, table in tables.items() if table is not None}


Draw = dict[str, Weights]
"""Weights of the items of each role."""


def whole(items: ItemTables) -> Draw:
    """The draw in which every item counts once."""
    return {role: np.ones(len(table.unit)) for role, table in items.roles.items()}


def bootstrap(items: ItemTables, n_draws: int, seed: int = 0) -> Iterator[Draw]:
    """Draws with replacement of as many questions as there are, in which every culture has an item."""
    generator = np.random.default_rng(seed)

    def drawn(n: int) -> Weights:
        return np.bincount(generator.integers(0, n, n), minlength=n).astype(float)

    for _ in range(n_draws):
        yield _by_unit(items, drawn, lambda weights: bool(weights.any()))


def split_halves(items: ItemTables, n_draws: int, seed: int = 0) -> Iterator[tuple[Draw, Draw]]:
    """Random halves of the questions, both with every culture. SelectionError for a single question."""
    for role, table in items.roles.items():
        for culture in table.cultures:
            if len(set(table.unit[table.culture == culture])) < 2:
                raise SelectionError(
                    f"{culture} has a single question in the {role} and cannot be split; score more items"
                )
    generator = np.random.default_rng(seed)
    for _ in range(n_draws):
        first = _by_unit(
            items,
            lambda n: generator.permutation(np.arange(n) % 2).astype(float),
            lambda weights: bool(0 < weights.sum() < len(weights)),
        )
        yield first, {role: 1.0 - weights for role, weights in first.items()}


def leave_out(items: ItemTables, groups: dict[str, NDArray[np.object_]]) -> Iterator[tuple[str, Draw]]:
    """Leave out each group of the target's items in turn; `groups` holds the group of each item by role.

    A role that is not in `groups` stays whole. SelectionError for fewer than two groups, or if a culture
    would have no items left.
    """
    names = sorted({str(name) for name in groups["target"]})
    if len(names) < 2:
        raise SelectionError(
            f"all items belong to one group ({', '.join(names)}); leaving one out needs at least two"
        )
    for name in names:
        draw = whole(items)
        for role, of_item in groups.items():
            if role in draw:
                draw[role] = (of_item.astype(str) != name).astype(float)
        kept = set(items.target.culture[draw["target"] > 0])
        if missing := [culture for culture in items.target.cultures if culture not in kept]:
            raise SelectionError(
                f"without {name!r}, no items of {', '.join(missing)} are left; score more items"
            )
        yield name, draw


def resampled_tables(items: ItemTables, draws: Iterator[Draw] | Sequence[Draw]) -> Iterator[SelectionTables]:
    """The tables of each draw, in order."""
    n_rows = sum(len(table.cultures) for table in items.roles.values())
    at_once = max(1, _TABLE_BYTES // max(1, 8 * n_rows * items.layout.n_neurons))
    remaining = iter(draws)
    while together := list(islice(remaining, at_once)):
        yield from _tables(items, together)


def _tables(items: ItemTables, draws: list[Draw]) -> Iterator[SelectionTables]:
    scores = {role: _scores(items, role, [draw[role] for draw in draws]) for role in items.roles}
    cultures = items.target.cultures
    control_rows = [items.control.cultures.index(culture) for culture in cultures] if items.control else []
    for number, draw in enumerate(draws):
        difference = scores["target"][number]
        if items.control is not None:
            difference -= scores["control"][number][control_rows]
        excluded = None
        if items.exclusion is not None:
            of = items.exclusion.cultures
            # the selection uses only the order of these sums, so their scale does not matter
            excluded = CultureMoments.of_sums(of, [1] * len(of), scores["exclusion"][number])
        source = {"draw": {role: float(weights.sum()) for role, weights in draw.items()}}
        yield SelectionTables(items.layout, cultures, difference, excluded, items.model, source)


def _scores(items: ItemTables, role: str, weights: list[Weights]) -> NDArray[np.float64]:
    """Culture scores of one benchmark under each draw, (draw, culture, neuron)."""
    table = items.roles[role]
    n_cultures, n_neurons = len(table.cultures), items.layout.n_neurons
    member = np.array([table.culture == culture for culture in table.cultures], dtype=np.float64)
    rows = np.concatenate([member * (drawn / max(1.0, drawn.sum())) for drawn in weights])
    scores = np.empty((len(rows), n_neurons))
    width = max(1, _BLOCK_CELLS // max(1, len(table.unit)))
    for start in range(0, n_neurons, width):
        columns = slice(start, min(start + width, n_neurons))
        scores[:, columns] = rows @ table.scores(columns).astype(np.float64, copy=False)
    return scores.reshape(len(weights), n_cultures, n_neurons)


def _by_unit(items: ItemTables, draw: Callable[[int], Weights], fits: Callable[[Weights], bool]) -> Draw:
    """Weights of all items: drawn for questions of target and exclusion, the target's for the control.

    Drawn again until the weights of every culture's items fit.
    """
    weights: Draw = {}
    of_target: dict[str, float] = {}
    for role, table in items.roles.items():
        groups = linked_questions(zip(table.culture.tolist(), table.unit.tolist(), strict=True))
        known = of_target if role == "control" else {}
        for _ in range(_MOST_DRAWS):
            of_unit = {unit: known[unit] for group in groups for unit in group if unit in known}
            for group in groups:
                to_draw = [unit for unit in group if unit not in of_unit]
                of_unit |= dict(zip(to_draw, draw(len(to_draw)).tolist(), strict=True))
            weights[role] = np.array([of_unit[unit] for unit in table.unit.tolist()])
            unfit = [c for c in table.cultures if not fits(weights[role][table.culture == c])]
            if not unfit:
                break
        else:
            raise SelectionError(
                f"{', '.join(unfit)}: too few questions in the {role} to be in every resample; score more "
                "items"
            )
        if role == "target":
            of_target = of_unit
    return weights
