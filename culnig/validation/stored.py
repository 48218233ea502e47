"""The folder that a validation writes, and how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from culnig.errors import StoreError
from culnig.evaluation import folder as evaluation_folder
from culnig.store.files import read_json
from culnig.store.formats import check_format
from culnig.store.output_kind import OutputKind
from culnig.store.record import RUN_CONTENTS

FORMAT = "culnig-validation"
FORMAT_VERSION = 2
RESULTS_FILE = "results.json"
REQUEST_FILE = "request.json"
RUN_FOLDER, SWAPPED_RUN_FOLDER = "run", "run-other-cultures"
"""The second counts activations from the other cultures'."""
PICTURE = "finding.png"
"""In a world whose neurons are not known."""
_KEYS = ("world", "settings", "methods", "costs")


def is_validation(folder: Path) -> bool:
    """Whether a folder holds a finished validation, and no evaluation, whose files have the same name."""
    try:
        return (folder / RESULTS_FILE).is_file() and read_results(folder).get("format") == FORMAT
    except StoreError:
        return False


def read_validation(folder: Path) -> dict[str, Any]:
    """The results of a finished validation; StoreError for anything else."""
    if not (folder / RESULTS_FILE).is_file() or (folder / REQUEST_FILE).exists():
        raise StoreError(f"{folder}: no finished validation; make one with `validate --output {folder}`")
    document = read_results(folder)
    version = document.get("format_version")
    check_format(folder / RESULTS_FILE, document.get("format"), version, FORMAT, FORMAT_VERSION)
    if missing := [key for key in _KEYS if key not in document]:
        raise StoreError(
            f"{folder}: {RESULTS_FILE} has no {missing[0]!r}, so it is damaged or of an older version; make "
            "it again with `validate --overwrite`"
        )
    return document


def read_results(folder: Path) -> dict[str, Any]:
    """The request of an unfinished validation, or the results of a finished one."""
    mark = REQUEST_FILE if (folder / REQUEST_FILE).exists() else RESULTS_FILE
    document = read_json(folder / mark, "a validation")
    if document.get("format") != FORMAT:
        raise StoreError(f"{folder}: format is {document.get('format')!r}, expected {FORMAT!r}")
    return document


VALIDATION = OutputKind(
    "a validation",
    read_results,
    lambda folder: not (folder / REQUEST_FILE).exists(),
    marks=(REQUEST_FILE, RESULTS_FILE),
    contents=(
        PICTURE,
        *(
            f"{run}/{name}"
            for run in (RUN_FOLDER, SWAPPED_RUN_FOLDER)
            for name in ("run.json", *RUN_CONTENTS)
        ),
        *(f"model/{name}" for name in ("*config.json", "model*.safetensors*", "tokenizer*", "*.jinja")),
        "planted/*.neurons.json",
        *(
            f"evaluation/*/{name}"
            for name in (
                evaluation_folder.REQUEST_FILE,
                evaluation_folder.RESULTS_FILE,
                evaluation_folder.ITEMS_FILE,
                f"{evaluation_folder.PARTS_FOLDER}/*.h5",
            )
        ),
    ),
)
