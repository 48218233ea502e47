from __future__ import annotations

import contextlib
import os

import h5py
import numpy as np
import pytest
import torch

from culnig.core.neurons import MLP_GATE, QUERY
from culnig.errors import StoreError
from culnig.store import schema
from culnig.store.compression import COMPRESSIONS
from culnig.store.data_parts import PartName, Prompts, read_part
from culnig.store.direct import new_buffer
from culnig.store.hdf5 import open_hdf5
from culnig.store.tensors import Tensors, TensorsWriter
from tests.toy import toy_layout

LAYOUT = toy_layout()
CHOSEN = [segment for segment in LAYOUT.segments if segment.module in (MLP_GATE, QUERY)]
NAME = PartName("1" * 64, "toy-target", 0, 0)
PROMPTS = Prompts.of([2, 0], [[1, 2, 3], [4, 5]])
GATE = CHOSEN[1]


def pair(segment, dtype, seed=0):
    """Activation and gradient (token, neuron) with awkward values, as numpy holds them."""
    torch.manual_seed(seed + segment.start)
    made = torch.randn(2, PROMPTS.n_tokens, segment.width)
    made[0, 0, :2] = torch.tensor([float("inf"), -0.0])
    made[1, 0, :2] = torch.tensor([float("nan"), 1e-40])
    made = made.to(getattr(torch, dtype))
    array = made.view(torch.uint16).numpy() if dtype == "bfloat16" else made.numpy()
    return array[0], array[1].astype(np.float32) if dtype == "float16" else array[1]


def write(path, dtype="float32", **options):
    writer = TensorsWriter(path, NAME, PROMPTS, CHOSEN, dtype, **options)
    for segment in CHOSEN:
        activation, gradient = pair(segment, dtype)
        writer.write(segment, 0, [activation[:3]], [gradient[:3]])
        writer.write(segment, 3, [activation[3:]], [gradient[3:]])
    writer.close()
    return path


@contextlib.contextmanager
def opened(path):
    part = read_part(path, schema.TENSORS_FORMAT, 3)
    with open_hdf5(path) as file:
        yield Tensors(file, part.prompts, LAYOUT)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_tensors_come_back_to_the_bit_in_the_models_format(tmp_path, dtype, compression):
    with opened(write(tmp_path / "x.h5", dtype, compression=compression)) as stored:
        assert stored.segments == CHOSEN
        for segment in CHOSEN:
            assert stored.number_format(segment) == dtype
            assert stored.gradient_format(segment) == ("float32" if dtype == "float16" else dtype)
            for found, expected in zip(stored.pair(segment), pair(segment, dtype), strict=True):
                assert found.dtype == expected.dtype
                assert found.tobytes() == expected.tobytes()
            part = stored.pair(segment, range(1, 2))[1]
            assert part.tobytes() == pair(segment, dtype)[1][3:].tobytes()


def test_bfloat16_is_its_bits_and_says_so(tmp_path):
    path = write(tmp_path / "x.h5", "bfloat16")
    with h5py.File(path) as file:
        dataset = file["layers/0/mlp.gate_proj/activation"]
        assert dataset.dtype == np.uint16
        assert dataset.attrs["dtype"] == "bfloat16"
        found = torch.from_numpy(dataset[()]).view(torch.bfloat16)
    expected = torch.from_numpy(pair(GATE, "bfloat16")[0].copy()).view(torch.bfloat16)
    assert torch.equal(found, expected)


def test_a_part_without_items_is_written_and_read(tmp_path):
    TensorsWriter(tmp_path / "x.h5", NAME, Prompts.of([], []), CHOSEN, "float32").close()
    with opened(tmp_path / "x.h5") as stored:
        assert stored.pair(GATE)[0].shape == (0, GATE.width)


