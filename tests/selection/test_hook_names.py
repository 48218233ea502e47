from __future__ import annotations

import json

import numpy as np
import pytest

import culnig
from culnig.core.neurons import KEY, MLP_GATE, MLP_IN, MLP_UP, QUERY, VALUE, Neuron
from culnig.errors import InputError, MismatchError, StoreError
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.sets import neurons_convert
from tests.tiny_models import tiny_model
from tests.training.chosen import neuron_set

LLAMA = [Neuron(MLP_GATE, 2, 5), Neuron(QUERY, 0, 7), Neuron(MLP_GATE, 2, 1), Neuron(VALUE, 1, 3)]


def written(tmp_path, chosen: NeuronSet, to: str, model: object = None) -> dict:
    chosen.write(tmp_path / "set.json")
    neurons_convert(tmp_path / "set.json", to, tmp_path / "out.json", model=model)
    return json.loads((tmp_path / "out.json").read_text())


def back(tmp_path, model: object = None) -> NeuronSet:
    (read,) = neurons_convert(tmp_path / "out.json", "culnig", tmp_path / "back.json", model=model)
    return read


def test_hooks_of_a_gated_model_and_back(tmp_path):
    bound = tiny_model()
    more = [*LLAMA, Neuron(MLP_UP, 0, 0), Neuron(KEY, 1, 2)]
    chosen = neuron_set(bound, more, [6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    document = written(tmp_path, chosen, "transformer-lens")
    assert document["hooks"] == {
        "blocks.2.mlp.hook_pre": [5, 1],
        "blocks.0.attn.hook_q": [7],
        "blocks.1.attn.hook_v": [3],
        "blocks.0.mlp.hook_pre_linear": [0],
        "blocks.1.attn.hook_k": [2],
    }
    assert document["scores"]["blocks.2.mlp.hook_pre"] == [6.0, 4.0]
    read = back(tmp_path)
    assert read.neurons == chosen.neurons
    assert read.scores.tolist() == chosen.scores.tolist()
    assert (read.name, read.model, read.layout_hash) == (chosen.name, chosen.model, chosen.layout_hash)


def test_hooks_of_a_plain_mlp_and_back(tmp_path):
    chosen = neuron_set(tiny_model("gpt2"), [Neuron(MLP_IN, 1, 4), Neuron(QUERY, 0, 2)])
    assert written(tmp_path, chosen, "transformer-lens")["hooks"] == {
        "blocks.1.mlp.hook_pre": [4],
        "blocks.0.attn.hook_q": [2],
    }
    assert back(tmp_path).neurons == chosen.neurons


def test_module_paths_name_columns_of_fused_projections(tmp_path):
    bound = tiny_model("phi3")  # 4 heads of 6, 2 for keys and values; an MLP of 40
    chosen = neuron_set(bound, [Neuron(MLP_UP, 1, 3), Neuron(VALUE, 0, 5), Neuron(MLP_GATE, 1, 3)])
    modules = written(tmp_path, chosen, "nnsight", bound)["modules"]
    assert list(modules.items()) == [  # in the order of the forward pass
        ("model.layers.0.self_attn.qkv_proj", [24 + 12 + 5]),
        ("model.layers.1.mlp.gate_up_proj", [3, 43]),
    ]
    assert back(tmp_path, bound).neurons == chosen.neurons


def test_module_paths_of_alternating_heads(tmp_path):
    bound = tiny_model("gpt_neox")  # head after head: 6 queries, 6 keys, 6 values
    chosen = neuron_set(bound, [Neuron(KEY, 2, 6 + 1)])
    document = written(tmp_path, chosen, "nnsight", bound)
    assert document["modules"] == {"gpt_neox.layers.2.attention.query_key_value": [18 + 6 + 1]}
    assert back(tmp_path, bound).neurons == chosen.neurons


def test_what_cannot_be_named_is_refused(tmp_path):
    bound = tiny_model()
    chosen = neuron_set(bound, LLAMA)
    with pytest.raises(InputError, match="names modules of the model; name it with model"):
        written(tmp_path, chosen, "nnsight")
    (tmp_path / "set.json").unlink()
    written(tmp_path, chosen, "nnsight", bound)
    with pytest.raises(InputError, match="which only the model can tell neurons of"):
        culnig.neurons_convert(tmp_path / "out.json", "culnig", tmp_path / "back.json")
    with pytest.raises(MismatchError, match="whose layout is another one"):
        back(tmp_path, tiny_model("gpt2"))


def test_modules_without_hooks_are_refused(tmp_path):
    chosen = neuron_set(tiny_model(), [Neuron("mamba.in_proj", 0, 1)])
    with pytest.raises(InputError, match=r"mamba\.in_proj, which TransformerLens has no hooks for"):
        written(tmp_path, chosen, "transformer-lens")


@pytest.mark.parametrize(
    ("key", "value"),
    [("hooks", {"blocks.x.mlp.hook_pre": [1]}), ("ranks", {}), ("scores", None), ("hooks", {"hook": [1]})],
)
def test_damaged_files_are_refused(tmp_path, key, value):
    document = written(tmp_path, neuron_set(tiny_model(), LLAMA), "transformer-lens")
    del document["checksum"]
    (tmp_path / "out.json").write_text(json.dumps(document | {key: value}))
    with pytest.raises(StoreError, match="the file is damaged"):
        back(tmp_path)


def test_a_file_of_another_layout_is_refused(tmp_path):
    written(tmp_path, neuron_set(tiny_model(), LLAMA), "transformer-lens")
    with pytest.raises(MismatchError, match="was made for"):
        back(tmp_path, tiny_model("gpt2"))
    assert np.array_equal(back(tmp_path, tiny_model()).neurons, LLAMA)
