"""Read a GGUF file once for configuration, tokenizer and weights.

transformers reads the whole header each time, through numpy scalars, and builds the table of tensor names
once per module of the model. While `parsed_once` is open, its imports of the package gguf give a reader that
is kept for the process and a table that is built once; the values are the same.
"""

from __future__ import annotations

import contextlib
import functools
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.errors import ModelLoadError, listed

_LOCK = threading.RLock()
"""Held while gguf is replaced: a second thread must not restore what the first has replaced."""

_STRING, _ARRAY = 8, 9
"""Types of metadata values, as the GGUF specification numbers them."""


@contextlib.contextmanager
def parsed_once() -> Iterator[None]:
    """transformers reads GGUF files with one reader per file; undone at the end, also after an error."""
    import gguf

    own = {"GGUFReader": _reader, "get_tensor_name_map": _name_map}
    with _LOCK:
        replaced = {name: getattr(gguf, name) for name in own}
        try:
            for name, value in own.items():
                setattr(gguf, name, value)
            yield
        finally:
            for name, value in replaced.items():
                setattr(gguf, name, value)


def check_all_read(source: str, file: Path, model: Any) -> None:
    """ModelLoadError where a GGUF file says something about the model that transformers leaves out.

    That is a tensor without a counterpart in the model (a bias, factors of the rotary embedding that are not
    all 1), or a scaling of the rotary embedding that the configuration has not.
    """
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    with parsed_once():
        reader = _reader(file)
        architecture = _text_field(reader, "general.architecture")
        own_processor: Any = TENSOR_PROCESSORS.get(architecture, TensorProcessor)
        processor = own_processor(config=model.config.to_dict())
        read = {*get_gguf_hf_weights_map(model, processor), "output.weight"}
    unread = [
        tensor.name
        for tensor in reader.tensors
        if tensor.name not in read and not (tensor.name == "rope_freqs.weight" and (tensor.data == 1).all())
    ]
    scaling = _text_field(reader, f"{architecture}.rope.scaling.type")
    rotary = getattr(model.config, "rope_parameters", None) or {}
    if scaling not in ("", "none") and rotary.get("rope_type", "default") == "default":
        unread.append(f"{architecture}.rope.scaling ({scaling})")
    if unread:
        raise ModelLoadError(
            f"model {source!r}: transformers does not read parts of this GGUF file, without which the model "
            f"would compute something else: {listed(unread)}; give the model's folder or hub name, with "
            "safetensors weights"
        )


def _text_field(reader: Any, name: str) -> str:
    """A text in the metadata; empty where there is none."""
    field = reader.fields.get(name)
    return "" if field is None else bytes(field.parts[field.data[0]]).decode("utf-8", "replace")


def _reader(path: str | Path, mode: str = "r") -> Any:
    """In place of `gguf.GGUFReader`."""
    state = Path(path).stat()
    return _kept_reader(
        str(Path(path).resolve()), mode, (state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    )


@functools.lru_cache(maxsize=1)
def _kept_reader(path: str, mode: str, state: tuple[int, ...]) -> Any:
    return _reader_class()(path, mode)


@functools.cache
def _name_map(architecture: Any, n_blocks: int) -> Any:
    """In place of `gguf.get_tensor_name_map`."""
    from gguf.tensor_mapping import get_tensor_name_map

    return get_tensor_name_map(architecture, n_blocks)


@functools.cache
def _reader_class() -> type[Any]:
    """A subclass of gguf's reader; made at the first use, because importing gguf takes time."""
    from gguf.gguf_reader import GGUFReader

    class QuickReader(GGUFReader):
        """Reads arrays at once. Their parts are bytes and one-element tuples instead of numpy arrays."""

        @property
        def data(self) -> Any:
            return self._data

        @data.setter
        def data(self, mapped: Any) -> None:
            self._data = np.asarray(mapped)  # slices of a plain array are made far quicker than of a memmap

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            if raw_type != _ARRAY or self.byte_order != "I":
                return super()._get_field_parts(orig_offs, raw_type)
            item_type = self._get(orig_offs, np.uint32)
            length = self._get(orig_offs + 4, np.uint64)
            n_items, start = int(length[0]), orig_offs + 12
            parts: list[Any]
            if item_type[0] == _STRING:
                parts, end = _strings(self.data, start, n_items)
            elif n_items and (number_type := self.gguf_scalar_to_np.get(item_type[0])) is not None:
                values = self._get(start, number_type, n_items)
                parts, end = list(zip(values.tolist(), strict=True)), start + values.nbytes
            else:
                return super()._get_field_parts(orig_offs, raw_type)
            from gguf.constants import GGUFValueType

            types = [GGUFValueType(raw_type)] + [GGUFValueType(item_type[0])] * bool(n_items)
            return end - orig_offs, [item_type, length, *parts], list(range(2, 2 + n_items)), types

    return QuickReader


def _strings(data: NDArray[np.uint8], start: int, n_items: int) -> tuple[list[bytes], int]:
    """The strings that begin at an offset, and the offset behind the last."""
    view, read_length, strings = data.data, struct.Struct("=Q").unpack_from, []
    for _ in range(n_items):
        (length,) = read_length(view, start)
        start += 8
        if start + length > len(view):
            raise ValueError(
                f"a string of {length} bytes at offset {start} reaches beyond the end of the file"
            )
        strings.append(bytes(view[start : start + length]))
        start += length
    return strings, start
