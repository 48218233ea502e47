"""The folder of a training: while it runs a request and checkpoints, at its end a model.

OUT/request.json      while it is not finished: what was asked
OUT/checkpoints/      while it is not finished: trained weights, optimizer, random state, every so many steps
OUT/training.json     when it is finished: what was asked, losses; beside model or adapter and plan.yaml
OUT/log.csv           losses by step

A checkpoint counts once its mark is written, so that one cut off by a kill is passed over. The mark says
whose the checkpoint is, and what its files hold: a damaged one is passed over too.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from culnig.core.progress import Say, say_nothing
from culnig.errors import StoreError, option
from culnig.store.files import (
    read_json,
    remove,
    remove_if_empty,
    sync,
    sync_files,
    whole_files,
    write_json,
    write_text,
)
from culnig.store.formats import check_format
from culnig.store.output_folder import OutputFolder, check_folder
from culnig.store.output_kind import OutputKind
from culnig.store.record import RUN_CONTENTS
from culnig.training.checkpoints import COMPLETE, changed, checkpoint_problem, facts_of, write_mark

FORMAT = "culnig-training"
FORMAT_VERSION = 1
ARMS_FORMAT = "culnig-arms"
"""The same of a comparison of arms."""
ASKED = "asked"
"""Key of the request in the document of a comparison; a training's document is the request itself."""
TRAINING_FILE = "training.json"
REQUEST_FILE = "request.json"
CHECKPOINTS = "checkpoints"
LOG_FILE = "log.csv"
LOG_COLUMNS = ("step", "epoch", "loss", "learning_rate", "grad_norm")
FILES = "files"
"""Key of the files of the trained model, with their sizes and hashes."""

