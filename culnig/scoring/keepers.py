"""What a run keeps of every item in addition to the culture sums: its score for each neuron, or its tensors.

A keeper is told of each batch before it is scored, sees each module's pair once, and writes in a thread
parallel to the computation. Which batches a file holds is fixed, so a resumed run makes the same files.
Checkpoints are made between two files only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import Segment
from culnig.inference.batches import Batch
from culnig.scoring.accumulator import ItemStore, ItemTables
from culnig.scoring.scaling import Exponents, undone
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


class Keeper(ItemStore):
    """Keeps values of the items of one portion's batches.

    `tables` and `keep` may be called with a half of the batch that was begun, where memory ran out.
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

    @abstractmethod
    def _begin(self, batch: Batch) -> None: ...

    @abstractmethod
    def _end(self, batch: Batch) -> None: ...

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
        self._begin(batch)

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

    def tables(self, segment: Segment, batch: Batch) -> ItemTables:
        """See `Keeper`."""
        rows = slice(self._row(batch), self._row(batch) + len(batch.items))
        return self._scores[rows, segment.columns], self._peaks[rows, segment.columns]

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

    def _begin(self, batch: Batch) -> None:
        shape = (len(batch.items), self._n_neurons)
        self._scores = np.zeros(shape, dtype=np.float32)
        self._peaks = np.zeros(shape, dtype=np.int32)

    def _end(self, batch: Batch) -> None:
        part, row, scores, peaks = self._part, self._next_row, self._scores, self._peaks
        assert isinstance(part, ItemScoresWriter)
        self._next_row += len(batch.items)
        self._background.submit(lambda: part.write(row, scores, peaks), scores.nbytes + peaks.nbytes)
        del self._scores, self._peaks


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
        self._cell = sum(segment.width for segment in segments) * pair_size(number_format)
        super().__init__(writer, portion, batches, numbers, text_of)

    def bytes_of(self, batch: Batch) -> int:
        """See `Keeper`."""
        return self._cell * sum(
            int(n) for n, index in zip(batch.lengths, batch.numbers, strict=True) if self._keeps(index)
        )

    def _keeps(self, index: int) -> bool:
        return self._chosen is None or index in self._chosen

    def tables(self, segment: Segment, batch: Batch) -> ItemTables:
        """Nothing: scores are not kept."""
        return None, None

    def keep(
        self,
        segment: Segment,
        batch: Batch,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        exponents: Exponents,
    ) -> None:
        """See `Keeper`."""
        import torch

        if segment.start not in self._segments:
            return
        kept = [index for index in batch.numbers if self._keeps(index)]
        if not kept:
            return
        mask = batch.token_mask & np.array([self._keeps(index) for index in batch.numbers])[:, None]
        part, first = self._part, self._tokens[kept[0]]
        gradient = undone(gradient, exponents)
        if gradient.dtype == torch.float16:  # where nothing is scaled
            gradient = gradient.float()
        activations, gradients = (_real_rows(tensor, mask) for tensor in (activation, gradient))
        assert isinstance(part, TensorsWriter)
        self._background.submit(
            lambda: part.write(segment, first, activations, gradients), activation.nbytes + gradient.nbytes
        )

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

    def _begin(self, batch: Batch) -> None:
        pass

    def _end(self, batch: Batch) -> None:
        pass


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


def _real_rows(tensor: torch.Tensor, mask: NDArray[np.bool_]) -> list[NDArray[np.generic]]:
    """Rows (token, neuron) of a tensor (item, token, neuron) where `mask` is set, on the host.

    bfloat16 as its bits. Rows of a tensor on the host are views, one per item: a copy would take half as long
    as writing, and autograd adds to a gradient in place only where nothing else refers to it.
    """
    import torch

    rows = tensor.detach()
    if rows.device.type != "cpu":
        rows = rows[torch.from_numpy(mask).to(rows.device)].cpu()
        mask = np.ones((1, len(rows)), dtype=bool)
        rows = rows[None]
    array = (rows.view(torch.uint16) if rows.dtype == torch.bfloat16 else rows).numpy()
    return [of_item[:n] for of_item, n in zip(array, mask.sum(1), strict=True) if n]
