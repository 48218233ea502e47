"""The structure is judged from the configuration alone, before any weights are read."""

from __future__ import annotations

import pytest
from transformers import (
    BartConfig,
    BertConfig,
    Gemma2Config,
    GPT2Config,
    MambaConfig,
    T5Config,
    VaultGemmaConfig,
    ViTConfig,
)

from culnig import registry
from culnig.errors import BindingError, InputError, ModelLoadError
from culnig.models.loading import LoadSettings, load_model, load_skeleton
from tests.tiny_models import ALL_CONFIGS, tiny_model


def save(config, folder):
    config.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_a_skeleton_has_the_layout_of_the_loaded_model_and_no_weights(family, tmp_path):
    skeleton = load_skeleton(save(ALL_CONFIGS[family], tmp_path), registry.adapters())
    assert skeleton.bound.layout.hash == tiny_model(family).layout.hash
    assert all(parameter.is_meta for parameter in skeleton.bound.model.parameters())


def test_a_structure_that_does_not_fit_is_refused_before_weights_are_missed(tmp_path):
    source = save(MambaConfig(hidden_size=8, state_size=4, num_hidden_layers=1, vocab_size=32), tmp_path)
    with pytest.raises(BindingError, match=r"fits no adapter"):
        load_model(source, registry.adapters())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BertConfig(), r"\(Bert\) is an encoder, whose tokens see the whole text"),
        (T5Config(), r"\(T5\) is an encoder–decoder"),
        (BartConfig(), r"\(Bart\) is an encoder–decoder"),
        (ViTConfig(), r"\(ViT\) is not a causal language model"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_model_that_is_not_a_causal_decoder_is_refused(config, message, tmp_path):
    with pytest.raises(BindingError, match=message):
        load_skeleton(save(config, tmp_path), registry.adapters())


def test_a_damaged_configuration_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"cannot load model .*config\.json"):
        load_skeleton(str(tmp_path), registry.adapters())


def test_code_of_the_model_does_not_run_unless_asked(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"model_type": "secret", "auto_map": {"AutoConfig": "secret.SecretConfig"}}'
    )
    (tmp_path / "secret.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelLoadError, match=r"add trust_remote_code=True"):
        load_skeleton(str(tmp_path), registry.adapters())


_CAPPED = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
_CAPPED |= {"num_key_value_heads": 1, "head_dim": 4}


@pytest.mark.parametrize(
    ("config", "asked", "expected"),
    [
        (ALL_CONFIGS["gemma3"], "auto", "sdpa"),  # knows the field and has no value for it
        (ALL_CONFIGS["gemma3"], "eager", "eager"),
        (ALL_CONFIGS["llama"], "auto", "sdpa"),
        (ALL_CONFIGS["llama"], "eager", "eager"),
        (Gemma2Config(**_CAPPED), "auto", "eager"),
        (Gemma2Config(**_CAPPED, attn_logit_softcapping=None), "auto", "eager"),  # transformers' choice
        (VaultGemmaConfig(**_CAPPED), "auto", "eager"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_attention_is_eager_where_scores_are_capped_unless_asked(config, asked, expected, tmp_path):
    skeleton = load_skeleton(save(config, tmp_path), registry.adapters(), LoadSettings(attention=asked))
    assert skeleton.bound.model.config._attn_implementation == expected


def test_attention_that_would_leave_out_the_cap_is_refused(tmp_path):
    source = save(Gemma2Config(**_CAPPED), tmp_path)
    with pytest.raises(InputError, match=r"attn_logit_softcapping is 50\.0.*attention='eager'"):
        load_skeleton(source, registry.adapters(), LoadSettings(attention="sdpa"))


def test_families_with_attention_sinks_are_computed_eagerly(tmp_path):
    """sdpa has no sinks; transformers knows which families have them."""
    transformers = pytest.importorskip("transformers", minversion="5.20")
    source = save(transformers.GraniteSWAConfig(**_CAPPED), tmp_path)
    skeleton = load_skeleton(source, registry.adapters())
    assert skeleton.bound.model.config._attn_implementation == "eager"


@pytest.mark.parametrize(("asked", "expected"), [("auto", "float32"), ("bfloat16", "bfloat16")])
def test_the_dtype_is_that_asked_for(asked, expected, tmp_path):
    config = GPT2Config(n_embd=8, n_layer=1, n_head=2)
    skeleton = load_skeleton(save(config, tmp_path), registry.adapters(), LoadSettings(dtype=asked))
    assert str(skeleton.bound.model.dtype) == f"torch.{expected}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "float12"}, r"unknown dtype 'float12'.*float32"),
        ({"attention": "quick"}, r"unknown attention 'quick'.*eager, sdpa"),
        ({"device_map": "everywhere"}, r"unknown device_map 'everywhere'.*balanced"),
        ({"quantize": "1bit"}, r"unknown quantize '1bit'.*4bit, 8bit"),
        ({"device_map": "auto", "device": "cpu"}, r"give only one of them"),
        ({"quantize": "4bit", "adapter": "some"}, r"cannot be merged exactly"),
    ],
)
def test_impossible_settings_are_refused_with_the_choices(settings, message):
    with pytest.raises(InputError, match=message):
        LoadSettings(**settings)
