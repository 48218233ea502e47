"""How well methods find known neurons, and at what cost: a row for each method and world.

Figures are means over the seeds of a world, each with the lowest and highest. Passes, seconds and memory are
those of the method's scorer alone (`costs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from culnig.errors import InputError
from culnig.validation.stored import read_validation

FORMAT = "culnig-leaderboard"


def leaderboard(validations: Sequence[Path | str] | Path | str) -> dict[str, Any]:
    """Rank the methods of validations, given as the folders that `validate` wrote; the best comes first.

    Rows are sorted by world, then by the mean AP of a culture's own neurons. `flattered` counts the seeds in
    which a method scores higher than what the model knows can account for. InputError for no folders, for one
    world and seed twice, and for one world at several sizes; StoreError for a folder that holds no finished
    validation.
    """
    several = [validations] if isinstance(validations, str | Path) else list(validations)
    if not several:
        raise InputError("no validations given; give folders that `validate --output` wrote")
    return leaderboard_of([read_validation(Path(folder)) for folder in several])


def leaderboard_of(documents: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The same from the contents of `results.json` of each."""
    by_world: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        by_world.setdefault(document["world"], []).append(document)
    rows: list[dict[str, Any]] = []
    for world, own in by_world.items():
        seeds = _check_comparable(world, own)
        ranked = [_row(world, method, own, seeds) for method in _methods(own)]
        rows += sorted(ranked, key=lambda row: -row["specific"]["mean"])
    return {"format": FORMAT, "format_version": 1, "rows": rows}


def _check_comparable(world: str, documents: list[dict[str, Any]]) -> list[int]:
    """The seeds of one world; InputError if they cannot be averaged."""
    seeds = [int(document["settings"]["seed"]) for document in documents]
    if len(set(seeds)) < len(seeds):
        twice = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise InputError(f"the world {world!r} is given twice with seed {twice}; give each seed once")
    sizes = [{**document["settings"], "seed": None} for document in documents]
    if any(size != sizes[0] for size in sizes):
        raise InputError(f"the validations of the world {world!r} differ in size; give those of one size")
    return seeds


def _methods(documents: list[dict[str, Any]]) -> list[str]:
    """Methods that every document has."""
    names = [[row["method"] for row in document["methods"]] for document in documents]
    return [name for name in names[0] if all(name in own for own in names)]


def _row(world: str, method: str, documents: list[dict[str, Any]], seeds: list[int]) -> dict[str, Any]:
    results = [_result(document, method) for document in documents]
    costs = [document["costs"].get(results[0]["statistic"]) for document in documents]
    costs = [cost for cost in costs if cost]
    return {
        "method": method,
        "world": world,
        "seeds": seeds,
        "general": _spread(results, "general", "average_precision"),
        "specific": _spread(results, "specific", "average_precision"),
        "all_modules": _spread(results, "specific", "average_precision_all"),
        "passes": costs[0]["passes"] if costs else 0,
        "seconds": _mean(cost["seconds"] for cost in costs),
        "n_timed": costs[0]["n_timed"] if costs else 0,
        "memory": int(_mean(cost["memory"] for cost in costs)),
        "flattered": sum(result["flattered"] for result in results),
    }


def _result(document: dict[str, Any], method: str) -> dict[str, Any]:
    return next(row for row in document["methods"] if row["method"] == method)


def _spread(results: list[dict[str, Any]], which: str, figure: str) -> dict[str, float]:
    values = [float(result[which][figure]) for result in results]
    return {
        "mean": _mean(values),
        "low": min(values),
        "high": max(values),
        "chance": _mean(float(result[which][f"chance_{figure}"]) for result in results),
    }


def _mean(values: Iterable[float]) -> float:
    several = list(values)
    return sum(several) / len(several) if several else 0.0
