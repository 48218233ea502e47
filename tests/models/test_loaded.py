"""Checks of loaded models: usual checkpoints pass, and what does not take part in a text is named."""

from __future__ import annotations

import warnings
from copy import deepcopy

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, Gemma3ForCausalLM

from culnig import load_model, registry
from culnig.errors import BindingError, InputError, ModelLoadError
from culnig.inference.encoding import Encoder
from culnig.models.base import bind_model
from culnig.models.loaded import ModelWarning, check_causal, check_differentiable
from tests.models.refused import edit_json, edit_weights, write_model, write_sharded
from tests.tiny_models import ALL_CONFIGS, byte_tokenizer, tiny_items, tiny_model


def load(folder, **settings):
    return load_model(str(folder), device="cpu", **settings)


def silently(folder, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        return load(folder, **settings)


@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_what_transformers_saves_loads_without_a_warning(family, tmp_path):
    auto = AutoModelForImageTextToText if family == "gemma3_multimodal" else AutoModelForCausalLM
    bound = silently(write_model(tmp_path, ALL_CONFIGS[family], auto))
    torch.manual_seed(0)
    saved = auto.from_config(deepcopy(ALL_CONFIGS[family])).state_dict()
    loaded = bound.model.state_dict()
    assert loaded.keys() == saved.keys()
    for name, tensor in saved.items():
        assert torch.equal(loaded[name], tensor), name


def test_several_files_load_like_one(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert silently(write_sharded(two)).weights_hash == silently(write_model(one)).weights_hash


def test_without_an_outer_prefix_the_weights_are_the_same(tmp_path):
    """As checkpoints of the bare decoder are saved; the tied head has no tensor of its own."""
    write_model(tmp_path, ALL_CONFIGS["smollm2"])
    expected = silently(tmp_path).weights_hash
    edit_weights(tmp_path, lambda own: {name.removeprefix("model."): each for name, each in own.items()})
    assert silently(tmp_path).weights_hash == expected


def test_buffers_of_old_checkpoints_are_not_mentioned(tmp_path):
    old = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(3),
        "model.layers.0.self_attn.k_scale": torch.ones(1),
    }
    edit_weights(write_model(tmp_path), lambda own: own | old)
    silently(tmp_path)


def test_layers_that_predict_further_tokens_are_not_needed(tmp_path):
    edit_weights(write_model(tmp_path), lambda own: own | {"model.layers.3.eh_proj.weight": torch.ones(2, 2)})
    with pytest.raises(ModelLoadError, match=r"model\.layers\.3\.eh_proj"):
        load(tmp_path)
    edit_json(tmp_path / "config.json", num_nextn_predict_layers=1)
    with pytest.warns(ModelWarning, match=r"not used for text: model\.layers\.3$"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", False),
        ("v_head.summary.weight", False),
        ("model.mm_projector.0.weight", False),
        ("lm_head.bias", True),
        ("model.norm.bias", True),
        ("model.embed_norm.weight", True),
        ("embed_positions.weight", True),
        ("model.layers.0.self_attn.q_norm.weight", True),
        ("layers.1.mlp.gate_proj.weight_scale", True),
    ],
)
def test_tensors_that_are_not_used_are_refused_or_named(name, refused, tmp_path):
    edit_weights(write_model(tmp_path), lambda own: own | {name: torch.ones(24)})
    if refused:
        with pytest.raises(ModelLoadError, match=name.removeprefix("model.").replace(".", r"\.")):
            load(tmp_path)
    else:
        with pytest.warns(ModelWarning, match=rf"not used for text: {'.'.join(name.split('.')[:3])}$"):
            load(tmp_path)


def test_quantized_loading_refuses_missing_weights_too(tmp_path):
    pytest.importorskip("bitsandbytes")
    name = "model.layers.1.mlp.gate_proj.weight"
    edit_weights(write_model(tmp_path), lambda own: {key: own[key] for key in own if key != name})
    with pytest.raises(ModelLoadError, match=r"lacks .*gate_proj"):
        load(tmp_path, quantize="8bit")


def test_a_device_map_refuses_missing_weights_too(tmp_path):
    name = "model.layers.1.mlp.gate_proj.weight"
    edit_weights(write_model(tmp_path), lambda own: {key: own[key] for key in own if key != name})
    with pytest.raises(ModelLoadError, match=r"lacks 1 of its 30 tensors.*gate_proj"):
        load_model(str(tmp_path), device_map="auto")