def test_an_abandoned_part_leaves_nothing(tmp_path):
    writer = TensorsWriter(tmp_path / "x.h5", NAME, PROMPTS, CHOSEN, "float32")
    writer.write(GATE, 0, *([whole] for whole in pair(GATE, "float32")))
    assert not (tmp_path / "x.h5").exists()
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_module_of_another_format_than_the_model_is_refused_and_not_rounded(tmp_path):
    writer = TensorsWriter(tmp_path / "x.h5", NAME, PROMPTS, CHOSEN, "bfloat16")
    with pytest.raises(
        StoreError,
        match=r"mlp\.gate_proj, layer 0 has float32 values, but the rest of the model has bfloat16",
    ):
        writer.write(GATE, 0, *([whole] for whole in pair(GATE, "float32")))
    writer.abandon()


GRADIENT = "layers/0/mlp.gate_proj/gradient"


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (None, "float32", "gradient is missing"),
        (np.zeros((4, 10), "f4"), "float32", r"gradient has shape \(4, 10\), expected \(5, 10\)"),
        (np.zeros((5, 9), "f4"), "float32", r"gradient has shape \(5, 9\)"),
        (np.zeros((5, 10), "i4"), "float32", "gradient has type int32"),
        (np.zeros((5, 10), "f8"), "float32", "gradient has type float64"),
        (np.zeros((5, 10), "f4"), None, "dtype None"),
        (np.zeros((5, 10), "f4"), "float8", "dtype 'float8', expected one of .*bfloat16"),
        (np.zeros((5, 10), "u2"), "float16", "type uint16 and dtype 'float16'"),
        (np.zeros((5, 10), "f2"), "bfloat16", "type float16 and dtype 'bfloat16'"),
        (np.zeros((5, 10), "f4"), [1, 2], "dtype"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_dataset_that_is_wrong_is_named(tmp_path, values, dtype, message):
    path = write(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        del file[GRADIENT]
        if values is not None:
            file[GRADIENT] = values
            if dtype is not None:
                file[GRADIENT].attrs["dtype"] = dtype
    with pytest.raises(StoreError, match=message) as caught, opened(path) as stored:
        stored.pair(GATE)
    assert str(path) in str(caught.value)


def test_a_part_of_another_model_is_named(tmp_path):
    path = write(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        del file["modules"]
        file["modules"] = np.array(["0/no_such_module"], dtype=h5py.string_dtype(length=20))
    with (
        pytest.raises(StoreError, match="/modules names no module of this model"),
        opened(path),
    ):
        pass


@pytest.mark.parametrize("which", ["activation", "gradient"])
def test_a_flipped_bit_is_named_with_its_item(tmp_path, which):
    path = write(tmp_path / "x.h5")
    with h5py.File(path) as file:
        offset = file[f"layers/0/mlp.gate_proj/{which}"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[offset + 4 * 10 * 4] ^= 1  # in the second item
    path.write_bytes(content)
    with (
        pytest.raises(StoreError, match=f"gate_proj/{which} is damaged at item 0"),
        opened(path) as stored,
    ):
        stored.pair(GATE)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_pairs_are_read_into_the_buffers_they_are_given(tmp_path, compression):
    buffers = new_buffer(5 * 20 * 4), new_buffer(5 * 20 * 4)
    with opened(write(tmp_path / "x.h5", compression=compression)) as stored:
        stored.open(CHOSEN)
        for segment in CHOSEN:
            found = stored.pair(segment, range(2), buffers)
            for values, buffer, expected in zip(found, buffers, pair(segment, "float32"), strict=True):
                np.testing.assert_array_equal(values, expected)
                assert np.shares_memory(values, buffer)


def test_a_file_that_ends_in_a_tensor_names_it(tmp_path):
    path = write(tmp_path / "x.h5")
    with opened(path) as stored:
        assert stored.number_format(GATE) == "float32"  # it is open when the file shrinks
        os.truncate(path, 64)
        with pytest.raises(
            StoreError, match="gate_proj/activation cannot be read, it is damaged: the file ends in it"
        ):
            stored.pair(GATE)
