"""Every family that transformers maps is bound or refused as docs/models-table.md says.

`make models-table` runs the checks of all of them; here those of one family of each structure run.
"""

from __future__ import annotations

import functools

import pytest

from culnig import load_model
from culnig.training.weights import Weights
from tests.families import FORMS, families
from tests.family_proof import bind, prove
from tests.models.refused import edit_weights
from tests.models_table import PAGE, modules, shown
from tests.tiny_models import byte_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")  # what families say of their own defaults

REPRESENTATIVES = (
    *("apertus", "biogpt", "bloom", "codegen", "cohere", "ctrl", "falcon", "falcon, a key for each head"),
    *(
        "falcon, new layout",
        "gemma3n_text",
        "gemma4_text, keys as values",
        "gpt_bigcode, a key for each head",
    ),
    *("granite_swa", "granitemoehybrid, no experts", "lfm2", "mpt", "nemotron_h, no experts"),
    *("deepseek_v3", "gpt_oss", "nemotron_h", "qwen3_5_text", "youtu"),
)
"""A family of each way to arrange projections."""


@functools.cache
def rows() -> dict[str, list[str]]:
    """Cells of every row of the page, by name."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return {
        name: rest for name, *rest in ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
    }


def test_the_table_has_every_name():
    assert sorted(rows().keys() - {"family"}) == families()


@pytest.mark.parametrize("name", families())
def test_a_family_is_bound_or_refused_as_the_table_says(name):
    found, row = bind(name), rows()[name]
    if found.bound is None:
        assert row == [shown(found.reason)]
    else:
        layout = found.bound.layout
        assert row[:3] == [found.bound.adapter, modules(found.bound), f"{layout.n_neurons:,}"]


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_a_bound_family_passes_every_check(name):
    found = prove(bind(name))
    assert found.failed == [], found.details


def test_published_keys_of_layers_that_use_earlier_ones_are_not_missed(tmp_path):
    """Checkpoints of Gemma 3n hold them, though the model never runs them."""
    bound = bind("gemma3n_text").bound
    layers = {own.layer for own in bound.layout.segments if own.module == "self_attn.k_proj"}
    assert layers == {0, 1}
    bound.model.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    name = "model.layers.{}.self_attn.k_proj.weight"
    edit_weights(tmp_path, lambda own: own | {name.format(3): own[name.format(1)].clone()})
    assert load_model(str(tmp_path), device="cpu").weights_hash == bound.weights_hash


def test_a_layer_with_a_single_part_is_trained_whole():
    bound = bind("nemotron_h, no experts").bound
    assert Weights(bound).layer_path(3) == "model.layers.3"
    assert Weights(bound).mlp_path(3) == "model.layers.3.mixer"


def test_no_reason_is_an_internal_error():
    reasons = [row[0] for row in rows().values() if len(row) == 1]
    assert len(reasons) > 50
    assert not [reason for reason in reasons if "Error" in reason or "failed with" in reason]


def test_forms_are_of_families_that_transformers_maps():
    assert {family for family, _ in FORMS.values()} <= set(families()) - FORMS.keys()
