"""Checks of what is handed to the kernels: each refuses with the argument's name and value.

One function per argument; it returns the argument as compiled code takes it. Arrays pass uncopied where
their neurons lie side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from culnig.errors import InputError

AGGREGATORS = ("max", "absmax", "sum", "mean", "last")
"""How the contributions of an item's tokens become one score; the order is that of csrc/core/score.h."""

DTYPES = ("float32", "float16", "bfloat16")
"""Formats of activations and gradients, bfloat16 as bits in uint16; the order is that of csrc/core."""

_HELD_IN = dict(zip(DTYPES, map(np.dtype, ("float32", "float16", "uint16")), strict=True))

Array = NDArray[Any]


def one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    """The value, if it is allowed."""
    if value not in allowed:
        raise InputError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
    return value


def number_format(activation: Array, gradient: Array, dtype: str | None) -> str:
    """Name in DTYPES of what both arrays (item, token, neuron) hold."""
    if activation.ndim != 3:
        raise InputError(f"activation has shape {activation.shape}; it must be (item, token, neuron)")
    if gradient.shape != activation.shape:
        raise InputError(
            f"gradient has shape {gradient.shape}, activation {activation.shape}; they must agree"
        )
    if gradient.dtype != activation.dtype:
        raise InputError(f"gradient is {gradient.dtype}, activation {activation.dtype}; they must agree")
    name = str(activation.dtype) if dtype is None else one_of("dtype", dtype, DTYPES)
    if _HELD_IN.get(name) != activation.dtype:
        raise InputError(
            f"activation is {activation.dtype} with dtype={dtype!r}; float32, float16, uint16 "
            "with dtype='bfloat16' are allowed"
        )
    return name


def side_by_side(array: Array) -> Array:
    """The array itself where the last axis is contiguous and aligned, else a copy."""
    side_by_side = array.strides[-1] == array.itemsize or array.shape[-1] <= 1
    whole = all(stride % array.itemsize == 0 for stride in array.strides)
    if side_by_side and whole and array.flags.aligned:
        return array
    return np.ascontiguousarray(array)


