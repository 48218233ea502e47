"""Parts of an unfinished evaluation: a kill at any moment loses at most one benchmark under one condition.

`request.json` holds the request; each finished benchmark and condition is a complete file in `parts/`.
Answers do not depend on what was computed before them, so a resumed evaluation ends with the same
files as one that was never interrupted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig.core.outcomes import Outcomes
from culnig.core.processes import Processes
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

if TYPE_CHECKING:
    from culnig.models.base import BoundModel


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


class SpreadParts:
    """The parts of an evaluation whose model is spread: the first process has them, and all know them."""

    def __init__(self, own: EvaluationParts | None, processes: Processes) -> None:
        """`own` are the parts in the first process, and None in the others."""
        self._own = own
        self._processes = processes

    @property
    def finished(self) -> bool:
        """As of `EvaluationParts`."""
        return bool(self._processes.gathered(self._own and self._own.finished)[0])

    def read(self, benchmark: str, condition: str) -> Outcomes | None:
        """As of `EvaluationParts`."""
        stored = None if self._own is None else self._own.read(benchmark, condition)
        return self._processes.gathered(stored)[0]

    def save(self, benchmark: str, condition: str, outcomes: Outcomes) -> None:
        """As of `EvaluationParts`."""
        if self._own is not None:
            self._own.save(benchmark, condition, outcomes)

    def clear(self) -> None:
        """As of `EvaluationParts`, once the first process has written the results; the others wait for it."""
        if self._own is not None:
            self._own.clear()
        self._processes.wait_for_all()


@contextlib.contextmanager
def open_parts(
    bound: BoundModel,
    folder: Path,
    record: dict[str, Any],
    benchmarks: Sequence[str],
    conditions: Sequence[Condition],
    *,
    resume: bool,
    overwrite: bool,
) -> Iterator[EvaluationParts | SpreadParts]:
    """Start or resume an evaluation, in one process or by all that the model is spread over."""
    with contextlib.ExitStack() as stack:
        if bound.sharding is not None:
            bound.sharding.processes.wait_for_all()  # until all have read what is in the folder
        own = None
        if bound.is_first:
            modes = {"resume": resume, "overwrite": overwrite}
            own = EvaluationParts.open(folder, record, benchmarks, conditions, **modes)
            stack.enter_context(own)
        if bound.sharding is not None:
            yield SpreadParts(own, bound.sharding.processes)
        elif own is not None:
            yield own
