from __future__ import annotations

import contextlib

import h5py
import numpy as np
import pytest

from culnig.errors import StoreError
from culnig.store import schema
from culnig.store.compression import COMPRESSIONS
from culnig.store.data_parts import PartName, Prompts, read_part
from culnig.store.hdf5 import open_hdf5
from culnig.store.item_scores import ItemScores, ItemScoresWriter, item_bytes

NAME = PartName("1" * 64, "toy-target", 0, 0)
N_NEURONS = 300


def prompts(lengths=(3, 5, 2)):
    return Prompts.of(list(range(len(lengths))), [[1] * n for n in lengths])


def drawn(n_items=3, spread=8.0):
    random = np.random.default_rng(0)
    signs, sizes = random.choice([-1, 1], (n_items, N_NEURONS)), random.normal(size=(n_items, N_NEURONS))
    return (signs * np.exp(spread * sizes)).astype(np.float32)


def write(path, scores, peaks=None, lengths=(3, 5, 2), **options):
    writer = ItemScoresWriter(path, NAME, prompts(lengths), N_NEURONS, **options)
    peaks = np.zeros(scores.shape, dtype=np.int32) if peaks is None else peaks
    for row in range(len(scores)):
        writer.write(row, scores[row : row + 1], peaks[row : row + 1])
    writer.close()
    return path


@contextlib.contextmanager
def opened(path, n_items=3):
    part = read_part(path, schema.ITEMS_FORMAT, n_items)
    with open_hdf5(path) as file:
        yield ItemScores(file, part.prompts, N_NEURONS)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_float32_scores_come_back_to_the_bit(tmp_path, compression):
    scores = drawn()
    scores[0, :4] = [-0.0, 1e-45, 3e38, -1e-38]
    with opened(write(tmp_path / "x.h5", scores, compression=compression)) as stored:
        assert stored.scores().tobytes() == scores.tobytes()
        np.testing.assert_array_equal(stored.scores(slice(1, 3), slice(5, 50)), scores[1:3, 5:50])


def test_float16_scores_are_right_to_11_bits_of_themselves_or_24_of_their_items_largest(tmp_path):
    scores = drawn()
    scores[1] *= np.float32(1e-30)  # far below the smallest float16
    scores[2] *= np.float32(1e20)  # far above the largest
    with opened(write(tmp_path / "x.h5", scores, score_type="float16")) as stored:
        found = stored.scores()
    exact = scores.astype(np.float64)
    largest = np.abs(exact).max(axis=1, keepdims=True)
    allowed = np.maximum(2.0**-11 * np.abs(exact) * 1.001, 2.0**-25 * largest)
    assert (np.abs(found - exact) <= allowed).all()
    np.testing.assert_array_equal(
        np.abs(found).max(axis=1), np.abs(scores).max(axis=1), "the largest is exact"
    )
    small = np.abs(exact) > 2.0**-14 * largest
    assert small.sum() > 50
    assert (np.sign(found[small]) == np.sign(exact[small])).all()


def test_an_item_without_any_score_comes_back_as_zeros(tmp_path):
    scores = drawn()
    scores[1] = 0
    with opened(write(tmp_path / "x.h5", scores, score_type="float16")) as stored:
        assert (stored.scores()[1] == 0).all()


def test_float16_rows_are_read_with_their_own_scale(tmp_path):
    scores = drawn() * np.array([[1.0], [1e-6], [1e6]], dtype=np.float32)
    with opened(write(tmp_path / "x.h5", scores, score_type="float16")) as stored:
        whole = stored.scores()
        np.testing.assert_array_equal(stored.scores(slice(1, 3), slice(7, 9)), whole[1:3, 7:9])


@pytest.mark.parametrize(("longest", "dtype"), [(5, np.uint16), (65_535, np.uint16), (65_536, np.uint32)])
def test_peak_tokens_come_back_from_the_smallest_type_that_holds_them(tmp_path, longest, dtype):
    lengths = (3, longest, 2)
    peaks = np.random.default_rng(1).integers(0, lengths, (N_NEURONS, 3), dtype=np.int32).T
    peaks[1, 0] = longest - 1
    path = write(tmp_path / "x.h5", drawn(), peaks, lengths)
    with h5py.File(path) as file:
        assert file["peak_token"].dtype == dtype
    with opened(path) as stored:
        np.testing.assert_array_equal(stored.peak_tokens(), peaks)
        np.testing.assert_array_equal(stored.peak_tokens(slice(1, 2), slice(0, 3)), peaks[1:2, 0:3])


@pytest.mark.parametrize(
    ("score_type", "n_tokens", "each"),
    [("float32", 100, 6), ("float16", 100, 4), ("float32", 70_000, 8)],
)
def test_the_bytes_of_an_item_are_those_of_its_datasets(tmp_path, score_type, n_tokens, each):
    assert item_bytes(N_NEURONS, score_type, n_tokens) == each * N_NEURONS
    path = write(tmp_path / "x.h5", drawn(), lengths=(n_tokens, 1, 1), score_type=score_type)
    with h5py.File(path) as file:
        assert file["scores"].nbytes + file["peak_token"].nbytes == 3 * each * N_NEURONS


def test_a_part_appears_when_it_is_closed_and_not_before(tmp_path):
    writer = ItemScoresWriter(tmp_path / "x.h5", NAME, prompts(), N_NEURONS)
    writer.write(0, drawn(), np.zeros((3, N_NEURONS), dtype=np.int32))
    assert not (tmp_path / "x.h5").exists()
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]


def test_an_abandoned_part_leaves_nothing(tmp_path):
    writer = ItemScoresWriter(tmp_path / "x.h5", NAME, prompts(), N_NEURONS, "float16")
    writer.write(0, drawn(), np.zeros((3, N_NEURONS), dtype=np.int32))
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("score_type", "name", "values", "message"),
    [
        ("float32", "scores", None, "/scores is missing"),
        ("float32", "scores", np.zeros((3, 299), "f4"), r"/scores has shape \(3, 299\)"),
        ("float32", "scores", np.zeros((3, 300), "i4"), "/scores has shape .* type int32"),
        ("float32", "scores", np.zeros((3, 300), "f8"), "/scores has type float64"),
        ("float32", "peak_token", None, "/peak_token is missing"),
        ("float32", "peak_token", np.zeros((3, 300), "i4"), "/peak_token has shape .* type int32"),
        ("float16", "scale", None, "/scale is missing"),
        ("float16", "scale", np.ones(2, "f4"), "/scale has shape"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_dataset_that_is_wrong_is_named(tmp_path, score_type, name, values, message):
    path = write(tmp_path / "x.h5", drawn(), score_type=score_type)
    with h5py.File(path, "a") as file:
        del file[name]
        if values is not None:
            file[name] = values
    with pytest.raises(StoreError, match=message) as caught, opened(path) as stored:
        stored.scores()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["scores", "peak_token"])
def test_a_flipped_bit_is_named(tmp_path, name):
    path = write(tmp_path / "x.h5", drawn())
    with h5py.File(path) as file:
        place = file[name].id.get_chunk_info(1).byte_offset + 20
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    read = ItemScores.scores if name == "scores" else ItemScores.peak_tokens
    with pytest.raises(StoreError, match=f"/{name} cannot be read, it is damaged"), opened(path) as stored:
        read(stored)
