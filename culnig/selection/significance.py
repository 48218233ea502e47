"""Is a neuron's score higher than chance? Welch's test on stored moments, then Benjamini–Hochberg.

A run stores Σw and Σw² of every culture and neuron, where w is the weighted item score: P(gold) · s, clamped
at zero for control items. Each culture of each benchmark is one cell with a mean, a variance and a number of
items. A test is a contrast of cells, L = Σ weight · mean, with the squared standard error Σ weight² ·
variance / n and the degrees of freedom of Welch and Satterthwaite (Biometrics Bulletin 1946; Welch,
Biometrika 1947). Two cells with the weights 1 and −1 give Welch's t test.

All tests are one-sided: under the null hypothesis L is zero or less. They treat items as independent. Items
of one question are correlated, which makes p-values from moments too small, and the far tail is too small for
skewed scores such as clamped controls. If item scores are stored, culnig.selection.permutation is the
default, which keeps questions together (docs/method.md, Statistics).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from culnig.errors import SelectionError, UnknownNameError, option
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.tables import Roles
from culnig.store import schema
from culnig.store.run import Run, TableRows

LEVEL = 0.05
"""Default false discovery rate at which survivors are counted."""

Against = Literal["control", "others"]

LEAST_ITEMS = 5
"""Fewest items of a cell whose variance a test may rest on."""
FAR_TAIL = 1e-4
"""Smaller p-values of skewed scores are far too small."""
SKEWED = 0.5
"""Skewness, as far as mean and variance show it, from which the far tail cannot be trusted."""

_ROUNDING = 1e-12
"""A variance below this share of the mean square is a rounding error of the stored sums."""


@dataclass(frozen=True)
class Contrast:
    """The cells that are compared; weights are (culture,) in the target's order."""

    null: str
    """The null hypothesis in words."""
    against: Against
    """What the target is compared with: its control, or the other cultures."""
    target: NDArray[np.float64]
    control: NDArray[np.float64] | None


def general_contrast(roles: Roles) -> Contrast:
    """All cultures together: L is the sum over cultures of the neuron's S_target − S_control."""
    target = np.array(roles.target.items_of_culture) / max(1, roles.target.n_items)
    if roles.control is None:
        return Contrast("the mean score of target items is not above zero", "control", target, None)
    counts = np.array(roles.control.items_of_culture)[roles.control_rows]
    return Contrast(
        "target items do not score higher than control items on average",
        "control",
        target,
        -counts / max(1, roles.control.n_items),
    )


def culture_contrast(roles: Roles, culture: str, against: Against) -> Contrast:
    """A culture against its own control, or its target − control against the mean of the others'."""
    cultures = roles.target.cultures
    if culture not in cultures:
        raise UnknownNameError("culture of this run:", culture, cultures)
    own = np.array([float(name == culture) for name in cultures])
    if against == "control":
        if roles.control is None:
            raise SelectionError(
                f"a test against the control needs a control; leave out {option('control', False)}"
            )
        null = f"target items of {culture} do not score higher than its control items on average"
        return Contrast(null, "control", own, -own)
    if len(cultures) < 2:
        raise SelectionError(
            f"{culture} is the only culture of this run, so there are no others to test against; score more "
            "cultures"
        )
    weights = own - (1 - own) / (len(cultures) - 1)
    minus = "" if roles.control is None else " minus control"
    null = f"the target{minus} of {culture} is not above the mean of the other cultures'"
    return Contrast(null, "others", weights, None if roles.control is None else -weights)


def contrast_p_values(
    weights: NDArray[np.float64],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    n_items: NDArray[np.int64],
) -> NDArray[np.float64]:
    """One-sided p of L ≤ 0 for each neuron, shape (neuron,).

    `weights` and `n_items` are (cell,), `sums` and `squares` (cell, neuron). p is 1 for a neuron whose cells
    do not vary. SelectionError if a cell has fewer than five items.
    """
    from scipy.special import stdtr

    if np.isnan(squares).any():
        raise SelectionError(
            "this run holds sums only, as imported score files do, but a test needs sums of squares; score "
            "the model itself, or select without significance"
        )
    if n_items.min(initial=LEAST_ITEMS) < LEAST_ITEMS:
        raise SelectionError(
            f"Welch's test needs at least {LEAST_ITEMS} items of every culture, but one has "
            f"{int(n_items.min())}; score more items, score with {option('level', 'item')} to permute "
            "questions instead, or select without significance"
        )
    n = n_items.astype(np.float64)[:, None]
    mean = sums / n
    within = squares - sums * mean
    within[within < _ROUNDING * squares] = 0.0
    parts = within / (n - 1) * (np.square(weights)[:, None] / n)
    error = parts.sum(axis=0)
    estimate = weights @ mean
    testable = error > 0
    degrees = np.ones_like(error)
    np.divide(np.square(error), (np.square(parts) / (n - 1)).sum(axis=0), out=degrees, where=testable)
    t = np.zeros_like(error)
    np.divide(estimate, np.sqrt(error), out=t, where=testable)
    p: NDArray[np.float64] = np.where(testable, stdtr(degrees, -t), 1.0)
    return p


