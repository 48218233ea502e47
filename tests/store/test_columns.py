"""Columns of small files: what is written comes back, and what is not a column is refused."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from culnig.core.neurons import MLP_GATE
from culnig.core.outcomes import Outcomes
from culnig.errors import StoreError
from culnig.store import schema, tables
from tests.toy import answered, items, moments, toy_layout, write_run


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        yield file


@pytest.mark.parametrize(
    "texts", [[], [""], ["", ""], ["a"], ["", "ab", "abc"], ["ümlaut 🍜", ""], ["x" * 300]], ids=str
)
def test_texts_come_back(file, texts):
    tables.write_texts(file, "name", texts)
    assert tables.read_texts(file, "name") == texts


def test_a_null_character_becomes_its_symbol(file):
    tables.write_texts(file, "name", ["a\0b"])
    assert tables.read_texts(file, "name") == ["a␀b"]


@pytest.mark.parametrize("n", [0, 1, 5])
def test_answers_come_back_also_where_there_are_none(file, n):
    asked = items(["China"], questions=n)
    written = answered(asked, [True] * n)
    tables.write_outcomes(file, written)
    read = tables.read_outcomes(file)
    assert read.option_probabilities.shape == ((n, 4) if n else (0, 0))
    for name in ("id", "question_id", "culture", "topic", "split", "gold", "predicted", "correct", "p_gold"):
        assert getattr(read, name).tolist() == getattr(written, name).tolist()
    assert read.options == [("A", "B", "C", "D")] * n
    np.testing.assert_array_equal(read.option_probabilities, written.option_probabilities)


def test_a_table_of_answers_with_a_missing_row_is_refused(file):
    tables.write_outcomes(file, answered(items(["China"], questions=3), [True] * 3))
    del file["items/culture"]
    tables.write_texts(file["items"], "culture", ["China"] * 2)
    with pytest.raises(StoreError, match="culture has 2 rows, id has 3"):
        tables.read_outcomes(file)


@pytest.mark.parametrize("value", [0, 1, 7, np.int64(3), np.uint8(0)])
def test_a_count_is_a_whole_number_from_zero(file, value):
    file.attrs["n"] = value
    assert tables.count_attribute(file, "n") == value


@pytest.mark.parametrize("value", [-1, 1.0, "1", [1, 2]], ids=str)
def test_other_attributes_are_no_count(file, value):
    file.attrs["n"] = value
    with pytest.raises(StoreError, match=r"attribute n is .*, not a count"):
        tables.count_attribute(file, "n")


def test_a_missing_count_is_named(file):
    with pytest.raises(StoreError, match="attribute n is None"):
        tables.count_attribute(file, "n")


def test_a_column_has_a_kind_and_at_least_one_dimension(file):
    file["row"], file["number"], file["text"] = np.arange(3), 3, np.array([b"a"])
    assert tables.column_at(file, "row", "iu").shape == (3,)
    for name, kinds in (("number", "iu"), ("row", "f"), ("text", "iu")):
        with pytest.raises(StoreError, match=f"{name} has type .*, expected one of kinds"):
            tables.column_at(file, name, kinds)


def test_a_table_has_one_shape_and_kind(file):
    file["sum"] = np.zeros((2, 3))
    assert tables.table_at(file, "sum", (2, 3)).shape == (2, 3)
    for shape, kind in (((3, 2), "f"), ((2, 3), "u"), ((2, 3, 1), "f")):
        with pytest.raises(StoreError, match=r"has shape \(2, 3\) and type float64"):
            tables.table_at(file, "sum", shape, kind)


@pytest.mark.parametrize("width", [1, 3, 4, 7, 10, 12])
def test_blocks_of_neurons_cover_a_table_once_whatever_its_chunks(file, width):
    values = np.arange(20.0).reshape(2, 10)
    dataset = file.create_dataset("sum", data=values, chunks=(1, min(width, 10)))
    seen = [(columns, block[0].copy()) for columns, block in tables.read_blocks([(dataset, [1, 0])], 10)]
    assert [n for columns, _ in seen for n in range(columns.start, columns.stop)] == list(range(10))
    np.testing.assert_array_equal(np.concatenate([block for _, block in seen], axis=1), values[::-1])


def test_the_total_of_a_benchmark_is_the_sum_over_its_cultures(tmp_path):
    layout = toy_layout(1, {MLP_GATE: 3})
    tables_of = {"t": ("target", moments(["China", "Iran"], [3, 1], [[8, 4, 0], [1, 4, 2]]))}
    run = write_run(tmp_path / "run", layout, tables_of)
    assert run.total("t").tolist() == [9, 8, 2]
    with h5py.File(tmp_path / "run" / "scores.h5", "a") as scores:
        del scores["benchmarks/t/sum_over_cultures"]  # as an early version wrote it
    run = type(run)(tmp_path / "run")
    assert run.total("t").tolist() == [9, 8, 2]


def test_answers_of_an_early_version_have_no_numbers_of_tokens(file):
    tables.write_outcomes(file, answered(items(["China"], questions=2), [True] * 2))
    del file["items/n_tokens"]
    assert tables.read_outcomes(file).n_tokens.tolist() == [0, 0]
    assert isinstance(tables.read_outcomes(file), Outcomes)


@pytest.mark.parametrize(
    ("link", "to"),
    [(h5py.SoftLink("/real"), "/real"), (h5py.ExternalLink("other.h5", "/a"), "other.h5")],
    ids=["soft", "external"],
)
def test_links_are_not_followed_and_the_error_says_where_they_lead(file, link, to):
    file.create_group("real")["a"] = [1, 2]
    file["linked"] = link
    assert tables.group_at(file, "real").name == "/real"
    for name in ("linked", "linked/a"):
        with pytest.raises(StoreError, match=f"linked is a link to {to}; links are not followed"):
            tables.group_at(file, name)


def test_versions_of_formats_are_a_promise_that_files_of_other_versions_rely_on():
    """A change of meaning raises one; then the reader still reads the older one, and this test names both."""
    formats = (schema.RUN_FORMAT, schema.ITEMS_FORMAT, schema.TENSORS_FORMAT)
    versions = (schema.RUN_FORMAT_VERSION, schema.ITEMS_FORMAT_VERSION, schema.TENSORS_FORMAT_VERSION)
    assert (formats, versions) == (("culnig-run", "culnig-items", "culnig-tensors"), (1, 1, 1))
