"""Whether the prompts of a benchmark share tokens: only where that takes less time on this machine.

The work that `inference.trees` saves is estimated from the lengths of the prompts. What it saves in time
depends on the device, so a large evaluation measures it first: the items of some rows, as trees and as whole
prompts, in turns. A small one, which would take longer to measure than it could save, shares by the estimate
on a CPU and not at all on other devices, for which nothing is known. The decision is recorded, and a resumed
evaluation keeps it. Answers are the same with either, up to float noise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from culnig.errors import StoreError
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import AnswerBatch, make_batches
from culnig.inference.encoding import EncodedItem
from culnig.inference.likelihoods import rows_of
from culnig.inference.trees import TreeBatch, relative_work, share_prefixes, sharing_problem
from culnig.models.base import BoundModel

ESTIMATED_ON = ("cpu",)
"""Types of devices on which the estimate was compared with the time."""
MEASURED_BELOW = 0.02
"""Time is measured if that reads at most this fraction of the tokens of the whole evaluation."""
PAYS_BELOW = 0.97
"""Measured: prompts are shared if that takes at most this fraction of the time."""
_TRIAL_TOKENS = 1024
_ROUNDS = 2


@dataclass(frozen=True)
class Sharing:
    """The decision for one benchmark."""

    shared: bool
    estimated: float | None = None
    """Work with sharing as a fraction of that without; None where too little is alike."""
    measured: float | None = None
    """The same of wall time on this machine; None where it was not measured."""

    def record(self) -> dict[str, Any]:
        """As `results.json` has it."""
        return asdict(self)


def choose_sharing(
    bound: BoundModel,
    encoded: Mapping[str, Sequence[EncodedItem]],
    token_budget: int,
    n_conditions: int | None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Sharing]:
    """The decision for the items of each benchmark, which are read under `n_conditions` conditions.

    None goes by the estimate alone on every device, as the first edition did.
    """
    with AnswerReader(bound) as reader:
        return {
            name: _choose(bound, reader, own, token_budget, n_conditions, say)
            for name, own in encoded.items()
        }


def recorded(stored: Mapping[str, Any]) -> dict[str, Sharing]:
    """The decisions of an evaluation that is resumed; StoreError where they cannot be read."""
    try:
        return {name: Sharing(**own) for name, own in stored.items()}
    except (AttributeError, TypeError) as error:
        raise StoreError(f"the evaluation to resume records no readable sharing: {error}") from None


def _choose(
    bound: BoundModel,
    reader: AnswerReader,
    encoded: Sequence[EncodedItem],
    token_budget: int,
    n_conditions: int | None,
    say: Callable[[str], None],
) -> Sharing:
    if not encoded or encoded[0].item.accepted:
        return Sharing(shared=False)
    encoded, _ = rows_of(encoded)
    shared = share_prefixes(encoded, token_budget)
    if shared is None:
        return Sharing(shared=False)
    estimated = relative_work(shared, make_batches(encoded, token_budget))
    problem = sharing_problem(bound, reader, shared)
    if problem:
        say(f"prompts are not shared: {problem}")
        return Sharing(shared=False, estimated=estimated)
    if n_conditions is None:
        return Sharing(shared=True, estimated=estimated)
    trial = _trial(shared)
    whole = make_batches(trial.items, token_budget)
    read = _ROUNDS * (trial.n_tokens + sum(batch.n_tokens for batch in whole))
    all_tokens = sum(batch.n_tokens for batch in shared) * n_conditions
    if read > MEASURED_BELOW * all_tokens:
        return Sharing(bound.input_device.type in ESTIMATED_ON, estimated)
    measured = _seconds(reader, [trial], whole)
    return Sharing(measured <= PAYS_BELOW, estimated, measured)


def _trial(batches: Sequence[TreeBatch]) -> TreeBatch:
    """Some rows of the middle batch, whose prompts are neither the longest nor the shortest."""
    batch = batches[len(batches) // 2]
    return TreeBatch(batch.trees[: max(1, _TRIAL_TOKENS // batch.longest)])


def _seconds(reader: AnswerReader, shared: Sequence[AnswerBatch], whole: Sequence[AnswerBatch]) -> float:
    """Time of the trees as a fraction of that of the whole prompts; the best of some rounds in turns."""
    import torch

    best = [math.inf, math.inf]
    with torch.inference_mode():
        for _ in range(_ROUNDS):
            for number, batches in enumerate((shared, whole)):
                began = time.perf_counter()
                for batch in batches:
                    reader.logits(batch).argmax(-1).cpu()  # waits for the device
                best[number] = min(best[number], time.perf_counter() - began)
    return best[0] / best[1]
