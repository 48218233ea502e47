"""`--dry-run`: the steps of a study with memory, disk and time, before any of them runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from culnig.core.progress import Progress, Task, no_progress
from culnig.errors import CulnigError
from culnig.store.files import free_space
from culnig.studies.file import read_study
from culnig.studies.outlook import PLANS, MachineChoice, Need, need_of
from culnig.studies.running import checked_work
from culnig.studies.steps import Step, chosen_steps


def plan_study(
    file: Path | str,
    out: Path | str,
    *,
    only: Sequence[str] = (),
    start: str | None = None,
    device_memory: int | str | None = None,
    gpus: int = 1,
    tflops: float | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """The steps of a study with what each needs; nothing is run and no weights are read.

    `only` and `start` choose steps as in `study`; `device_memory`, `gpus` and `tflops` describe the machine
    as in `plan`. For each of the `steps`, the result has its state, memory, disk, arithmetic and seconds, or
    in `note` why they are not known. `total` has their sums: `parts` is the disk that the largest run needs
    in addition until it is finished, `seconds` the time if steps run one after the other, and
    `seconds_side_by_side` a lower bound of it if they run in parallel on all GPUs (the longest chain of
    steps, or an even share of the work). `assumptions` say what else was not known. A plan of a large model
    takes seconds for each step; `progress` is called after each.
    """
    work = checked_work(read_study(file), Path(out))
    steps, machine = list(work.steps.values()), MachineChoice(device_memory, 1, tflops)
    rows = []
    needs: dict[str, Need] = {}
    chosen = chosen_steps(steps, only, start)
    plans = Task(progress, PLANS, len(chosen))
    for step in chosen:
        done = work.is_done(step)
        try:
            need = Need() if done else need_of(step, work.outside, work.steps, machine)
        except CulnigError as error:
            need = Need(note=str(error), is_known=False)
        needs[step.name] = need
        rows.append(
            {
                "step": step.name,
                "function": step.function,
                "state": "done before" if done else "to do",
                "needs": step.needs,
                **need.document(),
            }
        )
        plans.advance()
    return {"steps": rows, "total": _total(rows, steps, needs, gpus, Path(out))}


def _total(
    rows: Sequence[Mapping[str, Any]],
    steps: Sequence[Step],
    needs: Mapping[str, Need],
    gpus: int,
    folder: Path,
) -> dict[str, Any]:
    seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
    return {
        "n_steps": len(rows),
        "n_unknown": sum(not row["is_known"] for row in rows),
        "assumptions": list(dict.fromkeys(line for row in rows for line in row["assumptions"])),
        "memory": max((row["memory"] for row in rows), default=0),
        "disk": sum(row["disk"] for row in rows),
        "parts": max((row["parts"] for row in rows), default=0),
        "free": free_space(folder),
        "flops": sum(row["flops"] for row in rows),
        "gpus": gpus,
        "seconds": sum(seconds) if seconds else None,
        "seconds_side_by_side": max(_longest_chain(steps, needs), sum(seconds) / gpus) if seconds else None,
    }


def _longest_chain(steps: Sequence[Step], needs: Mapping[str, Need]) -> float:
    """Seconds of the longest chain of steps that must follow each other."""
    until: dict[str, float] = {}
    for step in steps:
        seconds = needs[step.name].seconds or 0.0 if step.name in needs else 0.0
        until[step.name] = seconds + max((until[name] for name in step.needs), default=0.0)
    return max(until.values(), default=0.0)
