"""Arguments of the kernels: the objects of a call, and checks that report an argument's name and value.

Each check returns the argument as compiled code takes it, without a copy where the neurons of a row are
contiguous. Nothing here imports torch; values may be numpy arrays or tensors.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from culnig.errors import InputError

if TYPE_CHECKING:
    import torch

AGGREGATORS = ("max", "absmax", "sum", "mean", "last")
"""How the contributions of an item's tokens become one score; the order is that of csrc/core/score.h."""

DTYPES = ("float32", "float16", "bfloat16")
"""Number formats of activations and gradients; the order is that of csrc/core/numbers.h."""

_STORED_AS = dict(zip(DTYPES, map(np.dtype, ("float32", "float16", "uint16")), strict=True))

Array = NDArray[Any]
Values: TypeAlias = "ArrayLike | torch.Tensor"
Table: TypeAlias = "Array | torch.Tensor"


@dataclass(frozen=True)
class ScoreBatch:
    """The items of a batch, apart from activations and gradients. All but the mask serve the sums only."""

    token_mask: Values | None = None
    """Which tokens are real, not padding: bool (item, token)."""
    weight: Values | None = None
    """Factor for an item's scores, usually P(gold): (item,)."""
    culture_index: Values | None = None
    """Row of the sums that an item is added to: (item,)."""
    clamp_at_zero: bool | Values = False
    """Whether negative weighted scores count as zero, for all items or per item: bool (item,)."""


@dataclass(frozen=True)
class ScoreTables:
    """The tables of a call, numpy arrays or tensors; None for a table that is not needed.

    Without `sums` nothing is added. Tables may be views, such as the columns of one module, as long as the
    neurons of a row are contiguous.
    """

    sums: Table | None = None
    """Σ weighted score, float64 (culture, neuron); added to."""
    sums_of_squares: Table | None = None
    """Σ weighted score², float64 (culture, neuron); added to."""
    positive_counts: Table | None = None
    """Number of items with a weighted score > 0, uint32 (culture, neuron); added to."""
    item_scores: Table | None = None
    """Scores before weight and clamp, float32 (item, neuron); written."""
    peak_tokens: Table | None = None
    """Token that gave each score, int32 (item, neuron); written. For sum and mean it is the token of the
    largest contribution, without real tokens -1."""

    def __post_init__(self) -> None:
        if self.sums is None and not (self.sums_of_squares is None and self.positive_counts is None):
            raise InputError("sums_of_squares and positive_counts are given without sums; give sums too")


TABLE_DTYPES = {
    "sums": "float64",
    "sums_of_squares": "float64",
    "positive_counts": "uint32",
    "item_scores": "float32",
    "peak_tokens": "int32",
}
"""Number format of each table of `ScoreTables`."""

CULTURE_TABLES = ("sums", "sums_of_squares", "positive_counts")

MOST_TOKENS = 2**31 - 1
"""Most tokens of an item; `peak_tokens` is int32."""

_MOST_WORK = 2**56
"""Most numbers that one call of `rank` reads; above, products of sizes would overflow int64."""


def whole_number(name: str, value: object, least: int, most: int, of: str = "") -> int:
    """The value as an int; InputError unless it is a whole number from `least` to `most`."""
    number = None
    if not isinstance(value, bool | np.bool_) and isinstance(value, SupportsIndex):
        number = operator.index(value)
    if number is None or not least <= number <= most:
        raise InputError(f"{name} is {value!r}; a whole number from {least} to {most}{of} is allowed")
    return number


def numpy_array(name: str, value: object) -> Array:
    """The value; InputError unless it is a numpy array, and one without masked entries."""
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        raise InputError(f"{name} is a {type(value).__name__}; a numpy array without a mask is allowed")
    return value


def one_of(name: str, value: str, allowed: Sequence[str]) -> int:
    """Index of the value in `allowed`; InputError, which names both, if it is missing."""
    if value not in allowed:
        raise InputError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
    return allowed.index(value)


def dtype_index(activation: Array, gradient: Array, dtype: str | None) -> int:
    """Index in DTYPES of the number format of both arrays (item, token, neuron)."""
    numpy_array("activation", activation), numpy_array("gradient", gradient)
    if activation.ndim != 3:
        raise InputError(f"activation has shape {activation.shape}; it must be (item, token, neuron)")
    if gradient.shape != activation.shape:
        raise InputError(
            f"gradient has shape {gradient.shape}, activation {activation.shape}; they must agree"
        )
    if activation.shape[1] > MOST_TOKENS:
        raise InputError(f"activation has {activation.shape[1]} tokens; at most {MOST_TOKENS} are allowed")
    if gradient.dtype != activation.dtype:
        raise InputError(f"gradient is {gradient.dtype}, activation {activation.dtype}; they must agree")
    name = str(activation.dtype) if dtype is None else dtype
    if dtype is not None:
        one_of("dtype", dtype, DTYPES)
    if _STORED_AS.get(name) != activation.dtype:
        raise InputError(
            f"activation is {activation.dtype} with dtype={dtype!r}; float32, float16, uint16 "
            "with dtype='bfloat16' are allowed"
        )
    return DTYPES.index(name)


