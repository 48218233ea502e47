"""All checks of a model; later checks build on earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from culnig.errors import CulnigError
from culnig.models.base import BoundModel
from culnig.verification.checks import (
    Check,
    check_attention,
    check_batches,
    check_binding,
    check_capture,
    check_labels,
    check_masking,
)
from culnig.verification.differences import check_gradients

CHECKS: dict[str, Callable[[BoundModel], Check]] = {
    "label tokens": check_labels,
    "binding and widths": check_binding,
    "capture changes nothing": check_capture,
    "query, key and value": check_attention,
    "gradients": check_gradients,
    "batches and padding": check_batches,
    "masking": check_masking,
}
"""Checks by name."""


def verify_model(bound: BoundModel) -> Iterator[Check]:
    """Run every check; a check that raises an error has failed with that error."""
    for name, check in CHECKS.items():
        try:
            yield check(bound)
        except CulnigError as error:
            yield Check(name, False, str(error))
        except Exception as error:  # any error of a model family is a result of the check
            yield Check(name, False, f"{type(error).__name__}: {error}")
