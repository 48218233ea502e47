from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from culnig.core.neurons import MLP_GATE, QUERY, Layout, Neuron
from culnig.errors import CulnigError, InputError, MismatchError, OutputExistsError, StoreError
from culnig.selection.neuron_set import read_neuron_set
from tests.stored import document_of
from tests.toy import neuron_set, toy_layout

LAYOUT = toy_layout()
CHOSEN = replace(
    neuron_set(LAYOUT, [64, 0, 8]), scores=np.array([1 / 3, 0.1, -5e-324]), name="specific South Korea 한국"
)


@pytest.fixture
def file(tmp_path):
    CHOSEN.write(tmp_path / "chosen.neurons.json")
    return tmp_path / "chosen.neurons.json"


def test_a_set_comes_back_equal_and_its_scores_to_the_bit(file):
    found = read_neuron_set(file)
    assert found.scores.tobytes() == CHOSEN.scores.tobytes()
    for name in ("name", "model", "layout_hash", "method", "sources", "neurons"):
        assert getattr(found, name) == getattr(CHOSEN, name)
    assert isinstance(found.neurons[0], Neuron)
    assert read_neuron_set(str(file)).neurons == found.neurons


def test_rank_order_is_kept(file):
    assert read_neuron_set(file).flat(LAYOUT).tolist() == [64, 0, 8]


def test_equal_sets_give_equal_bytes_and_reading_changes_nothing(file, tmp_path):
    again = tmp_path / "elsewhere" / "again.json"
    read_neuron_set(file).write(str(again))
    assert again.read_bytes() == file.read_bytes()


def test_the_file_has_the_documented_keys(file):
    document = document_of(file)
    assert (document["format"], document["format_version"]) == ("culnig-neurons", 1)
    assert {"model", "layout_hash", "method", "sources"} <= set(document)
    assert document["neurons"] == {
        "module": [MLP_GATE, QUERY, MLP_GATE],
        "layer": [2, 0, 0],
        "index": [0, 0, 0],
        "score": [1 / 3, 0.1, -5e-324],
    }


def test_an_empty_set_comes_back_empty(tmp_path):
    neuron_set(LAYOUT, []).write(tmp_path / "none.json")
    found = read_neuron_set(tmp_path / "none.json")
    assert found.neurons == ()
    assert found.scores.shape == (0,)
    assert found.flat(LAYOUT).shape == (0,)
    assert found.flat(LAYOUT).dtype == np.int64


def test_neurons_are_counted_by_module_and_layer():
    chosen = neuron_set(LAYOUT, [0, 3, 8, 9, 36, 28])
    assert chosen.count_by_module_and_layer() == {
        (QUERY, 0): 2,
        (MLP_GATE, 0): 2,
        (MLP_GATE, 1): 1,
        (QUERY, 1): 1,
    }


@pytest.mark.parametrize(
    "other", [toy_layout(n_layers=4), toy_layout(2), Layout.from_widths([(0, MLP_GATE, 84)])]
)
def test_a_set_of_another_model_names_both_layouts(other):
    with pytest.raises(MismatchError) as caught:
        CHOSEN.flat(other)
    message = str(caught.value)
    assert "한국" in message
    assert LAYOUT.hash[:12] in message
    assert other.hash[:12] in message


def test_a_neuron_that_the_layout_lacks_is_refused():
    beyond = replace(CHOSEN, neurons=(Neuron(MLP_GATE, 0, 10),), scores=np.zeros(1))
    with pytest.raises(InputError, match="index 10 is outside"):
        beyond.flat(LAYOUT)


# Writing


def test_a_file_is_not_replaced_unasked(file):
    before = file.read_bytes()
    with pytest.raises(OutputExistsError, match="exists; add overwrite=True"):
        neuron_set(LAYOUT, [1]).write(file)
    assert file.read_bytes() == before


def test_overwrite_replaces_it(file):
    neuron_set(LAYOUT, [1]).write(file, overwrite=True)
    assert len(read_neuron_set(file).neurons) == 1


def test_the_folder_is_made(tmp_path):
    neuron_set(LAYOUT, [1]).write(tmp_path / "신경" / "a b" / "x.json")
    assert read_neuron_set(tmp_path / "신경" / "a b" / "x.json").flat(LAYOUT).tolist() == [1]


def test_a_folder_in_place_of_the_file_is_left_alone(tmp_path):
    with pytest.raises(CulnigError, match=str(tmp_path)):
        CHOSEN.write(tmp_path, overwrite=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_its_folder_should_be_is_reported(file):
    with pytest.raises(CulnigError, match="chosen"):
        CHOSEN.write(file / "x.json")


# Reading what is wrong


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(StoreError, match=r"x\.json: no such file; expected a neuron set"):
        read_neuron_set(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "culnig-run"}, "format is 'culnig-run', expected 'culnig-neurons'"),
        ({"format": None}, "format is None"),
        ({"format_version": 2}, "format version 2, this culnig reads 1"),
        ({"format_version": "1"}, "format version"),
        ({"name": None}, "name"),
        ({"layout_hash": 3}, "layout_hash"),
        ({"method": "general"}, "method"),
        ({"sources": {}}, "sources"),
        ({"neurons": []}, "damaged"),
        ({"neurons": None}, "damaged"),
        ({"neurons": {"module": [], "layer": [], "index": []}}, "'score'.*damaged"),
    ],
    ids=str,
)
def test_a_field_that_is_wrong_is_refused(file, changes, message):
    file.write_text(json.dumps(document_of(file) | changes))
    with pytest.raises(StoreError, match=message) as caught:
        read_neuron_set(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("key", ["name", "model", "layout_hash", "method", "sources", "neurons"])
def test_a_field_that_is_missing_is_named(file, key):
    document = document_of(file)
    del document[key]
    file.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=f"'{key}'"):
        read_neuron_set(file)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"module": [MLP_GATE]}, "damaged"),
        ({"layer": [2, 0]}, "damaged"),
        ({"index": [0, 0, 0, 0]}, "damaged"),
        ({"score": [1.0]}, r"3 neurons but scores of shape \(1,\)"),
        ({"score": [[1.0, 2.0, 3.0]]}, r"3 neurons but scores of shape \(1, 3\)"),
        ({"score": [1.0, "high", 3.0]}, "damaged"),
        ({"layer": [2, 0, None]}, "damaged"),
        ({"index": [0, 0, "first"]}, "damaged"),
        ({"index": [0, 0, 1.5]}, "damaged"),
        ({"layer": [2.5, 0, 0]}, "damaged"),
        ({"module": [MLP_GATE, QUERY, 7]}, "damaged"),
        ({"module": [MLP_GATE] * 3, "layer": [0] * 3, "index": [1, 2, 1]}, "listed twice"),
        ({"module": None}, "damaged"),
    ],
    ids=str,
)
def test_columns_that_are_wrong_are_refused(file, columns, message):
    document = document_of(file)
    document["neurons"] |= columns
    file.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=message):
        read_neuron_set(file)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "culnig-neurons", "format_ver'])
def test_a_file_cut_short_is_refused(file, content):
    file.write_text(content)
    with pytest.raises(StoreError, match="a neuron set"):
        read_neuron_set(file)
