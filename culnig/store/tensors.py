"""Level `token`: activation and gradient of every real token, per module and layer, in the model's format.

They are large and hardly shrink, so they are written as they are, in one piece per module, with a hash (XXH3)
of each item's values beside them: HDF5's own checksums would need chunks and cost as much as the writing.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from culnig.core.neurons import Layout, Segment
from culnig.errors import StoreError
from culnig.store import schema, tables
from culnig.store.compression import Compression, packed, tall_chunks, write_column
from culnig.store.data_parts import Abandoned, PartName, Prompts, new_part
from culnig.store.direct import in_one_piece, place_in_file
from culnig.store.files import disk_errors, temporary_path
from culnig.store.piece_reader import PieceReader, room_for
from culnig.store.piece_writer import PieceWriter

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
        self._path = path
        self._pieces = self._stack.enter_context(contextlib.closing(PieceWriter(temporary_path(path))))
        dtype = np.dtype(_STORED_AS[number_format])
        self._file = file
        self._first_tokens = {int(token): row for row, token in enumerate(prompts.offsets[:-1])}
        self._datasets: dict[int, tuple[h5py.Dataset, h5py.Dataset]] = {}
        self._places = {segment.start: place for place, segment in enumerate(segments)}
        self._hashes = np.zeros((len(segments), 2, prompts.n_items), dtype=np.uint64)
        tables.write_texts(file, schema.STORED_MODULES, [_name(segment) for segment in segments])
        for segment in segments:
            group = file.create_group(_group_name(segment))
            shape = (prompts.n_tokens, segment.width)
            options: dict[str, Any] = {"dcpl": in_one_piece()}
            if 0 not in shape and compression == "fast":
                options = {"chunks": tall_chunks(shape, dtype.itemsize), **packed(compression)}
            pair = [
                group.create_dataset(which, shape, dtype, **options)
                for which in (schema.ACTIVATION, schema.GRADIENT)
            ]
            for dataset in pair:
                dataset.attrs[schema.DTYPE] = number_format
            self._datasets[segment.start] = (pair[0], pair[1])

    def write(
        self,
        segment: Segment,
        token: int,
        activations: Sequence[NDArray[Any]],
        gradients: Sequence[NDArray[Any]],
    ) -> None:
        """Write the pairs (token, neuron) of items that follow each other, the first at the part's `token`.

        bfloat16 as uint16. EnvironmentProblem where the disk is full.
        """
        first = self._first_tokens[token]
        hashes = self._hashes[self._places[segment.start]]
        for which, items in enumerate((activations, gradients)):
            dataset = self._datasets[segment.start][which]
            for values in items:
                if values.dtype != dataset.dtype:
                    raise StoreError(
                        f"{segment.module}, layer {segment.layer} gives {values.dtype}, the model as a whole "
                        f"{dataset.attrs[schema.DTYPE]}; load it with one --dtype, or leave the module out "
                        "of --modules"
                    )
            self._write(dataset, token, _hashed(items, hashes[which, first:]), sum(v.nbytes for v in items))

    def _write(self, dataset: h5py.Dataset, token: int, items: Iterable[NDArray[Any]], n_bytes: int) -> None:
        place = place_in_file(dataset)
        if place is not None:
            with disk_errors(self._path):
                self._pieces.write(place + token * dataset.shape[1] * dataset.dtype.itemsize, items, n_bytes)
            return
        for values in items:
            dataset[token : token + len(values)] = values
            token += len(values)

    def close(self) -> None:
        """Finish the part."""
        write_column(self._file, schema.HASHES, self._hashes)
        self._stack.close()

    def abandon(self) -> None:
        """Leave nothing of the part."""
        with contextlib.suppress(Abandoned), self._stack:
            raise Abandoned


Room = NDArray[np.uint8] | None
"""Memory to read into, from `room_for`; None: memory of its own is made."""


class _Stored(NamedTuple):
    """One tensor in an open part."""

    dataset: h5py.Dataset
    dtype: np.dtype[Any]
    number_format: str
    place: int | None
    """Of its first value in the file, in bytes; None where it is in chunks or empty."""


class Tensors:
    """One part, open for reading. Close it before its file."""

    def __init__(self, file: h5py.File, prompts: Prompts, layout: Layout) -> None:
        """StoreError where the part holds no module of the model."""
        self.prompts = prompts
        stored = tables.read_texts(file, schema.STORED_MODULES)
        self._places = {name: place for place, name in enumerate(stored)}
        self.segments = [segment for segment in layout.segments if _name(segment) in self._places]
        self._file = file
        if not self.segments:
            raise StoreError(f"{file.filename}: /{schema.STORED_MODULES} names no module of this model")
        shape = (len(stored), 2, prompts.n_items)
        self._hashes = tables.read_cells(tables.table_at(file, schema.HASHES, shape, "u"))
        self._opened: dict[int, dict[str, _Stored]] = {}
        self._pieces = PieceReader(file.id.get_vfd_handle())

    def close(self) -> None:
        """Let go of what was opened beside the file."""
        self._pieces.close()

    @property
    def waits_for_disk(self) -> bool:
        """Whether something that was read was not in the system's file cache."""
        return not self._pieces.all_cached

    def open(self, segments: Iterable[Segment]) -> None:
        """Open their datasets now: threads that come to it on their way hinder each other in HDF5."""
        for segment in segments:
            self._stored(segment, schema.ACTIVATION)

    def number_format(self, segment: Segment) -> str:
        """float32, float16 or bfloat16."""
        return self._stored(segment, schema.ACTIVATION).number_format

    def pair(
        self,
        segment: Segment,
        rows: range | None = None,
        rooms: tuple[Room, Room] = (None, None),
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Activation and gradient (token, neuron) of a segment for the items in `rows`, one after the other.

        As stored: bfloat16 as uint16. Each is read into its own of `rooms` (`room_for` its bytes), or gets
        memory of its own. StoreError where they are not what was written.
        """
        rows = range(self.prompts.n_items) if rows is None else rows
        activation, gradient = (
            self._read(segment, which, rows, room)
            for which, room in zip((schema.ACTIVATION, schema.GRADIENT), rooms, strict=True)
        )
        return activation, gradient

    def _read(self, segment: Segment, which: str, rows: range, room: Room) -> NDArray[Any]:
        dataset, dtype, _, place = self._stored(segment, which)
        offsets = self.prompts.offsets
        first, last = int(offsets[rows.start]), int(offsets[rows.stop])
        shape = last - first, segment.width
        token_bytes = segment.width * dtype.itemsize
        n_bytes = (last - first) * token_bytes
        room = room_for(n_bytes) if room is None else room
        if place is None:
            as_bytes = room[:n_bytes]
            tables.read_into(as_bytes.view(dtype).reshape(shape), dataset, np.s_[first:last])
        else:
            try:
                as_bytes = self._pieces.read(place + first * token_bytes, n_bytes, room)
            except EOFError:
                raise tables.unreadable(dataset, "the file ends in it") from None
        hashes = self._hashes[self._places[_name(segment)], (schema.ACTIVATION, schema.GRADIENT).index(which)]
        ends = ((offsets[rows.start : rows.stop + 1] - first) * token_bytes).tolist()
        for row, (begin, end) in zip(rows, itertools.pairwise(ends), strict=True):
            if xxhash.xxh3_64_intdigest(as_bytes.data[begin:end]) != hashes[row]:
                raise StoreError(
                    f"{self._file.filename}: {dataset.name} is damaged at item {self.prompts.item[row]}: it "
                    "is not what was written"
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
        return _Stored(dataset, dataset.dtype, named, place_in_file(dataset))


def _hashed(items: Iterable[NDArray[Any]], hashes: NDArray[np.uint64]) -> Iterator[NDArray[Any]]:
    """The items one by one, each when its hash has been noted: it is read once from memory for both uses."""
    for row, values in enumerate(items):
        hashes[row] = _hash(values)
        yield values


def _hash(values: NDArray[Any]) -> int:
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(values).data)


def _name(segment: Segment) -> str:
    return f"{segment.layer}/{segment.module}"


def _group_name(segment: Segment) -> str:
    return f"{schema.LAYERS}/{_name(segment)}"
