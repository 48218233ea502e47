"""Score tables as they would be with other items: bootstrap, split halves, one group left out.

A draw gives every item of every benchmark a weight, the number of times it counts. Whole units (culture and
question) are drawn, within each culture, and a control item follows the target item of its unit. The tables
of many draws are made together: item scores are read once for as many draws as fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout
from culnig.errors import SelectionError
from culnig.selection.tables import SelectionTables

Weights = NDArray[np.float64]
"""How often each item counts, (item,)."""

_TABLE_BYTES = 1 << 30
"""Tables of draws held at once."""
_BLOCK_CELLS = 1 << 23
"""Item scores read at once."""


@dataclass(frozen=True)
class ItemTable:
    """The items of one benchmark, and their weighted scores for any range of neurons."""

    culture: NDArray[np.object_]
    """Culture of each item, (item,)."""
    unit: NDArray[np.object_]
    """What is drawn together, (item,): culture and question."""
    scores: Callable[[slice], NDArray[Any]]
    """Weighted scores w, clamped where they are a control's, (item, neuron of the range)."""

    @classmethod
    def of_array(cls, culture: Sequence[str], unit: Sequence[str], scores: NDArray[Any]) -> ItemTable:
        """Items whose scores are an array (item, neuron)."""
        return cls(
            np.array(culture, dtype=object), np.array(unit, dtype=object), lambda columns: scores[:, columns]
        )

    @property
    def cultures(self) -> tuple[str, ...]:
        """In order of first appearance."""
        return tuple(dict.fromkeys(self.culture.tolist()))


@dataclass(frozen=True)
class ItemTables:
    """Items of the benchmarks that a selection works on."""

    layout: Layout
    target: ItemTable
    control: ItemTable | None
    exclusion: ItemTable | None
    model: str = ""

    @property
    def roles(self) -> dict[str, ItemTable]:
        """Those that there are."""
        found = {"target": self.target, "control": self.control, "exclusion": self.exclusion}
        return {role: table for role, table in found.items() if table is not None}


Draw = dict[str, Weights]
"""Weights of the items of each role."""


def whole(items: ItemTables) -> Draw:
    """Every item once."""
    return {role: np.ones(len(table.unit)) for role, table in items.roles.items()}


def bootstrap(items: ItemTables, n_draws: int, seed: int = 0) -> Iterator[Draw]:
    """As many units as each culture has, drawn with replacement."""
    generator = np.random.default_rng(seed)
    for _ in range(n_draws):
        yield _by_unit(items, lambda n: np.bincount(generator.integers(0, n, n), minlength=n).astype(float))


def split_halves(items: ItemTables, n_draws: int, seed: int = 0) -> Iterator[tuple[Draw, Draw]]:
    """A random half of each culture's units, and the other half. SelectionError with a single unit."""
    for role, table in items.roles.items():
        for culture, names in _units(table).items():
            if len(names) < 2:
                raise SelectionError(
                    f"{culture} has a single question in the {role}: it cannot be split; score more items"
                )
    generator = np.random.default_rng(seed)
    for _ in range(n_draws):
        first = _by_unit(items, lambda n: generator.permutation(np.arange(n) % 2).astype(float))
        yield first, {role: 1.0 - weights for role, weights in first.items()}


def leave_out(items: ItemTables, groups: dict[str, NDArray[np.object_]]) -> Iterator[tuple[str, Draw]]:
    """Every group of the target's items left out once; `groups` names the group of each item, by role.

    A role that `groups` lacks stays whole. SelectionError where there are fewer than two groups, or where a
    culture would be left without items.
    """
    names = sorted({str(name) for name in groups["target"]})
    if len(names) < 2:
        raise SelectionError(
            f"all items belong to one group ({', '.join(names)}); two are needed to leave one out"
        )
    for name in names:
        draw = whole(items)
        for role, of_item in groups.items():
            if role in draw:
                draw[role] = (of_item.astype(str) != name).astype(float)
        kept = set(items.target.culture[draw["target"] > 0])
        if missing := [culture for culture in items.target.cultures if culture not in kept]:
            raise SelectionError(f"without {name!r} there is no item of {', '.join(missing)}")
        yield name, draw


def resampled_tables(items: ItemTables, draws: Iterator[Draw] | Sequence[Draw]) -> Iterator[SelectionTables]:
    """The tables that each draw gives, in order."""
    n_rows = sum(len(table.cultures) for table in items.roles.values())
    at_once = max(1, _TABLE_BYTES // max(1, 8 * n_rows * items.layout.n_neurons))
    waiting: list[Draw] = []
    for draw in draws:
        waiting.append(draw)
        if len(waiting) == at_once:
            yield from _tables(items, waiting)
            waiting = []
    if waiting:
        yield from _tables(items, waiting)


def _tables(items: ItemTables, draws: list[Draw]) -> Iterator[SelectionTables]:
    scores = {role: _scores(items, role, [draw[role] for draw in draws]) for role in items.roles}
    cultures = items.target.cultures
    places = [items.control.cultures.index(culture) for culture in cultures] if items.control else []
    for number, draw in enumerate(draws):
        difference = scores["target"][number]
        if items.control is not None:
            difference -= scores["control"][number][places]
        excluded = None
        if items.exclusion is not None:
            excluded = replace(
                CultureMoments.zeros(items.exclusion.cultures, 0),
                n_items=np.ones(len(items.exclusion.cultures), dtype=np.int64),
                sum=scores["exclusion"][number],  # only its order within a culture, or over all, matters
            )
        source = {"draw": {role: float(weights.sum()) for role, weights in draw.items()}}
        yield SelectionTables(items.layout, cultures, difference, excluded, items.model, source)


def _scores(items: ItemTables, role: str, weights: list[Weights]) -> NDArray[np.float64]:
    """Culture scores of one benchmark under each draw, (draw, culture, neuron)."""
    table = items.roles[role]
    n_cultures, n_neurons = len(table.cultures), items.layout.n_neurons
    member = np.array([table.culture == culture for culture in table.cultures], dtype=np.float64)
    rows = np.concatenate([member * (drawn / max(1.0, drawn.sum())) for drawn in weights])
    found = np.empty((len(rows), n_neurons))
    width = max(1, _BLOCK_CELLS // max(1, len(table.unit)))
    for start in range(0, n_neurons, width):
        columns = slice(start, min(start + width, n_neurons))
        found[:, columns] = rows @ table.scores(columns).astype(np.float64, copy=False)
    return found.reshape(len(weights), n_cultures, n_neurons)


def _units(table: ItemTable) -> dict[str, list[str]]:
    """Units of each culture, in order of first appearance."""
    pairs = dict.fromkeys(zip(table.culture.tolist(), table.unit.tolist(), strict=True))
    return {culture: [unit for c, unit in pairs if c == culture] for culture in table.cultures}


def _by_unit(items: ItemTables, draw: Callable[[int], Weights]) -> Draw:
    """Weights of all items: drawn for the units of target and exclusion; the control follows the target."""
    found: Draw = {}
    known: dict[str, float] = {}
    for role, table in items.roles.items():
        own: dict[str, float] = {}
        for names in _units(table).values():
            if role == "control" and all(name in known for name in names):
                own |= {name: known[name] for name in names}
            else:
                own |= dict(zip(names, draw(len(names)).tolist(), strict=True))
        if role == "target":
            known = own
        found[role] = np.array([own[unit] for unit in table.unit.tolist()])
    return found
