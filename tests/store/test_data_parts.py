from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from culnig.errors import StoreError
from culnig.store import schema
from culnig.store.data_parts import (
    Abandoned,
    PartName,
    Prompts,
    belongs_to,
    new_part,
    part_file,
    read_part,
)

NAME = PartName("1" * 64, "toy-target", 2, 17)
PROMPTS = Prompts.of([4, 0, 2], [[7, 8, 9], [5], [6, 260]])


@pytest.fixture
def part(tmp_path) -> Path:
    path = tmp_path / "part.h5"
    with new_part(path, schema.ITEMS_FORMAT, NAME, PROMPTS):
        pass
    return path


def read(path, kind=schema.ITEMS_FORMAT):
    return read_part(path, kind, 5)


def test_prompts_are_ragged_rows():
    assert PROMPTS.n_items == 3
    assert PROMPTS.n_tokens == 6
    assert PROMPTS.offsets.tolist() == [0, 3, 4, 6]
    assert [PROMPTS.tokens(row).tolist() for row in range(3)] == [[7, 8, 9], [5], [6, 260]]


def test_no_prompts():
    empty = Prompts.of([], [])
    assert (empty.n_items, empty.n_tokens, empty.offsets.tolist()) == (0, 0, [0])


def test_a_part_says_what_it_belongs_to(part):
    found = read(part)
    assert found.name == NAME
    for name in ("item", "offsets", "token_ids"):
        np.testing.assert_array_equal(getattr(found.prompts, name), getattr(PROMPTS, name))


def test_a_part_without_items_comes_back(tmp_path):
    with new_part(tmp_path / "x.h5", schema.TENSORS_FORMAT, NAME, Prompts.of([], [])):
        pass
    assert read(tmp_path / "x.h5", schema.TENSORS_FORMAT).prompts.n_items == 0


@pytest.mark.parametrize("error", [Abandoned, RuntimeError, KeyboardInterrupt])
def test_a_part_that_is_not_finished_leaves_nothing(tmp_path, error):
    def begin():
        with new_part(tmp_path / "x.h5", schema.ITEMS_FORMAT, NAME, PROMPTS):
            raise error

    with pytest.raises(error):
        begin()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("benchmark", ["everyday", "country-rc", "a-000", "한-국-1"])
def test_the_name_of_the_file_tells_the_benchmark(benchmark):
    path = Path("items") / part_file(benchmark, 3, 1_000_000)
    assert belongs_to(path, benchmark)
    assert not belongs_to(path, f"{benchmark}-003")
    assert not belongs_to(path, benchmark[1:])


def change(path, **attributes):
    with h5py.File(path, "a") as file:
        for name, value in attributes.items():
            if value is None:
                del file.attrs[name]
            else:
                file.attrs[name] = value


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"format": "culnig-tensors"}, "format is 'culnig-tensors', expected 'culnig-items'"),
        ({"format": None}, "format is None"),
        ({"format": [1, 2]}, "format is"),
        ({"format_version": 2}, "format version 2, this culnig reads 1"),
        ({"format_version": None}, "format version None"),
        ({"format_version": [1, 1]}, "format version"),
        ({"run": None}, "attributes run and benchmark are not text"),
        ({"benchmark": 3}, "attributes run and benchmark are not text"),
        ({"portion": -1}, "attribute portion is -1, not a count"),
        ({"first_batch": "x"}, "attribute first_batch is 'x', not a count"),
        ({"portion": None}, "attribute portion is None"),
    ],
    ids=str,
)
def test_a_part_of_something_else_is_named(part, attributes, message):
    change(part, **attributes)
    with pytest.raises(StoreError, match=message) as caught:
        read(part)
    assert str(part) in str(caught.value)


def replace(path, name, values):
    with h5py.File(path, "a") as file:
        del file[name]
        if values is not None:
            file[name] = values


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("item", None, "/item is missing"),
        ("item", [[4, 0, 2]], "/item has shape"),
        ("item", [4.0, 0.0, 2.0], "/item has type float64"),
        ("item", [4, 0, 5], "names items 0 to 5 of 5"),
        ("item", [-1, 0, 2], "names items -1"),
        ("item", [0, 0, 2], "/item names an item twice"),
        ("item", 3, "/item has type"),
        ("offsets", None, "/offsets is missing"),
        ("offsets", [0, 3, 6], "/offsets has shape"),
        ("offsets", [1, 3, 4, 6], "does not ascend from 0"),
        ("offsets", [0, 4, 3, 6], "does not ascend from 0"),
        ("offsets", [0, 3, 4, 7], "/token_ids has shape"),
        ("token_ids", None, "/token_ids is missing"),
        ("token_ids", np.zeros(6), "/token_ids has shape .* type float64"),
    ],
    ids=str,
)
def test_prompts_that_are_wrong_are_named(part, name, values, message):
    replace(part, name, values)
    with pytest.raises(StoreError, match=message) as caught:
        read(part)
    assert str(part) in str(caught.value)


def test_a_missing_part_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"gone\.h5"):
        read(tmp_path / "gone.h5")
