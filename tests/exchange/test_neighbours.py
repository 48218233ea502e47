"""The examples of docs/ways-out.md in TransformerLens and nnsight, where they are installed."""

from __future__ import annotations

import importlib.util
import re
import runpy
from pathlib import Path

import pytest
import torch

import culnig
from culnig.core.neurons import KEY, MLP_GATE, MLP_UP, QUERY, VALUE
from culnig.models.intervention import intervene
from tests.exchange.exported import save
from tests.tiny_models import tiny_model
from tests.training.chosen import neuron_set

PAGE = Path(__file__).parents[2] / "docs" / "ways-out.md"
TEXT = "What is eaten there?"


def example(library: str) -> str:
    """The block of the page that imports a library."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = (own for own in blocks if f"from {library}" in own)
    return block


def needs(library: str, name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(library) is None, reason=f"{name} is not installed")


@pytest.mark.parametrize(
    ("library", "form", "file"),
    [
        pytest.param(
            *("transformer_lens", "transformer-lens", "hooks.json"),
            marks=needs("transformer_lens", "TransformerLens"),
        ),
        pytest.param(*("nnsight", "nnsight", "paths.json"), marks=needs("nnsight", "nnsight")),
    ],
)
def test_the_example_masks_as_intervene_does(library, form, file, tmp_path, monkeypatch):
    bound = tiny_model()
    folder = save(bound, tmp_path / "model")
    layout = bound.layout
    chosen = neuron_set(
        bound,
        [
            layout.neurons(layout.segment(module, layer).start + torch.arange(6).numpy() * 2)[index]
            for module in (QUERY, KEY, VALUE, MLP_GATE, MLP_UP)
            for layer in (0, 2)
            for index in range(6)
        ],
    )
    monkeypatch.chdir(tmp_path)
    chosen.write(Path("set.json"))
    culnig.neurons_convert("set.json", form, file, model=folder)
    script = Path("example.py")  # nnsight reads its source
    script.write_text(example(library).replace('"M"', repr(str(folder))), encoding="utf-8")
    names = runpy.run_path(str(script))
    ids = torch.tensor([bound.tokenizer(TEXT)["input_ids"]])
    with torch.no_grad():
        bare = bound.model(input_ids=ids).logits
        with intervene(bound, chosen):
            masked = bound.model(input_ids=ids).logits
    given = names["logits"]
    assert given.shape == masked.shape
    torch.testing.assert_close(given, masked, rtol=1e-4, atol=1e-4)
    assert (masked - bare).abs().max() > 1e-2
