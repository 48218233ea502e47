"""Parts of an unfinished evaluation: a kill at any moment loses at most one benchmark under one condition.

`request.json` says what was asked; each finished benchmark and condition is a file in `parts/`, whole or not
there. Answers do not depend on what was computed before them, so a resumed evaluation ends with the same
files as one that was never interrupted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py

from culnig.core.outcomes import Outcomes
from culnig.errors import MismatchError, StoreError
from culnig.evaluation.conditions import Condition, current_name
from culnig.evaluation.folder import (
    EVALUATION_FORMAT,
    REQUEST_FILE,
    RESULTS_FILE,
    document_of,
    read_request,
    read_results,
)
from culnig.store import tables
from culnig.store.files import make_folder, whole_hdf5, write_json

PARTS_FOLDER = "parts"
_MUST_AGREE = ("model", "neuron_sets", "settings", "benchmarks")


class EvaluationParts:
    """Owns an evaluation folder until its results are written."""

    def __init__(self, folder: Path, benchmarks: Sequence[str], conditions: Sequence[Condition]) -> None:
        self.folder = folder
        self._numbers = {
            (benchmark, condition.name): (place, number)
            for place, benchmark in enumerate(benchmarks)
            for number, condition in enumerate(conditions)
        }

    @classmethod
    def open(
        cls,
        folder: Path,
        record: dict[str, Any],
        benchmarks: Sequence[str],
        conditions: Sequence[Condition],
        *,
        resume: bool = False,
    ) -> EvaluationParts:
        """Start, or go on with what is there; MismatchError where that was asked for something else.

        Without `resume`, parts in the folder are removed; earlier results stay until new ones replace them.
        """
        parts = cls(folder, benchmarks, conditions)
        request: dict[str, Any] = json.loads(json.dumps(document_of(record)))  # as it will be read back
        make_folder(folder)
        for leftover in folder.rglob("*.tmp"):
            leftover.unlink()
        if resume and parts.finished:
            _check_same_request(folder, read_results(folder), request)
        elif resume and (folder / REQUEST_FILE).exists():
            _check_same_request(folder, read_request(folder), request)
        else:
            parts.clear()
            write_json(folder / REQUEST_FILE, request)
        return parts

    @property
    def finished(self) -> bool:
        """Whether the results are there, and nothing is under way to replace them."""
        return (self.folder / RESULTS_FILE).exists() and not (self.folder / REQUEST_FILE).exists()

    def read(self, benchmark: str, condition: str) -> Outcomes | None:
        """Finished answers, or None; StoreError where the part is damaged."""
        path = self._path(benchmark, condition)
        if not path.exists():
            return None
        try:
            file = h5py.File(path)
        except OSError as error:
            raise StoreError(f"{path}: damaged ({error}); delete it and --resume computes it again") from None
        with file:
            named = (file.attrs.get("benchmark"), current_name(str(file.attrs.get("condition"))))
            if named != (benchmark, condition):
                raise StoreError(f"{path}: is of {named}, expected {(benchmark, condition)}; delete it")
            return tables.read_outcomes(file)

    def save(self, benchmark: str, condition: str, outcomes: Outcomes) -> None:
        """Keep the answers of one benchmark under one condition."""
        path = self._path(benchmark, condition)
        make_folder(path.parent)
        with whole_hdf5(path) as file:
            file.attrs["format"] = EVALUATION_FORMAT
            file.attrs["benchmark"], file.attrs["condition"] = benchmark, condition
            tables.write_outcomes(file, outcomes)

    def clear(self) -> None:
        """Remove request and parts: the results are written, or all begins anew."""
        shutil.rmtree(self.folder / PARTS_FOLDER, ignore_errors=True)
        (self.folder / REQUEST_FILE).unlink(missing_ok=True)

    def _path(self, benchmark: str, condition: str) -> Path:
        place, number = self._numbers[benchmark, condition]
        return self.folder / PARTS_FOLDER / f"{place:03d}-{number:04d}.h5"


def _check_same_request(folder: Path, stored: dict[str, Any], request: dict[str, Any]) -> None:
    differences = [
        f"{section}: it has {_brief(stored.get(section))}, asked for is {_brief(request.get(section))}"
        for section in _MUST_AGREE
        if stored.get(section) != request.get(section)
    ]
    if differences:
        raise MismatchError(
            f"{folder} cannot be resumed, it was made for something else: {'; '.join(differences)}. Give the "
            "command it was made with, or --overwrite"
        )


def _brief(value: Any, limit: int = 300) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[:limit] + " …"