def p_values(run: Run, roles: Roles, contrast: Contrast, flat: NDArray[np.int64]) -> NDArray[np.float64]:
    """p of the contrast for the neurons with flat indices `flat` (ascending)."""
    weights, n_items, tables = _cells(roles, contrast)
    if not weights.size:
        return np.ones(len(flat))
    n_tables = len(tables) // 2
    p = np.empty(len(flat))
    for columns, values in run.blocks(tables):
        first, last = np.searchsorted(flat, (columns.start, columns.stop))
        if first == last:
            continue
        inside = flat[first:last] - columns.start
        sums = np.concatenate([table[:, inside] for table in values[:n_tables]])
        squares = np.concatenate([table[:, inside] for table in values[n_tables:]])
        p[first:last] = contrast_p_values(weights, sums, squares, n_items)
    return p


def uncertain_tails(
    run: Run, roles: Roles, contrast: Contrast, flat: NDArray[np.int64], p: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Neurons with a p of at most FAR_TAIL that rests on a skewed control, (neuron,) as `flat`.

    Control scores w are clamped at zero, so E[w³] ≥ E[w²]² / E[w] (Cauchy and Schwarz), and the skewness is
    at least c − 1/c with the coefficient of variation c, which the stored moments give.
    """
    skewed = np.zeros(len(flat), dtype=bool)
    if roles.control is None or contrast.control is None:
        return skewed
    rows = [row for row, weight in zip(roles.control_rows, contrast.control, strict=True) if weight != 0]
    n = np.array([roles.control.items_of_culture[row] for row in rows], dtype=np.float64)[:, None]
    tables = [TableRows(roles.control.name, table, rows) for table in (schema.SUM, schema.SUM_OF_SQUARES)]
    for columns, (sums, squares) in run.blocks(tables):
        first, last = np.searchsorted(flat, (columns.start, columns.stop))
        inside = flat[first:last] - columns.start
        mean = sums[:, inside] / n
        deviation = np.sqrt(np.maximum(squares[:, inside] / n - mean**2, 0.0))
        positive = (mean > 0) & (deviation > 0)
        variation = np.divide(deviation, mean, out=np.ones_like(mean), where=positive)
        skewed[first:last] = (variation - 1 / variation >= SKEWED).any(axis=0)
    return skewed & (p <= FAR_TAIL)


def _cells(
    roles: Roles, contrast: Contrast
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[TableRows]]:
    """Weights and item counts of the cells with a weight, and the tables of their sums, then squares."""
    weights: list[float] = []
    n_items: list[int] = []
    tables: list[tuple[str, list[int]]] = []
    for stored, of_culture, culture_rows in (
        (roles.target, contrast.target, range(len(roles.target.cultures))),
        (roles.control, contrast.control, roles.control_rows),
    ):
        if stored is None or of_culture is None:
            continue
        rows = [row for row, weight in zip(culture_rows, of_culture, strict=True) if weight != 0]
        weights += [float(weight) for weight in of_culture if weight != 0]
        n_items += [stored.items_of_culture[row] for row in rows]
        tables.append((stored.name, rows))
    sums_and_squares = [
        TableRows(name, table, rows) for table in (schema.SUM, schema.SUM_OF_SQUARES) for name, rows in tables
    ]
    return np.array(weights), np.array(n_items, dtype=np.int64), sums_and_squares


def q_values(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Benjamini–Hochberg: the lowest false discovery rate at which each p is significant; shape as given."""
    if p.size == 0:
        return p
    from scipy.stats import false_discovery_control

    adjusted: NDArray[np.float64] = false_discovery_control(p, method="bh")
    return adjusted


def with_significance(
    chosen: NeuronSet,
    flat: NDArray[np.int64],
    tested: NDArray[np.int64],
    q: NDArray[np.float64],
    contrast: Contrast,
    *,
    fdr: float | None = None,
    test: str = "Welch",
    details: Mapping[str, Any] | None = None,
) -> NeuronSet:
    """The set with the q-values of its neurons and the number of survivors; with `fdr`, only the survivors.

    `flat` are the flat indices of the set; `q` belongs to the `tested` flat indices, ascending. `details` are
    recorded with the test.
    """
    if fdr is not None:
        check_fdr(fdr)
    level = LEVEL if fdr is None else fdr
    own = q[np.searchsorted(tested, flat)]
    survivors = own <= level
    summary: dict[str, Any] = {
        "null": contrast.null,
        "against": contrast.against,
        "test": test,
        "correction": "Benjamini-Hochberg over all neurons of the pools",
        "fdr": level,
        "tested": len(tested),
        "tested_significant": int((q <= level).sum()),
        "selected": len(flat),
        "selected_significant": int(survivors.sum()),
        "is_rule": fdr is not None,
        **(details or {}),
    }
    marked = replace(
        chosen,
        method={**chosen.method, "significance": [*chosen.method.get("significance", []), summary]},
        columns={**chosen.columns, "q_value": own},
    )
    return marked.keep(survivors) if fdr is not None else marked


def check_fdr(fdr: float) -> None:
    """SelectionError if a false discovery rate is not between 0 and 1."""
    if not 0 < fdr < 1:
        raise SelectionError(f"fdr is {fdr}; give a rate between 0 and 1, such as 0.05")


def joined_pools(pools: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Flat indices of all pools, ascending: the family of tests that is corrected for."""
    joined = np.concatenate(pools) if pools else np.empty(0, dtype=np.int64)
    joined.sort()
    return joined
