"""The folder of a training: while it runs a request and checkpoints, at its end a model.

OUT/request.json      while it is not finished: what was asked
OUT/checkpoints/      while it is not finished: trained weights, optimizer, random state, every so many steps
OUT/training.json     when it is finished: what was asked, losses; beside model or adapter and plan.yaml
OUT/log.csv           losses by step

A checkpoint counts once its mark is written, so that one cut off by a kill is passed over.
"""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from culnig.errors import StoreError
from culnig.store.files import read_json, whole_file, write_json
from culnig.store.output_folder import OutputFolder, OutputKind, check_folder

FORMAT = "culnig-training"
FORMAT_VERSION = 1
ARMS_FORMAT = "culnig-arms"
"""The same of a comparison of arms."""
ASKED = "asked"
"""Where the finished document of a comparison holds what was asked; that of a training holds it itself."""
TRAINING_FILE = "training.json"
REQUEST_FILE = "request.json"
CHECKPOINTS = "checkpoints"
LOG_FILE = "log.csv"
LOG_COLUMNS = ("step", "epoch", "loss", "learning_rate", "grad_norm")
COMPLETE = "complete"
"""Name of the mark of a whole checkpoint."""


class TrainingFolder:
    """Owns the folder of a training."""

    def __init__(self, folder: Path, last: str = TRAINING_FILE) -> None:
        """`last` is the file that is written when all is done."""
        self.path = folder
        self._last = last
        self._output: OutputFolder | None = None

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are kept."""
        return self.path / CHECKPOINTS

    @property
    def finished(self) -> bool:
        """Whether the training is done, and nothing is under way to replace it."""
        return (self.path / self._last).exists() and not (self.path / REQUEST_FILE).exists()

    @property
    def _kind(self) -> OutputKind:
        return OutputKind(
            "a training",
            self._read_request,
            lambda folder: self.finished,
            marks=(self._last, REQUEST_FILE),
            sections=("model", "plan_hash", "task", "settings", "benchmarks", "rescored", "arms", "seeds"),
        )

    def _read_request(self, folder: Path) -> dict[str, Any]:
        path = folder / (REQUEST_FILE if (folder / REQUEST_FILE).exists() else self._last)
        document = read_json(path, "a training")
        if document.get("format") not in (FORMAT, ARMS_FORMAT):
            raise StoreError(f"{path}: format is {document.get('format')!r}, expected {FORMAT!r}")
        asked: dict[str, Any] = document.get(ASKED, document)
        return asked

    def prepare(self, *, overwrite: bool, resume: bool) -> None:
        """OutputExistsError where the folder is neither free, nor to be replaced, nor to be resumed."""
        check_folder(self.path, self._kind, resume=resume, overwrite=overwrite)

    def open(self, record: dict[str, Any], *, resume: bool) -> None:
        """Start anew, or resume what is there; MismatchError where that was asked for something else.

        `prepare` comes before: what is in the folder is removed.
        """
        request = {"format": FORMAT, "format_version": FORMAT_VERSION, **record}
        self._output = OutputFolder.open(self.path, self._kind, request, resume=resume, overwrite=not resume)
        if not self.finished:
            write_json(self.path / REQUEST_FILE, request)

    def last_checkpoint(self) -> Path | None:
        """The whole checkpoint with the most steps."""
        whole = [
            path
            for path in self.checkpoints.glob("checkpoint-*")
            if re.fullmatch(r"checkpoint-\d+", path.name) and (path / COMPLETE).exists()
        ]
        return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)

    def drop_broken_checkpoints(self) -> None:
        """Remove what a kill left half written."""
        for path in self.checkpoints.glob("*"):
            if not (path / COMPLETE).exists():
                shutil.rmtree(path, ignore_errors=True)

    def write_log(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write the losses by step."""
        with whole_file(self.path / LOG_FILE) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, LOG_COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    def finish(self, record: dict[str, Any]) -> None:
        """Write the record of a finished training, after everything else."""
        document = {"format": FORMAT, "format_version": FORMAT_VERSION, **record}
        write_json(self.path / TRAINING_FILE, document)
        self.clean_up()

    def clean_up(self) -> None:
        """Remove what only a resume needs, and let other processes at the folder."""
        (self.path / REQUEST_FILE).unlink(missing_ok=True)
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        self.unlock()

    def unlock(self) -> None:
        """Let other processes at the folder."""
        if self._output is not None:
            self._output.close()

    def __enter__(self) -> TrainingFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.unlock()


def read_training(folder: Path) -> dict[str, Any]:
    """`training.json` of a finished training; StoreError where it is missing or foreign."""
    document = read_json(folder / TRAINING_FILE, "a finished training")
    if document.get("format") != FORMAT:
        raise StoreError(f"{folder}: format is {document.get('format')!r}, expected {FORMAT!r}")
    return document
