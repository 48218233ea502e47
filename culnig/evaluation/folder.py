"""The evaluation folder: `results.json` with the rows, `items.h5` with every item under every condition.

EVAL/results.json      format, format_version, model, neuron sets, settings, rows
EVAL/items.h5          attributes format, format_version
    /benchmarks/<name>/<number>     attributes condition, factor, mask; group `items` as in a run
EVAL/request.json      while it is not finished: what was asked (see `parts`)
EVAL/parts/*.h5        while it is not finished: answers of one benchmark under one condition each
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from culnig.errors import StoreError, option
from culnig.evaluation.conditions import Condition, current_name
from culnig.store import tables
from culnig.store.files import make_folder, open_hdf5, read_json, whole_hdf5, write_json
from culnig.store.output_folder import OutputKind, check_folder

if TYPE_CHECKING:
    from culnig.evaluation.runner import Answers

EVALUATION_FORMAT = "culnig-evaluation"
EVALUATION_FORMAT_VERSION = 1
RESULTS_FILE = "results.json"
REQUEST_FILE = "request.json"
ITEMS_FILE = "items.h5"
PARTS_FOLDER = "parts"


def prepare_evaluation_folder(folder: Path, *, overwrite: bool = False, resume: bool = False) -> None:
    """OutputExistsError if the folder is in use and cannot be replaced or resumed."""
    check_folder(folder, EVALUATION, resume=resume, overwrite=overwrite)


def _holds_only_our_items(folder: Path) -> bool:
    """Whether a kill between the two files of `write_evaluation` left the folder."""
    if [path.name for path in folder.iterdir()] != [ITEMS_FILE]:
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
    """Read `results.json`; StoreError if it is missing, foreign or of another version."""
    if (folder / REQUEST_FILE).is_file() and not (folder / RESULTS_FILE).exists():
        raise StoreError(
            f"{folder} is an unfinished evaluation; repeat the same evaluation with {option('resume')}"
        )
    results: dict[str, Any] = with_todays_names(
        _read_document(folder / RESULTS_FILE, "the results of an evaluation")
    )
    return results


_FIRST_EDITION = {"confidence": "p_gold"}
"""Keys and metrics of evaluations and comparisons of arms that were renamed."""


def with_todays_names(value: Any) -> Any:
    """A document of the first edition with the current keys and the current name `unmasked`."""
    if isinstance(value, list):
        return [with_todays_names(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    renamed = {_FIRST_EDITION.get(key, key): with_todays_names(inner) for key, inner in value.items()}
    if isinstance(renamed.get("condition"), str):
        renamed["condition"] = current_name(renamed["condition"])
    if isinstance(renamed.get("metric"), str):
        renamed["metric"] = _FIRST_EDITION.get(renamed["metric"], renamed["metric"])
    return renamed


def read_request(folder: Path) -> dict[str, Any]:
    """The request of an evaluation; StoreError as for the results."""
    if (folder / REQUEST_FILE).is_file():
        return _read_document(folder / REQUEST_FILE, "the request of an evaluation")
    return {} if _holds_only_our_items(folder) else read_results(folder)


def request_to_resume(folder: Path) -> dict[str, Any]:
    """The request of the evaluation in a folder; empty where there is none yet."""
    begun = any((folder / name).is_file() for name in (REQUEST_FILE, RESULTS_FILE))
    return read_request(folder) if begun else {}


def is_finished(folder: Path) -> bool:
    """Whether the results exist and are not being replaced."""
    return (folder / RESULTS_FILE).exists() and not (folder / REQUEST_FILE).exists()


EVALUATION = OutputKind(
    "an evaluation",
    read_request,
    is_finished,
    marks=(REQUEST_FILE,),
    contents=(PARTS_FOLDER,),  # earlier results stay until new ones replace them
    sections=("model", "neuron_sets", "settings", "benchmarks"),
)


def document_of(record: dict[str, Any]) -> dict[str, Any]:
    """A record with the marks of an evaluation."""
    return {"format": EVALUATION_FORMAT, "format_version": EVALUATION_FORMAT_VERSION, **record}


def read_answers(folder: Path) -> Answers:
    """Outcomes by (benchmark, condition) from `items.h5`; StoreError if it is missing or damaged."""
    path = folder / ITEMS_FILE
    if not path.exists():
        raise StoreError(f"{path}: no such file; expected the items of an evaluation")
    answers: dict[int, tuple[str, str, Any]] = {}
    with open_hdf5(path) as file:
        if file.attrs.get("format") != EVALUATION_FORMAT:
            raise StoreError(
                f"{path}: format is {file.attrs.get('format')!r}, expected {EVALUATION_FORMAT!r}"
            )
        benchmarks = tables.group_at(file, "benchmarks")
        for name in benchmarks:
            groups = tables.group_at(benchmarks, name)
            for number in groups:
                group = tables.group_at(groups, number)
                condition = group.attrs.get("condition")
                if not isinstance(condition, str) or not number.isdecimal():
                    raise StoreError(f"{path}: {group.name} names no condition; the file is damaged")
                answers[int(number)] = (name, current_name(condition), tables.read_outcomes(group))
    return {(name, condition): outcomes for _, (name, condition, outcomes) in sorted(answers.items())}


def _read_document(path: Path, kind: str) -> dict[str, Any]:
    document = read_json(path, kind)
    if document.get("format") != EVALUATION_FORMAT:
        raise StoreError(f"{path}: format is {document.get('format')!r}, expected {EVALUATION_FORMAT!r}")
    if document.get("format_version") != EVALUATION_FORMAT_VERSION:
        raise StoreError(
            f"{path}: format version {document.get('format_version')}, this culnig reads "
            f"{EVALUATION_FORMAT_VERSION}"
        )
    return document
