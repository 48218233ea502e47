"""What transformers reads from a GGUF file by itself, to compare with."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from culnig.models.base import BoundModel

TEXTS = ("What is eaten there?", "the thing in São Tomé", "  two  spaces\n\n新年 🎉", "<|im|>the<|end|>")


def assert_equal_to_plain(path: Path, bound: BoundModel) -> None:
    """The model that we load equals the one that transformers reads by itself."""
    files = (str(path.parent),), {"gguf_file": path.name}
    config = AutoConfig.from_pretrained(*files[0], **files[1])
    model = AutoModelForCausalLM.from_pretrained(*files[0], **files[1], config=config, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(*files[0], **files[1])
    ours, plain = bound.model.state_dict(), model.state_dict()
    assert ours.keys() == plain.keys()
    for name, tensor in plain.items():
        assert ours[name].dtype == tensor.dtype, name
        assert torch.equal(ours[name], tensor), name
    model.hf_quantizer.remove_quantization_config(model)  # the weights are plain floats
    assert bound.model.config.to_dict() == model.config.to_dict()
    assert bound.model.generation_config.to_dict() == model.generation_config.to_dict()
    assert bound.tokenizer.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert bound.tokenizer.special_tokens_map == tokenizer.special_tokens_map
    assert bound.tokenizer.chat_template == tokenizer.chat_template
    for text in TEXTS:
        assert bound.tokenizer(text).input_ids == tokenizer(text).input_ids