_MODEL_FILES = (
    *("config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json"),
    *("adapter_config.json", "adapter_model.safetensors", "tokenizer*", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.*", "merges.txt", "chat_template.jinja"),
)
"""Files of a trained model, where an earlier version did not list them."""
_OWN = (LOG_FILE, "plan.yaml", f"{CHECKPOINTS}/checkpoint-*", *_MODEL_FILES)
_EVALUATION = (REQUEST_FILE, "results.json", "items.h5", "parts/*.h5")
_RESCORED = ("general.neurons.json", "scores/run.json", *(f"scores/{name}" for name in RUN_CONTENTS))
CONTENTS = (
    *_OWN,
    "arms.csv",
    *(f"before/{name}" for name in (*_EVALUATION, *_RESCORED)),
    *(
        f"{arm}/seed-*/{name}"
        for arm in ("plan", "top", "bottom", "random", "rows")
        for name in (
            *(REQUEST_FILE, TRAINING_FILE),
            *_OWN,
            *(f"evaluation/{inner}" for inner in _EVALUATION),
            *_RESCORED,
        )
    ),
)
"""Patterns of the files of a training, and of a comparison of arms."""


class TrainingFolder:
    """Owns the folder of a training."""

    def __init__(self, folder: Path, last: str = TRAINING_FILE) -> None:
        """`last` is the file that is written last."""
        self.path = folder
        self._last = last
        self._output: OutputFolder | None = None
        self._request: dict[str, Any] = {}
        self._overwrite = False

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are kept."""
        return self.path / CHECKPOINTS

    @property
    def finished(self) -> bool:
        """Whether the training is finished and not being replaced."""
        return (self.path / self._last).exists() and not (self.path / REQUEST_FILE).exists()

    @property
    def _kind(self) -> OutputKind:
        return OutputKind(
            "a training",
            self._read_request,
            lambda folder: self.finished,
            marks=(REQUEST_FILE, self._last),
            contents=CONTENTS,
            listed=_recorded_files,
            sections=("model", "plan_hash", "task", "settings", "benchmarks", "rescored", "arms", "seeds"),
        )

    def _read_request(self, folder: Path) -> dict[str, Any]:
        path = folder / (REQUEST_FILE if (folder / REQUEST_FILE).exists() else self._last)
        document = read_json(path, "a training")
        if document.get("format") not in (FORMAT, ARMS_FORMAT):
            raise StoreError(f"{path}: format is {document.get('format')!r}, expected {FORMAT!r}")
        asked: dict[str, Any] = document.get(ASKED, document)
        return asked

    def prepare(self, *, overwrite: bool, resume: bool, inputs: Sequence[Any]) -> None:
        """OutputExistsError if the folder is in use and cannot be replaced or resumed.

        InputError if it is one of the command's `inputs`, or would remove one.
        """
        self._overwrite = overwrite
        check_folder(self.path, self._kind, resume=resume, overwrite=overwrite, inputs=inputs)

    def open(self, record: dict[str, Any], *, resume: bool) -> None:
        """Start, or resume an existing training; raises the errors of `OutputFolder.open`.

        An existing one is replaced if `prepare` allowed it. StoreError if a file of a finished model is gone
        or another one.
        """
        request = {"format": FORMAT, "format_version": FORMAT_VERSION, **record}
        overwrite = self._overwrite and not resume
        self._output = OutputFolder.open(self.path, self._kind, request, resume=resume, overwrite=overwrite)
        self._request = request
        if self.finished:
            self._check_finished()
            self._remove_checkpoints()

    def _check_finished(self) -> None:
        recorded = read_json(self.path / self._last, "a training").get(FILES)
        for name, facts in recorded.items() if isinstance(recorded, dict) else ():
            if problem := changed(self.path / name, facts):
                self.unlock()
                raise StoreError(
                    f"{self.path / name} {problem} since the training was finished; put the right file back, "
                    f"or train again with {option('overwrite')}"
                )

    def last_checkpoint(self) -> Path | None:
        """The complete checkpoint with the most steps."""
        return next(self._complete_checkpoints(), None)

    def _complete_checkpoints(self) -> Iterator[Path]:
        """Complete checkpoints, latest first."""
        complete = [path for path in self._all_checkpoints() if (path / COMPLETE).exists()]
        yield from sorted(complete, key=_step, reverse=True)

    def _all_checkpoints(self) -> list[Path]:
        paths = self.checkpoints.glob("checkpoint-*")
        return [path for path in paths if re.fullmatch(r"checkpoint-\d+", path.name)]

    def usable_checkpoint(self, say: Say = say_nothing) -> Path | None:
        """The latest checkpoint of this training that is whole; `say` reports those that are not.

        StoreError if one belongs to another training.
        """
        for path in self._complete_checkpoints():
            if problem := checkpoint_problem(path, self._request_id()):
                say(f"{path} is passed over: {problem}")
            else:
                return path
        return None

    def _request_id(self) -> str:
        """Identity of the request, as every process reads it from the folder."""
        if not (self.path / REQUEST_FILE).exists():
            return ""
        return self._kind.request_id(self._read_request(self.path))

    def drop_checkpoints_except(self, usable: Path | None) -> None:
        """Remove checkpoints after the usable one, and those that a killed process left incomplete."""
        kept = [] if usable is None else [usable]
        for path in self._all_checkpoints():
            before = usable is not None and _step(path) < _step(usable)
            if path not in kept and not (before and (path / COMPLETE).exists()):
                remove(path)

    def complete_checkpoint(self, path: Path) -> None:
        """Mark a checkpoint as complete, once it is on the disk."""
        sync_files(path)
        sync(self.checkpoints)
        write_mark(path, self._request_id())

    def save_model(self, write: Callable[[Path], None]) -> None:
        """Add the files that `write` writes into a folder: all of them, or none."""
        facts: dict[str, Any] = {}

        def record(names: list[str]) -> None:
            self._request = {**self._request, FILES: facts}
            write_json(self.path / REQUEST_FILE, self._request)

        with whole_files(self.path, record) as temporary:
            write(temporary)
            facts |= {path.name: facts_of(path) for path in sorted(temporary.iterdir())}

    def write_log(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write the losses by step."""
        text = io.StringIO()
        writer = csv.DictWriter(text, LOG_COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path / LOG_FILE, text.getvalue())

    def finish(self, record: dict[str, Any]) -> None:
        """Write the record of a finished training, after everything else."""
        files = {FILES: self._request[FILES]} if FILES in self._request else {}
        document = {"format": FORMAT, "format_version": FORMAT_VERSION, **record, **files}
        write_json(self.path / TRAINING_FILE, document)
        self.clean_up()

    def clean_up(self) -> None:
        """Remove files that only a resume needs, and unlock the folder."""
        remove(self.path / REQUEST_FILE)
        self._remove_checkpoints()
        self.unlock()

    def _remove_checkpoints(self) -> None:
        for path in self._all_checkpoints():
            remove(path)
        remove_if_empty(self.checkpoints)

    def unlock(self) -> None:
        """Unlock the folder for other processes."""
        if self._output is not None:
            self._output.close()

    def __enter__(self) -> TrainingFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.unlock()


def _recorded_files(folder: Path) -> list[str]:
    """Names of the model's files, as the request or the result lists them."""
    names: list[str] = []
    for mark in (REQUEST_FILE, TRAINING_FILE):
        with contextlib.suppress(StoreError):
            recorded = read_json(folder / mark, "a training").get(FILES)
            names += list(recorded) if isinstance(recorded, dict) else []
    return names


def read_training(folder: Path) -> dict[str, Any]:
    """`training.json` of a finished training; StoreError if it is missing or foreign."""
    document = read_json(folder / TRAINING_FILE, "a finished training")
    named = (document.get("format"), document.get("format_version"))
    check_format(folder / TRAINING_FILE, *named, FORMAT, FORMAT_VERSION)
    return document


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
