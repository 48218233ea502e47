"""The evaluation folder: `results.json` with the rows, `items.h5` with every item under every condition.

EVAL/results.json      format, format_version, model, neuron sets, settings, hash of items.h5, rows
EVAL/items.h5          attributes format, format_version
    /benchmarks/<name>/<number>     attributes condition, factor, mask; group `items` as in a run
EVAL/request.json      while it is not finished: what was asked (see `parts`)
EVAL/parts/*.h5        while it is not finished: answers of one benchmark under one condition each
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig.errors import StoreError, option
from culnig.evaluation.conditions import Condition, current_name
from culnig.provenance import file_hash
from culnig.store import tables
from culnig.store.files import make_folder, read_json, write_json
from culnig.store.formats import check_format
from culnig.store.hdf5 import open_hdf5, whole_hdf5
from culnig.store.output_folder import check_folder
from culnig.store.output_kind import OutputKind

if TYPE_CHECKING:
    from culnig.evaluation.runner import Answers

EVALUATION_FORMAT = "culnig-evaluation"
EVALUATION_FORMAT_VERSION = 1
RESULTS_FILE = "results.json"
REQUEST_FILE = "request.json"
ITEMS_FILE = "items.h5"
HASHES = "hashes"
PARTS_FOLDER = "parts"


def prepare_evaluation_folder(
    folder: Path, *, overwrite: bool = False, resume: bool = False, inputs: Iterable[Any] = ()
) -> None:
    """OutputExistsError if the folder is in use and cannot be replaced or resumed.

    InputError if it is one of the command's `inputs`, or would remove one.
    """
    check_folder(folder, EVALUATION, resume=resume, overwrite=overwrite, inputs=inputs)


def _holds_only_our_items(folder: Path) -> bool:
    """Whether a kill between the two files of `write_evaluation` left the folder."""
    if not (folder / ITEMS_FILE).is_file() or (folder / RESULTS_FILE).exists():
        return False
    with contextlib.suppress(StoreError), open_hdf5(folder / ITEMS_FILE) as file:
        return bool(file.attrs.get("format") == EVALUATION_FORMAT)
    return False


def write_evaluation(
    folder: Path,
    record: dict[str, Any],
    rows: list[dict[str, Any]],
    answers: Answers,
    conditions: Sequence[Condition],
) -> None:
    """Write both files; each is whole or not there, and the results name the items by their hash."""
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
    hashes = {ITEMS_FILE: file_hash(folder / ITEMS_FILE)}
    write_json(folder / RESULTS_FILE, {**document_of(record), HASHES: hashes, "rows": rows})


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


_EARLIER_NAMES = {"confidence": "p_gold", "n_units": "n_questions"}
"""Keys and metrics of evaluations and comparisons of arms that were renamed."""


def with_todays_names(value: Any) -> Any:
    """A document of an earlier version with the current keys and the current name `unmasked`."""
    if isinstance(value, list):
        return [with_todays_names(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    renamed = {_EARLIER_NAMES.get(key, key): with_todays_names(inner) for key, inner in value.items()}
    if isinstance(renamed.get("condition"), str):
        renamed["condition"] = current_name(renamed["condition"])
    if isinstance(renamed.get("metric"), str):
        renamed["metric"] = _EARLIER_NAMES.get(renamed["metric"], renamed["metric"])
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
    contents=(f"{PARTS_FOLDER}/*.h5",),  # earlier results stay until new ones replace them
    sections=("model", "neuron_sets", "settings", "benchmarks"),
)


def document_of(record: dict[str, Any]) -> dict[str, Any]:
    """A record with the marks of an evaluation."""
    return {"format": EVALUATION_FORMAT, "format_version": EVALUATION_FORMAT_VERSION, **record}


def read_answers(folder: Path) -> Answers:
    """Outcomes by (benchmark, condition) from `items.h5`.

    StoreError if it is missing, damaged, or not the file that the results were made from.
    """
    path = folder / ITEMS_FILE
    if not path.exists():
        raise StoreError(f"{path}: no such file; expected the items of an evaluation")
    results = read_results(folder) if (folder / RESULTS_FILE).exists() else {}
    _check_hash(path, results.get(HASHES))
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
    stored = {(name, condition): outcomes for _, (name, condition, outcomes) in sorted(answers.items())}
    if results and (missing := sorted(_answered(folder, results) - stored.keys())):
        raise StoreError(f"{path}: the answers to {missing[0]} are missing; the file is damaged")
    return stored


def _check_hash(path: Path, hashes: Any) -> None:
    """StoreError if the items are not those of the results; evaluations of the first edition have no hash."""
    if not isinstance(hashes, dict) or file_hash(path) == hashes.get(ITEMS_FILE):
        return
    if (path.parent / REQUEST_FILE).exists():
        raise StoreError(
            f"{path} is newer than {RESULTS_FILE}: a new evaluation was interrupted when it replaced them. "
            f"Repeat it with {option('resume')}"
        )
    raise StoreError(
        f"{path} is not the file that {RESULTS_FILE} was made from; put the right file back, or "
        f"evaluate again with {option('overwrite')}"
    )


def _answered(folder: Path, results: dict[str, Any]) -> set[tuple[str, str]]:
    """Benchmarks and conditions that the rows are about."""
    try:
        return {(str(row["benchmark"]), str(row["condition"])) for row in results["rows"]}
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"{folder / RESULTS_FILE}: {type(error).__name__} {error} in the rows; the file is damaged"
        ) from None


def _read_document(path: Path, kind: str) -> dict[str, Any]:
    document = read_json(path, kind)
    named = (document.get("format"), document.get("format_version"))
    check_format(path, *named, EVALUATION_FORMAT, EVALUATION_FORMAT_VERSION)
    return document
