"""What a run keeps of every item in addition to the culture sums: its score for each neuron, or its tensors.

A keeper is told of each batch before it is scored, sees each module's pair once, and writes in a thread
parallel to the computation. Which batches a file holds is fixed, so a resumed run makes the same files.
Checkpoints are made between two files only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import Segment
from culnig.inference.batches import Batch
from culnig.kernels.transfers import HostCopy, to_device
from culnig.scoring.accumulator import ItemStore, ItemValues
from culnig.scoring.scaling import Scale
from culnig.store import schema
from culnig.store.background import BackgroundWriter
from culnig.store.data_parts import PartName, Prompts
from culnig.store.item_scores import ItemScoresWriter, ScoreType, item_bytes
from culnig.store.tensors import TensorsWriter, pair_size
from culnig.store.writer import Portion, RunWriter

if TYPE_CHECKING:
    import torch

PART_BYTES = 256 << 20
"""Most uncompressed bytes of a file, unless one batch has more."""

TokenText = Callable[[int], str]
"""Text of a token."""


class Keeper(ItemStore, ABC):
    """Keeps values of the items of one portion's batches.

    `keep_scores` and `keep` may be called with a half of the batch that was begun, where memory ran out.
    """

    folder: str

    def __init__(
        self,
        writer: RunWriter,
        portion: Portion,
        batches: Sequence[Batch],
        numbers: range,
        text_of: TokenText,
    ) -> None:
        """`batches` are the benchmark's, `numbers` those of the portion."""
        self._text_of = text_of
        self._writer = writer
        self._portion = portion
        self._batches = batches
        self._numbers = numbers
        self._background = BackgroundWriter()
        self._part: ItemScoresWriter | TensorsWriter | None = None
        self._unfinished: list[ItemScoresWriter | TensorsWriter] = []
        self._ends = self._part_ends()

    @abstractmethod
    def bytes_of(self, batch: Batch) -> int:
        """Bytes that a batch takes, uncompressed."""

    def _end(self, batch: Batch) -> None:
        """The batch that was begun is complete."""

    @abstractmethod
    def _open(self, batches: Sequence[Batch], name: PartName) -> ItemScoresWriter | TensorsWriter: ...

    def files(self, n_batches: int) -> list[Path]:
        """Files of the portion's first `n_batches` batches."""
        firsts = [self._numbers.start, *sorted(self._ends)[:-1]]
        return [
            self._writer.data_file(self.folder, self._portion, first)
            for first in firsts
            if first < self._numbers.start + n_batches
        ]

    def begin(self, number: int) -> None:
        """Prepare for the batch of this number in the benchmark."""
        batch = self._batches[number]
        if self._part is None:
            end = min(end for end in self._ends if end > number)
            name = PartName(self._writer.run_id, self._portion.benchmark, self._portion.number, number)
            self._part = self._open(self._batches[number:end], name)
            self._unfinished.append(self._part)
        self._rows = {index: row for row, index in enumerate(batch.numbers)}

    def end(self, number: int) -> None:
        """Store what was kept of the batch of this number."""
        self._end(self._batches[number])
        if number + 1 in self._ends:
            part, self._part = self._part, None
            assert part is not None
            self._background.submit(lambda: self._close_part(part))

    @property
    def between_parts(self) -> bool:
        """Whether a checkpoint may be made: the files of all batches so far are complete."""
        return self._part is None

    def settle(self) -> None:
        """Wait until everything that was kept is on the disk."""
        self._background.drain()

    def close(self) -> None:
        """Stop writing; a part that is not complete is dropped."""
        self._background.close()
        for part in self._unfinished:
            part.abandon()

    def _row(self, batch: Batch) -> int:
        """Row of the first item in the batch that was begun."""
        return self._rows[batch.numbers[0]]

    def _part_ends(self) -> Collection[int]:
        ends, size = [], 0
        for number in self._numbers:
            n_bytes = self.bytes_of(self._batches[number])
            if size and size + n_bytes > PART_BYTES:
                ends.append(number)
                size = 0
            size += n_bytes
        return [*ends, self._numbers.stop]

    def _close_part(self, part: ItemScoresWriter | TensorsWriter) -> None:
        self._unfinished.remove(part)
        part.close()


class ItemScoreKeeper(Keeper):
    """Keeps the score and the peak token of every item and neuron."""

    folder = schema.ITEMS_FOLDER
    keeps_scores = keeps_peaks = True

    def __init__(
        self,
        writer: RunWriter,
        portion: Portion,
        batches: Sequence[Batch],
        numbers: range,
        text_of: TokenText,
        n_neurons: int,
        score_type: ScoreType,
    ) -> None:
        self._n_neurons = n_neurons
        self._score_type = score_type
        super().__init__(writer, portion, batches, numbers, text_of)

    def bytes_of(self, batch: Batch) -> int:
        """See `Keeper`."""
        return len(batch.items) * item_bytes(self._n_neurons, self._score_type, int(batch.lengths.max()))

    def keep_scores(self, batch: Batch, values: ItemValues) -> None:
        """See `Keeper`."""
        part, row = self._part, self._next_row + self._row(batch)
        assert isinstance(part, ItemScoresWriter)
        n_bytes = len(batch.items) * self._n_neurons * 8
        self._background.submit(lambda: part.write(row, values.scores(), values.peaks()), n_bytes)

    def _open(self, batches: Sequence[Batch], name: PartName) -> ItemScoresWriter:
        self._next_row = 0
        return ItemScoresWriter(
            self._writer.data_file(self.folder, self._portion, name.first_batch),
            name,
            prompts_of(batches, self._text_of),
            self._n_neurons,
            self._score_type,
            self._writer.compression,
        )

    def _end(self, batch: Batch) -> None:
        self._next_row += len(batch.items)


