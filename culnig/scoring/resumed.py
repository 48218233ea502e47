"""What a resumed run keeps of the run in its folder, and which runs of earlier versions it accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from culnig.errors import MismatchError, option
from culnig.store import schema
from culnig.store.prompts import as_recorded
from culnig.store.record import check_of_all, read_run_record

IN_TURNS = "in_turns"
"""Setting of a run whose portions are cut for processes that run in turns (`culnig.scoring.portions`)."""


def keep_earlier_check(folder: Path, record: dict[str, Any]) -> None:
    """Record for a resumed run what holds for all its parts."""
    if not (folder / schema.RUN_FILE).exists():
        return
    stored = read_run_record(folder).get("check")
    if "check" in record:
        record["check"] = check_of_all([stored, record["check"]])
    elif stored is not None:
        record["check"] = stored


def accept_earlier_version(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The request as the run of an earlier version in the folder has it, which records no prompts.

    A run whose halves are those of an earlier version keeps them, and any run keeps its portions. Also
    accepts a finished run of the first edition whose prompts shared their prefixes. MismatchError if such a
    run is unfinished: its other items would be scored in other batches.
    """
    if not (folder / schema.RUN_FILE).exists():
        return record
    stored = read_run_record(folder)
    record = as_recorded(record, stored)
    settings = stored.get("settings", {})
    if settings.get("halves") is True and "halves" in record["settings"]:
        record = {**record, "settings": {**record["settings"], "halves": True}}
    if settings.get(IN_TURNS) != record["settings"].get(IN_TURNS):
        kept = {name: value for name, value in record["settings"].items() if name != IN_TURNS}
        record = {**record, "settings": kept | ({IN_TURNS: True} if settings.get(IN_TURNS) else {})}
    if not settings.get("prefix_sharing"):
        return record
    if (folder / schema.SCORES_FILE).exists():
        return {**record, "settings": {**record["settings"], "prefix_sharing": True}}
    version = stored.get("versions", {}).get("culnig-engine", "that began it")
    raise MismatchError(
        f"{folder} cannot be resumed: its prompts shared their prefixes (settings.prefix_sharing is true in "
        "run.json), and this version computes every prompt whole. Score it again with "
        f"{option('overwrite')}, or finish it with culnig-engine {version}"
    )
