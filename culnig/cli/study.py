"""`culnig-engine study`: run everything that one file asks for, and pack the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.options import PATH, json_option, overwrite_option
from culnig.cli.output import print_json, print_line, print_table, print_warning, size_text
from culnig.cli.progress import progress_view
from culnig.core.text import time_text

EXIT_INPUT, EXIT_ENVIRONMENT = 2, 3
RUN = "run"


class StudyCommands(click.Group):
    """`study FILE` is `study run FILE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Name the command `run` where another word comes first."""
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args = [RUN, *args]
        return super().parse_args(ctx, args)


@click.group("study", cls=StudyCommands)
def command() -> None:
    """Run everything that one file asks for: models, runs, selections, masks, trainings, one report.

    `study FILE -o FOLDER` is `study run FILE -o FOLDER`.
    """


@command.command(RUN)
@click.argument("file", type=PATH, required=False)
@click.option(
    "-o", "--output", "out", type=PATH, help="Folder of the study; with --export, the file to write."
)
@click.option(
    "--only",
    multiple=True,
    help="Run only this step, such as scores/MODEL/NAME or neurons/*; may be given several times.",
)
@click.option("--from", "start", help="Run only this step and those that need it.")
@click.option("--dry-run", is_flag=True, help="Show the steps with memory, time and disk; run nothing.")
@click.option(
    "--device-memory", help="With --dry-run: memory of each GPU, such as 80G; default: this machine's."
)
@click.option("--gpus", type=click.IntRange(min=1), default=1, show_default=True, help="Number of GPUs.")
@click.option(
    "--tflops",
    type=click.FloatRange(min=0, min_open=True),
    help="With --dry-run: sustained TFLOP/s of a GPU, for an estimate of the time.",
)
@click.option("--init", type=click.Choice(["small", "paper"]), help="Print a study to start from.")
@click.option(
    "--export",
    type=click.Choice(["snakemake"]),
    help="Write the study as a file for this workflow engine, which then runs its steps.",
)
@click.option("--overwrite", is_flag=True, help="With --export: replace the file.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a study file, for editors.")
@json_option()
def run(
    file: Path | None,
    out: Path | None,
    init: Any,
    schema: bool,
    export: Any,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> int | None:
    """Run the steps of a study in the folder -o, except those that are done already.

    The same command continues an interrupted study, and repeats the steps that a change in FILE affects. A
    step that fails does not stop those that do not need it. docs/studies.md describes the file.
    """
    if init or schema:
        _print_to_begin_with(init)
        return None
    if file is None:
        raise click.UsageError("give the file of a study, or print one with --init small")
    if out is None:
        raise click.UsageError("give the folder of the study with -o")
    machine = {name: options.pop(name) for name in ("device_memory", "gpus", "tflops")}
    if export:
        from culnig.studies.snakemake import export_study

        with progress_view() as view:
            export_study(
                *(file, out),
                to=export,
                device_memory=machine["device_memory"],
                tflops=machine["tflops"],
                overwrite=overwrite,
                progress=view.progress,
            )
        print_line(f"Written to {out}")
        return None
    if dry_run:
        _plan(file, out, as_json, **options, **machine)
        return None
    return _run(file, out, as_json, **options)


def _print_to_begin_with(example: Any) -> None:
    if example:
        from culnig.studies.examples import study_example

        print_line(study_example(example).rstrip("\n"))
        return
    from culnig.studies.file import study_schema

    print_json(study_schema())


def _plan(file: Path, out: Path, as_json: bool, **options: Any) -> None:
    from culnig.studies.planning import plan_study

    with progress_view() as view:
        document = plan_study(file, out, progress=view.progress, **options)
    if as_json:
        print_json(document)
        return
    print_table(
        "Steps",
        ("step", "state", "memory", "disk", "PFLOP", "time"),
        [
            (
                *(row["step"], row["state"]),
                *(size_text(row[name]) if row[name] else None for name in ("memory", "disk")),
                f"{row['flops'] / 1e15:.3g}" if row["flops"] else None,
                _time(row["seconds"]),
            )
            for row in document["steps"]
        ],
    )
    for row in document["steps"]:
        if row["note"]:
            print_warning(f"{row['step']}: {row['note']}")
    total = document["total"]
    for line in total["assumptions"]:
        print_line(line)
    print_line(
        f"{total['n_steps']} steps; at most {size_text(total['memory'])} of memory, "
        f"{size_text(total['disk'])} on disk and {size_text(total['parts'])} more while a run is made "
        f"({size_text(total['free'])} free), "
        f"{total['flops'] / 1e15:,.3g} PFLOP"
    )
    if total["seconds"] is not None:
        line = f"{time_text(total['seconds'])} one after the other"
        if total["gpus"] > 1:
            line += (
                f"; at least {time_text(total['seconds_side_by_side'])} in parallel on {total['gpus']} GPUs"
            )
        print_line(line)
    if total["n_unknown"]:
        print_line(f"Not counted: {total['n_unknown']} steps with unknown needs (see above)")


def _run(file: Path, out: Path, as_json: bool, **options: Any) -> int:
    from culnig.errors import CulnigError
    from culnig.studies.running import is_environment, study
    from culnig.studies.versions import kept_from_others

    with progress_view() as view:
        result = study(file, out, progress=view.progress, say=view.say, **options)
    if as_json:
        print_json(result.document())
    else:
        print_table(
            f"Study {file}",
            ("step", "state", "time", "culnig-engine", "torch"),
            [
                (
                    *(step.step, step.state, _time(step.seconds)),
                    *(step.versions.get(name, "–") for name in ("culnig-engine", "torch")),
                )
                for step in result.steps
            ],
        )
    for step in result.steps:
        if step.reason:
            error = step.error
            reason = error.for_command_line() if isinstance(error, CulnigError) else step.reason
            print_warning(f"{step.step} {step.state}: {reason}")
    for line in kept_from_others(result.steps):
        print_warning(line)
    if not result.failed:
        return EXIT_INPUT if any(step.state == "waits" for step in result.steps) else 0
    return EXIT_ENVIRONMENT if all(map(is_environment, result.failed)) else EXIT_INPUT


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else time_text(seconds)


@command.command("pack")
@click.argument("folder", type=PATH)
@click.option("-o", "--output", "out", type=PATH, required=True, help="File to write, NAME.culnig.zip.")
@overwrite_option()
@json_option(tables=False)
def pack(folder: Path, out: Path, overwrite: bool, as_json: bool) -> None:
    """Pack a study's settings, neuron sets, answers and report into one file, without weights and scores.

    `report` reads the file, and `study unpack` unpacks it.
    """
    from culnig.studies.packing import pack_study

    files = pack_study(folder, out, overwrite=overwrite)
    if as_json:
        print_json({"pack": str(out), "bytes": out.stat().st_size, "files": files})
    else:
        print_line(f"{len(files)} files packed into {out} ({size_text(out.stat().st_size)})")


@command.command("unpack")
@click.argument("archive", type=PATH)
@click.option("-o", "--output", "out", type=PATH, help="Folder to create.")
@click.option("--verify", is_flag=True, help="Check all checksums; without -o, unpack nothing.")
@json_option(tables=False)
def unpack(archive: Path, out: Path | None, verify: bool, as_json: bool) -> None:
    """Unpack a study into a folder, and check every file against its checksum."""
    from culnig.studies.packing import unpack_study

    document = unpack_study(archive, out, verify=verify)
    if as_json:
        print_json(document)
    else:
        where = f"unpacked into {out}" if out is not None else "match their checksums"
        print_line(f"{len(document['files'])} files {where}")
