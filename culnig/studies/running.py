"""Run a study: its steps one after the other, except those that are done already.

A step is done if its record says so, its key is still the same, and its files have not changed. The key is a
hash of the function, the settings, the contents of everything that the step reads, and the part of our
version that is raised for other numbers. A changed setting therefore repeats the step, and later steps only
if its output changed.
"""

from __future__ import annotations

import contextlib
import gc
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from culnig.core.processes import launched_processes
from culnig.core.progress import Progress, Say, no_progress, say_nothing
from culnig.errors import CulnigError, EnvironmentProblem, InputError
from culnig.inference.templates import chosen_date
from culnig.provenance import versions
from culnig.store.files import remove
from culnig.store.output_folder import locked_folder
from culnig.studies.calls import Call, call_of, outputs_of, paths_of
from culnig.studies.checks import check_study
from culnig.studies.file import StudyFile, read_study
from culnig.studies.hashes import ContentHashes, content_of, digest
from culnig.studies.keys import keywords_of
from culnig.studies.outside import Outside
from culnig.studies.records import (
    HASHES,
    STEPS,
    StepRecord,
    StepResult,
    check_study_folder,
    open_folder,
    read_record,
    recorded_date,
    write_record,
)
from culnig.studies.steps import SETS, Source, Step, chosen_steps, steps_of
from culnig.studies.versions import numbers_of, own_version, why_again


@dataclass(frozen=True)
class StudyResult:
    """How a study ended."""

    folder: Path
    steps: list[StepResult]

    @property
    def failed(self) -> list[StepResult]:
        """The steps that failed."""
        return [result for result in self.steps if result.state == "failed"]

    @property
    def complete(self) -> bool:
        """Whether every step is done."""
        return all(result.state.startswith("done") for result in self.steps)

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "folder": str(self.folder),
            "complete": self.complete,
            "steps": [result.document() for result in self.steps],
        }


def study(
    file: Path | str,
    out: Path | str,
    *,
    only: Sequence[str] = (),
    start: str | None = None,
    progress: Progress = no_progress,
    say: Say = say_nothing,
) -> StudyResult:
    """Run the steps of a study in the folder `out`, and return how each ended.

    Steps that are done already are not repeated; the same call continues an interrupted study, to the same
    bits. A step that fails does not stop those that do not need it. `only` names steps (`scores/*`); `start`
    names one that is run together with those that need it. InputError for mistakes in the study, before
    anything runs; StoreError if another process runs a whole study in the folder (single steps may run side
    by side); EnvironmentProblem if the disk cannot hold it.
    """
    if launched_processes() > 1:
        raise InputError("a study runs in one process; start it without torchrun")
    work = checked_work(read_study(file), Path(out))
    steps = list(work.steps.values())
    chosen = {step.name for step in chosen_steps(steps, only, start)}
    results: dict[str, StepResult] = {}
    check_study_folder(work.folder)
    with contextlib.nullcontext() if only else locked_folder(work.folder):
        work.open()
        todo = [step for step in steps if step.name in chosen and not work.is_done(step)]
        refused = work.outlook(todo, say)
        for step in steps:
            results[step.name] = (
                work.result(step, results, refused, progress, say)
                if step.name in chosen
                else StepResult(step.name, "left out")
            )
    return StudyResult(Path(out), list(results.values()))


def checked_work(file: StudyFile, folder: Path) -> StudyWork:
    """The work of a study in a folder; InputError for mistakes in the study."""
    work = StudyWork(file, folder)
    check_study(file, list(work.steps.values()), work.outside)
    return work