class TensorKeeper(Keeper):
    """Keeps activation and gradient at every real token of chosen items, for chosen modules and layers."""

    folder = schema.TENSORS_FOLDER

    def __init__(
        self,
        writer: RunWriter,
        portion: Portion,
        batches: Sequence[Batch],
        numbers: range,
        text_of: TokenText,
        segments: Sequence[Segment],
        number_format: str,
        chosen: Collection[int] | None = None,
    ) -> None:
        """`chosen` are indices of items in the benchmark; None means all."""
        self._segments = {segment.start: segment for segment in segments}
        self._number_format = number_format
        self._chosen = chosen
        self._latest: tuple[Batch, _RealRows] | None = None
        self._cell = sum(segment.width for segment in segments) * pair_size(number_format)
        super().__init__(writer, portion, batches, numbers, text_of)

    def bytes_of(self, batch: Batch) -> int:
        """See `Keeper`."""
        return self._cell * sum(
            int(n) for n, index in zip(batch.lengths, batch.numbers, strict=True) if self._keeps(index)
        )

    def _keeps(self, index: int) -> bool:
        return self._chosen is None or index in self._chosen

    def keeps_pairs(self, segment: Segment) -> bool:
        """See `ItemStore`."""
        return segment.start in self._segments

    def keep(
        self,
        segment: Segment,
        batch: Batch,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        scale: Scale,
    ) -> None:
        """See `Keeper`."""
        import torch

        rows = self._rows_of(batch)
        if not rows.lengths:
            return
        part, first = self._part, rows.first
        gradient = scale.undone(gradient)
        if gradient.dtype == torch.float16:  # where nothing is scaled
            gradient = gradient.float()
        activations, gradients = (_real_rows(tensor, rows) for tensor in (activation, gradient))
        assert isinstance(part, TensorsWriter)
        self._background.submit(
            lambda: part.write(segment, first, activations(), gradients()),
            activation.nbytes + gradient.nbytes,
        )

    def _rows_of(self, batch: Batch) -> _RealRows:
        """The tokens to keep of a batch; counted once for all its modules."""
        if self._latest is None or self._latest[0] is not batch:
            kept = np.array([self._keeps(index) for index in batch.numbers])
            lengths = [int(n) for n, keeps in zip(batch.lengths, kept, strict=True) if keeps]
            first = self._tokens[batch.numbers[int(kept.argmax())]] if kept.any() else 0
            self._latest = batch, _RealRows(batch.token_mask & kept[:, None], lengths, first, {})
        return self._latest[1]

    def _open(self, batches: Sequence[Batch], name: PartName) -> TensorsWriter:
        prompts = prompts_of(batches, self._text_of, self._keeps)
        self._tokens = dict(zip(prompts.item.tolist(), prompts.offsets[:-1].tolist(), strict=True))
        return TensorsWriter(
            self._writer.data_file(self.folder, self._portion, name.first_batch),
            name,
            prompts,
            list(self._segments.values()),
            self._number_format,
            self._writer.compression,
        )


def prompts_of(
    batches: Sequence[Batch], text_of: TokenText, keeps: Callable[[int], bool] = lambda index: True
) -> Prompts:
    """Prompts of the items of these batches that are kept, in the order of scoring."""
    kept = [
        (index, encoded.token_ids)
        for batch in batches
        for index, encoded in zip(batch.numbers, batch.items, strict=True)
        if keeps(index)
    ]
    return Prompts.of([index for index, _ in kept], [ids for _, ids in kept], text_of)


class _RealRows(NamedTuple):
    """The real tokens of the items of a batch that are kept."""

    mask: NDArray[np.bool_]
    """(item, token)."""
    lengths: list[int]
    """Tokens of each item that is kept."""
    first: int
    """Index of the first of them in the part."""
    on_devices: dict[torch.device, torch.Tensor]
    """Items and tokens of the mask, (2, row), copied to each device once."""


def _real_rows(tensor: torch.Tensor, rows: _RealRows) -> Callable[[], list[NDArray[np.generic]]]:
    """What tells the rows (token, neuron) of each item that is kept, on the host, in any thread.

    bfloat16 as its bits. Rows of a tensor on the host are views: a copy would take half as long as writing,
    and autograd adds to a gradient in place only where nothing else refers to it.
    """
    values = tensor.detach()
    if values.device.type == "cpu":
        array = _bits(values).numpy()
        views = [of_item[:n] for of_item, n in zip(array, rows.mask.sum(1), strict=True) if n]
        return lambda: views
    if values.device not in rows.on_devices:
        rows.on_devices[values.device] = to_device(np.stack(np.nonzero(rows.mask)), values.device)
    item, token = rows.on_devices[values.device]
    copy, ends = HostCopy(_bits(values[item, token])), np.cumsum(rows.lengths)[:-1]
    return lambda: np.split(copy.numpy(), ends)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """bfloat16, which numpy does not have, as its bits."""
    import torch

    return tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
