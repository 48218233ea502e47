"""The record of each step: `steps/NAME.json` in the study's folder.

A record is written before the step begins (`started`) and after it has ended (`done`). When the study is run
again, it shows whether a step was killed, and whether that step had the same settings.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from culnig.errors import OutputExistsError, StoreError
from culnig.store.files import is_leftover, make_folder, read_json, remove_leftovers, write_json, write_text
from culnig.store.formats import check_format
from culnig.store.inside import check_no_owner

FORMAT = "culnig-study"
FORMAT_VERSION = 1
STEP_FORMAT = "culnig-step"
STEP_FORMAT_VERSION = 1
STUDY_FILE, STUDY_COPY, STEPS, HASHES = "study.json", "study.yaml", "steps", "hashes.json"


@dataclass(frozen=True)
class StepRecord:
    """What an earlier command recorded about a step."""

    step: str
    key: str
    """Hash of everything that decides the output: function, settings, and the contents of what it reads."""
    state: Literal["started", "done"]
    files: Mapping[str, str] = field(default_factory=dict)
    """Hashes of the output's files; while the step is `started`, those of the previous output."""
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)


def record_path(folder: Path, step: str) -> Path:
    """The file of a step's record."""
    return folder / STEPS / f"{step}.json"


def read_record(folder: Path, step: str) -> StepRecord | None:
    """The record of a step; None if there is none that can be read."""
    with contextlib.suppress(StoreError, TypeError):
        document = read_json(record_path(folder, step), "the record of a step")
        if (
            document.pop("format", None) == STEP_FORMAT
            and document.pop("format_version", None) == STEP_FORMAT_VERSION
        ):
            return StepRecord(**document)
    return None


def write_record(folder: Path, record: StepRecord) -> None:
    """Write the record of a step."""
    path = record_path(folder, record.step)
    make_folder(path.parent)
    remove_leftovers(path.parent)
    write_json(path, {"format": STEP_FORMAT, "format_version": STEP_FORMAT_VERSION, **asdict(record)})


def recorded_date(folder: Path) -> str | None:
    """The date in a study's prompts; None before the study is started."""
    if not (folder / STUDY_FILE).exists():
        return None
    return str(read_json(folder / STUDY_FILE, "a study").get("prompt_date"))


def check_study_folder(folder: Path) -> None:
    """OutputExistsError if a folder holds something else than a study."""
    check_no_owner(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"{folder} is a file; give a folder with -o")
    remove_leftovers(folder)
    # empty folders may be those that Snakemake makes for its marks
    inner = (path for path in folder.rglob("*") if not path.is_dir() and not is_leftover(path))
    if not (folder / STUDY_FILE).exists() and any(inner):
        raise OutputExistsError(
            f"{folder} is not empty and holds no study (no {STUDY_FILE}); give another folder with -o"
        )


def open_folder(folder: Path, text: str, prompt_date: str) -> None:
    """Create the folder of a study, with its text and the date of its prompts, or continue it."""
    mark = folder / STUDY_FILE
    make_folder(folder)
    if not mark.exists():
        write_json(mark, {"format": FORMAT, "format_version": FORMAT_VERSION, "prompt_date": prompt_date})
    document = read_json(mark, "a study")
    check_format(mark, document.get("format"), document.get("format_version"), FORMAT, FORMAT_VERSION)
    if not (folder / STUDY_COPY).exists() or (folder / STUDY_COPY).read_text(encoding="utf-8") != text:
        write_text(folder / STUDY_COPY, text)


@dataclass(frozen=True)
class StepResult:
    """How a step ended."""

    step: str
    state: Literal["done", "done before", "failed", "left out", "waits"]
    """`waits`: a step that it needs has failed, or was not run."""
    seconds: float | None = None
    reason: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    error: Exception | None = None

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "step": self.step,
            "state": self.state,
            "seconds": self.seconds,
            "reason": self.reason,
            "versions": dict(self.versions),
        }
