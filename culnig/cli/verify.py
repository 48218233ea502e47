"""`culnig-engine verify`: is a model bound and scored rightly here, and are the kernels right."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from culnig.cli.model_options import ModelChoice, model_options
from culnig.cli.options import json_option
from culnig.cli.output import print_json, print_line, print_table
from culnig.cli.progress import progress_view

_WORDS = {True: "ok", False: "FAILED", None: "skipped"}
EXIT_FAILED = 1


@click.command("verify")
@model_options(required=False)
@click.option(
    "--kernels", is_flag=True, help="Compare every kernel that runs here with eager torch, bit for bit."
)
@json_option()
def command(model: ModelChoice | None, kernels: bool, as_json: bool) -> int:
    """Check a model (--model), the kernels (--kernels), or both. Exit code 1 if anything fails."""
    if model is None and not kernels:
        raise click.UsageError("nothing to verify: give --model M, --kernels, or both")
    document: dict[str, Any] = {}
    if kernels:
        document["kernels"] = _kernel_rows()
    if model is not None:
        document["model"], document["checks"] = model.source, _model_rows(model)
    failed = any(
        row["passed"] is False for row in [*document.get("kernels", []), *document.get("checks", [])]
    )
    if as_json:
        print_json({**document, "passed": not failed})
        return EXIT_FAILED if failed else 0
    if kernels:
        _print_kernels(document["kernels"])
    if model is not None:
        rows = [(row["check"], _WORDS[row["passed"]], row["detail"]) for row in document["checks"]]
        print_table(f"Model {model.source}", ("check", "result", "detail"), rows)
    return EXIT_FAILED if failed else 0


def _model_rows(model: ModelChoice) -> list[dict[str, Any]]:
    from culnig.verification.verify import CHECKS, verify_model

    rows = []
    with progress_view() as view:
        view.say(f"loading {model.source}")
        bound = model.load()
        view.add("verify", len(CHECKS))
        for check in verify_model(bound):
            rows.append({"check": check.name, "passed": check.passed, "detail": check.detail})
            view.advance("verify", 1)
    return rows


def _kernel_rows() -> list[dict[str, Any]]:
    from culnig.kernels.check import check_kernels

    return [{"backend": row.backend, "case": row.case, "passed": row.agrees} for row in check_kernels()]


def _print_kernels(rows: list[dict[str, Any]]) -> None:
    counts = Counter((row["backend"], row["passed"]) for row in rows)
    backends = list(dict.fromkeys(row["backend"] for row in rows))
    print_table(
        "Kernels against eager torch, bit for bit",
        ("backend", "equal", "different"),
        [(name, counts[name, True], counts[name, False]) for name in backends],
    )
    for row in rows:
        if not row["passed"]:
            print_line(f"different: {row['backend']}, {row['case']}")
