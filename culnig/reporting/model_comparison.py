"""Neuron sets of two models side by side: where they are, and whether cultures look alike in both.

Layers of different models are compared by relative depth: layer l of n is at (l + ½)/n, in up to ten bins.
Every p-value comes from permutations that leave the models unchanged: neurons are exchanged between the two
sets (where they are), or cultures of the second model are renamed (whether cultures look alike).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from culnig.core.statistics import RESAMPLES
from culnig.errors import InputError, MismatchError, argument
from culnig.evaluation.matrix import deals
from culnig.evaluation.stored import Evaluation, open_evaluation
from culnig.reporting.depths import BINS, depth_bin, depth_table, modules_of
from culnig.reporting.profiles import Profile, profile, target_roles
from culnig.reporting.sources import COMPARISON_FORMAT
from culnig.selection.algebra import difference
from culnig.selection.neuron_set import NeuronSet, NeuronSetOrPath, as_neuron_set
from culnig.selection.select import opened
from culnig.selection.sets import distinctly_named
from culnig.selection.similarity import compare
from culnig.store.run import Run

LEAST_CULTURES = 3
"""Fewest cultures whose names can be exchanged: two have one other order."""
_ROUNDING = 1e-12


def neurons_compare(
    first: NeuronSetOrPath,
    second: NeuronSetOrPath,
    *,
    runs: Sequence[Run | Path | str] = (),
    evaluations: Sequence[Evaluation | Path | str] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Compare neuron sets of two models, or of two versions of one.

    `runs` are the runs that the two sets were selected from; they also give the number of layers of each
    model. `evaluations` are one evaluation with a `matrix` for each model. The result has `sets`; `depth`:
    neurons by relative depth and module, the total variation distance between the two, and its p-value;
    `profiles`: for each culture the rank correlation of where its scores lie, and whether cultures resemble
    themselves more than others; `matrices`: the rank correlation of the selectivity matrices; `same_layout`,
    for models with the same layout: the overlap, and the neurons that only one has. Parts whose inputs are
    missing are None.
    """
    for name, given in (("runs", runs), ("evaluations", evaluations)):
        if len(given) not in (0, 2):
            raise InputError(f"{argument(name)}: {len(given)} given; give two, one of each model, or none")
    sets = [as_neuron_set(chosen) for chosen in (first, second)]
    if sets[0].model == sets[1].model:
        sets = distinctly_named([first, second])
    both = [opened(run) for run in runs]
    for chosen, run in zip(sets, both, strict=False):
        if chosen.layout_hash != run.layout.hash:
            raise MismatchError(
                f"the run {run.folder} is of {run.model!r}, whose layout is not that of {chosen.name!r} "
                f"({chosen.model!r}); give the runs in the order of the sets"
            )
    return {
        "format": COMPARISON_FORMAT,
        "sets": [
            {"name": chosen.name, "model": chosen.model, "n_neurons": len(chosen.neurons)} for chosen in sets
        ],
        "depth": _depth(sets, [run.layout.n_layers for run in both], seed) if both else None,
        "profiles": _profiles(both, seed) if both else None,
        "matrices": _matrices(evaluations, seed) if evaluations else None,
        "same_layout": _same_layout(sets, both),
    }


# Where they are


def _depth(sets: Sequence[NeuronSet], n_layers: Sequence[int], seed: int) -> dict[str, Any]:
    modules, n_bins = modules_of(sets), min(BINS, *n_layers)
    tables = [depth_table(chosen, n, modules, n_bins) for chosen, n in zip(sets, n_layers, strict=True)]
    sizes = [int(table.sum()) for table in tables]
    distance = p_value = None
    if all(sizes):
        pooled = sum(table.ravel() for table in tables)
        draws = np.random.default_rng(seed).multivariate_hypergeometric(pooled, sizes[0], size=RESAMPLES)
        observed = _distance(tables[0].ravel(), tables[1].ravel())
        as_large = sum(_distance(draw, pooled - draw) >= observed - _ROUNDING for draw in draws)
        distance, p_value = observed, (1 + as_large) / (1 + RESAMPLES)
    return {
        "n_layers": list(n_layers),
        "n_bins": n_bins,
        "modules": modules,
        "counts": [table.tolist() for table in tables],
        "distance": distance,
        "p_value": p_value,
    }


