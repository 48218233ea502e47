"""Level `token`: activation and gradient of every real token, per module and layer, in the model's format.

They are large and hardly shrink, so they are written as they are, in one piece per module, with a hash (XXH3)
of each item's values beside them: HDF5's own checksums would need chunks and cost as much as the writing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from culnig.errors import StoreError
from culnig.neurons import Layout, Segment
from culnig.store import schema, tables
from culnig.store.compression import Compression, packed, tall_chunks, write_column
from culnig.store.data_parts import Abandoned, PartName, Prompts, new_part

ITEM_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2}
_STORED_AS = {"float32": "f4", "float16": "f2", "bfloat16": "u2"}


class TensorsWriter:
    """Fills one part, module after module. The part appears when it is closed, and not before."""

    def __init__(
        self,
        path: Path,
        name: PartName,
        prompts: Prompts,
        segments: Sequence[Segment],
        number_format: str,
        compression: Compression = "default",
    ) -> None:
        self._stack = contextlib.ExitStack()
        file = self._stack.enter_context(new_part(path, schema.TENSORS_FORMAT, name, prompts))
        dtype = np.dtype(_STORED_AS[number_format])
        self._file = file
        self._first_tokens = {int(token): row for row, token in enumerate(prompts.offsets[:-1])}
        self._datasets: dict[int, tuple[h5py.Dataset, h5py.Dataset]] = {}
        self._hashes: dict[str, NDArray[np.uint64]] = {}
        for segment in segments:
            group = file.create_group(_group_name(segment))
            shape = (prompts.n_tokens, segment.width)
            options: dict[str, Any] = {}
            if 0 not in shape and compression == "fast":
                options = {"chunks": tall_chunks(shape, dtype.itemsize), **packed(compression)}
            pair = [
                group.create_dataset(which, shape, dtype, **options)
                for which in (schema.ACTIVATION, schema.GRADIENT)
            ]
            for dataset in pair:
                dataset.attrs[schema.DTYPE] = number_format
                self._hashes[dataset.name] = np.zeros(prompts.n_items, dtype=np.uint64)
            self._datasets[segment.start] = (pair[0], pair[1])

    def write(self, segment: Segment, token: int, activation: NDArray[Any], gradient: NDArray[Any]) -> None:
        """Write an item's pair (token, neuron); its first token is the part's `token`; bfloat16 as uint16."""
        rows = slice(token, token + len(activation))
        for dataset, values in zip(self._datasets[segment.start], (activation, gradient), strict=True):
            if values.dtype != dataset.dtype:
                raise StoreError(
                    f"{segment.module}, layer {segment.layer} gives {values.dtype}, the model as a whole "
                    f"{dataset.attrs[schema.DTYPE]}; load it with one --dtype, or leave the module out of "
                    "--modules"
                )
            dataset[rows] = values
            self._hashes[dataset.name][self._first_tokens[token]] = _hash(values)

    def close(self) -> None:
        """Finish the part."""
        for name, hashes in self._hashes.items():
            write_column(self._file, f"{name}{schema.HASH_SUFFIX}", hashes)
        self._stack.close()

    def abandon(self) -> None:
        """Leave nothing of the part."""
        with contextlib.suppress(Abandoned), self._stack:
            raise Abandoned


class Tensors:
    """One part, open for reading."""

    def __init__(self, file: h5py.File, prompts: Prompts, layout: Layout) -> None:
        """StoreError where the part holds no module of the model."""
        self.prompts = prompts
        self.segments = [segment for segment in layout.segments if tables.holds(file, _group_name(segment))]
        self._file = file
        if not self.segments:
            raise StoreError(f"{file.filename}: /{schema.LAYERS} holds no module of this model")

    def number_format(self, segment: Segment) -> str:
        """float32, float16 or bfloat16."""
        return str(self._dataset(segment, schema.ACTIVATION).attrs[schema.DTYPE])

    def pair(self, segment: Segment, rows: range | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Activation and gradient (token, neuron) of a segment for the items in `rows`, one after the other.

        As stored: bfloat16 as uint16. StoreError where they are not what was written.
        """
        rows = range(self.prompts.n_items) if rows is None else rows
        activation, gradient = (
            self._read(segment, which, rows) for which in (schema.ACTIVATION, schema.GRADIENT)
        )
        return activation, gradient

    def _read(self, segment: Segment, which: str, rows: range) -> NDArray[Any]:
        dataset = self._dataset(segment, which)
        offsets = self.prompts.offsets
        first = int(offsets[rows.start])
        values = tables.read_cells(dataset, slice(first, int(offsets[rows.stop])))
        group = tables.group_at(self._file, _group_name(segment))
        shape = (self.prompts.n_items,)
        hashes = tables.read_cells(tables.table_at(group, f"{which}{schema.HASH_SUFFIX}", shape, "u"))
        for row in rows:
            if _hash(values[offsets[row] - first : offsets[row + 1] - first]) != hashes[row]:
                raise StoreError(
                    f"{self._file.filename}: {dataset.name} is damaged at item {self.prompts.item[row]}: it "
                    "is not what was written"
                )
        return values

    def _dataset(self, segment: Segment, which: str) -> h5py.Dataset:
        group = tables.group_at(self._file, _group_name(segment))
        dataset = tables.column_at(group, which, "fu")
        shape = (self.prompts.n_tokens, segment.width)
        if dataset.shape != shape:
            raise StoreError(
                f"{self._file.filename}: {dataset.name} has shape {dataset.shape}, expected {shape}"
            )
        named = dataset.attrs.get(schema.DTYPE)
        if not isinstance(named, str) or dataset.dtype != _STORED_AS.get(named):
            raise StoreError(
                f"{self._file.filename}: {dataset.name} has type {dataset.dtype} and dtype {named!r}, "
                f"expected one of {', '.join(f'{kind} for {name!r}' for name, kind in _STORED_AS.items())}"
            )
        return dataset


def _hash(values: NDArray[Any]) -> int:
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(values).data)


def _group_name(segment: Segment) -> str:
    return f"{schema.LAYERS}/{segment.layer}/{segment.module}"