def real_tokens(
    mask: ArrayLike | None, lengths: ArrayLike | None, padding: str, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Mask (item, token) of the real tokens, from a mask or from lengths and the padded side."""
    if (mask is None) == (lengths is None):
        raise InputError("give either token_mask or lengths, not both and not neither")
    if mask is not None:
        real = np.asarray(mask)
        if real.dtype != np.bool_ or real.shape != shape:
            raise InputError(
                f"token_mask is {real.dtype} of shape {real.shape}; bool of shape {shape} is allowed"
            )
    else:
        n_real = np.asarray(lengths)
        if n_real.shape != shape[:1] or (n_real.size and n_real.dtype.kind not in "iu"):
            raise InputError(
                f"lengths are {n_real.dtype} of shape {n_real.shape}; whole numbers of shape "
                f"{shape[:1]} are allowed"
            )
        wrong = np.flatnonzero((n_real < 0) | (n_real > shape[1]))
        if wrong.size:
            raise InputError(
                f"lengths[{wrong[0]}] is {n_real[wrong[0]]}; from 0 to the number of tokens, "
                f"{shape[1]}, is allowed"
            )
        place = np.arange(shape[1])
        if one_of("padding", padding, ("left", "right")) == "left":
            place = place[::-1]
        real = place < n_real[:, np.newaxis]
    return np.ascontiguousarray(real).view(np.uint8)


def items(
    confidence: ArrayLike,
    culture_index: ArrayLike,
    clamp: bool | ArrayLike,
    n_items: int,
    sums: Array,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.uint8]]:
    """Confidence, row of the sums and clamp of every item, each (item,)."""
    n_cultures = sums.shape[0] if sums.ndim == 2 else 0
    return (
        item_confidence(confidence, n_items),
        culture_rows(culture_index, n_items, n_cultures),
        item_clamp(clamp, n_items),
    )


def sums(
    sums: Array, sums_of_squares: Array | None, positive_counts: Array | None, n_neurons: int
) -> tuple[Array, Array | None, Array | None]:
    """The tables (culture, neuron) that are added into, of one shape."""
    shape = (sums.shape[0] if sums.ndim == 2 else 0, n_neurons)
    return (
        output_table("sums", sums, shape, np.float64),
        optional_table("sums_of_squares", sums_of_squares, shape, np.float64),
        optional_table("positive_counts", positive_counts, shape, np.uint32),
    )


def item_confidence(confidence: ArrayLike, n_items: int) -> NDArray[np.float64]:
    """P(y|x) of every item; finite."""
    given = np.ascontiguousarray(confidence, dtype=np.float64)
    if given.shape != (n_items,):
        raise InputError(f"confidence has shape {given.shape}; {(n_items,)} is needed")
    if not np.isfinite(given).all():
        wrong = np.flatnonzero(~np.isfinite(given))
        raise InputError(f"confidence[{wrong[0]}] is {given[wrong[0]]}; it must be finite")
    return given


def culture_rows(index: ArrayLike, n_items: int, n_cultures: int) -> NDArray[np.int64]:
    """Row of the sums that every item adds to."""
    given = np.asarray(index)
    if given.shape != (n_items,) or (given.size and given.dtype.kind not in "iu"):
        raise InputError(
            f"culture_index is {given.dtype} of shape {given.shape}; whole numbers of shape "
            f"{(n_items,)} are needed"
        )
    if given.size and not 0 <= given.min() <= given.max() < n_cultures:
        wrong = np.flatnonzero((given < 0) | (given >= n_cultures))
        raise InputError(f"culture_index[{wrong[0]}] is {given[wrong[0]]}; sums have {n_cultures} rows")
    return np.ascontiguousarray(given, dtype=np.int64)


def item_clamp(clamp: bool | ArrayLike, n_items: int) -> NDArray[np.uint8]:
    """Whether negative weighted scores of an item are dropped."""
    if isinstance(clamp, bool):
        return np.full(n_items, clamp, dtype=np.uint8)
    given = np.asarray(clamp)
    if given.dtype != np.bool_ or given.shape not in ((), (n_items,)):
        raise InputError(
            f"clamp_at_zero is {given.dtype} of shape {given.shape}; a bool, or bools of shape "
            f"{(n_items,)}, are allowed"
        )
    return np.ascontiguousarray(np.broadcast_to(given, (n_items,))).view(np.uint8)


def output_table(name: str, table: Array, shape: tuple[int, int], dtype: type) -> Array:
    """A table that is written to: right shape and dtype, writeable, neurons side by side."""
    if table.dtype != dtype or table.ndim != 2 or table.shape != shape:
        raise InputError(
            f"{name} is {table.dtype} of shape {table.shape}; {np.dtype(dtype)} of shape {shape} is needed"
        )
    if not table.flags.writeable or side_by_side(table) is not table:
        raise InputError(
            f"{name} has strides {table.strides} and writeable={table.flags.writeable}; it must be "
            "writeable with its neurons side by side"
        )
    return table


def optional_table(name: str, table: Array | None, shape: tuple[int, int], dtype: type) -> Any:
    """`output_table`, or None for a table that nobody asks for."""
    return None if table is None else output_table(name, table, shape, dtype)


def excluded_neurons(excluded: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Neurons that may not be chosen, (row, neuron)."""
    given = np.asarray(excluded)
    if given.dtype != np.bool_ or given.shape not in (shape[1:], shape):
        raise InputError(
            f"excluded is {given.dtype} of shape {given.shape}; bool of shape {shape[1:]} or {shape} "
            "is allowed"
        )
    return np.broadcast_to(np.ascontiguousarray(given).view(np.uint8), shape)


def score_table(name: str, table: Array, shapes: Sequence[tuple[int, ...]] = ()) -> None:
    """A table (row, neuron) of float64 that is only read, of one of the shapes."""
    if table.dtype != np.float64 or table.ndim != 2 or (shapes and table.shape not in shapes):
        allowed = " or ".join(str(shape) for shape in shapes) or "(row, neuron)"
        raise InputError(
            f"{name} is {table.dtype} of shape {table.shape}; float64 of shape {allowed} is allowed"
        )


def pool_segments(number: int, pool: Any, n_neurons: int) -> NDArray[np.int64]:
    """A pool as (start, width) rows, ascending and apart."""
    given = np.asarray(pool)
    if given.size == 0:
        return np.empty((0, 2), dtype=np.int64)
    if given.dtype.kind not in "iu" or not (given.ndim == 1 or given.shape[1:] == (2,)):
        raise InputError(
            f"pools[{number}] is {given.dtype} of shape {given.shape}; whole numbers of shape "
            "(position,) or (segment, 2) are allowed"
        )
    given = given.astype(np.int64)
    if given.ndim == 1:
        ordered = np.sort(given)
        breaks = np.flatnonzero(np.diff(ordered) != 1) + 1
        starts = np.concatenate(([0], breaks))
        widths = np.diff(np.concatenate((starts, [ordered.size])))
        segments = np.stack((ordered[starts], widths), axis=1)
    else:
        segments = given[np.argsort(given[:, 0], kind="stable")]
        segments = segments[segments[:, 1] != 0]
    ends = segments[:, 0] + segments[:, 1]
    if segments.min(initial=0) < 0 or ends.max(initial=0) > n_neurons:
        raise InputError(
            f"pools[{number}] reaches from {segments[:, 0].min()} to {ends.max()}; positions 0 to "
            f"{n_neurons} exist"
        )
    if (segments[1:, 0] < ends[:-1]).any():
        raise InputError(f"pools[{number}] names a neuron twice")
    return np.ascontiguousarray(segments)


def pool_counts(name: str, counts: Sequence[int], widths: list[int]) -> list[int]:
    """One count per pool, at most the pool's size."""
    given = [int(count) for count in counts]
    if len(given) != len(widths):
        raise InputError(f"{name} has {len(given)} entries for {len(widths)} pools")
    for number, (count, width) in enumerate(zip(given, widths, strict=True)):
        if not 0 <= count <= width:
            raise InputError(f"{name}[{number}] is {count}; from 0 to the pool's {width} neurons is allowed")
    return given
