"""What a family's tiny model shows: bound or refused, its modules, and the checks that a bound one passes."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from culnig import registry
from culnig.core.items import Item
from culnig.core.outcomes import Outcomes
from culnig.errors import CulnigError
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import make_batches
from culnig.inference.encoding import Encoder
from culnig.inference.trees import share_prefixes, sharing_problem
from culnig.models.base import BoundModel, bind_model
from culnig.models.intervention import intervene
from culnig.models.loaded import check_causal
from culnig.models.loading import load_model
from culnig.models.skeleton import load_skeleton
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from culnig.training.weights import Weights
from culnig.verification.verify import verify_model
from tests.alike import variants
from tests.exchange.exported import exported_difference
from tests.families import configuration, randomise
from tests.oracle import in_float64, token_ids
from tests.tiny_experts import unrolled, weight_rows
from tests.tiny_models import byte_tokenizer

ORACLE = 2e-6
"""Largest difference from plain autograd, of the largest score."""


SHARED = 1e-4
"""Largest relative difference of a probability between prompts that share a row and prompts alone."""


EXPORTED = 1e-5
"""Largest difference of a logit between an exported model and a masked one, of the largest logit."""


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
    """All checks of `verify`, the way through a checkpoint, and plain autograd on two prompts."""
    bound = verdict.bound
    assert bound is not None
    for check in verify_model(bound):
        verdict.proof[check.name], verdict.details[check.name] = check.passed, check.detail
    verdict.proof["weights of neurons"] = _masks_equal_edited_weights(bound)
    verdict.proof["shared prompts"], verdict.details["shared prompts"] = _shared_prompts(bound)
    verdict.proof["loads as saved"], verdict.details["loads as saved"] = _loads_as_saved(bound)
    verdict.proof["exported weights"], verdict.details["exported weights"] = _exported_weights(bound)
    difference = oracle_difference(bound)
    verdict.proof["plain autograd"] = difference <= ORACLE
    verdict.details["plain autograd"] = f"{difference:.1e}"
    return verdict


def _masks_equal_edited_weights(bound: BoundModel) -> bool:
    """Whether a neuron of each segment without its weights is as good as a masked one; weights come back."""
    projections = [linear for linear in bound.linears if linear.is_routed]
    routed = {own.segment: linear.linear for linear in projections for own in linear.slices}
    middle = {own: own.start + own.width // 2 for own in bound.layout.segments}
    flat = np.array(list(middle.values()))
    ids = torch.arange(3, 15)[None]
    parameters = dict(bound.model.named_parameters())
    before = {name: own.detach().clone() for name, own in parameters.items()}
    with torch.no_grad():
        bare = bound.model(input_ids=ids, use_cache=False).logits
        with intervene(bound, flat):
            masked = bound.model(input_ids=ids, use_cache=False).logits
        layers = {getattr(module, "culnig_projection", None): module for module in bound.model.modules()}
        for segment, projection in routed.items():
            (neuron,) = bound.layout.neurons(np.array([middle[segment]]))
            for row in weight_rows(layers[projection], neuron):
                row.zero_()
        others = np.array([own for segment, own in middle.items() if segment not in routed])
        for rows in Weights(bound).of_neurons(others):
            parameters[rows.part.parameter].index_fill_(
                rows.part.axis, torch.from_numpy(rows.part.indices), 0.0
            )
        edited = bound.model(input_ids=ids, use_cache=False).logits
        for name, own in parameters.items():
            own.copy_(before[name])
    scale = float(bare.abs().max())
    return torch.allclose(masked, edited, rtol=0, atol=1e-5 * scale) and not torch.equal(masked, bare)


def _loads_as_saved(bound: BoundModel) -> tuple[bool | None, str]:
    """Whether the weights load from what transformers saves, in the names of published tensors.

    None for text parts that transformers does not load by themselves.
    """
    if type(bound.model.config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return None, "only loads as a part of its wrapper"
    with tempfile.TemporaryDirectory() as folder:
        bound.model.save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        try:
            again = load_model(folder, registry.adapters())
        except CulnigError as error:
            return False, str(error)
    same = again.weights_hash == bound.weights_hash and again.layout.hash == bound.layout.hash
    return same, "other weights or another layout"


def _exported_weights(bound: BoundModel) -> tuple[bool | None, str]:
    """Whether a model exported with a mask computes, by transformers alone, what the masked model does."""
    differences = [exported_difference(bound, factor) for factor in (0.0, 2.0)]
    if None in differences:
        return None, "only loads as a part of its wrapper"
    worst = max(own for own in differences if own is not None)
    return worst <= EXPORTED, f"{worst:.1e}"


def _shared_prompts(bound: BoundModel) -> tuple[bool | None, str]:
    """Whether prompts that begin alike answer in one row as they do alone; None where rows are not shared."""
    items = variants(n_questions=3, n_variants=4)
    encoded = Encoder(bound).encode_all(items)
    shared = share_prefixes(encoded, 2048)
    assert shared
    found = []
    with AnswerReader(bound) as reader:
        if problem := sharing_problem(bound, reader, shared):
            return None, problem
        for batches in (shared, make_batches(encoded, 1)):
            outcomes = Outcomes.empty(items)
            for batch in batches:
                reader.answer(batch, outcomes)
            found.append(outcomes.option_probabilities)
    difference = float(np.abs(found[0] / found[1] - 1).max())
    return difference <= SHARED, f"{difference:.1e}"


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
    """Largest difference of any score from plain autograd's, relative to its item's largest score.

    Each item is a batch of its own: padding changes the order in which attention adds; `verify` judges that.
    """
    items = _items()
    moments = score_benchmark(bound, items, "target", ScoreSettings(token_budget=1)).moments
    found = dict(zip(moments.cultures, moments.sum, strict=True))
    worst = 0.0
    for item in items:
        expected = plain_scores(bound, item)
        worst = max(worst, float(np.abs(found[item.culture] - expected).max() / np.abs(expected).max()))
    return worst


def plain_scores(bound: BoundModel, item: Item) -> np.ndarray:
    """P(gold) times the largest gradient × activation of every neuron, by plain autograd on all logits."""
    model: Any = bound.model
    outputs: dict[torch.nn.Module, torch.Tensor] = {}

    def keep(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        outputs[module] = output.clone()
        return outputs[module]

    routed: dict[Any, list[torch.Tensor]] = {
        linear.linear: [] for linear in bound.linears if linear.is_routed
    }
    layers = [layer for layer in model.modules() if getattr(layer, "culnig_projection", None) in routed]
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = unrolled(layer, routed[layer.culnig_projection])
    linears = [linear.linear for linear in bound.linears if not linear.is_routed]
    handles = [module.register_forward_hook(keep) for module in linears]
    handles.append(model.get_output_embeddings().register_forward_hook(in_float64))
    ids, gold = token_ids(bound.tokenizer, item)
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
    for handle in handles:
        handle.remove()
    for layer, own_forward in zip(layers, before, strict=True):
        del layer.forward
        if own_forward is not None:
            layer.forward = own_forward
    probability = torch.softmax(logits[0, -1].double(), -1)[gold]
    owners: list[tuple[Any, torch.Tensor]] = list(outputs.items())
    owners += [(module, output) for module, of_experts in routed.items() for output in of_experts]
    gradients = torch.autograd.grad(probability, [output for _, output in owners])
    scores: dict[Any, np.ndarray] = {}
    for (module, output), gradient in zip(owners, gradients, strict=True):
        contribution = (output.detach() * gradient).reshape(len(ids), -1)
        own = contribution.amax(0).double().numpy() * float(probability.detach())
        scores[module] = np.append(scores[module], own) if module in scores else own  # expert after expert
    expected = np.zeros(bound.layout.n_neurons)
    for linear in bound.linears:
        for own in linear.slices:
            columns = own.columns(np.arange(own.segment.width))
            expected[own.segment.columns] = scores[linear.linear][columns]
    return expected
