"""Item scores of a run at level `item`, prepared for resampling and permutation tests."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from culnig.core.outcomes import Outcomes
from culnig.errors import SelectionError, option
from culnig.selection.permutation import exchange_p_values, paired_p_values
from culnig.selection.resampling import ItemTable, ItemTables
from culnig.selection.significance import Contrast
from culnig.selection.tables import Roles
from culnig.store.run import Run, StoredBenchmark

Group = Literal["wording", "topic", "question"]
GROUPS: tuple[Group, ...] = ("wording", "topic", "question")


def items_of_run(run: Run, roles: Roles) -> ItemTables:
    """Items of the benchmarks with these roles. StoreError if the run keeps no item scores.

    SelectionError for any scorer but gradient × activation, because runs keep no item scores of others.
    """
    if run.scorer is not None:
        raise SelectionError(
            f"{run.folder} keeps item scores of gradient × activation only, not of {run.scorer}; use Welch's "
            f"test: {option('permutations', 0)}"
        )

    def table(stored: StoredBenchmark | None) -> ItemTable | None:
        return None if stored is None else _item_table(run, stored)

    return ItemTables(
        run.layout,
        _item_table(run, roles.target),
        table(roles.control),
        table(roles.exclusion),
        run.model,
    )


def _item_table(run: Run, stored: StoredBenchmark) -> ItemTable:
    run.item_parts(stored.name)  # fails early if the run keeps no item scores
    outcomes = run.outcomes(stored.name)
    p_gold = outcomes.p_gold[:, None]

    def weighted(columns: slice) -> NDArray[np.float64]:
        scores: NDArray[np.float64] = run.item_scores(stored.name, columns) * p_gold
        return np.maximum(scores, 0.0) if stored.role == "control" else scores

    return ItemTable(outcomes.culture, outcomes.units, weighted)


def groups_of_run(
    run: Run, roles: Roles, kind: Group | None = None
) -> tuple[Group, dict[str, NDArray[np.object_]]]:
    """Group of each target and control item, by role; by default the first kind with two or more groups."""
    used = {"target": roles.target, "control": roles.control}
    outcomes = {role: run.outcomes(stored.name) for role, stored in used.items() if stored is not None}
    for candidate in GROUPS if kind is None else (kind,):
        groups = {role: group_of(answers, candidate) for role, answers in outcomes.items()}
        if len(set(groups["target"])) > 1:
            break
    return candidate, groups


def group_of(outcomes: Outcomes, kind: Group) -> NDArray[np.object_]:
    """Topic, question or wording of each item. The wording is the part of the item's id after the last `/`.

    If ids end in the culture, the questions have a single wording, which all items share.
    """
    if kind == "topic":
        return outcomes.topic
    if kind == "question":
        return outcomes.question_id
    ends = [str(item).rpartition("/")[2] for item in outcomes.id]
    if len(set(ends)) == len(ends) or any(
        end == culture for end, culture in zip(ends, outcomes.culture, strict=True)
    ):
        ends = ["the only wording"] * len(ends)
    return np.array(ends, dtype=object)


_CELLS = 1 << 24
"""Item scores that a test holds in memory at once."""


def permuted_p_values(
    run: Run,
    roles: Roles,
    contrast: Contrast,
    flat: NDArray[np.int64],
    permutations: int,
    seed: int = 0,
    culture: str | None = None,
) -> NDArray[np.float64]:
    """p of the neurons with flat indices `flat` (ascending), by permutation of whole questions.

    Against the control, the signs of the questions' target − control are flipped, in all cultures together;
    against the other cultures, cultures are exchanged within questions. SelectionError if target and control
    hold different items.
    """
    items = items_of_run(run, roles)
    target, control = items.target, items.control
    pairing = None if roles.control is None else _paired(run, roles)
    if contrast.against == "control" and pairing is None:
        raise SelectionError(
            f"a test against the control needs a control; leave out {option('control', False)}"
        )
    own = np.ones(len(target.unit), dtype=bool) if culture is None else target.culture == culture
    p = np.empty(len(flat))
    width = max(1, _CELLS // max(1, len(own)))
    for start in range(0, run.layout.n_neurons, width):
        columns = slice(start, min(start + width, run.layout.n_neurons))
        first, last = np.searchsorted(flat, (columns.start, columns.stop))
        if first == last:
            continue
        inside = flat[first:last] - columns.start
        scores = target.scores(columns)[:, inside]
        without = np.zeros_like(scores)
        if control is not None and pairing is not None:
            without = control.scores(columns)[pairing][:, inside]
        if contrast.against == "control":
            p[first:last] = paired_p_values(
                scores[own], without[own], target.unit[own], permutations=permutations, seed=seed
            )
        else:
            p[first:last] = exchange_p_values(
                scores - without,
                target.culture,
                culture or "",
                target.unit,
                permutations=permutations,
                seed=seed,
            )
    return p


def _paired(run: Run, roles: Roles) -> NDArray[np.int64]:
    """For each target item, the row of the control item made from it."""
    assert roles.control is not None
    target, control = run.outcomes(roles.target.name), run.outcomes(roles.control.name)
    rows: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(control.culture, control.question_id, strict=True)):
        rows.setdefault(key, []).append(row)
    unpaired = {key: iter(own_rows) for key, own_rows in rows.items()}
    pairing = []
    for key in zip(target.culture, target.question_id, strict=True):
        control_row = next(unpaired.get(key, iter(())), None)
        if control_row is None:
            raise SelectionError(
                f"question {key[1]!r} of {key[0]} has no control item to pair with; score the control of "
                f"the same items, or use Welch's test: {option('permutations', 0)}"
            )
        pairing.append(control_row)
    return np.array(pairing, dtype=np.int64)
