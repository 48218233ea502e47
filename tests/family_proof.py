"""What a family's tiny model shows: bound or refused, its modules, and the checks that a bound one passes."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from culnig import registry
from culnig.core.items import Item
from culnig.core.neurons import MLP_GATE, MLP_UP
from culnig.errors import CulnigError
from culnig.models.base import BoundModel, bind_model
from culnig.models.intervention import intervene
from culnig.models.loaded import check_causal
from culnig.models.skeleton import load_skeleton
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from culnig.verification.verify import verify_model
from tests.families import configuration, randomise
from tests.oracle import in_float64, token_ids
from tests.tiny_models import byte_tokenizer

ORACLE = 2e-6
"""Largest difference from plain autograd, of the largest score."""


@dataclass
class Verdict:
    """What is known of one family."""

    name: str
    kind: str
    """The transformers class."""
    reason: str = ""
    """Why it is refused; empty if it is bound."""
    bound: BoundModel | None = None
    """With random weights."""
    proof: dict[str, bool | None] = field(default_factory=dict)
    """Checks of the model with random weights, by name; None where one does not apply."""
    details: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> list[str]:
        """Checks that failed."""
        return [name for name, passed in self.proof.items() if passed is False]


def bind(name: str) -> Verdict:
    """Bind the family's tiny configuration as `load_model` does, up to its check of random weights."""
    config = configuration(name)
    kind = type(config).__name__.removesuffix("Config")
    with tempfile.TemporaryDirectory() as folder:
        document = config.to_dict() | {"model_type": config.model_type}
        (Path(folder) / "config.json").write_text(json.dumps(document, default=str))
        try:
            skeleton = load_skeleton(folder, registry.adapters())
            model = skeleton.auto_class.from_config(skeleton.config, **skeleton.options).float().eval()
            randomise(model)
            bound = bind_model(name, model, byte_tokenizer(), registry.adapters())
            check_causal(bound)
        except CulnigError as error:
            return Verdict(name, kind, _one_sentence(str(error), folder, name))
    assert bound.layout.hash == skeleton.bound.layout.hash
    return Verdict(name, type(model).__name__, bound=bound)


def _one_sentence(message: str, folder: str, name: str) -> str:
    for source in (folder, name):
        message = message.replace(f"model {source!r} ", "the model ").replace(repr(source), "")
    if "fits no adapter; " in message:
        message = message.split("fits no adapter; ")[1].split(": ", 1)[1]
        message = message.removesuffix(
            ". Other families need a plugin: docs/models.md shows how to write one"
        )
    return " ".join(message.split())


def prove(verdict: Verdict) -> Verdict:
    """All checks of `verify`, gate and up projection, and plain autograd on two prompts."""
    bound = verdict.bound
    assert bound is not None
    for check in verify_model(bound):
        verdict.proof[check.name], verdict.details[check.name] = check.passed, check.detail
    verdict.proof["gate and up projection"] = gates_are_gates(bound)
    difference = oracle_difference(bound)
    verdict.proof["plain autograd"] = difference <= ORACLE
    verdict.details["plain autograd"] = f"{difference:.1e}"
    return verdict


def _items() -> list[Item]:
    return [
        Item(
            id=f"item-{number}",
            question_id=f"question-{number}",
            culture=culture,
            split="identify",
            prompt="What is eaten there" + " so often" * (3 * number) + "?",
            options=("A", "B", "C", "D"),
            answer="BD"[number],
        )
        for number, culture in enumerate(("Spain", "Iran"))
    ]


def oracle_difference(bound: BoundModel) -> float:
    """Largest difference of any score from plain autograd's, relative to its item's largest score."""
    items = _items()
    moments = score_benchmark(bound, items, "target", ScoreSettings()).moments
    found = dict(zip(moments.cultures, moments.sum, strict=True))
    worst = 0.0
    for item in items:
        expected = plain_scores(bound, item)
        worst = max(worst, float(np.abs(found[item.culture] - expected).max() / np.abs(expected).max()))
    return worst


def plain_scores(bound: BoundModel, item: Item) -> np.ndarray:
    """P(gold) times the largest gradient × activation of every neuron, one prompt, all logits, no hooks on gradients."""
    model: Any = bound.model
    outputs: dict[torch.nn.Module, torch.Tensor] = {}

    def keep(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        outputs[module] = output.clone()
        return outputs[module]

    linears = [linear.linear for linear in bound.linears]
    handles = [module.register_forward_hook(keep) for module in linears]
    handles.append(model.get_output_embeddings().register_forward_hook(in_float64))
    ids, gold = token_ids(bound.tokenizer, item)
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
    for handle in handles:
        handle.remove()
    probability = torch.softmax(logits[0, -1].double(), -1)[gold]
    gradients = torch.autograd.grad(probability, list(outputs.values()))
    scores = {}
    for (module, output), gradient in zip(outputs.items(), gradients, strict=True):
        contribution = (output.detach() * gradient).reshape(len(ids), -1)
        scores[module] = contribution.amax(0).double().numpy() * float(probability.detach())
    expected = np.zeros(bound.layout.n_neurons)
    for linear in bound.linears:
        for own in linear.slices:
            columns = own.columns(np.arange(own.segment.width))
            expected[own.segment.columns] = scores[linear.linear][columns]
    return expected


def gates_are_gates(bound: BoundModel) -> bool | None:
    """Whether the product in an MLP is linear in its up projection and not in its gate; None without a gate.

    With the up projections twice as large, what leaves the product is twice as large, up to a bias.
    """
    if MLP_UP not in bound.layout.modules:
        return None
    layer = next(own.layer for own in bound.layout.segments if own.module == MLP_UP)

    def linear_in(module: str) -> bool:
        segment = bound.layout.segment(module, layer)
        flat = np.arange(segment.start, segment.start + segment.width)
        none, bare, twice = (_product(bound, layer, flat, factor) for factor in (0.0, 1.0, 2.0))
        return bool(torch.allclose(twice - bare, bare - none, atol=1e-4 * float(bare.abs().max())))

    return linear_in(MLP_UP) and not linear_in(MLP_GATE)


def _product(bound: BoundModel, layer: int, flat: np.ndarray, factor: float) -> torch.Tensor:
    """What the next module with weights reads after the MLP's first projections of a layer."""
    firsts = {
        linear.linear
        for linear in bound.linears
        if any(
            own.segment.module in (MLP_GATE, MLP_UP) and own.segment.layer == layer for own in linear.slices
        )
    }
    ran: set[Any] = set()
    read: list[torch.Tensor] = []

    def note(module: Any, inputs: Any, output: Any) -> None:
        ran.add(module)

    def look(module: Any, inputs: Any) -> None:
        if ran >= firsts and not read and module not in firsts and list(module.parameters(recurse=False)):
            read.append(inputs[0].detach().clone())

    handles = [module.register_forward_hook(note) for module in firsts]
    handles += [module.register_forward_pre_hook(look) for module in bound.model.modules()]
    with torch.no_grad(), intervene(bound, flat, factor):
        bound.model(input_ids=torch.arange(3, 11)[None], use_cache=False)
    for handle in handles:
        handle.remove()
    return read[0]
