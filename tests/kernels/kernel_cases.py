"""Random batches for the kernels, and one way to call every implementation."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import twin
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from culnig import kernels
from culnig.kernels import ScoreBatch, ScoreTables
from culnig.kernels.base import Backend

Array = NDArray[Any]

N_CULTURES = 3


def examples(n: int) -> settings:
    """Hypothesis settings for n examples; under the sanitizers a sixth, which is slow enough."""
    return settings(max_examples=n // 6 if os.environ.get("CULNIG_SANITIZE") else n, deadline=None)


@dataclass(frozen=True)
class Batch:
    """Arguments of one call."""

    activation: Array
    gradient: Array
    token_mask: Array
    weight: Array
    culture_index: Array
    clamp: Array
    aggregator: str
    dtype: str

    @property
    def by_item(self) -> tuple[int, int]:
        return self.activation.shape[0], self.activation.shape[2]

    @property
    def items(self) -> ScoreBatch:
        return ScoreBatch(self.token_mask, self.weight, self.culture_index, self.clamp)


def strided(random: np.random.Generator, shape: tuple[int, int, int], layout: str) -> Array:
    """Noise (item, token, neuron) with the strides of `layout`."""
    n_items, n_tokens, n_neurons = shape
    if layout == "slice of a fused projection":
        return random.normal(size=(n_items, n_tokens, 3 * n_neurons + 8))[..., 8 : 8 + n_neurons]
    if layout == "token first":
        return random.normal(size=(n_tokens, n_items, n_neurons)).swapaxes(0, 1)
    if layout == "every second neuron":
        return random.normal(size=(n_items, n_tokens, 2 * n_neurons))[..., ::2]
    return random.normal(size=shape)


def converted(noise: Array, dtype: str) -> Array:
    """The noise in another format, with the same strides."""
    if dtype != "bfloat16":
        return noise.astype(dtype, order="K")
    return (noise.astype(np.float32, order="K").view(np.uint32) >> 16).astype(np.uint16, order="K")


def with_base(noise: Array, dtype: str) -> Array:
    """`converted`, for a view: the whole memory behind it is converted, and the view taken again."""
    if noise.base is None:
        return converted(noise, dtype)
    whole = converted(np.ascontiguousarray(noise.base), dtype)
    offset = (noise.ctypes.data - noise.base.ctypes.data) // noise.itemsize
    strides = [stride // noise.itemsize * whole.itemsize for stride in noise.strides]
    return np.lib.stride_tricks.as_strided(whole.reshape(-1)[offset:], noise.shape, strides)


LAYOUTS = ("plain", "slice of a fused projection", "token first", "every second neuron")


@st.composite
def batches(draw: st.DrawFn, finite: bool = True) -> Batch:
    shape = (
        draw(st.integers(0, 4), label="items"),
        draw(st.integers(0, 70), label="tokens"),
        draw(st.one_of(st.integers(1, 40), st.integers(1, 1000)), label="neurons"),
    )
    dtype = draw(st.sampled_from(kernels.DTYPES))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    scale = draw(st.sampled_from((1.0, 3e-4, 1e-20 if dtype == "float32" else 3e-7)))
    arrays = []
    for _ in range(2):
        noise = strided(random, shape, draw(st.sampled_from(LAYOUTS)))
        noise *= scale
        if draw(st.booleans(), label="ties"):
            np.copyto(noise, np.sign(np.round(noise / scale)) * scale)
        arrays.append(with_base(noise, dtype))
    share = draw(st.sampled_from((0.0, 0.5, 0.9, 1.0)), label="share of real tokens")
    mask = random.random(shape[:2]) < share
    if not finite:
        for _ in range(draw(st.integers(0, 3), label="non-finite elements")):
            poison(random, arrays[int(random.integers(2))])
    return Batch(
        *arrays,
        token_mask=mask,
        weight=random.random(shape[0]),
        culture_index=random.integers(0, N_CULTURES, shape[0]),
        clamp=random.random(shape[0]) < 0.5,
        aggregator=draw(st.sampled_from(kernels.AGGREGATORS)),
        dtype=dtype,
    )


def poison(random: np.random.Generator, array: Array) -> None:
    """Put NaN or infinity somewhere."""
    if array.size == 0:
        return
    index = tuple(int(random.integers(n)) for n in array.shape)
    value = random.choice(np.array([np.nan, np.inf, -np.inf], dtype=np.float32))
    array[index] = (value.view(np.uint32) >> 16) if array.dtype == np.uint16 else value


def empty_tables(batch: Batch) -> twin.Scored:
    """Tables as views into wider ones, like a module's columns; sevens where they must be overwritten."""
    n_items, n_neurons = batch.by_item
    wide = (N_CULTURES, n_neurons + 5)
    return twin.Scored(
        np.zeros(wide)[:, 3:-2],
        np.zeros(wide)[:, 3:-2],
        np.zeros(wide, dtype=np.uint32)[:, 3:-2],
        np.full((n_items, n_neurons), 7.0, dtype=np.float32),
        np.full((n_items, n_neurons), 7, dtype=np.int32),
    )


Implementation = Callable[[Batch], twin.Scored]


def by_twin(batch: Batch) -> twin.Scored:
    return twin.score_reduce(
        batch.activation,
        batch.gradient,
        batch.token_mask,
        batch.weight,
        batch.culture_index,
        N_CULTURES,
        batch.aggregator,
        batch.clamp,
    )


def by_core(batch: Batch, threads: int | None = None) -> twin.Scored:
    tables = empty_tables(batch)
    kernels.score_reduce(
        batch.activation,
        batch.gradient,
        batch.items,
        ScoreTables(*tables),
        batch.aggregator,
        dtype=batch.dtype,
        threads=threads,
    )
    return tables


def tensor_of(array: Array) -> torch.Tensor:
    """A tensor on the array's memory; uint16 are bfloat16."""
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if array.dtype == np.uint16 else tensor


def by_backend(backend: Backend, *, tensor_tables: bool = False) -> Implementation:
    def score(batch: Batch) -> twin.Scored:
        tables = empty_tables(batch)
        backend.score_reduce(
            tensor_of(batch.activation),
            tensor_of(batch.gradient),
            replace(batch.items, token_mask=torch.from_numpy(batch.token_mask)),
            ScoreTables(*map(torch.from_numpy, tables) if tensor_tables else tables),
            batch.aggregator,
        )
        return tables

    return score


def assert_same_bits(computed: twin.Scored, expected: twin.Scored) -> None:
    for name, a, b in zip(twin.Scored._fields, computed, expected, strict=True):
        assert a.dtype == b.dtype, name
        assert a.tobytes() == b.tobytes(), name