def test_added_tokens_beyond_the_embedding_are_refused_where_a_prompt_holds_one(tmp_path):
    write_model(tmp_path)
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<a>", "<b>", "<image>"])
    tokenizer.save_pretrained(tmp_path)
    bound = silently(tmp_path)
    assert bound.tokenizer.convert_tokens_to_ids("<image>") == bound.n_embeddings == 260
    item = tiny_items(1)[0]
    Encoder(bound).encode(item)
    with pytest.raises(InputError, match=r"item-0 holds the token '<image>' with id 260, .* 260 rows"):
        Encoder(bound).encode(type(item)(**vars(item) | {"prompt": "What is <image>?"}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_a_causal_model_passes_in_every_format(family, dtype):
    check_causal(tiny_model(family, dtype=dtype))


@pytest.mark.filterwarnings("ignore")  # bitsandbytes announces kernels that it does not find
@pytest.mark.parametrize("settings", [{"quantize": "4bit"}, {"quantize": "8bit"}])
def test_a_causal_model_passes_quantized(settings, tmp_path):
    pytest.importorskip("bitsandbytes")
    silently(write_model(tmp_path), **settings)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_a_checkpoint_that_was_saved_quantized_loads(bits, tmp_path):
    pytest.importorskip("bitsandbytes")
    bound = load(write_model(tmp_path / "plain"), quantize=bits)
    bound.model.save_pretrained(tmp_path / "packed")
    bound.tokenizer.save_pretrained(tmp_path / "packed")
    loaded = load(tmp_path / "packed").linears[0].linear
    assert type(loaded) is type(bound.linears[0].linear)
    assert torch.equal(loaded.weight, bound.linears[0].linear.weight)


def bidirectional(dtype=torch.float32):
    """A Gemma 3 whose flag was set after its configuration was checked."""
    torch.manual_seed(0)
    config = deepcopy(ALL_CONFIGS["gemma3"])
    config.use_bidirectional_attention = True
    config.is_causal = False
    model = Gemma3ForCausalLM._from_config(config, attn_implementation="eager").to(dtype).eval()
    return bind_model("backwards", model, byte_tokenizer(), registry.adapters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_whose_tokens_see_later_ones_is_refused_whatever_it_declares(dtype):
    with pytest.raises(BindingError, match=r"'backwards' is not causal: .*\(layer 0, mlp\.gate_proj\)"):
        check_causal(bidirectional(dtype))


@pytest.mark.parametrize("block", [2, 3, 4, 8, 16])
def test_a_model_that_sees_later_tokens_within_a_block_is_refused(block):
    """As models do that write several tokens at once."""
    bound = tiny_model()

    def within_blocks(module, arguments, keywords):
        hidden = keywords["hidden_states"]
        number = torch.arange(hidden.shape[1]) // block
        sees = (number[:, None] >= number[None, :])[None, None]
        return arguments, keywords | {"attention_mask": torch.zeros(sees.shape).masked_fill(~sees, -1e9)}

    check_causal(bound)
    for layer in bound.model.model.layers:
        layer.self_attn.register_forward_pre_hook(within_blocks, with_kwargs=True)
    with pytest.raises(BindingError, match="is not causal"):
        check_causal(bound)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_a_quantized_model_whose_tokens_see_later_ones_is_refused(bits, tmp_path):
    pytest.importorskip("bitsandbytes")
    bound = load(write_model(tmp_path), quantize=bits)

    def whole(module, arguments, keywords):
        n_tokens = keywords["hidden_states"].shape[1]
        return arguments, keywords | {"attention_mask": torch.zeros(1, 1, n_tokens, n_tokens)}

    for layer in bound.model.model.layers:
        layer.self_attn.register_forward_pre_hook(whole, with_kwargs=True)
    with pytest.raises(BindingError, match="is not causal"):
        check_causal(bound)


def test_the_check_leaves_nothing_behind():
    bound = tiny_model()
    before = bound.weights_hash
    check_causal(bound)
    hooked = [module for module in bound.model.modules() if module._forward_hooks]
    assert hooked == []
    assert all(parameter.grad is None for parameter in bound.model.parameters())
    assert bound.weights_hash == before


class NoBackward(torch.autograd.Function):
    """A product as packed formats compute it where they have no kernels for gradients."""

    @staticmethod
    def forward(ctx, x, weight):
        return x @ weight.float().T

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError("no kernel")


class Packed(torch.nn.Module):
    in_features, out_features = 24, 40

    def __init__(self):
        super().__init__()
        whole = torch.randint(-3, 3, (40, 24), dtype=torch.int8)
        self.weight = torch.nn.Parameter(whole, requires_grad=False)

    def forward(self, x):
        return NoBackward.apply(x, self.weight)


def test_a_quantized_format_without_a_backward_pass_is_refused_with_the_way_out():
    bound = tiny_model()
    check_differentiable(bound)
    bound.model.model.layers[1].mlp.gate_proj = Packed()
    with pytest.raises(ModelLoadError, match=r"no kernel.*load its weights dequantized"):
        check_differentiable(bound)
