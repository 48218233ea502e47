"""The folder of a training: while it runs a request and checkpoints, at its end a model.

OUT/request.json      while it is not finished: what was asked
OUT/checkpoints/      while it is not finished: trained weights, optimizer, random state, every so many steps
OUT/training.json     when it is finished: what was asked, losses; beside model or adapter and plan.yaml
OUT/log.csv           losses by step

A checkpoint counts once its mark is written, so that one cut off by a kill is passed over.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from culnig.errors import MismatchError, OutputExistsError, StoreError
from culnig.store.files import make_folder, read_json, whole_file, write_json

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

_MUST_AGREE = ("model", "plan_hash", "task", "settings", "benchmarks", "rescored", "arms", "seeds")


class TrainingFolder:
    """Owns the folder of a training."""

    def __init__(self, folder: Path, last: str = TRAINING_FILE) -> None:
        self.path = folder
        self._last = last
        """The file that is written when all is done."""

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are kept."""
        return self.path / CHECKPOINTS

    @property
    def finished(self) -> bool:
        """Whether the training is done, and nothing is under way to replace it."""
        return (self.path / self._last).exists() and not (self.path / REQUEST_FILE).exists()

    def prepare(self, *, overwrite: bool, resume: bool) -> None:
        """See that the folder is free, may be replaced or gone on with; OutputExistsError where it is not."""
        if not os.path.lexists(self.path) or (self.path.is_dir() and not any(self.path.iterdir())):
            return
        unfinished = (self.path / REQUEST_FILE).is_file()
        if not overwrite and not resume:
            go_on = "--resume to go on with it, " if unfinished else ""
            raise OutputExistsError(
                f"{self.path} exists and is not empty; add {go_on}--overwrite to replace it, or give another "
                "folder with -o"
            )
        name = REQUEST_FILE if unfinished else self._last
        try:
            ours = read_json(self.path / name, "a training").get("format") in (FORMAT, ARMS_FORMAT)
        except StoreError:
            ours = False
        if not ours:
            raise OutputExistsError(
                f"{self.path} is not a training of culnig, so it is left alone; give another folder with -o"
            )

    def open(self, record: dict[str, Any], *, resume: bool) -> None:
        """Start anew, or go on with what is there; MismatchError where that was asked for something else.

        `prepare` comes before: what is in the folder is removed.
        """
        request = json.loads(json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **record}))
        make_folder(self.path)
        there = next((n for n in (REQUEST_FILE, self._last) if (self.path / n).exists()), None)
        if resume and there is not None:
            before = read_json(self.path / there, "a training")
            self._check_same(before.get(ASKED, before), request)
            return
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        write_json(self.path / REQUEST_FILE, request)

    def _check_same(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        different = [name for name in _MUST_AGREE if before.get(name) != now.get(name)]
        if different:
            raise MismatchError(
                f"{self.path} holds a training with other "
                f"{', '.join(name.removesuffix('_hash') for name in different)}; give the same options to "
                "--resume, or --overwrite to begin anew"
            )

    def last_checkpoint(self) -> Path | None:
        """The whole checkpoint of most steps."""
        found = [
            path
            for path in self.checkpoints.glob("checkpoint-*")
            if re.fullmatch(r"checkpoint-\d+", path.name) and (path / COMPLETE).exists()
        ]
        return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)

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
        """All else is written: say so."""
        document = {"format": FORMAT, "format_version": FORMAT_VERSION, **record}
        write_json(self.path / TRAINING_FILE, document)
        self.close()

    def close(self) -> None:
        """Remove what only a resume needs."""
        (self.path / REQUEST_FILE).unlink(missing_ok=True)
        shutil.rmtree(self.checkpoints, ignore_errors=True)


def read_training(folder: Path) -> dict[str, Any]:
    """`training.json` of a finished training; StoreError where it is missing or foreign."""
    document = read_json(folder / TRAINING_FILE, "a finished training")
    if document.get("format") != FORMAT:
        raise StoreError(f"{folder}: format is {document.get('format')!r}, expected {FORMAT!r}")
    return document
