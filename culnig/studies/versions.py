"""Steps that another version of culnig-engine did.

They are kept if that version has the same numbers and formats, and done again if not. The number of the
version tells (docs/stability.md): before 1.0 its second part is raised when numbers or formats change, from
then on its first.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

from culnig.core.text import counted
from culnig.studies.records import StepRecord, StepResult

PROGRAM = "culnig-engine"


def own_version() -> str:
    """The version that is installed."""
    return metadata.version(PROGRAM)


def numbers_of(version: str) -> str:
    """The part of a version that is raised when numbers or formats change: 0.3 of 0.3.1, and 2 of 2.3.1."""
    first, second, *_ = f"{version}.".split(".")
    return f"{first}.{second}" if first == "0" else first


def why_again(record: StepRecord | None) -> str:
    """What to say of a finished step whose version has other numbers; nothing of other steps."""
    done_by = "" if record is None else record.versions.get(PROGRAM, "")
    if not done_by or numbers_of(done_by) == numbers_of(own_version()):
        return ""
    return (
        f"done by {PROGRAM} {done_by}, whose numbers or formats may differ from those of {own_version()}: it "
        f"is done again (to keep it, continue with {PROGRAM} {numbers_of(done_by)})"
    )


def kept_from_others(results: Sequence[StepResult]) -> list[str]:
    """What to say of steps that were kept although another version did them, one line for each version."""
    by_version: dict[str, list[str]] = {}
    for result in results:
        done_by = result.versions.get(PROGRAM, own_version())
        if result.state == "done before" and done_by != own_version():
            by_version.setdefault(done_by, []).append(result.step)
    return [
        f"{counted(len(names), 'step')} of {PROGRAM} {version} kept by {own_version()}, which has the same "
        f"numbers and formats: {', '.join(names)}"
        for version, names in by_version.items()
    ]
