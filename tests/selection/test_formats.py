"""Files of other programs come and go unchanged, and what is wrong with them is said."""

from __future__ import annotations

import csv
import json
import pickle

import numpy as np
import pytest
import torch

from culnig.core.neurons import MLP_GATE, MLP_UP, Neuron
from culnig.errors import InputError, MismatchError, OutputExistsError, StoreError
from culnig.selection.formats import lape_groups, read_any, released_document, write_as
from culnig.selection.neuron_set import read_neuron_set
from tests.stored import document_of
from tests.toy import neuron_set, toy_layout

LAYOUT = toy_layout()

RELEASED = {
    "model_name": "google/gemma-3-12b-it",
    "dataset_ids": {"blend": ["MCQ_1", "MCQ_2"], "countryrc": [0, 1, 2]},
    "top_neurons": [
        {"module_name": MLP_GATE, "layer_idx": 2, "neuron_idx": 9, "attribute_score": 0.1 + 0.2},
        {"module_name": "self_attn.q_proj", "layer_idx": 0, "neuron_idx": 3, "attribute_score": 1e-17},
        {"module_name": MLP_GATE, "layer_idx": 0, "neuron_idx": 0, "attribute_score": -0.5},
    ],
}
SPECIFIC = {
    **RELEASED,
    "top_neurons": [
        {**entry, "scores": {"China": place / 3, "South Korea": -0.25}}
        for place, entry in enumerate(RELEASED["top_neurons"])
    ],
}


def written(path, document):
    path.write_text(json.dumps(document, indent=4))
    return path


@pytest.mark.parametrize("document", [RELEASED, SPECIFIC], ids=["general", "specific"])
def test_released_json_comes_back_byte_for_byte(tmp_path, document):
    file = written(tmp_path / "all_neurons_blend_max.json", document)
    (found,) = read_any(file, LAYOUT)
    write_as([found], tmp_path / "back.json", "paper-json")
    assert (tmp_path / "back.json").read_bytes() == file.read_bytes()
    # and through a file of ours
    write_as([found], tmp_path / "ours.neurons.json", "culnig")
    (ours,) = read_any(tmp_path / "ours.neurons.json")
    assert released_document(ours) == document


def test_released_json_is_understood(tmp_path):
    (found,) = read_any(written(tmp_path / "all.json", SPECIFIC), LAYOUT)
    assert found.model == "google/gemma-3-12b-it"
    assert found.layout_hash == LAYOUT.hash
    assert found.neurons == (
        Neuron(MLP_GATE, 2, 9),
        Neuron("self_attn.q_proj", 0, 3),
        Neuron(MLP_GATE, 0, 0),
    )
    assert found.scores.tolist() == [0.1 + 0.2, 1e-17, -0.5]
    assert found.columns["score of China"].tolist() == [0, 1 / 3, 2 / 3]


def test_our_own_sets_can_be_written_for_the_released_code(tmp_path):
    document = released_document(neuron_set(LAYOUT, [8, 0]))
    assert document == {
        "model_name": "toy",
        "dataset_ids": {},
        "top_neurons": [
            {"module_name": MLP_GATE, "layer_idx": 0, "neuron_idx": 0, "attribute_score": 0.25},
            {"module_name": "self_attn.q_proj", "layer_idx": 0, "neuron_idx": 0, "attribute_score": 0.125},
        ],
    }


def changed(entry=None, **top):
    neurons = [{**RELEASED["top_neurons"][0], **entry}] if entry is not None else RELEASED["top_neurons"]
    return {**RELEASED, "top_neurons": neurons, **top}


