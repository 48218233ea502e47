"""Forward and backward passes over a few short prompts, each run once and shared by the checks.

The prompts are two of different lengths, cut from items of the benchmark that will be scored or from the
probe items, and a prompt of one token. They go through the model four times: without any of our hooks;
with all of them, backward included; the second prompt alone, in the same way; and without hooks again. Where
the first two take long, the others are left out.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from culnig.core.neurons import Segment
from culnig.errors import BindingError
from culnig.inference.answers import AnswerReader
from culnig.inference.attention import grouped_heads
from culnig.inference.batches import Batch
from culnig.inference.encoding import EncodedItem, Encoder
from culnig.models.base import BoundModel
from culnig.models.intervention import intervene
from culnig.scoring.capture import Capture
from culnig.scoring.diagnosis import non_finite_activation
from culnig.verification.probes import batch_of, cut_to, probe_items

LONG, SHORT = 8, 5
"""Tokens of the two prompts."""


@dataclass(frozen=True)
class Captured:
    """What a backward pass showed of one segment."""

    times: int
    """How often it was handed over."""
    width: int
    has_gradient: bool
    first_token: NDArray[np.float64]
    """Largest absolute gradient at the first token of each item, (item,)."""
    scores: NDArray[np.float32]
    """Largest gradient × activation over the real tokens, (item, neuron)."""


LEFT_OUT = "left out"
"""How the detail of a check begins whose passes were left out."""


class LeftOut(Exception):
    """A pass is left out because earlier ones took long."""


@dataclass(frozen=True)
class Hooked:
    """What the passes with hooks showed."""

    logits: torch.Tensor
    """At the last tokens, (item, vocabulary)."""
    captured: dict[Segment, Captured]
    alone: dict[Segment, Captured] | None
    """The same for the short prompt in a batch of its own; None if left out."""


class Passes:
    """The passes of one model; `encoded` are prompts to cut the checks' prompts from.

    Passes are left out (LeftOut) after `patience` seconds.
    """

    def __init__(
        self, bound: BoundModel, encoded: Sequence[EncodedItem] = (), patience: float = math.inf
    ) -> None:
        self.bound = bound
        self._encoded = list(encoded[:2])
        self._patience = patience
        self._began = time.monotonic()

    def _check_patience(self) -> None:
        seconds = time.monotonic() - self._began
        if seconds > self._patience:
            raise LeftOut(f"{LEFT_OUT}: the first passes took {seconds:.0f} s")

    @cached_property
    def batch(self) -> Batch:
        """The long prompt, the short one, and one token."""
        encoded = self._encoded or Encoder(self.bound).encode_all(probe_items()[:2])
        first, second = encoded[0], encoded[-1]
        long = _end_of(first, LONG)
        return batch_of(long, _end_of(second, max(1, len(long.token_ids) * SHORT // LONG)), cut_to(first, 1))

    @cached_property
    def plain(self) -> torch.Tensor:
        """Logits at the last tokens, (item, vocabulary), from the model without any of our hooks."""
        return self._plain()

    @cached_property
    def hooked(self) -> Hooked:
        """Passes under capture and a mask that multiplies neurons by 1."""
        _ = self.plain
        first_of_each = np.array([segment.start for segment in self.bound.layout.segments])
        seen = _Seen()
        with (
            AnswerReader(self.bound) as reader,
            intervene(self.bound, first_of_each, factor=1.0),
            Capture(self.bound, seen.keep),
        ):
            logits, captured = self._backward(reader, self.batch, seen)
            alone = None
            with contextlib.suppress(LeftOut):
                self._check_patience()
                _, alone = self._backward(reader, batch_of(self.batch.items[1]), seen)
        return Hooked(logits, captured, alone)

    @property
    def alone(self) -> dict[Segment, Captured]:
        """Every segment for the short prompt in a batch of its own."""
        if self.hooked.alone is None:
            self._check_patience()
        assert self.hooked.alone is not None
        return self.hooked.alone

    @cached_property
    def first_tokens(self) -> dict[Segment, NDArray[np.float64]]:
        """Largest absolute gradient of every segment at the first token of each prompt, (item,).

        Attention sinks are closed for it: with one, a first token divides its attention between itself and
        the sink, and its query decides how.
        """
        captured, sinks = self.hooked.captured, _sinks(self.bound.model)
        if sinks:
            self._check_patience()
            seen = _Seen()
            with _closed(sinks), AnswerReader(self.bound) as reader, Capture(self.bound, seen.keep):
                _, captured = self._backward(reader, self.batch, seen)
        return {segment: own.first_token for segment, own in captured.items()}

    @cached_property
    def again(self) -> torch.Tensor:
        """`plain` once more, after the passes with hooks."""
        _ = self.hooked
        self._check_patience()
        return self._plain()

    def _plain(self) -> torch.Tensor:
        model: Any = self.bound.model
        inputs, device = self.batch.inputs(), self.bound.input_device
        with _in_evaluation_mode(model), torch.no_grad(), grouped_heads(device):
            logits: torch.Tensor = model(input_ids=inputs.token_ids.to(device), use_cache=False).logits
        if logits.shape[:2] != inputs.token_ids.shape:
            raise BindingError(
                f"{type(model).__name__} returns logits of shape {tuple(logits.shape)} for tokens of shape "
                f"{tuple(inputs.token_ids.shape)}, expected (item, token, vocabulary)"
            )
        return logits[inputs.rows.to(logits.device), inputs.last.to(logits.device)].double()

    def _backward(
        self, reader: AnswerReader, batch: Batch, seen: _Seen
    ) -> tuple[torch.Tensor, dict[Segment, Captured]]:
        """Logits and segments of one backward pass from Σ log P(gold), whose gradients do not underflow."""
        seen.begin(batch)
        logits = reader.logits(batch)
        if not logits.isfinite().all():
            raise non_finite_activation(self.bound, reader, batch)
        gold = torch.tensor([item.gold_id for item in batch.items], device=logits.device)
        logits.log_softmax(-1).gather(1, gold[:, None]).sum().backward()  # type: ignore[no-untyped-call]
        return logits.detach().double(), seen.captured


class _Seen:
    """Takes the pairs of a backward pass and keeps what the checks need of them."""

    def begin(self, batch: Batch) -> None:
        """Set the batch of the coming pass."""
        self.captured: dict[Segment, Captured] = {}
        self._padding = torch.from_numpy(~batch.token_mask)

    def keep(self, segment: Segment, activation: torch.Tensor, gradient: torch.Tensor) -> None:
        """Consumer of the capture."""
        activation, gradient = activation.detach().float(), gradient.detach().float()
        products = activation * gradient
        products.masked_fill_(self._padding[..., None].to(products.device), -torch.inf)
        before = self.captured.get(segment)
        self.captured[segment] = Captured(
            1 if before is None else before.times + 1,
            products.shape[-1],
            bool(gradient.any()),
            gradient[:, 0].abs().amax(-1).double().cpu().numpy(),
            products.amax(1).cpu().numpy(),
        )


def _sinks(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [own for name, own in model.named_parameters() if name.rpartition(".")[2] == "sinks"]


@contextlib.contextmanager
def _closed(sinks: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """No attention goes to the sinks inside."""
    before = [own.detach().clone() for own in sinks]
    try:
        with torch.no_grad():
            for own in sinks:
                own.fill_(torch.finfo(own.dtype).min / 2)
        yield
    finally:
        with torch.no_grad():
            for own, values in zip(sinks, before, strict=True):
                own.copy_(values)


def _end_of(encoded: EncodedItem, n_tokens: int) -> EncodedItem:
    """The item with only the last tokens of its prompt."""
    return replace(encoded, token_ids=encoded.token_ids[-n_tokens:])


@contextlib.contextmanager
def _in_evaluation_mode(model: Any) -> Iterator[None]:
    """As `AnswerReader` does it: a model in evaluation mode is left as it is, with all its modules."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()