def contiguous_rows(array: Array) -> Array:
    """The array itself where its last axis is contiguous and aligned, else a copy."""
    contiguous = array.strides[-1] == array.itemsize or array.shape[-1] <= 1
    whole = all(stride % array.itemsize == 0 for stride in array.strides)
    if array.size == 0 or (contiguous and whole and array.flags.aligned):
        return array
    copied: Array = array.copy(order="C")  # np.ascontiguousarray keeps a contiguous array that is not aligned
    return copied


def host_array(values: Values) -> Array:
    """Values as a numpy array; a tensor is copied to the host."""
    if hasattr(values, "detach"):  # a tensor
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def real_tokens(token_mask: Values | None, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask (item, token) of real tokens."""
    if token_mask is None:
        raise InputError(f"token_mask is missing; give bool of shape {shape}")
    mask = host_array(token_mask)
    if mask.dtype != np.bool_ or mask.shape != shape:
        raise InputError(
            f"token_mask is {mask.dtype} of shape {mask.shape}; bool of shape {shape} is allowed"
        )
    return mask.astype(np.bool_, order="C").view(np.uint8)


def score_batch(batch: ScoreBatch, n_items: int, n_tokens: int | None, n_cultures: int | None) -> ScoreBatch:
    """The batch as compiled code takes it: mask only with `n_tokens`, other fields only with `n_cultures`.

    The fields are copies, so they share no memory with the tables.
    """
    mask = None if n_tokens is None else real_tokens(batch.token_mask, (n_items, n_tokens))
    if n_cultures is None:
        return ScoreBatch(mask)
    return ScoreBatch(
        mask,
        _item_weight(batch.weight, n_items),
        _culture_rows(batch.culture_index, n_items, n_cultures),
        _item_clamp(batch.clamp_at_zero, n_items),
    )


def _item_weight(weight: Values | None, n_items: int) -> NDArray[np.float64]:
    if weight is None:
        raise InputError(f"weight is missing; give finite numbers of shape {(n_items,)}")
    numbers = host_array(weight)
    if numbers.shape != (n_items,) or (numbers.size and numbers.dtype.kind not in "fiu"):
        raise InputError(
            f"weight is {numbers.dtype} of shape {numbers.shape}; numbers of shape {(n_items,)} are needed"
        )
    given = numbers.astype(np.float64, order="C")
    if not np.isfinite(given).all():
        wrong = np.flatnonzero(~np.isfinite(given))
        raise InputError(f"weight[{wrong[0]}] is {given[wrong[0]]}; it must be finite")
    return given


def _culture_rows(index: Values | None, n_items: int, n_cultures: int) -> NDArray[np.int64]:
    if index is None:
        raise InputError(f"culture_index is missing; give whole numbers of shape {(n_items,)}")
    given = host_array(index)
    if given.shape != (n_items,) or (given.size and given.dtype.kind not in "iu"):
        raise InputError(
            f"culture_index is {given.dtype} of shape {given.shape}; whole numbers of shape "
            f"{(n_items,)} are needed"
        )
    if given.size and not 0 <= given.min() <= given.max() < n_cultures:
        wrong = np.flatnonzero((given < 0) | (given >= n_cultures))
        raise InputError(f"culture_index[{wrong[0]}] is {given[wrong[0]]}; sums have {n_cultures} rows")
    return given.astype(np.int64, order="C")


def _item_clamp(clamp: bool | Values, n_items: int) -> NDArray[np.uint8]:
    given = host_array(clamp)
    if given.dtype != np.bool_ or given.shape not in ((), (n_items,)):
        raise InputError(
            f"clamp_at_zero is {given.dtype} of shape {given.shape}; a bool, or bools of shape "
            f"{(n_items,)}, are allowed"
        )
    return np.ascontiguousarray(np.broadcast_to(given, (n_items,))).view(np.uint8)


def score_tables(tables: ScoreTables, n_items: int, n_neurons: int) -> ScoreTables:
    """The tables as numpy arrays on the host: shape, dtype, rows and memory checked."""
    n_cultures = len(tables.sums) if getattr(tables.sums, "ndim", 0) == 2 else 0  # type: ignore[arg-type]
    checked = {
        name: _output_table(
            name,
            getattr(tables, name),
            (n_cultures if name in CULTURE_TABLES else n_items, n_neurons),
            dtype,
        )
        for name, dtype in TABLE_DTYPES.items()
    }
    written = [(name, table) for name, table in checked.items() if table is not None]
    for pair in itertools.combinations(written, 2):
        apart(*pair)
    return ScoreTables(**checked)


def apart(written: tuple[str, Array], other: tuple[str, Array]) -> None:
    """InputError if a table that is written shares memory with another array."""
    if np.may_share_memory(written[1], other[1]) and np.shares_memory(written[1], other[1]):
        raise InputError(f"{written[0]} and {other[0]} share memory; give each its own array")


def _output_table(name: str, table: Table | None, shape: tuple[int, int], dtype: str) -> Array | None:
    if table is None:
        return None
    array: Any = table
    if hasattr(array, "detach"):  # a tensor
        if array.device.type != "cpu":
            raise InputError(f"{name} is on {array.device}; give it as a numpy array or a CPU tensor")
        array = array.detach().numpy()
    array = numpy_array(name, array)
    if array.dtype != dtype or array.shape != shape:
        raise InputError(
            f"{name} is {array.dtype} of shape {array.shape}; {dtype} of shape {shape} is needed"
        )
    rows_overlap = array.size and len(array) > 1 and abs(array.strides[0]) < array.shape[1] * array.itemsize
    if not array.flags.writeable or contiguous_rows(array) is not array or rows_overlap:
        raise InputError(
            f"{name} has strides {array.strides} and writeable={array.flags.writeable}; it must be "
            "writeable and aligned, with the neurons of a row contiguous and each row in its own memory"
        )
    return array


def excluded_neurons(excluded: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Neurons that may not be chosen, (row, neuron)."""
    given = np.asarray(excluded)
    if given.dtype != np.bool_ or given.shape not in (shape[1:], shape):
        raise InputError(
            f"excluded is {given.dtype} of shape {given.shape}; bool of shape {shape[1:]} or {shape} "
            "is allowed"
        )
    return np.broadcast_to(np.ascontiguousarray(given).view(np.uint8), shape)


def rank_scores(name: str, scores: Array, shape: tuple[int, ...] | None = None) -> Array:
    """Scores (row, neuron) float64, or (1, neuron) for all rows of `shape` alike."""
    numpy_array(name, scores)
    allowed = [(1, shape[1]), shape] if shape else []
    if scores.dtype != np.float64 or scores.ndim != 2 or (allowed and scores.shape not in allowed):
        needed = " or ".join(map(str, allowed)) or "(row, neuron)"
        raise InputError(
            f"{name} is {scores.dtype} of shape {scores.shape}; float64 of shape {needed} is allowed"
        )
    rows = contiguous_rows(scores)
    return np.broadcast_to(rows, shape) if shape else rows


def pool_runs(number: int, pool: ArrayLike, n_neurons: int) -> NDArray[np.int64]:
    """A pool of flat indices as runs (start, width), ascending."""
    try:
        given = np.asarray(pool)
    except ValueError:  # lists of several lengths
        raise InputError(f"pools[{number}] is {pool!r}; a list of flat indices is allowed") from None
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise InputError(
            f"pools[{number}] is {given.dtype} of shape {given.shape}; whole numbers of shape (neuron,) are "
            "allowed"
        )
    if given.size == 0:
        return np.empty((0, 2), dtype=np.int64)
    least, most = given.min(), given.max()  # before the cast: large unsigned numbers would wrap around
    if least < 0 or most >= n_neurons:
        raise InputError(
            f"pools[{number}] reaches from {least} to {most}; from 0 to {n_neurons - 1} is allowed"
        )
    ordered = np.sort(given.astype(np.int64))
    steps = np.diff(ordered)
    if (steps == 0).any():
        raise InputError(f"pools[{number}] names a neuron twice")
    first = np.concatenate(([0], np.flatnonzero(steps != 1) + 1))
    widths = np.diff(np.concatenate((first, [ordered.size])))
    return np.stack((ordered[first], widths), axis=1)


def pool_counts(name: str, counts: Sequence[int], widths: list[int]) -> list[int]:
    """One count per pool, at most the pool's size."""
    if len(counts) != len(widths):
        raise InputError(f"{name} has {len(counts)} entries for {len(widths)} pools")
    return [
        whole_number(f"{name}[{number}]", count, 0, width, ", the size of the pool,")
        for number, (count, width) in enumerate(zip(counts, widths, strict=True))
    ]


def bounded_rank(n_rows: int, widths: list[int]) -> None:
    """InputError if the rows and pools of a call of `rank` are more than could ever be read."""
    if n_rows * (len(widths) + sum(widths)) > _MOST_WORK:
        raise InputError(
            f"target has {n_rows} rows and there are {len(widths)} pools of {sum(widths)} neurons; rank "
            "fewer rows at a time"
        )
