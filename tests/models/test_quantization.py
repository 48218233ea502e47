"""Models whose weights bitsandbytes rounds: gradients, batch dependence, and warnings once."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

import culnig
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import make_batches
from culnig.inference.encoding import Encoder
from culnig.models.quantization import OncePerMessage
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from culnig.verification import quick
from tests.tiny_models import _SMALL, byte_tokenizer, tiny_items

pytest.importorskip("bitsandbytes")
pytestmark = pytest.mark.filterwarnings("ignore")  # bitsandbytes announces kernels that it does not find


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose widths bitsandbytes' kernels take: multiples of 64."""
    path = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = LlamaConfig(**(_SMALL | {"hidden_size": 64, "intermediate_size": 128}))
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    byte_tokenizer().save_pretrained(path)
    return path


def load(folder, bits, dtype="float32"):
    return culnig.load_model(folder, quantize=bits, device="cpu", dtype=dtype)


def test_answers_before_a_run_do_not_take_its_gradients(folder):
    bound = load(folder, "4bit")
    (batch,) = make_batches(Encoder(bound).encode_all(tiny_items(2)), 4096)

    def scores():
        return score_benchmark(bound, tiny_items(2), "target", ScoreSettings()).moments.sum

    before = scores()
    with torch.inference_mode(), AnswerReader(bound) as reader:
        reader.logits(batch)
    assert np.array_equal(scores(), before)


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_a_quantized_model_passes_and_its_batch_dependence_is_measured(folder, bits):
    bound = load(folder, bits)
    result = quick.check_model(bound, Encoder(bound).encode_all(tiny_items(3)), lambda line: None)
    assert all(row["passed"] for row in result["checks"])
    dependence = result["batch_dependence"]
    if bits == "8bit":  # outliers are those of the whole batch
        assert 1e-3 < dependence < 0.5
    else:
        assert dependence < 1e-3


def test_gradients_pass_through_eight_bit_products_in_float16(folder):
    """bitsandbytes changes columns of outliers in its input for a moment, which autograd would refuse."""
    bound = load(folder, "8bit", "float16")
    result = quick.check_model(bound, Encoder(bound).encode_all(tiny_items(3)), lambda line: None)
    assert all(row["passed"] for row in result["checks"])


def test_each_warning_of_a_product_is_given_once(folder, caplog):
    bound = load(folder, "8bit")
    logger = logging.getLogger("bitsandbytes.autograd._functions")
    (once,) = [own for own in logger.filters if isinstance(own, OncePerMessage)]
    logger.removeFilter(once)
    logger.addFilter(OncePerMessage())
    with caplog.at_level(logging.WARNING):
        score_benchmark(bound, tiny_items(2), "target", ScoreSettings(token_budget=1))
    lines = [record.getMessage() for record in caplog.records if record.name == logger.name]
    assert lines == ["MatMul8bitLt: inputs will be cast from torch.float32 to float16 during quantization"]
