"""`culnig-engine verify`: whether a model is bound and scored correctly here, and whether the kernels are."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from culnig.cli.options import ModelChoice, json_option, model_options
from culnig.cli.output import print_json, print_line, print_table
from culnig.cli.progress import progress_view
from culnig.core.processes import disconnect

_WORDS = {True: "ok", False: "FAILED", None: "skipped"}
EXIT_FAILED = 1


@click.command("verify")
@model_options(required=False, spreads=True)
@click.option(
    "--kernels", is_flag=True, help="Compare every kernel that runs here with eager torch, bit for bit."
)
@json_option()
def command(model: ModelChoice | None, kernels: bool, as_json: bool) -> int:
    """Check a model (--model), the kernels (--kernels), or both. Exit code 1 if anything fails.

    A CUDA device on which the compiled kernels cannot run fails too.
    """
    from culnig.verification.verify import verify

    source, loading = (None, {}) if model is None else (model.source, model.options)
    reports = model is None or model.reports
    with progress_view(quiet=not reports) as view:
        document = verify(source, kernels=kernels, progress=view.progress, say=view.say, **loading)
    disconnect()
    if not reports:
        pass
    elif as_json:
        print_json(document)
    else:
        if kernels:
            _print_kernels(document["kernels"])
        if model is not None:
            rows = [(row["check"], _WORDS[row["passed"]], row["detail"]) for row in document["checks"]]
            print_table(f"Model {model.source}", ("check", "result", "detail"), rows)
    return 0 if document["passed"] else EXIT_FAILED


def _print_kernels(rows: list[dict[str, Any]]) -> None:
    counts = Counter((row["backend"], row["passed"]) for row in rows)
    backends = list(dict.fromkeys(row["backend"] for row in rows))
    print_table(
        "Kernels against eager torch, bit for bit",
        ("backend", "equal", "different"),
        [(name, counts[name, True], counts[name, False]) for name in backends],
    )
    for row in rows:
        if row["reason"]:
            print_line(f"cannot run: {row['backend']}, {row['case']}; {row['reason']}")
        elif not row["passed"]:
            print_line(f"different: {row['backend']}, {row['case']}")
