"""Every family passes every check, and each check fails on what it is there to find."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from culnig.models.base import BoundLinear, bind_model
from culnig.models.gated_decoder import GatedDecoder
from culnig.verification import checks
from culnig.verification.differences import check_gradients
from culnig.verification.gates import check_gates
from culnig.verification.passes import Passes
from culnig.verification.verify import CHECKS, verify_model
from tests.tiny_experts import bound_model as expert_model
from tests.tiny_experts import shared_experts_model
from tests.tiny_models import ALL_CONFIGS, PLAIN_CONFIGS, tiny_model

pytestmark = pytest.mark.processors


@pytest.mark.parametrize("family", ALL_CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_family_passes(family, dtype):
    found = {check.name: check for check in verify_model(tiny_model(family, dtype=dtype))}
    assert list(found) == list(CHECKS)
    expected = dict.fromkeys(CHECKS, True)
    if family in PLAIN_CONFIGS:
        expected["gate and up projection"] = None
    assert {name: check.passed for name, check in found.items()} == expected, found


def test_weights_in_half_precision_come_back_exactly():
    bound = tiny_model(dtype=torch.bfloat16)
    before = bound.weights_hash
    buffers = [(buffer.dtype, buffer.clone()) for buffer in bound.model.buffers()]
    assert check_gradients(Passes(bound)).passed
    assert bound.weights_hash == before
    for (dtype, value), buffer in zip(buffers, bound.model.buffers(), strict=True):
        assert buffer.dtype == dtype
        assert torch.equal(value, buffer)


def swapped(bound, first, second):
    """The bound model with the names of two modules exchanged in every layer."""
    exchange = {first: second, second: first}

    def renamed(piece):
        module = exchange.get(piece.segment.module, piece.segment.module)
        return replace(piece, segment=bound.layout.segment(module, piece.segment.layer))

    linears = tuple(
        BoundLinear(linear.linear, tuple(renamed(piece) for piece in linear.slices))
        for linear in bound.linears
    )
    return replace(bound, linears=linears)


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_a_gate_bound_as_the_up_projection_is_detected(family):
    bound = swapped(tiny_model(family), "mlp.gate_proj", "mlp.up_proj")
    assert check_gates(Passes(bound)).passed is False


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss", "qwen3_moe"])
def test_gates_of_experts_are_told_from_their_up_projections(family):
    bound = expert_model(family)
    check = check_gates(Passes(bound))
    assert check.passed, check.detail
    assert "in layer 0, the product of the experts departs from a line by" in check.detail
    wrong = swapped(bound, "mlp.experts.gate_proj", "mlp.experts.up_proj")
    assert check_gates(Passes(wrong)).passed is False


def test_shared_experts_and_dense_layers_are_checked_beside_routed_ones():
    bound = shared_experts_model()
    check = check_gates(Passes(bound))
    assert check.passed, check.detail
    kinds = [
        part.partition("the product of ")[2].partition(" departs")[0] for part in check.detail.split("; ")
    ]
    assert kinds == ["the MLP", "the shared experts", "the experts"]
    wrong = swapped(bound, "mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj")
    assert check_gates(Passes(wrong)).passed is False


@pytest.mark.parametrize(
    ("first", "second"),
    [("q_proj", "k_proj"), ("q_proj", "v_proj"), ("k_proj", "v_proj")],
)
def test_attention_modules_in_the_wrong_order_are_detected(first, second):
    bound = swapped(tiny_model("gpt2"), f"self_attn.{first}", f"self_attn.{second}")
    check = checks.check_attention(Passes(bound))
    assert check.passed is False
    assert "wrong in layers 0, 1, 2" in check.detail


def test_interleaved_heads_taken_for_contiguous_ones_are_detected():
    bound = tiny_model("gpt_neox")
    linears = tuple(
        BoundLinear(
            linear.linear,
            tuple(
                replace(piece, offset=24 * place, run=None, step=None)
                for place, piece in enumerate(linear.slices)
            )
            if len(linear.slices) == 3
            else linear.slices,
        )
        for linear in bound.linears
    )
    assert checks.check_attention(Passes(replace(bound, linears=linears))).passed is False


def test_a_module_that_does_not_run_is_detected():
    bound = tiny_model()
    bound.model.model.layers[1].mlp.forward = lambda x: x
    check = checks.check_binding(Passes(bound))
    assert check.passed is False
    assert "not run or detached: mlp.gate_proj of layer 1" in check.detail


def test_a_detached_gradient_is_detected():
    """A family that detaches somewhere has gradients, but not those of P(gold)."""
    bound = tiny_model()
    mlp = bound.model.model.layers[0].mlp
    mlp.register_forward_hook(lambda module, inputs, output: 0.5 * output + 0.5 * output.detach())
    assert check_gradients(Passes(bound)).passed is False


def test_an_encoder_is_detected_by_the_effect_of_padding():
    """A model that looks ahead gives other scores beside longer items."""
    bound = tiny_model()
    embed = bound.model.model.embed_tokens
    embed.register_forward_hook(lambda module, inputs, output: output + output.mean(1, keepdim=True))
    assert checks.check_batches(Passes(bound)).passed is False


def test_an_effect_that_outlasts_the_mask_is_detected():
    bound = tiny_model()
    calls = []

    def drift(module, inputs, output):
        calls.append(1)
        return output + 1e-3 * len(calls)

    bound.model.model.layers[2].mlp.up_proj.register_forward_hook(drift)
    check = checks.check_masking(Passes(bound))
    assert check.passed is False
    assert "effects remain after the mask is removed" in check.detail


def test_labels_that_are_not_single_entries_are_named():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    symbols = [*sorted(pre_tokenizers.ByteLevel.alphabet()), '"A']
    tokenizer = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(symbols)}, merges=[('"', "A")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bound = bind_model(
        "merging", tiny_model().model, PreTrainedTokenizerFast(tokenizer_object=tokenizer), [GatedDecoder()]
    )
    check = checks.check_labels(Passes(bound))
    assert check.passed is False
    assert check.detail.startswith("single entries: 1–4; item probe-0: label 'A'")


def test_a_check_that_breaks_off_has_failed(monkeypatch):
    def broken(passes):
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(CHECKS, "masking", broken)
    *_, last = verify_model(tiny_model())
    assert last == ("masking", False, "ZeroDivisionError: oh")
