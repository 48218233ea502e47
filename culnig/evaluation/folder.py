"""The evaluation folder: `results.json` with the rows, `items.h5` with every item under every condition.

EVAL/results.json      format, format_version, model, neuron sets, settings, rows
EVAL/items.h5          attributes format, format_version
    /benchmarks/<name>/<number>     attributes condition, factor; group `items` as in a run
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from culnig.errors import OutputExistsError, StoreError
from culnig.evaluation.conditions import Condition
from culnig.store import tables
from culnig.store.files import make_folder, read_json, whole_hdf5, write_json

if TYPE_CHECKING:
    from culnig.evaluation.runner import Answers

EVALUATION_FORMAT = "culnig-evaluation"
EVALUATION_FORMAT_VERSION = 1
RESULTS_FILE = "results.json"
ITEMS_FILE = "items.h5"


def prepare_evaluation_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Make the folder, or see that it may be replaced; OutputExistsError where it may not."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        if not overwrite:
            raise OutputExistsError(
                f"{folder} exists and is not empty; add --overwrite to replace it, or give another folder "
                "with -o"
            )
        try:
            if not _holds_only_our_items(folder):
                read_results(folder)
        except StoreError:
            raise OutputExistsError(
                f"{folder} is not an evaluation of culnig, so --overwrite leaves it alone; give another "
                "folder with -o"
            ) from None


def _holds_only_our_items(folder: Path) -> bool:
    """What a kill between the two files of `write_evaluation` leaves."""
    if not folder.is_dir() or [path.name for path in folder.iterdir()] != [ITEMS_FILE]:
        return False
    try:
        with h5py.File(folder / ITEMS_FILE) as file:
            return bool(file.attrs.get("format") == EVALUATION_FORMAT)
    except OSError:
        return False


def write_evaluation(
    folder: Path,
    record: dict[str, Any],
    rows: list[dict[str, Any]],
    answers: Answers,
    conditions: Sequence[Condition],
) -> None:
    """Write both files; each is whole or not there."""
    make_folder(folder)
    factors = {condition.name: condition.factor for condition in conditions}
    with whole_hdf5(folder / ITEMS_FILE) as file:
        file.attrs["format"], file.attrs["format_version"] = (
            EVALUATION_FORMAT,
            EVALUATION_FORMAT_VERSION,
        )
        for number, ((benchmark, condition), outcomes) in enumerate(answers.items()):
            group = file.create_group(f"benchmarks/{benchmark}/{number}")
            group.attrs["condition"], group.attrs["factor"] = condition, factors[condition]
            tables.write_outcomes(group, outcomes)
    write_json(
        folder / RESULTS_FILE,
        {
            "format": EVALUATION_FORMAT,
            "format_version": EVALUATION_FORMAT_VERSION,
            **record,
            "rows": rows,
        },
    )


def read_results(folder: Path) -> dict[str, Any]:
    """Read `results.json`; StoreError where it is missing, foreign or of another version."""
    path = folder / RESULTS_FILE
    document = read_json(path, "the results of an evaluation")
    if document.get("format") != EVALUATION_FORMAT:
        raise StoreError(f"{path}: format is {document.get('format')!r}, expected {EVALUATION_FORMAT!r}")
    if document.get("format_version") != EVALUATION_FORMAT_VERSION:
        raise StoreError(
            f"{path}: format version {document.get('format_version')}, this culnig reads "
            f"{EVALUATION_FORMAT_VERSION}"
        )
    return document
