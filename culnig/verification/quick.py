"""The quick checks: those of `verify` that every scoring run and evaluation begins with.

They share four passes over short prompts (`passes`), about half a second for the embedded model. A model that
fails one is refused with CheckError, before anything is written.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from culnig.core.progress import Say
from culnig.errors import AnotherStopped, CheckError, CulnigError, NonFiniteError, command, option
from culnig.inference.encoding import EncodedItem
from culnig.models.base import BoundModel
from culnig.models.fallbacks import slow_mixers
from culnig.verification.checks import (
    SAID_DEPENDENCE,
    Check,
    batch_dependence,
    check_attention,
    check_batches,
    check_binding,
    check_capture,
    check_repetition,
)
from culnig.verification.gates import check_gates
from culnig.verification.passes import LEFT_OUT, LeftOut, Passes

QUICK_CHECKS: dict[str, Callable[[Passes], Check]] = {
    "binding and widths": check_binding,
    "capture changes nothing": check_capture,
    "query, key and value": check_attention,
    "batches and padding": check_batches,
    "repeated answers": check_repetition,
    "gate and up projection": check_gates,
}
"""Checks by name. Batches and repetition need two passes more than those before. The last runs only the first
layers; it comes last because it says little of a model that computes at random."""

PATIENCE = 10.0
"""Seconds after which checks that need more passes are left out."""


def check_model(
    bound: BoundModel, encoded: Sequence[EncodedItem], say: Say, *, check: bool = True
) -> dict[str, Any]:
    """The entry `check` of a run or an evaluation, after the quick checks or, without `check`, none.

    Layers that are slow without their kernels are said too. CheckError names the first check that failed.
    """
    if bound.skeleton is not None and (slow := slow_mixers(bound.skeleton)):
        say(slow)
    if check:
        return require_sound(bound, encoded, say)
    say("the quick checks of the model are left out; the output records it")
    return {"performed": False, "checks": [], "batch_dependence": None}


def require_sound(bound: BoundModel, encoded: Sequence[EncodedItem], say: Say) -> dict[str, Any]:
    """Run the quick checks on the end of two prompts and return what a run records about them.

    CheckError names the first check that failed; NonFiniteError as in scoring.
    """
    with _same_random_numbers(bound):
        # processes that a model is spread over must make the same passes
        patience = PATIENCE if bound.sharding is None else math.inf
        passes = Passes(bound, [_with_gold(own) for own in encoded[:2]], patience)
        checks = [
            result_of(name, check, passes, passing_on=(NonFiniteError, AnotherStopped))
            for name, check in QUICK_CHECKS.items()
        ]
    failed = next((check for check in checks if check.passed is False), None)
    if failed:
        raise CheckError(
            f"model {bound.source!r} fails the check {failed.name!r}: {failed.detail}. Its scores and masks "
            f"would be wrong. {command('verify')} runs all checks; {option('check', False)} goes on without "
            "them, and the output records it"
        )
    by_name = {check.name: check for check in checks}
    batches, dependence = by_name["batches and padding"], None
    if batches.passed:
        dependence = batch_dependence(passes)
        if dependence > SAID_DEPENDENCE:
            say(batches.detail)
    left_out = [check for check in checks if check.passed is None and check.detail.startswith(LEFT_OUT)]
    for check in left_out:
        say(f"check {check.name!r} {check.detail}")
    return {
        "performed": True,
        "checks": [{"check": check.name, "passed": check.passed, "detail": check.detail} for check in checks],
        "batch_dependence": dependence,
    }


def result_of(
    name: str,
    check: Callable[[Passes], Check],
    passes: Passes,
    passing_on: tuple[type[Exception], ...] = (),
) -> Check:
    """The result of a check; an error that it raises means that it has failed with that error."""
    try:
        return check(passes)
    except LeftOut as reason:
        return Check(name, None, str(reason))
    except passing_on:
        raise
    except CulnigError as error:
        return Check(name, False, str(error))
    except Exception as error:  # any error of a model family is a result of the check
        return Check(name, False, f"{type(error).__name__}: {error}")


def _with_gold(own: EncodedItem) -> EncodedItem:
    """The item; one that is answered in free text gets some label to take a gradient of."""
    return own if own.option_ids else EncodedItem.of_prompt(own.token_ids, own.item.id)


@contextlib.contextmanager
def _same_random_numbers(bound: BoundModel) -> Iterator[None]:
    """torch's generators are afterwards as before, on every device of the model."""
    devices = {tensor.device for tensor in bound.model.parameters() if tensor.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices, key=str)):
        yield
