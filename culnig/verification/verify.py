"""All checks of a model; later checks build on earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig.core.progress import Progress, Say, Task, no_progress, say_nothing
from culnig.errors import AnotherStopped, InputError, argument, option
from culnig.kernels import check as kernel_checks
from culnig.models.base import BoundModel
from culnig.models.named import loaded_model
from culnig.verification.checks import Check, check_labels, check_masking
from culnig.verification.differences import check_gradients
from culnig.verification.passes import Passes
from culnig.verification.quick import QUICK_CHECKS, result_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from culnig.models.settings import LoadOptions

CHECKS: dict[str, Callable[[Passes], Check]] = {
    "label tokens": check_labels,
    **QUICK_CHECKS,
    "gradients": check_gradients,
    "masking": check_masking,
}
"""Checks by name."""


def verify(
    model: str | Path | BoundModel | None = None,
    *,
    kernels: bool = False,
    progress: Progress = no_progress,
    say: Say = say_nothing,
    **loading: Unpack[LoadOptions],
) -> dict[str, Any]:
    """Check a model, with `kernels` the kernels that run here, or both.

    The result has `passed`, `kernels` (one row for each backend and case; `reason` says why the compiled
    kernels cannot run on a CUDA device that is here, which is a failure) and `checks` (one row for each
    check of the model; `passed` is None if the check could not run). InputError if there is nothing to
    check.
    """
    if model is None and not kernels:
        raise InputError(f"nothing to verify: give {argument('model')}, {option('kernels')}, or both")
    document: dict[str, Any] = {}
    if kernels:
        document["kernels"] = [
            {"backend": row.backend, "case": row.case, "passed": row.agrees, "reason": row.reason}
            for row in kernel_checks.check_kernels()
        ]
    if model is not None:
        bound = loaded_model(model, say, spreads=True, **loading)
        task = Task(progress, "verify", len(CHECKS))
        document |= {"model": str(getattr(model, "source", model)), "checks": []}
        for result in verify_model(bound):
            document["checks"].append(
                {"check": result.name, "passed": result.passed, "detail": result.detail}
            )
            task.advance()
    rows = [*document.get("kernels", ()), *document.get("checks", ())]
    return {**document, "passed": all(row["passed"] is not False for row in rows)}


def verify_model(bound: BoundModel) -> Iterator[Check]:
    """Run every check; a check that raises an error has failed with that error."""
    passes = Passes(bound)
    for name, check in CHECKS.items():
        yield result_of(name, check, passes, (AnotherStopped,))
