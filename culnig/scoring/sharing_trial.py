"""Whether a model can be scored behind shared prefixes: its structure is asked, then a few tokens tried."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Item
from culnig.core.moments import CultureMoments
from culnig.core.outcomes import Outcomes
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import Batch
from culnig.inference.encoding import EncodedItem
from culnig.inference.prefixes import unfit
from culnig.inference.shared_batches import SharedBatch
from culnig.models.base import BoundModel
from culnig.scoring.accumulator import Accumulator
from culnig.scoring.capture import Capture
from culnig.scoring.pieces import Pieces

TOLERANCE = 1e-2
HALF_TOLERANCE = 0.25
"""Largest difference of a score, as a share of the largest, that is float noise; the same for half precision.
What goes wrong with a mask, a position or a cache is of the size of the scores."""

_TEXT = "What do people in this town usually eat in the morning, before they go to school or to work? Say it."
_PREFIXES, _RESTS = (9, 5), ((3, 1), (2,))
"""Tokens of two prefixes and of the rests behind each, so that both kinds of padding are tried."""


_found: WeakKeyDictionary[Any, dict[str, str | None]] = WeakKeyDictionary()
"""What was found about a model with each way of attention, so that it is tried once."""


def sharing_problem(bound: BoundModel) -> str | None:
    """Why this model cannot be scored behind shared prefixes, or None."""
    attention = str(getattr(bound.model.config, "_attn_implementation", None))
    found = _found.setdefault(bound.model, {})
    if attention not in found:
        found[attention] = _problem(bound)
    return found[attention]


def _problem(bound: BoundModel) -> str | None:
    reason = unfit(bound)
    if reason is not None:
        return reason
    try:
        shared = _trial_batch(bound)
        whole, behind = _sums(bound, shared.batch), _sums(bound, shared)
    except Exception as error:  # whatever it is, whole prompts may do, or say it better
        return f"a trial of it ended in {type(error).__name__}: {error}"
    difference = float(np.abs(whole - behind).max())
    tolerance = HALF_TOLERANCE if bound.model.dtype.itemsize < 4 else TOLERANCE
    if not difference <= tolerance * float(np.abs(whole).max()):
        return f"its scores behind a stored prefix differ by {difference:.2g}"
    return None


def _trial_batch(bound: BoundModel) -> SharedBatch:
    ids: list[int] = bound.tokenizer(_TEXT, add_special_tokens=False)["input_ids"]
    ids = ids * (1 + 20 // len(ids))
    prefixes = tuple(tuple(ids[:length]) for length in _PREFIXES)
    item = Item("trial", "trial", "trial", "identify", "", ("A", "B"), "A")
    encoded, group_of, place = [], [], 0
    for group, lengths in enumerate(_RESTS):
        for length in lengths:
            rest = ids[len(ids) - place - length : len(ids) - place]
            encoded.append(EncodedItem(item, (*prefixes[group], *rest), 0, (0, 1)))
            group_of.append(group)
            place += length
    batch = Batch(tuple(range(len(encoded))), tuple(encoded))
    return SharedBatch(_with_likely_answers(bound, batch), tuple(group_of), prefixes)


def _with_likely_answers(bound: BoundModel, batch: Batch) -> Batch:
    """The batch with the most probable answers as gold ones, whose gradients are not lost in rounding."""
    import torch

    with AnswerReader(bound) as reader, torch.inference_mode():
        likely = reader.logits(batch).argmax(-1).tolist()
    return Batch(
        batch.numbers,
        tuple(replace(one, gold_id=gold) for one, gold in zip(batch.items, likely, strict=True)),
    )


def _sums(bound: BoundModel, batch: SharedBatch | Batch) -> NDArray[np.float64]:
    """Scores of all neurons, summed over the batch."""
    items = [one.item for one in (batch.batch if isinstance(batch, SharedBatch) else batch).items]
    moments = CultureMoments.zeros(["trial"], bound.layout.n_neurons)
    accumulator = Accumulator(moments, bound.layout, "max", clamp_at_zero=False)
    with AnswerReader(bound) as reader, Capture(bound, accumulator.add) as capture:
        Pieces(bound, reader, capture, accumulator, Outcomes.empty(items), 64).score(batch)
    sums: NDArray[np.float64] = moments.sum[0]
    return sums