@pytest.mark.parametrize(
    ("document", "error", "message"),
    [
        (changed({"neuron_idx": 10}), MismatchError, "index 10 is outside.*another model"),
        (changed({"layer_idx": 3}), MismatchError, "layer 3.*another model"),
        (changed({"module_name": "mlp.down_proj"}), MismatchError, "no module 'mlp.down_proj'"),
        (changed({"attribute_score": "high"}), StoreError, "damaged"),
        (changed({"layer_idx": None}), StoreError, "damaged"),
        (changed(top_neurons=[{}]), StoreError, "'module_name'"),
        (changed(top_neurons=7), StoreError, "damaged"),
        (changed(top_neurons=RELEASED["top_neurons"][:1] * 2), StoreError, "listed twice"),
        (changed(dataset_ids=3), StoreError, "damaged"),
        ({"top_neurons": []}, StoreError, "'model_name'"),
        (
            {
                **SPECIFIC,
                "top_neurons": [*SPECIFIC["top_neurons"], {**RELEASED["top_neurons"][0], "neuron_idx": 1}],
            },
            StoreError,
            "different cultures for some neurons",
        ),
    ],
    ids=str,
)
def test_released_json_that_is_wrong_is_refused(tmp_path, document, error, message):
    file = written(tmp_path / "all.json", document)
    with pytest.raises(error, match=message) as caught:
        read_any(file, LAYOUT)
    assert str(file) in str(caught.value)


def test_a_file_of_others_needs_a_layout(tmp_path):
    with pytest.raises(InputError, match="name a run of the model with run or the model with model"):
        read_any(written(tmp_path / "all.json", RELEASED))
    with pytest.raises(StoreError, match="no such file"):
        read_any(tmp_path / "none.json", LAYOUT)


# LAPE

LAPE = [
    [torch.tensor([0, 4, 9]), torch.tensor([], dtype=torch.long), torch.tensor([2])],
    [torch.tensor([], dtype=torch.long), torch.tensor([7]), torch.tensor([], dtype=torch.long)],
]


def saved(path, content):
    torch.save(content, path)
    return path


def test_lape_comes_back_tensor_for_tensor(tmp_path):
    sets = read_any(saved(tmp_path / "model.neuron.pth", LAPE), LAYOUT, "toy")
    assert [those.name for those in sets] == ["group 0", "group 1"]
    assert sets[0].neurons == (
        *(Neuron(MLP_GATE, 0, index) for index in (0, 4, 9)),
        Neuron(MLP_GATE, 2, 2),
    )
    write_as(sets, tmp_path / "back.pth", "lape", n_layers=3)
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert [[index.tolist() for index in layers] for layers in back] == [
        [index.tolist() for index in layers] for layers in LAPE
    ]
    assert {index.dtype for layers in back for index in layers} == {torch.long}


def test_equal_sets_give_equal_bytes_in_lape(tmp_path):
    for name in ("a.pth", "b.pth"):
        write_as([neuron_set(LAYOUT, [8, 40])], tmp_path / name, "lape", n_layers=3)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_lape_of_another_module(tmp_path):
    (first, _) = read_any(saved(tmp_path / "x.pth", LAPE), LAYOUT, module=MLP_UP)
    assert {neuron.module for neuron in first.neurons} == {MLP_UP}


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ([[torch.tensor([1])]], MismatchError, "1 layers, but the model has 3"),
        ([[torch.tensor([10]), *LAPE[1][:2]]], MismatchError, "index 10 is outside"),
        ([[torch.tensor([-1]), *LAPE[1][:2]]], MismatchError, "index -1 is outside"),
        ([[torch.tensor([1, 1]), *LAPE[1][:2]]], StoreError, "listed twice"),
        (
            [[torch.tensor([0.5]), *LAPE[1][:2]]],
            StoreError,
            "group 0, layer 0 is not a list of neuron indices",
        ),
        ([[torch.tensor(3), *LAPE[1][:2]]], StoreError, "not a list of neuron indices"),
        ({"n": 3}, StoreError, "contains a dict"),
        ([3], StoreError, "contains a list, expected LAPE"),
    ],
    ids=str,
)
def test_lape_that_is_wrong_is_refused(tmp_path, content, error, message):
    with pytest.raises(error, match=message):
        read_any(saved(tmp_path / "x.pth", content), LAYOUT)


class Evil:
    def __reduce__(self):
        return (open, ("/tmp/culnig-was-here", "w"))


