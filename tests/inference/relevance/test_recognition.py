"""Which models the relevance rules fit, and what is said of the others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from culnig.core.neurons import MLP_IN
from culnig.errors import BindingError
from culnig.inference.relevance.recognition import recognise
from culnig.models.base import ModuleSlice, bind_model
from culnig.models.gated_decoder import GatedDecoder
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings
from tests.family_proof import bind
from tests.inference.relevance.plain_rules import toy
from tests.scoring.toy_model import toy_bound
from tests.tiny_models import byte_tokenizer, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore")  # what families say of their own defaults


@pytest.mark.parametrize(
    ("family", "norms", "mlps"),
    [
        ("llama", 9, 4),  # RMSNorm before attention and MLP, and at the end
        ("qwen3", 17, 4),  # and inside attention
        ("gemma2", 17, 4),  # before and after, with capped logits
        ("olmo2", 17, 4),  # after, and inside attention
        ("phi3", 9, 4),  # gate and up in one projection
        ("cohere", 5, 4),  # LayerNorm of its own kind, MLP beside attention
        ("gpt2", 9, 4),  # LayerNorm, plain MLP
        ("bloom", 10, 4),  # heads that alternate, a norm of the embeddings
        ("mixtral", 9, 4),  # routed experts
        ("gpt_oss", 9, 4),  # with biases, limits, and up + 1
        ("deepseek_v3", 17, 5),  # latent attention; routed and shared experts
    ],
)
def test_a_family_of_each_structure_has_all_its_norms_and_mlps(family, norms, mlps):
    recognised = recognise(bind(family).bound)
    assert (len(recognised.norms), len(recognised.mlps)) == (norms, mlps)


@pytest.mark.parametrize(
    ("family", "named"),
    [
        ("bitnet", "the MLP of mlp.gate_proj of layer 0 mixes its neurons"),  # a norm behind the product
        ("lfm2", "conv.in_proj of layer 0 is no part of attention or an MLP"),
        ("afmoe", "reads a product of two values"),  # attention with an output gate
    ],
)
def test_a_family_with_another_part_is_refused_by_name(family, named):
    with pytest.raises(BindingError, match=f"has a part without a relevance rule: .*{named}"):
        recognise(bind(family).bound)


def bound_toy(**changes):
    """The toy of `plain_rules` with other parts in its MLP."""
    model = toy()
    for name, module in changes.items():
        setattr(model.layers[0].mlp, name, module)
    return bind_model("toy", model, byte_tokenizer(), [GatedDecoder()])


class DividedByMean(nn.Module):
    def forward(self, x):
        return x / (x.abs().mean(-1, keepdim=True) + 1)


class Inline(nn.Module):
    def forward(self, x):
        return nn.functional.normalize(x, dim=-1)


class Activated(nn.Module):
    def forward(self, x):
        return torch.sigmoid(x)


@pytest.mark.parametrize("norm", [DividedByMean(), Activated()], ids=str)
def test_a_norm_that_is_not_known_is_refused(norm):
    with pytest.raises(BindingError, match=r"layers.0.mlp.(gate|up)_proj` reads"):
        recognise(bound_toy(norm=norm))


def test_a_norm_is_known_by_what_it_does():
    assert len(recognise(bound_toy(norm=Inline())).norms) == 1


def test_products_in_attention_are_refused():
    with pytest.raises(BindingError, match=r"reads a product of two values .MulBackward0. that is no MLP's"):
        recognise(toy_bound())


def test_an_adapter_that_does_not_say_what_reads_the_product_is_refused():
    class Silent(GatedDecoder):
        name = "silent"

        def bind(self, model, config):
            first = model.layers[0].mlp.gate_proj
            return [ModuleSlice(first, MLP_IN, 0, 0, 1)]

    bound = bind_model("toy", toy(), byte_tokenizer(), [Silent()])
    with pytest.raises(BindingError, match="adapter 'silent' does not say what reads"):
        recognise(bound)


@pytest.mark.parametrize(
    ("forward", "named"),
    [
        (lambda gate, up: torch.sigmoid(gate) * up, "gives something where its neurons are zero"),
        (lambda gate, up: gate * up.square(), "is not linear in its up projection"),
        (lambda gate, up: (gate * up).cumsum(-1), "mixes its neurons"),
    ],
)
def test_an_mlp_with_another_product_is_refused(monkeypatch, forward, named):
    bound = tiny_model()
    mlp = bound.model.model.layers[1].mlp
    monkeypatch.setattr(
        mlp, "forward", lambda x: mlp.down_proj(forward(mlp.gate_proj(x), mlp.up_proj(x))), raising=False
    )
    with pytest.raises(BindingError, match=f"the MLP of mlp.gate_proj of layer 1 {named}"):
        recognise(bound)


def test_a_refused_model_leaves_no_run(tmp_path):
    from culnig import registry

    with pytest.raises(BindingError, match="relevance rule"):
        score_run(
            *(toy_bound(), {}, ScoreSettings(), tmp_path / "run"),
            run_settings=RunSettings(scorers=(registry.scorer("relp"),)),
        )
    assert not (tmp_path / "run").exists()
