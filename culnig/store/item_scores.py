"""Level `item`: the score of each item and neuron, before P(gold) and clamp.

A float16 score is divided by the largest of its item, so that small scores do not vanish.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from culnig.errors import StoreError
from culnig.store import schema, tables
from culnig.store.compression import Compression, packed, write_column
from culnig.store.data_parts import Abandoned, PartName, Prompts, new_part

ScoreType = Literal["float32", "float16"]
SCORE_TYPES: tuple[ScoreType, ...] = ("float32", "float16")


def item_bytes(n_neurons: int, score_type: ScoreType, n_tokens: int) -> int:
    """Bytes of one item, uncompressed."""
    return n_neurons * (np.dtype(score_type).itemsize + _peak_type(n_tokens).itemsize)


def _peak_type(most_tokens: int) -> np.dtype[np.unsignedinteger]:
    return np.dtype(np.uint16 if most_tokens <= np.iinfo(np.uint16).max else np.uint32)


class ItemScoresWriter:
    """Fills one part, batch after batch. The part appears when it is closed, and not before."""

    def __init__(
        self,
        path: Path,
        name: PartName,
        prompts: Prompts,
        n_neurons: int,
        score_type: ScoreType = "float32",
        compression: Compression = "default",
    ) -> None:
        self._stack = contextlib.ExitStack()
        file = self._stack.enter_context(new_part(path, schema.ITEMS_FORMAT, name, prompts))
        shape = (prompts.n_items, n_neurons)
        longest = int(np.diff(prompts.offsets).max(initial=0))
        self._scores = tables.create_table(file, schema.SCORES, shape, score_type, packed(compression))
        peak_type = _peak_type(longest)
        self._peaks = tables.create_table(file, schema.PEAK_TOKEN, shape, peak_type, packed(compression))
        self._scale: NDArray[np.float32] | None = None
        if score_type == "float16":
            self._scale = np.zeros(prompts.n_items, dtype=np.float32)
        self._file = file

    def write(self, row: int, scores: NDArray[np.float32], peak_tokens: NDArray[np.int32]) -> None:
        """Write all scores (item, neuron) of the items from `row` on, and the tokens that gave them."""
        rows = slice(row, row + len(scores))
        self._peaks[rows] = peak_tokens.astype(self._peaks.dtype)
        if self._scale is None:
            self._scores[rows] = scores
            return
        largest = np.abs(scores).max(axis=1, initial=0)
        largest[largest == 0] = 1
        self._scale[rows] = largest
        self._scores[rows] = (scores / largest[:, None]).astype(np.float16)

    def write_columns(self, column: int, scores: NDArray[np.float32], peak_tokens: NDArray[np.int32]) -> None:
        """Write the scores (item, neuron) of all items for the neurons from `column` on; float32 only."""
        columns = slice(column, column + scores.shape[1])
        self._scores[:, columns] = scores
        self._peaks[:, columns] = peak_tokens.astype(self._peaks.dtype)

    def close(self) -> None:
        """Finish the part."""
        if self._scale is not None:
            write_column(self._file, schema.SCALE, self._scale)
        self._stack.close()

    def abandon(self) -> None:
        """Remove the part."""
        with contextlib.suppress(Abandoned), self._stack:
            raise Abandoned


class ItemScores:
    """One part, open for reading."""

    def __init__(self, file: h5py.File, prompts: Prompts, n_neurons: int) -> None:
        """StoreError if a dataset is missing or of the wrong shape."""
        shape = (prompts.n_items, n_neurons)
        self._scores = tables.table_at(file, schema.SCORES, shape, "f")
        self._peaks = tables.table_at(file, schema.PEAK_TOKEN, shape, "u")
        if self._scores.dtype not in SCORE_TYPES:
            raise StoreError(
                f"{file.filename}: /{schema.SCORES} has type {self._scores.dtype}, expected one of "
                f"{', '.join(SCORE_TYPES)}"
            )
        self._scale = None
        if self._scores.dtype == np.float16:
            self._scale = tables.read_cells(tables.table_at(file, schema.SCALE, shape[:1], "f"))

    def scores(self, rows: slice = slice(None), columns: slice = slice(None)) -> NDArray[np.float32]:
        """Scores before P(gold) and clamp, (item, neuron) float32."""
        values = tables.read_cells(self._scores, rows, columns).astype(np.float32)
        return values if self._scale is None else values * self._scale[rows, None]

    def peak_tokens(self, rows: slice = slice(None), columns: slice = slice(None)) -> NDArray[np.int64]:
        """Index of the token that gave each score, (item, neuron)."""
        return tables.read_cells(self._peaks, rows, columns).astype(np.int64)