def test_a_file_that_would_run_code_is_not_opened(tmp_path):
    for content in (pickle.dumps([Evil()]), b"", b"PK\x03\x04 broken", b"\x80\x02junk"):
        (tmp_path / "x.pth").write_bytes(content)
        with pytest.raises(StoreError, match="not a file of plain tensors"):
            read_any(tmp_path / "x.pth", LAYOUT)
    with pytest.raises(StoreError, match="not a file of plain tensors"):
        read_any(saved(tmp_path / "x.pth", [Evil()]), LAYOUT)


def test_lape_holds_one_module_only():
    with pytest.raises(InputError, match=r"has neurons of self_attn.q_proj; LAPE's format holds one module"):
        lape_groups([neuron_set(LAYOUT, [8, 0])], 3)
    with pytest.raises(MismatchError, match="neurons in layer 2, but the model has 2 layers"):
        lape_groups([neuron_set(LAYOUT, [64])], 2)


# Writing


def test_csv_has_a_line_per_neuron(tmp_path):
    (found,) = read_any(written(tmp_path / "all.json", SPECIFIC), LAYOUT)
    write_as([found], tmp_path / "x.csv", "csv")
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["module"] == MLP_GATE
    assert [int(row["index"]) for row in rows] == [9, 3, 0]
    assert [float(row["score"]) for row in rows] == found.scores.tolist()
    assert [float(row["score of South Korea"]) for row in rows] == [-0.25] * 3


@pytest.mark.parametrize("form", ["paper-json", "lape", "csv", "culnig"])
def test_a_file_is_not_replaced_unasked(tmp_path, form):
    those = neuron_set(LAYOUT, [8])
    (tmp_path / "x").write_text("mine")
    with pytest.raises(OutputExistsError, match="add overwrite=True"):
        write_as([those], tmp_path / "x", form, n_layers=3)
    assert (tmp_path / "x").read_text() == "mine"
    write_as([those], tmp_path / "x", form, n_layers=3, overwrite=True)
    assert (tmp_path / "x").read_bytes() != b"mine"
    with pytest.raises(OutputExistsError, match="folder"):
        write_as([those], tmp_path, form, n_layers=3, overwrite=True)


def test_sets_that_do_not_fit_a_format_are_refused(tmp_path):
    two = [neuron_set(LAYOUT, [8], "a"), neuron_set(LAYOUT, [9], "b")]
    with pytest.raises(InputError, match="a csv file holds one set, but 2 are given"):
        write_as(two, tmp_path / "x", "csv")
    with pytest.raises(InputError, match="lists every layer of the model; name a run of the model"):
        write_as(two, tmp_path / "x", "lape")
    with pytest.raises(MismatchError, match="sets of one model"):
        write_as([two[0], neuron_set(toy_layout(2), [8])], tmp_path / "x", "lape", n_layers=3)


def test_columns_of_a_set_come_back_and_must_fit(tmp_path):
    (found,) = read_any(written(tmp_path / "all.json", SPECIFIC), LAYOUT)
    found.write(tmp_path / "x.neurons.json")
    back = read_neuron_set(tmp_path / "x.neurons.json")
    assert {name: values.tolist() for name, values in back.columns.items()} == {
        name: values.tolist() for name, values in found.columns.items()
    }
    document = document_of(tmp_path / "x.neurons.json")
    document["neurons"]["score of China"] = [1.0]
    (tmp_path / "x.neurons.json").write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"3 neurons but score of China of shape \(1,\)"):
        read_neuron_set(tmp_path / "x.neurons.json")
    kept = found.keep(np.array([True, False, True]))
    assert kept.columns["score of China"].tolist() == [0, 2 / 3]
    assert len(kept.neurons) == len(kept.scores) == 2


@pytest.mark.parametrize("protocol", [2, 3])
def test_lape_of_another_pickle_protocol_is_read_without_a_warning(tmp_path, protocol):
    torch.save(LAPE, tmp_path / "x.pth", pickle_protocol=protocol)
    first, second = read_any(tmp_path / "x.pth", LAYOUT)
    assert (len(first.neurons), len(second.neurons)) == (4, 1)
