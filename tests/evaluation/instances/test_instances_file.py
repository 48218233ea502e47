"""The file of single instances: what is written comes back, and a foreign one is refused."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from culnig.errors import StoreError
from culnig.evaluation.instances.file import read_instances, write_instances
from culnig.evaluation.instances.scores import InstanceScores
from tests.toy import items, toy_layout

ITEMS = tuple(items(["China", "Iran"], questions=2))
FLAT = np.array([70, 3, 8])
RAW = np.arange(12.0).reshape(4, 3) - 5


def write(path, control=None):
    write_instances(path, InstanceScores(ITEMS, FLAT, RAW, control), toy_layout(), {"model": {"source": "ü"}})
    return path


@pytest.mark.parametrize("control", [None, np.ones((4, 3))], ids=["alone", "with a control"])
def test_instances_come_back(tmp_path, control):
    read = read_instances(write(tmp_path / "deep" / "x.h5", control))
    assert read.record == {"model": {"source": "ü"}}
    assert read.culture.tolist() == ["China", "China", "Iran", "Iran"]
    assert read.topic.tolist() == ["Sport", "Food", "Sport", "Food"]
    assert read.neurons == tuple(toy_layout().neurons(FLAT))
    np.testing.assert_array_equal(read.raw, RAW)
    if control is None:
        assert read.control is None
        np.testing.assert_array_equal(read.difference, RAW)
    else:
        np.testing.assert_array_equal(read.control, control)
        np.testing.assert_array_equal(read.difference, RAW - 1)
    with h5py.File(tmp_path / "deep" / "x.h5") as file:
        assert [text.decode() for text in file["items/id"]] == [item.id for item in ITEMS]
        assert [text.decode() for text in file["items/question_id"]] == [item.question_id for item in ITEMS]


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("format", "culnig-run", "format is 'culnig-run', expected 'culnig-instances'"),
        ("format", np.bytes_(b"\xff"), "format is '\ufffd'"),
        ("format", 3, r"format is .*3"),
        ("format_version", 2, "format version 2, this culnig reads 1"),
        ("format_version", [1, 1], r"format version \[1 1\]"),
    ],
)
def test_foreign_files_are_refused(tmp_path, attribute, value, message):
    with h5py.File(write(tmp_path / "x.h5"), "a") as file:
        file.attrs[attribute] = value
    with pytest.raises(StoreError, match=message):
        read_instances(tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("raw", np.zeros((4, 2)), r"raw has shape \(4, 2\)"),
        ("control", np.zeros((3, 3)), r"control has shape \(3, 3\)"),
        ("items/topic", np.array([b"a"]), "4 cultures of items, but not as many topics"),
        ("neurons/layer", np.zeros(2, int), r"layer has shape \(2,\)"),
        ("record", np.array([b"["]), "its record is not JSON"),
        ("record", np.array([b"[]"]), "its record is .*, expected an object"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, values, message):
    with h5py.File(write(tmp_path / "x.h5", np.ones((4, 3))), "a") as file:
        del file[name]
        file[name] = values
    with pytest.raises(StoreError, match=message):
        read_instances(tmp_path / "x.h5")


def test_the_record_of_the_first_edition_is_an_attribute(tmp_path):
    with h5py.File(write(tmp_path / "x.h5"), "a") as file:
        del file["record"]
        file.attrs["record"] = '{"first": 1}'
    assert read_instances(tmp_path / "x.h5").record == {"first": 1}
