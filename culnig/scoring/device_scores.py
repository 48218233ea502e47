"""The neurons on one device: the scores of a batch, and the sums of a portion.

While the backward pass runs, every module's scores are written into its columns of one buffer on the device.
When the batch is complete, one call adds the buffer to the sums of all neurons. A batch that is run again,
because memory ran out or gradients overflowed, therefore leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from culnig.core.moments import CultureMoments
from culnig.core.neurons import Segment
from culnig.kernels import ScoreBatch, ScoreTables
from culnig.kernels.arguments import CULTURE_TABLES, TABLE_DTYPES
from culnig.kernels.base import Backend
from culnig.kernels.choice import choose_backend
from culnig.kernels.routing import Routing, routing_of
from culnig.kernels.status import empty_status
from culnig.kernels.transfers import HostCopy, to_device

if TYPE_CHECKING:
    from culnig.models.experts import Routed

MOMENTS = dict(zip(CULTURE_TABLES, ("sum", "sum_of_squares", "positive_count"), strict=True))
"""Field of CultureMoments that each table of a kernel is."""
_TABLES = {field: name for name, field in MOMENTS.items()}


class CapturedPair(NamedTuple):
    """What was captured of a segment."""

    activation: torch.Tensor
    """(item, token, neuron), or (row, neuron of one expert) where there is `routed`."""
    gradient: torch.Tensor
    routed: Routed | None = None

    def filled(self, segment: Segment, shape: tuple[int, ...]) -> CapturedPair:
        """The pair (item, token, neuron), with zeros where an expert did not see a token."""
        routed = self.routed
        if routed is None:
            return self
        activation, gradient = (
            routed.filled(rows.detach(), segment.experts).view(*shape, segment.width)
            for rows in (self.activation, self.gradient)
        )
        return CapturedPair(activation, gradient)


class Run(NamedTuple):
    """Neurons that follow each other, in the layout and on the device."""

    layout: slice
    device: slice


class DeviceScores:
    """Scores and sums for the neurons of some segments, on the device of their activations."""

    def __init__(
        self,
        device: torch.device,
        segments: Sequence[Segment],
        moments: Sequence[CultureMoments],
        *,
        keeps_peaks: bool,
    ) -> None:
        """`moments` are the sums that batches are added to, one for each score of a neuron."""
        self.device = device
        self.backend: Backend = choose_backend(device)
        self._segments = sorted(segments, key=lambda segment: segment.start)
        self._rows = {segment.start: row for row, segment in enumerate(self._segments)}
        ends = np.cumsum([segment.width for segment in self._segments]).tolist()
        self._columns = {
            segment.start: slice(end - segment.width, end)
            for segment, end in zip(self._segments, ends, strict=True)
        }
        self.n_neurons = ends[-1]
        self.runs = _runs(self._segments, self._columns)
        self._keeps_peaks = keeps_peaks
        self._buffers: list[torch.Tensor | None] = [None] * (len(moments) + 1)
        self._moments = moments
        self._sums: list[ScoreTables] | None = None

    def begin(self, token_mask: NDArray[np.bool_]) -> None:
        """Make room for the scores of a batch with this mask (item, token)."""
        if self._sums is None:
            self._sums = [self._tables_of(moments) for moments in self._moments]
        self.n_items = len(token_mask)
        self._routing: tuple[Routed, Routing] | None = None
        self.routed_tokens: dict[int, torch.Tensor] = {}
        """By layer: real tokens of the batch that each expert saw, (expert, item)."""
        self.token_mask = to_device(token_mask, self.device)
        self.status = empty_status(len(self._segments), self.n_items, self.device)
        self._target_status: dict[int, torch.Tensor] = {}
        """The same of the scores of other targets, by their number."""
        self.scores = [self._buffer(number, torch.float32) for number in range(len(self._moments))]
        self.peaks = self._buffer(-1, torch.int32) if self._keeps_peaks else None

    def write(self, segment: Segment, pair: CapturedPair, aggregator: str, number: int = 0) -> None:
        """Score the pair of a segment, without waiting for the scores, as those of this number."""
        columns = self._columns[segment.start]
        tables = ScoreTables(
            item_scores=self.scores[number][:, columns],
            peak_tokens=None if self.peaks is None or number else self.peaks[:, columns],
        )
        statuses = self.status
        if number:
            if number not in self._target_status:
                self._target_status[number] = empty_status(len(self._segments), self.n_items, self.device)
            statuses = self._target_status[number]
        status = statuses[self._rows[segment.start]]
        if pair.routed is None:
            score, tokens = self.backend.score_items, self.token_mask
            score(pair.activation, pair.gradient, tokens, tables, status, aggregator)
        else:
            routing = self._routing_of(pair.routed, segment.layer, segment.experts)
            self.backend.routed_items(pair.activation, pair.gradient, routing, tables, status, aggregator)

    def _routing_of(self, routed: Routed, layer: int, n_experts: int) -> Routing:
        """The routing of an expert layer's rows, made and counted once for all its modules."""
        if self._routing is None or self._routing[0] is not routed:
            self._routing = routed, routing_of(routed.expert, routed.token, self.token_mask, n_experts)
            real = self.token_mask.reshape(-1)[routed.token].long()
            group = routed.expert * self.n_items + routed.token // self.token_mask.shape[1]
            counts = torch.zeros(n_experts * self.n_items, dtype=torch.int64, device=self.device)
            self.routed_tokens[layer] = counts.index_add_(0, group, real).view(n_experts, self.n_items)
        return self._routing[1]

    def columns_of(self, segment: Segment, number: int) -> torch.Tensor:
        """Where the scores (item, neuron) of a segment go, for the sums of this number."""
        return self.scores[number][:, self._columns[segment.start]]

    def read_status(self) -> tuple[dict[Segment, NDArray[np.int64]], NDArray[np.bool_]]:
        """What is not finite, since `begin`: the status (item, STATUS_WORDS) of each segment with such
        products, and for each number above 0 whether it has such scores. Waits for the device, once.
        """
        for number, statuses in self._target_status.items():
            self._mark(number, statuses[..., 0] > 0)
        not_finite = [scores.isfinite().all()[None].logical_not().long() for scores in self.scores[1:]]
        words = torch.cat([self.status.flatten(), *not_finite]).cpu().numpy()
        status = words[: self.status.numel()].reshape(self.status.shape)
        wrong = {segment: row for segment, row in zip(self._segments, status, strict=True) if row[:, 0].any()}
        return wrong, words[self.status.numel() :].astype(np.bool_)

    def _mark(self, number: int, wrong: torch.Tensor) -> None:
        """Make the scores of this number NaN where products were not finite, `wrong` (segment, item)."""
        widths = torch.tensor([segment.width for segment in self._segments], device=self.device)
        of_neurons = wrong.T.repeat_interleave(widths, dim=1, output_size=self.n_neurons)
        self.scores[number].masked_fill_(of_neurons, float("nan"))

    def clear(self, segments: Iterable[Segment], number: int | None = None) -> None:
        """Set the scores of those of these segments that are here to zero, of all numbers or of this one."""
        tables = self.scores if self.peaks is None else [*self.scores, self.peaks]
        tables = tables if number is None else [self.scores[number]]
        for segment in segments:
            if segment.start in self._columns:
                for table in tables:
                    table[:, self._columns[segment.start]] = 0

    def addition(self, number: int, batch: ScoreBatch) -> Callable[[], None]:
        """A call that adds the scores of this number to their sums, and needs no more memory."""
        assert self._sums is not None
        return self.backend.addition(self.scores[number], batch, self._sums[number])

    def take(self, number: int) -> HostCopy:
        """Begin to copy a buffer of the batch to the host (-1: the peaks); the next batch gets another."""
        table = self.peaks if number < 0 else self.scores[number]
        assert table is not None
        if table.device.type == "cpu":
            self._buffers[number] = None
        return HostCopy(table)

    def sums(self, number: int, field: str) -> HostCopy | None:
        """A copy of a field of CultureMoments on the host; None where batches are added to the moments."""
        if self._sums is None or self._shares:
            return None
        return HostCopy(getattr(self._sums[number], _TABLES[field]))

    @property
    def _shares(self) -> bool:
        """Whether the sums are the arrays of the moments themselves."""
        return self.backend.tables_device(self.device).type == "cpu" and len(self.runs) == 1

    def _tables_of(self, moments: CultureMoments) -> ScoreTables:
        home = self.backend.tables_device(self.device)
        tables: dict[str, torch.Tensor] = {}
        for name, field in MOMENTS.items():
            table = getattr(moments, field)
            own = [table[:, run.layout] for run in self.runs]
            if self._shares:
                tables[name] = torch.from_numpy(own[0])
            elif moments.n_items.any():
                tables[name] = to_device(np.concatenate(own, axis=1), home)
            else:
                shape, dtype = (len(table), self.n_neurons), getattr(torch, TABLE_DTYPES[name])
                tables[name] = torch.zeros(shape, dtype=dtype, device=home)
        return ScoreTables(**tables)

    def _buffer(self, number: int, dtype: torch.dtype) -> torch.Tensor:
        """Memory of (item, neuron), that of earlier batches where it is large enough."""
        size = self.n_items * self.n_neurons
        buffer = self._buffers[number]
        if buffer is None or buffer.numel() < size:
            self._buffers[number] = buffer = None  # freed first
            self._buffers[number] = buffer = torch.empty(size, dtype=dtype, device=self.device)
        return buffer[:size].view(self.n_items, self.n_neurons)


def _runs(segments: Sequence[Segment], columns: Mapping[int, slice]) -> list[Run]:
    runs: list[Run] = []
    for segment in segments:
        own = columns[segment.start]
        if runs and runs[-1].layout.stop == segment.start:
            last = runs.pop()
            runs.append(
                Run(slice(last.layout.start, segment.columns.stop), slice(last.device.start, own.stop))
            )
        else:
            runs.append(Run(segment.columns, own))
    return runs


def joined(
    parts: Sequence[tuple[Sequence[Run], HostCopy]], empty: Callable[[], NDArray[Any]]
) -> NDArray[Any]:
    """A table (row, neuron) of the layout from those of devices, which are written into `empty`.

    The table of one device that has all neurons is taken as it is.
    """
    tables = [copy.numpy() for _, copy in parts]
    whole = empty()
    if len(tables) == 1 and tables[0].shape == whole.shape:
        return tables[0]
    for (runs, _), table in zip(parts, tables, strict=True):
        for run in runs:
            whole[:, run.layout] = table[:, run.device]
    return whole
