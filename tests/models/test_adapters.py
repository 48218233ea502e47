"""Everything in an adapter's folder counts, and an adapter is merged once, where it was asked for."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from culnig import load_model
from culnig.cli.main import run
from culnig.errors import InputError, ModelLoadError
from culnig.models.loaded import ModelWarning
from culnig.models.loading import load_tokenizer
from culnig.models.named import model_without_weights
from tests.models.refused import write_model
from tests.tiny_models import CONFIGS, byte_tokenizer
from tests.tolerances import assert_values_equal

# peft asks transformers under names that transformers is about to drop
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")

IDS = torch.arange(2, 40)[None]


def load(source, **settings):
    return load_model(str(source), device="cpu", **settings)


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(ids).logits


def train(base: Path, folder: Path, config: LoraConfig, tokenizer=None):
    """An adapter with random weights, saved with the tokenizer it was trained with; the model with it."""
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(base)
    if tokenizer is not None:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        tokenizer.save_pretrained(folder)
    wrapped = get_peft_model(model, config)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting `save_embedding_layers`")
        wrapped.save_pretrained(folder)
    edited = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": str(base)}
    (folder / "adapter_config.json").write_text(json.dumps(edited))
    return wrapped.eval()


def lora(**more) -> LoraConfig:
    return LoraConfig(r=2, target_modules=["q_proj", "gate_proj"], **more)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter")
    return folder, train(base, folder, lora())


@pytest.fixture
def both(base, adapter, tmp_path):
    """Full weights with an adapter beside them."""
    shutil.copytree(base, tmp_path / "both")
    for path in adapter[0].glob("adapter_*"):
        shutil.copy(path, tmp_path / "both")
    return tmp_path / "both"


def test_full_weights_are_loaded_without_the_adapter_beside_them(base, both):
    with pytest.warns(ModelWarning, match=r"full weights and an adapter .*loaded without the adapter"):
        bound = load(both)
    assert bound.weights_hash == load(base).weights_hash
    assert torch.equal(logits(bound.model), logits(load(base).model))


def test_a_command_says_which_weights_were_loaded(both, tmp_path):
    arguments = ["--model", str(both), "--benchmark", "everyday", "--limit", "1", "-o", str(tmp_path / "run")]
    with pytest.warns(ModelWarning, match="loaded without the adapter"):
        assert run(["score", *arguments]) == 0


def test_the_adapter_beside_full_weights_is_merged_once_where_it_is_named(both, adapter):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        bound = load(both, adapter=both)
    assert_values_equal(logits(bound.model), logits(adapter[1]))
    assert bound.source == f"{both} with adapter {both}"


def test_another_adapter_is_merged_without_the_one_beside_the_base(both, base, adapter, tmp_path):
    # a large alpha would make a steeper model than those that float noise is bounded for
    other = train(base, tmp_path / "other", lora(lora_alpha=4))
    config = tmp_path / "other" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": str(both)}))
    with pytest.warns(ModelWarning, match=r"both holds full weights and an adapter"):
        bound = load(tmp_path / "other")
    assert_values_equal(logits(bound.model), logits(other))


def test_a_configuration_beside_an_adapter_does_not_make_it_a_model(base, adapter, tmp_path):
    shutil.copytree(adapter[0], tmp_path / "adapter")
    shutil.copy(base / "config.json", tmp_path / "adapter")
    bound = load(tmp_path / "adapter")
    assert_values_equal(logits(bound.model), logits(adapter[1]))


def test_the_adapters_tokenizer_and_its_trained_embeddings_are_used(base, tmp_path):
    tokenizer = byte_tokenizer("{{ messages[0]['content'] }}!")
    tokenizer.add_tokens(["<new-1>", "<new-2>", "<new-3>", "<new-4>"])
    trained = lora(modules_to_save=["embed_tokens", "lm_head"])
    wrapped = train(base, tmp_path, trained, tokenizer)
    bound = load(tmp_path)
    assert bound.n_embeddings == len(tokenizer) == 262
    ids = torch.tensor([[5, 261, 260, 7, 258]])
    assert_values_equal(logits(bound.model, ids), logits(wrapped, ids))
    assert bound.tokenizer("<new-4>").input_ids == [261]
    assert bound.tokenizer.chat_template == tokenizer.chat_template
    assert bound.weights_hash != load(base).weights_hash
    assert model_without_weights(str(tmp_path)).layout.hash == bound.layout.hash


def test_embeddings_that_peft_saves_by_itself_are_used(tmp_path):
    """With tied embeddings, resized for new tokens, and no module named as trained."""
    base = write_model(tmp_path / "base", CONFIGS["smollm2"])
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<new-1>", "<new-2>", "<new-3>"])
    wrapped = train(base, tmp_path / "adapter", lora(), tokenizer)
    wrapped.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    assert_values_equal(logits(load(base, adapter=tmp_path / "adapter").model), logits(wrapped))


def test_single_trained_tokens_are_used(base, tmp_path):
    wrapped = train(base, tmp_path, lora(trainable_token_indices=[5, 9]))
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path)
    bound = load(tmp_path)
    assert_values_equal(
        logits(bound.model, torch.tensor([[5, 9, 5]])), logits(wrapped, torch.tensor([[5, 9, 5]]))
    )
    assert_values_equal(logits(bound.model), logits(plain))


def test_new_tokens_without_trained_embeddings_are_refused(base, adapter, tmp_path):
    shutil.copytree(adapter[0], tmp_path / "adapter")
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<new-1>", "<new-2>"])
    tokenizer.add_special_tokens({"eos_token": "<end-of-turn>"})
    tokenizer.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelLoadError, match=r"'<end-of-turn>', up to id 260, .* 260 rows"):
        load(tmp_path / "adapter")


def test_the_new_rows_of_one_embedding_do_not_do_for_two(base, tmp_path):
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([f"<new-{number}>" for number in range(4)])
    train(base, tmp_path, lora(modules_to_save=["embed_tokens"]), tokenizer)
    path = tmp_path / "adapter_model.safetensors"
    save_file({key: each for key, each in load_file(path).items() if "lm_head" not in key}, path)
    with pytest.raises(ModelLoadError, match=r"embedding of 262 rows for its input, the model has 260"):
        load(tmp_path)


def test_a_chat_template_alone_is_used_too(base, adapter, tmp_path):
    shutil.copytree(adapter[0], tmp_path / "adapter")
    (tmp_path / "adapter" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}?")
    assert load_tokenizer(str(tmp_path / "adapter")).chat_template == "{{ messages[0]['content'] }}?"
    assert load_tokenizer(str(base)).chat_template == byte_tokenizer().chat_template


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda own, key: own.pop(key), r"lacks tensors .*layers\.1\.self_attn\.q_proj\.lora_B"),
        (
            lambda own, key: own.update({key.replace("layers.1", "layers.7"): own[key].clone()}),
            r"has tensors that the model has no module for: .*layers\.7\.self_attn\.q_proj\.lora_B",
        ),
        (lambda own, key: own.update({key: own[key][:5].clone()}), r"size mismatch"),
    ],
    ids=["missing", "of another model", "mis-shaped"],
)
def test_an_adapter_whose_tensors_are_not_those_it_declares_is_refused(change, message, adapter, tmp_path):
    shutil.copytree(adapter[0], tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors, "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight")
    save_file(tensors, path)
    with pytest.raises(ModelLoadError, match=message):
        load(tmp_path / "adapter")


def test_an_adapter_of_an_adapter_is_refused(adapter, tmp_path):
    shutil.copytree(adapter[0], tmp_path / "second")
    config = tmp_path / "second" / "adapter_config.json"
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": str(adapter[0])})
    )
    with pytest.raises(InputError, match="is an adapter itself"):
        load(tmp_path / "second")


def test_the_revision_that_an_adapter_names_is_its_bases(adapter, tmp_path):
    from culnig.models.peft_adapter import with_base
    from culnig.models.settings import LoadSettings

    shutil.copytree(adapter[0], tmp_path / "second")
    config = tmp_path / "second" / "adapter_config.json"
    named = {"base_model_name_or_path": "owner/name", "revision": "v2"}
    config.write_text(json.dumps(json.loads(config.read_text()) | named))
    source, settings = with_base(str(tmp_path / "second"), LoadSettings())
    assert (source, settings.revision) == ("owner/name", "v2")
    _, settings = with_base(str(tmp_path / "second"), LoadSettings(revision="v3"))
    assert settings.revision == "v3"
