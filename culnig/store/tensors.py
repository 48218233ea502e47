"""Level `token`: activation and gradient of every real token, per module and layer, in the model's format."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from culnig.errors import StoreError
from culnig.neurons import Layout, Segment
from culnig.store import schema, tables
from culnig.store.compression import Compression, packed_tensor, tall_chunks
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
        self._datasets: dict[int, tuple[h5py.Dataset, h5py.Dataset]] = {}
        for segment in segments:
            group = file.create_group(_group_name(segment))
            shape = (prompts.n_tokens, segment.width)
            options: dict[str, Any] = {}
            if 0 not in shape:
                options = {"chunks": tall_chunks(shape, dtype.itemsize), **packed_tensor(compression)}
            pair = [
                group.create_dataset(which, shape, dtype, **options)
                for which in (schema.ACTIVATION, schema.GRADIENT)
            ]
            for dataset in pair:
                dataset.attrs[schema.DTYPE] = number_format
            self._datasets[segment.start] = (pair[0], pair[1])

    def write(self, segment: Segment, token: int, activation: NDArray[Any], gradient: NDArray[Any]) -> None:
        """Write a pair (token, neuron) from the part's token `token` on; bfloat16 as uint16."""
        rows = slice(token, token + len(activation))
        for dataset, values in zip(self._datasets[segment.start], (activation, gradient), strict=True):
            if values.dtype != dataset.dtype:
                raise StoreError(
                    f"{segment.module}, layer {segment.layer} gives {values.dtype}, the model as a whole "
                    f"{dataset.attrs[schema.DTYPE]}; load it with one --dtype, or leave the module out of "
                    "--modules"
                )
            dataset[rows] = values

    def close(self) -> None:
        """Finish the part."""
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

    def pair(self, segment: Segment, tokens: slice = slice(None)) -> tuple[NDArray[Any], NDArray[Any]]:
        """Activation and gradient (token, neuron) of a segment, as stored: bfloat16 as uint16."""
        activation, gradient = (
            tables.read_cells(self._dataset(segment, which), tokens)
            for which in (schema.ACTIVATION, schema.GRADIENT)
        )
        return activation, gradient

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


def _group_name(segment: Segment) -> str:
    return f"{schema.LAYERS}/{segment.layer}/{segment.module}"
