"""Results of an earlier version, which have no checksum: what can be checked is.

The means of every row are computed again from `items.h5`. Everything else, such as intervals, must be of the
right type and in its range.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig.errors import StoreError, option
from culnig.evaluation.results import METRICS

if TYPE_CHECKING:
    from culnig.core.outcomes import Outcomes
    from culnig.evaluation.runner import Answers

_TEXTS = ("like", "of_set", "culture", "mask")
_COUNTS = ("n", "n_questions", "n_neurons", "items")
_SHARES = (
    *("accuracy", "option_accuracy", "p_gold", "option_mass", "calibration_error", "chance"),
    *("similarity", "together_accuracy"),
    *("share", "p_value", "p_holm"),
)
_LARGEST = {**dict.fromkeys(_SHARES, 1), "alignment": 100}
"""Entries between 0 and this number, if they are numbers."""
_ROUNDING = 1e-9


def check_rows(path: Path, rows: list[dict[str, Any]], answers: Answers) -> None:
    """StoreError for the first entry of a row that cannot be right.

    `path` is that of the results, whose rows all have their `answers`.
    """
    for row in rows:
        name = (row["benchmark"], row["condition"])
        for problem, why in (*_differences(row, answers[name]), *_impossible(row, "")):
            raise StoreError(
                f"{path}: {name}: {problem}, but {why}; the file is damaged. Put the right file back, or "
                f"evaluate again with {option('overwrite')}"
            )


def _differences(row: Mapping[str, Any], outcomes: Outcomes) -> Iterator[tuple[str, str]]:
    """Where a row differs from its items."""
    for name, count in (("n", len(outcomes.id)), ("n_questions", len(set(outcomes.units)))):
        if row.get(name, count) != count:
            yield f"{name} is {row[name]!r}", f"there are {count} in items.h5"
    for name, values in METRICS.items():
        stored = row.get(name)
        if stored is None:
            continue
        right = float(values(outcomes).mean())
        if not isinstance(stored, int | float) or not math.isclose(
            stored, right, rel_tol=_ROUNDING, abs_tol=_ROUNDING
        ):
            yield f"{name} is {stored!r}", f"the items have {right!r}"


def _impossible(document: Mapping[str, Any], above: str) -> Iterator[tuple[str, str]]:
    """Entries of a type or in a range that they cannot have."""
    for name, value in document.items():
        where = f"{above}{name}"
        if isinstance(value, dict):
            yield from _impossible(value, f"{where}.")
        elif name == "interval":
            if not _is_interval(value):
                yield f"{where} is {value!r}", "an interval is two numbers, the lower one first"
        elif name in _TEXTS:
            if not isinstance(value, str | None):
                yield f"{where} is {value!r}", "it is a text or null"
        elif name in _COUNTS:
            if type(value) is not int or (value < 0 and name != "items"):
                yield f"{where} is {value!r}", "it is a count"
        elif isinstance(value, int | float):
            largest = _LARGEST.get(name) if above == "" else None
            if not math.isfinite(value):
                yield f"{where} is {value!r}", "it is a finite number"
            elif largest is not None and not 0 <= value <= largest:
                yield f"{where} is {value!r}", f"it is between 0 and {largest}"
            elif (name in ("p_value", "p_holm") or name.endswith("_p")) and not 0 <= value <= 1:
                yield f"{where} is {value!r}", "a p-value is between 0 and 1"


def _is_interval(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, list) or len(value) != 2:
        return False
    ends = [end for end in value if end is not None]
    return all(isinstance(end, int | float) and math.isfinite(end) for end in ends) and ends == sorted(ends)
