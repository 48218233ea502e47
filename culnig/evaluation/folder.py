"""The evaluation folder: `results.json` with the rows, `items.h5` with every item under every condition.

EVAL/results.json      format, format_version, model, neuron sets, settings, rows
EVAL/items.h5          attributes format, format_version
    /benchmarks/<name>/<number>     attributes condition, factor, mask; group `items` as in a run
EVAL/request.json      while it is not finished: what was asked (see `parts`)
EVAL/parts/*.h5        while it is not finished: answers of one benchmark under one condition each
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from culnig.errors import OutputExistsError, StoreError
from culnig.evaluation.conditions import Condition, current_name
from culnig.store import tables
from culnig.store.files import make_folder, read_json, whole_hdf5, write_json

if TYPE_CHECKING:
    from culnig.evaluation.runner import Answers

EVALUATION_FORMAT = "culnig-evaluation"
EVALUATION_FORMAT_VERSION = 1
RESULTS_FILE = "results.json"
REQUEST_FILE = "request.json"
ITEMS_FILE = "items.h5"


def prepare_evaluation_folder(folder: Path, *, overwrite: bool = False, resume: bool = False) -> None:
    """See that the folder is free, may be replaced or gone on with; OutputExistsError where it is not."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        unfinished = (folder / REQUEST_FILE).is_file()
        if not overwrite and not resume:
            go_on = "--resume to go on with it, " if unfinished else ""
            raise OutputExistsError(
                f"{folder} exists and is not empty; add {go_on}--overwrite to replace it, or give another "
                "folder with -o"
            )
        try:
            if unfinished:
                read_request(folder)
            elif not _holds_only_our_items(folder):
                read_results(folder)
        except StoreError as error:
            if resume:
                raise OutputExistsError(
                    f"{folder} is not an evaluation that can be resumed: {error}"
                ) from None
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
    by_name = {condition.name: condition for condition in conditions}
    with whole_hdf5(folder / ITEMS_FILE) as file:
        file.attrs["format"], file.attrs["format_version"] = (
            EVALUATION_FORMAT,
            EVALUATION_FORMAT_VERSION,
        )
        for number, ((benchmark, condition), outcomes) in enumerate(answers.items()):
            group = file.create_group(f"benchmarks/{benchmark}/{number}")
            group.attrs["condition"] = condition
            group.attrs["factor"], group.attrs["mask"] = by_name[condition].factor, by_name[condition].mask
            tables.write_outcomes(group, outcomes)
    write_json(folder / RESULTS_FILE, {**document_of(record), "rows": rows})


def read_results(folder: Path) -> dict[str, Any]:
    """Read `results.json`; StoreError where it is missing, foreign or of another version."""
    if (folder / REQUEST_FILE).is_file() and not (folder / RESULTS_FILE).exists():
        raise StoreError(
            f"{folder} is an evaluation that is not finished; run the same `evaluate` command with --resume"
        )
    results: dict[str, Any] = _in_todays_words(
        _read_document(folder / RESULTS_FILE, "the results of an evaluation")
    )
    return results


_FIRST_EDITION = {"confidence": "p_gold"}
"""Keys of `results.json` that have another name today."""


def _in_todays_words(value: Any) -> Any:
    """What the first edition wrote, with the keys and the name of the unmasked condition of today."""
    if isinstance(value, list):
        return [_in_todays_words(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    renamed = {_FIRST_EDITION.get(key, key): _in_todays_words(inner) for key, inner in value.items()}
    if isinstance(renamed.get("condition"), str):
        renamed["condition"] = current_name(renamed["condition"])
    return renamed


def read_request(folder: Path) -> dict[str, Any]:
    """What an unfinished evaluation was asked for; StoreError as for the results."""
    return _read_document(folder / REQUEST_FILE, "the request of an evaluation")


def document_of(record: dict[str, Any]) -> dict[str, Any]:
    """A record with the marks of an evaluation."""
    return {"format": EVALUATION_FORMAT, "format_version": EVALUATION_FORMAT_VERSION, **record}


def read_answers(folder: Path) -> Answers:
    """Outcomes by (benchmark, condition) from `items.h5`; StoreError where it is missing or damaged."""
    path = folder / ITEMS_FILE
    try:
        file = h5py.File(path)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; expected the items of an evaluation") from None
    except OSError as error:
        raise StoreError(f"{path}: not an HDF5 file or damaged: {error}") from None
    with file:
        if file.attrs.get("format") != EVALUATION_FORMAT:
            raise StoreError(
                f"{path}: format is {file.attrs.get('format')!r}, expected {EVALUATION_FORMAT!r}"
            )
        found: dict[int, tuple[str, str, Any]] = {}
        benchmarks = tables.group_at(file, "benchmarks")
        for name in benchmarks:
            groups = tables.group_at(benchmarks, name)
            for number in groups:
                group = tables.group_at(groups, number)
                condition = group.attrs.get("condition")
                if not isinstance(condition, str) or not number.isdecimal():
                    raise StoreError(f"{path}: {group.name} names no condition; the file is damaged")
                found[int(number)] = (name, current_name(condition), tables.read_outcomes(group))
    return {(name, condition): outcomes for _, (name, condition, outcomes) in sorted(found.items())}


def _read_document(path: Path, what: str) -> dict[str, Any]:
    document = read_json(path, what)
    if document.get("format") != EVALUATION_FORMAT:
        raise StoreError(f"{path}: format is {document.get('format')!r}, expected {EVALUATION_FORMAT!r}")
    if document.get("format_version") != EVALUATION_FORMAT_VERSION:
        raise StoreError(
            f"{path}: format version {document.get('format_version')}, this culnig reads "
            f"{EVALUATION_FORMAT_VERSION}"
        )
    return document
