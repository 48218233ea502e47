"""Parts of an unfinished evaluation: a kill at any moment loses at most one benchmark under one condition.

`request.json` holds the request; each finished benchmark and condition is a complete file in `parts/`.
Answers do not depend on what was computed before them, so a resumed evaluation ends with the same
files as one that was never interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from culnig.core.outcomes import Outcomes
from culnig.errors import StoreError, option
from culnig.evaluation.conditions import Condition, current_name
from culnig.evaluation.folder import (
    EVALUATION,
    EVALUATION_FORMAT,
    PARTS_FOLDER,
    REQUEST_FILE,
    document_of,
    is_finished,
)
from culnig.store import tables
from culnig.store.files import make_folder, remove, remove_matching
from culnig.store.hdf5 import open_hdf5, whole_hdf5
from culnig.store.output_folder import OutputFolder
from culnig.store.output_kind import Request


class EvaluationParts:
    """Owns an evaluation folder until its results are written."""

    def __init__(
        self,
        output: OutputFolder,
        request: Request,
        benchmarks: Sequence[str],
        conditions: Sequence[Condition],
    ) -> None:
        self.folder = output.path
        self._output = output
        self._request = EVALUATION.request_id(request)
        self._numbers = {
            (benchmark, condition.name): (first, second)
            for first, benchmark in enumerate(benchmarks)
            for second, condition in enumerate(conditions)
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
        overwrite: bool = False,
    ) -> EvaluationParts:
        """Start, or resume an existing evaluation; raises the errors of `OutputFolder.open`.

        With `overwrite`, parts in the folder are removed; earlier results stay until new ones replace them.
        """
        request = document_of(record)
        output = OutputFolder.open(folder, EVALUATION, request, resume=resume, overwrite=overwrite)
        parts = cls(output, request, benchmarks, conditions)
        if parts.finished:
            parts.clear()
        return parts

    def __enter__(self) -> EvaluationParts:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Unlock the folder for other processes."""
        self._output.close()

    @property
    def finished(self) -> bool:
        """Whether the results exist and are not being replaced."""
        return is_finished(self.folder)

    def read(self, benchmark: str, condition: str) -> Outcomes | None:
        """Finished answers, or None; StoreError if the part is damaged."""
        path = self._path(benchmark, condition)
        if not path.exists():
            return None
        try:
            with open_hdf5(path) as file:
                names = (file.attrs.get("benchmark"), current_name(str(file.attrs.get("condition"))))
                if names != (benchmark, condition):
                    raise StoreError(f"{path} belongs to {names}, expected {(benchmark, condition)}")
                if file.attrs.get("request", self._request) != self._request:
                    raise StoreError(f"{path} belongs to another evaluation")
                return tables.read_outcomes(file)
        except StoreError as error:
            raise StoreError(
                f"{error.args[0]}; delete the file, and {option('resume')} computes it again"
            ) from None

    def save(self, benchmark: str, condition: str, outcomes: Outcomes) -> None:
        """Keep the answers of one benchmark under one condition."""
        path = self._path(benchmark, condition)
        make_folder(path.parent)
        with whole_hdf5(path) as file:
            file.attrs["format"] = EVALUATION_FORMAT
            file.attrs["benchmark"], file.attrs["condition"] = benchmark, condition
            file.attrs["request"] = self._request
            tables.write_outcomes(file, outcomes)

    def clear(self) -> None:
        """Remove the request and the parts, because the results are written, and unlock the folder."""
        remove(self.folder / REQUEST_FILE)
        remove_matching(self.folder / PARTS_FOLDER, "*.h5")
        self.close()

    def _path(self, benchmark: str, condition: str) -> Path:
        first, second = self._numbers[benchmark, condition]
        return self.folder / PARTS_FOLDER / f"{first:03d}-{second:04d}.h5"