class StudyWork:
    """The folder of a study while its steps run."""

    def __init__(self, file: StudyFile, folder: Path) -> None:
        self._file = file
        self.folder = folder
        self._hashes = ContentHashes(folder / STEPS / HASHES)
        self.outside = Outside(file, self._hashes)
        self.steps = {step.name: step for step in steps_of(file)}
        """By name, each after those that it needs."""
        self._done: set[str] = set()
        asked = file.study.prompt_date
        self._date = chosen_date(asked.isoformat() if isinstance(asked, date) else asked).isoformat()
        if asked is None:
            self._date = recorded_date(folder) or self._date

    def open(self) -> None:
        """Make or continue the folder."""
        open_folder(self.folder, self._file.path.read_text(encoding="utf-8-sig"), self._date)

    # What is done

    def key(self, step: Step) -> str:
        """Hash of everything that decides the output of a step; the outputs it reads must be there."""
        known = keywords_of(step.function)
        settings = {
            name: value
            for name, value in step.settings.items()
            if name not in known or value != known[name][1]
        }
        read = {name: [self._content(source) for source in sources] for name, sources in step.reads.items()}
        dated = {"prompt_date": self._date} if "prompt_date" in known else {}
        outside = self.outside.contents(step)
        decided = [numbers_of(own_version()), step.function, step.output, {**dated, **settings}]
        return digest([*decided, read, outside])

    def is_done(self, step: Step) -> bool:
        """Whether the output of a step is there and up to date, and so is everything it reads."""
        if step.name not in self._done and self._is_done(step):
            self._done.add(step.name)
        return step.name in self._done

    def _is_done(self, step: Step) -> bool:
        record = read_record(self.folder, step.name)
        if record is None or record.state != "done" or not record.files:
            return False
        if record.files != self._files(step):
            return False
        if not all(self.is_done(self.steps[name]) for name in step.needs):
            return False
        try:
            return record.key == self.key(step)
        except CulnigError:
            return False

    def _files(self, step: Step) -> dict[str, str]:
        return {
            f"{name}/{inner}": value
            for name in outputs_of(step)
            for inner, value in self._hashes.of_path(self.folder / name).items()
        }

    def _content(self, source: Source) -> str:
        step = self.steps[source.step]
        files = {
            f"{path.name}/{inner}": value  # several sets of a folder are several files
            for path in paths_of(self.folder, step, source)
            for inner, value in self._hashes.of_path(path).items()
        }
        return content_of(files) if source.culture is None else digest([source.culture, content_of(files)])

    # What is run

    def outlook(self, todo: Sequence[Step], say: Say) -> dict[str, Exception]:
        """The steps that cannot run here, with the reason; EnvironmentProblem if the disk is too small."""
        from culnig.studies.outlook import outlook

        return outlook(todo, self.outside, self.steps, self.folder, say)

    def result(
        self,
        step: Step,
        results: dict[str, StepResult],
        refused: dict[str, Exception],
        progress: Progress,
        say: Say,
    ) -> StepResult:
        """Run a step unless it is done, or cannot be."""
        if self._file.changed():
            raise InputError(
                f"{self._file.path} has changed while the study ran; finished steps are kept. Run the same "
                "command again to apply the change"
            )
        for name in step.needs:
            state = results[name].state
            if state in ("failed", "waits") or (state == "left out" and not self.is_done(self.steps[name])):
                why = "is missing or out of date; run it too" if state == "left out" else "was not done"
                return StepResult(step.name, "waits", reason=f"{name} {why}")
        record = read_record(self.folder, step.name)
        if self.is_done(step):
            assert record is not None
            return StepResult(step.name, "done before", record.seconds, versions=record.versions)
        if step.name in refused:
            return _failure(step, refused[step.name], None)
        say(step.name)
        if again := why_again(record):
            say(again)
        began = time.monotonic()
        try:
            self._run(step, progress, say)
        except (CulnigError, MemoryError) as error:
            return _failure(step, error, time.monotonic() - began)
        except Exception as error:  # the steps of other models still run
            say(traceback.format_exc())
            return _failure(step, error, time.monotonic() - began)
        finally:
            if step.model is not None:
                gc.collect()  # the model
            self._hashes.save()
        return StepResult(step.name, "done", round(time.monotonic() - began, 1), versions=versions())

    def _run(self, step: Step, progress: Progress, say: Say) -> None:
        key, before = self.key(step), read_record(self.folder, step.name)
        continues = before is not None and before.state == "started" and before.key == key
        previous = {} if before is None else before.files
        write_record(self.folder, StepRecord(step.name, key, "started", previous))
        if step.function in SETS:
            own = self._files(step)  # a record may come from someone else's pack, and name any file
            for name in previous.keys() & own.keys():  # sets of cultures that are not asked for any more
                remove(self.folder / name)
        began = time.monotonic()
        call = Call(self.folder, self.outside, self.steps, self._date, progress, say)
        call_of(step, call, resume=continues)
        seconds = round(time.monotonic() - began, 1)
        write_record(self.folder, StepRecord(step.name, key, "done", self._files(step), seconds, versions()))


def _failure(step: Step, error: BaseException, seconds: float | None) -> StepResult:
    reason = str(error) if isinstance(error, CulnigError) else f"{type(error).__name__}: {error}"
    kept = error if isinstance(error, Exception) else None
    return StepResult(step.name, "failed", None if seconds is None else round(seconds, 1), reason, error=kept)


def is_environment(result: StepResult) -> bool:
    """Whether a step failed because of the machine."""
    return isinstance(result.error, EnvironmentProblem | MemoryError)
