"""Level `token`: activation and gradient of every real token, per module and layer, in the model's format.

Gradients of float16 models are float32: those of a P(gold) of 1e-6 are mostly below the smallest float16.
Earlier versions stored them as float16, and such files are still read.

They are large and hardly shrink, so they are written uncompressed and unchunked, with a hash (XXH3) of each
item's values beside them: HDF5's own checksums would need chunks and cost as much as the writing.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from culnig.core.neurons import Layout, Segment
from culnig.errors import StoreError, argument
from culnig.store import schema, tables
from culnig.store.compression import Compression, packed, tall_chunks, write_column
from culnig.store.data_parts import Abandoned, PartName, Prompts, new_part
from culnig.store.direct import DirectReader, contiguous, new_buffer, offset_in_file, write_at
from culnig.store.files import disk_errors

ITEM_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2}
_STORED_AS = {"float32": "f4", "float16": "f2", "bfloat16": "u2"}
_GRADIENTS_AS = {"float16": "float32"}


def gradient_format(number_format: str) -> str:
    """Number format of the stored gradients of a model in `number_format`."""
    return _GRADIENTS_AS.get(number_format, number_format)


def pair_size(number_format: str) -> int:
    """Bytes of one activation and its gradient."""
    return ITEM_SIZES[number_format] + ITEM_SIZES[gradient_format(number_format)]


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
        self._path = path
        self._descriptor = os.open(file.temporary, os.O_WRONLY | getattr(os, "O_BINARY", 0))
        self._stack.callback(os.close, self._descriptor)
        formats = {schema.ACTIVATION: number_format, schema.GRADIENT: gradient_format(number_format)}
        self._file = file
        self._first_tokens = {int(token): row for row, token in enumerate(prompts.offsets[:-1])}
        self._datasets: dict[int, tuple[h5py.Dataset, h5py.Dataset]] = {}
        self._rows = {segment.start: row for row, segment in enumerate(segments)}
        self._hashes = np.zeros((len(segments), 2, prompts.n_items), dtype=np.uint64)
        tables.write_texts(file, schema.STORED_MODULES, [_name(segment) for segment in segments])
        for segment in segments:
            group = file.create_group(_group_name(segment))
            shape = (prompts.n_tokens, segment.width)
            pair = []
            for which, stored_format in formats.items():
                dtype = np.dtype(_STORED_AS[stored_format])
                options: dict[str, Any] = {"dcpl": contiguous()}
                if 0 not in shape and compression == "fast":
                    options = {"chunks": tall_chunks(shape, dtype.itemsize), **packed(compression)}
                pair.append(group.create_dataset(which, shape, dtype, **options))
                pair[-1].attrs[schema.DTYPE] = stored_format
            self._datasets[segment.start] = (pair[0], pair[1])

    def write(
        self,
        segment: Segment,
        token: int,
        activations: Sequence[NDArray[Any]],
        gradients: Sequence[NDArray[Any]],
    ) -> None:
        """Write the pairs (token, neuron) of items that follow each other, the first at the part's `token`.

        bfloat16 as uint16. EnvironmentProblem if the disk is full.
        """
        first = self._first_tokens[token]
        hashes = self._hashes[self._rows[segment.start]]
        for which, items in enumerate((activations, gradients)):
            dataset = self._datasets[segment.start][which]
            for values in items:
                if values.dtype != dataset.dtype:
                    raise StoreError(
                        f"{segment.module}, layer {segment.layer} has {values.dtype} values, but the rest "
                        f"of the model has {dataset.attrs[schema.DTYPE]}; load it with one "
                        f"{argument('dtype')}, or leave the module out of {argument('modules')}"
                    )
            self._write(dataset, token, _hashed(items, hashes[which, first:]))

    def _write(self, dataset: h5py.Dataset, token: int, items: Iterable[NDArray[Any]]) -> None:
        offset = offset_in_file(dataset)
        if offset is not None:
            with disk_errors(self._path):
                write_at(self._descriptor, offset + token * dataset.shape[1] * dataset.dtype.itemsize, items)
            return
        for values in items:
            dataset[token : token + len(values)] = values
            token += len(values)

    def close(self) -> None:
        """Finish the part."""
        write_column(self._file, schema.HASHES, self._hashes)
        self._stack.close()

    def abandon(self) -> None:
        """Remove the part."""
        with contextlib.suppress(Abandoned), self._stack:
            raise Abandoned


Buffer = NDArray[np.uint8]
"""Memory to read into: `new_buffer` of at least the bytes that are read."""


class _Stored(NamedTuple):
    """One tensor in an open part."""

    dataset: h5py.Dataset
    dtype: np.dtype[Any]
    number_format: str
    offset: int | None
    """Of its first value in the file, in bytes; None if it is in chunks or empty."""


class Tensors:
    """One part, open for reading."""

    def __init__(self, file: h5py.File, prompts: Prompts, layout: Layout) -> None:
        """StoreError if the part holds no module of the model."""
        self.prompts = prompts
        stored = tables.read_texts(file, schema.STORED_MODULES)
        self._rows = {name: row for row, name in enumerate(stored)}
        self.segments = [segment for segment in layout.segments if _name(segment) in self._rows]
        self._file = file
        if not self.segments:
            raise StoreError(f"{file.filename}: /{schema.STORED_MODULES} names no module of this model")
        shape = (len(stored), 2, prompts.n_items)
        self._hashes = tables.read_cells(tables.table_at(file, schema.HASHES, shape, "u"))
        self._opened: dict[int, dict[str, _Stored]] = {}
        self._reader = DirectReader(file.id.get_vfd_handle())

    def open(self, segments: Iterable[Segment]) -> None:
        """Open their datasets now: threads that do so later hinder each other in HDF5."""
        for segment in segments:
            self._stored(segment, schema.ACTIVATION)

    def number_format(self, segment: Segment) -> str:
        """Of the activations: float32, float16 or bfloat16."""
        return self._stored(segment, schema.ACTIVATION).number_format

    def gradient_format(self, segment: Segment) -> str:
        """Of the gradients: float32, float16 or bfloat16."""
        return self._stored(segment, schema.GRADIENT).number_format

    def pair(
        self,
        segment: Segment,
        rows: range | None = None,
        buffers: tuple[Buffer | None, Buffer | None] = (None, None),
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Activation and gradient (token, neuron) of a segment for the items in `rows`, one after the other.

        As stored: bfloat16 as uint16, and gradients of float16 models as float32. Each is read into its own
        of `buffers`, or into new memory. StoreError where they differ from what was written.
        """
        rows = range(self.prompts.n_items) if rows is None else rows
        activation, gradient = (
            self._read(segment, which, rows, buffer)
            for which, buffer in zip((schema.ACTIVATION, schema.GRADIENT), buffers, strict=True)
        )
        return activation, gradient

    def _read(self, segment: Segment, which: str, rows: range, buffer: Buffer | None) -> NDArray[Any]:
        dataset, dtype, _, offset = self._stored(segment, which)
        offsets = self.prompts.offsets
        first, last = int(offsets[rows.start]), int(offsets[rows.stop])
        shape = last - first, segment.width
        token_bytes = segment.width * dtype.itemsize
        n_bytes = (last - first) * token_bytes
        buffer = new_buffer(n_bytes) if buffer is None else buffer
        if offset is None:
            as_bytes = buffer[:n_bytes]
            tables.read_into(as_bytes.view(dtype).reshape(shape), dataset, np.s_[first:last])
        else:
            try:
                as_bytes = self._reader.read(offset + first * token_bytes, n_bytes, buffer)
            except EOFError:
                raise tables.unreadable(dataset, "the file ends in it") from None
        hashes = self._hashes[self._rows[_name(segment)], (schema.ACTIVATION, schema.GRADIENT).index(which)]
        ends = ((offsets[rows.start : rows.stop + 1] - first) * token_bytes).tolist()
        for row, (begin, end) in zip(rows, itertools.pairwise(ends), strict=True):
            if xxhash.xxh3_64_intdigest(as_bytes.data[begin:end]) != hashes[row]:
                raise StoreError(
                    f"{self._file.filename}: {dataset.name} is damaged at item {self.prompts.item[row]}: "
                    "its values differ from those that were written"
                )
        return as_bytes.view(dtype).reshape(shape)

    def _stored(self, segment: Segment, which: str) -> _Stored:
        if segment.start not in self._opened:
            group = tables.group_at(self._file, _group_name(segment))
            self._opened[segment.start] = {
                name: self._open(group, name, segment.width) for name in (schema.ACTIVATION, schema.GRADIENT)
            }
        return self._opened[segment.start][which]

    def _open(self, group: h5py.Group, name: str, width: int) -> _Stored:
        dataset = tables.column_at(group, name, "fu")
        shape = (self.prompts.n_tokens, width)
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
        return _Stored(dataset, dataset.dtype, named, offset_in_file(dataset))


def _hashed(items: Iterable[NDArray[Any]], hashes: NDArray[np.uint64]) -> Iterator[NDArray[Any]]:
    """The items one by one, each hashed just before it is written, while it is in the CPU's cache."""
    for row, values in enumerate(items):
        hashes[row] = _hash(values)
        yield values


def _hash(values: NDArray[Any]) -> int:
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(values).data)


def _name(segment: Segment) -> str:
    return f"{segment.layer}/{segment.module}"


def _group_name(segment: Segment) -> str:
    return f"{schema.LAYERS}/{_name(segment)}"
