"""One function per check of a bound model; each returns its result with details.

Tolerances depend on the model's number format: they allow for the effect of shape on a matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import torch

from culnig.core.neurons import KEY, QUERY, VALUE, Segment
from culnig.errors import LabelError
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import Batch
from culnig.inference.encoding import Encoder
from culnig.models.base import BoundModel
from culnig.models.intervention import intervene
from culnig.verification.passes import Passes
from culnig.verification.probes import LABELS, batch_of, probe_items


class Check(NamedTuple):
    """Result of a check."""

    name: str
    passed: bool | None
    """None if the check does not apply, for the reason in `detail`."""
    detail: str


LARGEST_DEPENDENCE = {torch.float32: 1e-3}
"""Batch dependence above which a model is refused, by number format, relative to the largest score."""
LARGEST_ROUNDED_DEPENDENCE = 0.5
"""The same in half precision and for quantized weights, where rounding depends on the shape of a product and,
in 8 bit, on outliers among all tokens of the batch. Above SAID_DEPENDENCE the detail says so."""
SAID_DEPENDENCE = 0.1

_NOISE = {torch.float32: 1e-3}
_ROUNDED_NOISE = 0.05
_REPEATED_NOISE = {torch.float32: 1e-5}
_ROUNDED_REPEATED_NOISE = 0.02
"""Differences of logits, relative to the largest, of products of another shape, and of the same shape."""


def is_quantized(bound: BoundModel) -> bool:
    """Whether some weights are integers."""
    return any(not parameter.is_floating_point() for parameter in bound.model.parameters())


def _limit(bound: BoundModel, limits: dict[torch.dtype, float], rounded: float) -> float:
    return rounded if is_quantized(bound) else limits.get(bound.model.dtype, rounded)


def check_binding(passes: Passes) -> Check:
    """Every segment is captured once, with the width of the layout."""
    layout = passes.bound.layout
    captured = passes.hooked.captured
    problems = {
        "not run or detached": [segment for segment in layout.segments if segment not in captured],
        "run twice": [segment for segment, seen in captured.items() if seen.times > 1],
        "of another width": [segment for segment, seen in captured.items() if seen.width != segment.width],
        "without gradient": [segment for segment, seen in captured.items() if not seen.has_gradient],
    }
    detail = f"{len(captured)} modules in {layout.n_layers} layers, {layout.n_neurons:,} neurons"
    for problem, segments in problems.items():
        if segments:
            detail += f"; {problem}: {_names(segments)}"
    return Check("binding and widths", not any(problems.values()), detail)


def check_capture(passes: Passes) -> Check:
    """Logits are the same without our hooks and with all: capture, the head's hooks, a mask of factor 1."""
    limit = _limit(passes.bound, _NOISE, _ROUNDED_NOISE)
    return _same_logits(
        "capture changes nothing", passes.plain, passes.hooked.logits, limit, "with and without hooks"
    )


def check_repetition(passes: Passes) -> Check:
    """The model answers the same prompts in the same way, also after the hooks are gone."""
    limit = _limit(passes.bound, _REPEATED_NOISE, _ROUNDED_REPEATED_NOISE)
    name, when = "repeated answers", "before and after the passes with hooks"
    check = _same_logits(name, passes.plain, passes.again, limit, when)
    if check.passed:
        return check
    reason = "the model computes at random (dropout in evaluation mode?) or keeps a state"
    return check._replace(detail=f"{check.detail}: {reason}")


def _same_logits(name: str, first: torch.Tensor, second: torch.Tensor, limit: float, when: str) -> Check:
    largest, scale = float((second - first).abs().max()), float(first.abs().max())
    return Check(
        name,
        largest <= limit * scale,
        f"logits up to {scale:.1e} differ by at most {largest:.1e} {when}",
    )


def batch_dependence(passes: Passes) -> float:
    """Largest difference of an item's scores alone and in a batch, relative to the largest score."""
    together = {segment: seen.scores[1] for segment, seen in passes.hooked.captured.items()}
    alone = {segment: seen.scores[0] for segment, seen in passes.alone.items()}
    difference = max(float(np.abs(alone[segment] - own).max()) for segment, own in together.items())
    return difference / max(float(np.abs(own).max()) for own in together.values())


