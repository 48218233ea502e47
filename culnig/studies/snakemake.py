"""A study as a Snakefile: Snakemake then runs its steps, on one machine or on a cluster.

Every rule runs one step with `culnig-engine study --only`, which compares contents just like a whole study. A
step that is interrupted or retried continues. The output of a rule is a separate mark file, not the step's
own files, because Snakemake removes the outputs of a rule before it runs it. The Snakefile removes the marks
of outputs that were deleted, before Snakemake looks at them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from culnig.core.progress import Progress, Task, no_progress
from culnig.errors import CulnigError, check_choice
from culnig.store.files import write_text
from culnig.store.output_folder import check_file, owned_file
from culnig.studies.calls import outputs_of
from culnig.studies.file import StudyFile, read_study
from culnig.studies.outlook import PLANS, MachineChoice, Need, need_of
from culnig.studies.running import checked_work
from culnig.studies.steps import Step

LEAST_MB, LEAST_MINUTES = 2_000, 10
"""The least that a step gets: Python and torch take as much, and so does starting them."""
TIMES = 3
"""How much longer than the estimate a job may take."""
RETRIES = 2
MARKS = "steps/marks"

_HEAD = """\
# Made by `culnig-engine study {file} --export snakemake`. Run it with
#
#   snakemake --cores 1 --snakefile THIS_FILE
#
# on this machine, or with a profile of your cluster (docs/clusters.md). Results are written to `folder`.

import contextlib
import os

STUDY = config.get("study", {study})
FOLDER = config.get("folder", {folder})
COMMAND = config.get("command", "culnig-engine")
OUTPUTS = {{{outputs}
}}

if workflow.is_main_process:  # what was deleted is made again
    for step, names in OUTPUTS.items():
        if not all(os.path.exists(os.path.join(FOLDER, name)) for name in names):
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(FOLDER, "{marks}", step))


rule all:
    input:
        expand("{{folder}}/{marks}/report", folder=FOLDER),
"""

_RULE = """

rule {name}:
    input:
        STUDY,{inputs}
    output:
        touch(f"{{FOLDER}}/{marks}/{step}"),
    retries: {retries}
    resources:{resources}
    params:
        step={quoted},
    shell:
        "{{COMMAND}} study {{STUDY:q}} -o {{FOLDER:q}} --only {{params.step:q}}"
"""


def export_study(
    file: Path | str,
    out: Path | str,
    *,
    to: Literal["snakemake"] = "snakemake",
    device_memory: int | str | None = None,
    tflops: float | None = None,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> None:
    """Write a study for a workflow engine: a Snakefile with one rule for each step.

    Each rule asks for the memory, disk and, with `tflops`, the time that `plan_study` gives; with
    `device_memory`, steps that run a model also ask for a GPU. Steps with unknown needs ask for the minimum.
    `progress` is called after the plan of each step.
    """
    check_choice("to", to, ("snakemake",))
    opened = read_study(file)
    check_file(Path(out), overwrite=overwrite, inputs=(opened.path,))
    work = checked_work(opened, Path(out).parent / opened.path.stem)
    steps, machine = list(work.steps.values()), MachineChoice(device_memory, 1, tflops)
    needs: dict[str, Need] = {}
    plans = Task(progress, PLANS, len(steps))
    for step in steps:
        try:
            needs[step.name] = need_of(step, work.outside, work.steps, machine)
        except CulnigError:
            needs[step.name] = Need()
        plans.advance()
    text = snakefile(opened, steps, needs, on_device=device_memory is not None)
    with owned_file(Path(out), overwrite=overwrite, inputs=(opened.path,)) as path:
        write_text(path, text)


def snakefile(file: StudyFile, steps: Sequence[Step], needs: Mapping[str, Need], *, on_device: bool) -> str:
    """The text of the Snakefile."""
    head = _HEAD.format(
        file=file.path.name,
        study=json.dumps(str(file.path.absolute())),
        folder=json.dumps(file.path.stem),
        marks=MARKS,
        outputs="".join(f"\n    {json.dumps(step.name)}: {json.dumps(outputs_of(step))}," for step in steps),
    )
    return head + "".join(
        _rule(number, step, needs[step.name], on_device=on_device)
        for number, step in enumerate(steps, start=1)
    )


def _rule(number: int, step: Step, need: Need, *, on_device: bool) -> str:
    runs_model = step.model is not None and step.function != "plan_training"
    resources = {
        "mem_mb": max(LEAST_MB, math.ceil(need.host_memory / 1e6)),
        "disk_mb": max(1, math.ceil((need.disk + need.parts) / 1e6)),
    }
    if need.seconds is not None:
        resources["runtime"] = max(LEAST_MINUTES, math.ceil(TIMES * need.seconds / 60))
    if on_device and runs_model:
        resources["gpu"] = 1
    return _RULE.format(
        name=f"step_{number}_{re.sub('[^a-z0-9]+', '_', step.name)}",
        inputs="".join(f'\n        f"{{FOLDER}}/{MARKS}/{name}",' for name in step.needs),
        marks=MARKS,
        step=step.name,
        retries=RETRIES,
        resources="".join(f"\n        {key}={value}," for key, value in resources.items()),
        quoted=json.dumps(step.name),
    )