def _distance(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Total variation distance of two counts: the share of neurons that would have to move."""
    return float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)


# Whether cultures look alike


def _profiles(runs: Sequence[Run], seed: int) -> dict[str, Any] | None:
    profiles = [_profile(run) for run in runs]
    if None in profiles:
        return None
    first, second = (depth_profile for depth_profile in profiles if depth_profile is not None)
    cultures = [name for name in first.cultures if name in second.cultures]
    modules = [name for name in first.modules if name in second.modules]
    if not cultures or not modules:
        return None
    n_bins = min(BINS, first.layers.shape[2], second.layers.shape[2])
    tables = [_shares(depth_profile, cultures, modules, n_bins) for depth_profile in (first, second)]
    own_rho = [_rho(row, same) for row, same in zip(*tables, strict=True)]
    centred = [table - table.mean(axis=0) for table in tables]
    cross = np.array([[_rho(row, column) for column in centred[1]] for row in centred[0]])
    return {
        "targets": [first.target, second.target],
        "cultures": cultures,
        "rho": [_known(value) for value in own_rho],
        **_own_against_others(cross, seed),
    }


def _profile(run: Run) -> Profile | None:
    roles = target_roles(run)
    return profile(run, roles[0], np.empty(0, dtype=np.int64), 0) if roles else None


def _shares(
    depth_profile: Profile, cultures: Sequence[str], modules: Sequence[str], n_bins: int
) -> NDArray[np.float64]:
    """Share of each culture's positive score by module and relative depth, shape (culture, module · bin)."""
    n_layers = depth_profile.layers.shape[2]
    rows = [depth_profile.cultures.index(name) for name in cultures]
    columns = [depth_profile.modules.index(name) for name in modules]
    table = np.zeros((len(cultures), len(modules), n_bins))
    for layer in range(n_layers):
        table[:, :, depth_bin(layer, n_layers, n_bins)] += depth_profile.layers[
            np.ix_(rows, columns, [layer])
        ][:, :, 0]
    flat = table.reshape(len(cultures), -1)
    shares: NDArray[np.float64] = flat / np.maximum(flat.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return shares


def _own_against_others(cross: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """Is a culture more like itself in the other model than like others? `cross` is (first, second)."""
    n = len(cross)
    if n < LEAST_CULTURES or np.isnan(cross).any():
        return {"own": None, "other": None, "p_value": None}
    diagonals = np.array([cross[np.arange(n), list(deal)].mean() for deal in deals(n, seed)])
    return {
        "own": float(np.diagonal(cross).mean()),
        "other": float(cross[~np.eye(n, dtype=bool)].mean()),
        "p_value": float(np.mean(diagonals >= diagonals[0] - _ROUNDING)),
    }


def _matrices(evaluations: Sequence[Evaluation | Path | str], seed: int) -> dict[str, Any]:
    read = [opened if isinstance(opened, Evaluation) else open_evaluation(opened) for opened in evaluations]
    by_metric = [
        {matrix["metric"]: matrix for matrix in evaluation.results.get("matrix", ())} for evaluation in read
    ]
    for evaluation, matrices in zip(read, by_metric, strict=True):
        if not matrices:
            raise InputError(f"{evaluation.folder} has no matrix; evaluate with {argument('matrix')}")
    metric = next(
        (name for name in ("p_gold", "accuracy") if all(name in matrices for matrices in by_metric)), None
    )
    if metric is None:
        raise InputError("the matrices of the two evaluations have no metric in common")
    first, second = (matrices[metric] for matrices in by_metric)
    cultures = [name for name in first["masked"] if name in second["masked"]]
    rho = p_value = None
    if len(cultures) >= LEAST_CULTURES:
        squares = [_square(matrix, cultures) for matrix in (first, second)]
        rhos = np.array(
            [
                _rho(squares[0].ravel(), squares[1][np.ix_(deal, deal)].ravel())
                for deal in deals(len(cultures), seed)
            ]
        )
        if not np.isnan(rhos).any():
            rho, p_value = float(rhos[0]), float(np.mean(rhos >= rhos[0] - _ROUNDING))
    return {"metric": metric, "cultures": cultures, "rho": rho, "p_value": p_value}


def _square(matrix: dict[str, Any], cultures: Sequence[str]) -> NDArray[np.float64]:
    """Changes of some cultures under each other's masks."""
    change = np.array(matrix["change"], dtype=np.float64)
    rows = [matrix["masked"].index(name) for name in cultures]
    columns = [matrix["evaluated"].index(name) for name in cultures]
    return change[np.ix_(rows, columns)]


def _rho(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's rank correlation; NaN where one does not vary."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(stats.spearmanr(first, second).statistic)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


# Versions of one model


def _same_layout(sets: Sequence[NeuronSet], runs: Sequence[Run]) -> dict[str, Any] | None:
    first, second = sets
    if first.layout_hash != second.layout_hash:
        return None
    overlap = difference(first, second)
    return {
        **asdict(compare(first, second, runs[0].layout if runs else None)),
        "by_module": [
            {"module": module, "both": both, "only_first": only_first, "only_second": only_second}
            for module, both, only_first, only_second in overlap.by_module()
        ],
    }