def check_batches(passes: Passes) -> Check:
    """Scores depend neither on the other items of a batch nor on padding."""
    difference = batch_dependence(passes)
    limit = _limit(passes.bound, LARGEST_DEPENDENCE, LARGEST_ROUNDED_DEPENDENCE)
    detail = f"scores alone and in a batch differ by {difference:.1e} of the largest"
    if SAID_DEPENDENCE < difference <= limit:
        detail += (
            ", from rounding in this number format: compare only runs with the same items and token budget"
        )
    return Check("batches and padding", difference <= limit, detail)


def check_labels(passes: Passes) -> Check:
    """The labels A–D and 1–4 are single vocabulary entries after the answer prefix."""
    encoder = Encoder(passes.bound)
    good, bad = [], []
    for labels in LABELS:
        try:
            encoder.encode_all(probe_items(labels))
        except LabelError as error:
            bad.append(str(error))
        else:
            good.append(f"{labels[0]}–{labels[-1]}")
    detail = f"single entries: {', '.join(good) or 'none'}"
    return Check("label tokens", not bad, "; ".join([detail, *bad]))


def check_attention(passes: Passes) -> Check:
    """Queries, keys and values are not mixed up.

    The first token of a causal model attends only to itself, so its query has no effect. In a prompt of one
    token its key has no effect either, but its value does.
    """
    name = "query, key and value"
    layout = passes.bound.layout
    layers = [
        layer
        for layer in range(layout.n_layers)
        if all(layout.has(module, layer) for module in (QUERY, KEY, VALUE))
    ]
    if not layers:
        return Check(name, None, "the adapter binds no attention with query, key and value")
    first_tokens = passes.first_tokens
    wrong = []
    for layer in layers:
        query, key, value = (
            first_tokens[layout.segment(module, layer)] for module in (QUERY, KEY, VALUE)
        )  # of the long prompt, the short one, and one token
        small = 1e-3 * value[2]
        if value[2] == 0 or query[2] > small or key[2] > small or query[0] > 1e-3 * key[0]:
            wrong.append(layer)
    detail = "the first token's query has no effect; its key affects only later tokens"
    if wrong:
        detail = f"wrong in layers {', '.join(map(str, wrong))}: check the order of the slices"
    return Check(name, not wrong, detail)


def check_masking(passes: Passes) -> Check:
    """Masking a neuron sets its activation to zero and changes nothing before it."""
    bound = passes.bound
    batch = batch_of(Encoder(bound).encode(probe_items()[0]))
    bare = _outputs(bound, batch)
    problems = []
    layer = bound.layout.n_layers // 2
    for number, linear in enumerate(bound.linears):
        for part in linear.slices:
            segment = part.segment
            if segment.layer != layer:
                continue
            index = np.array([segment.width // 2])
            with intervene(bound, index + segment.start, factor=0.0):
                masked = _outputs(bound, batch)
            changed = (masked[number] != bare[number]).flatten(0, -2).any(0).nonzero().flatten().tolist()
            columns = part.columns(index).tolist()
            earlier = [
                before
                for before, other in enumerate(bound.linears)
                if other.slices[0].segment.layer < layer and not torch.equal(masked[before], bare[before])
            ]
            if not set(changed) <= set(columns) or earlier or masked[number][..., columns].any():
                problems.append(_names([segment]))
    same = all(torch.equal(a, b) for a, b in zip(bare, _outputs(bound, batch), strict=True))
    detail = f"in layer {layer}, masking a neuron of a module changes only that neuron, and only while masked"
    if problems or not same:
        detail = f"changes too much: {', '.join(problems) or 'effects remain after the mask is removed'}"
    return Check("masking", same and not problems, detail)


def _outputs(bound: BoundModel, batch: Batch) -> list[torch.Tensor]:
    """Output of every linear that holds neurons, in layout order."""
    outputs: dict[int, torch.Tensor] = {}

    def keeping(number: int) -> Callable[[Any, Any, torch.Tensor], None]:
        def keep(module: Any, inputs: Any, output: torch.Tensor) -> None:
            outputs[number] = bound.linears[number].output(inputs, output.detach()).clone()

        return keep

    with ExitStack() as stack, torch.inference_mode(), AnswerReader(bound) as reader:
        for number, linear in enumerate(bound.linears):
            stack.callback(linear.linear.register_forward_hook(keeping(number)).remove)
        reader.logits(batch)
    return [outputs[number] for number in range(len(bound.linears))]


def _names(segments: list[Segment]) -> str:
    names = [f"{segment.module} of layer {segment.layer}" for segment in segments]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
