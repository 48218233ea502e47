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
from culnig.scoring.capture import Capture
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from culnig.scoring.targets import p_gold_pairs
from culnig.verification.probes import LABELS, batch_of, cut_to, probe_items


class Check(NamedTuple):
    """Result of a check."""

    name: str
    passed: bool | None
    """None if the check does not apply, for the reason in `detail`."""
    detail: str


Pairs = dict[Segment, tuple[torch.Tensor, torch.Tensor]]
"""Activation and gradient of each segment, (item, token, neuron)."""

_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.1}


def tolerance(bound: BoundModel) -> float:
    """Largest change that float noise may cause, relative to the largest value."""
    return _TOLERANCE.get(bound.model.dtype, 1e-3)


def captured(bound: BoundModel, batch: Batch) -> Pairs:
    """The pairs of all segments from one backward pass of ΣP."""
    return p_gold_pairs(bound, batch)


def check_binding(bound: BoundModel) -> Check:
    """Every segment is captured once, with the width of the layout."""
    batch = batch_of(*Encoder(bound).encode_all(probe_items()))
    pairs = captured(bound, batch)
    missing = [segment for segment in bound.layout.segments if segment not in pairs]
    wrong = [segment for segment, (activation, _) in pairs.items() if activation.shape[-1] != segment.width]
    silent = [segment for segment, (_, gradient) in pairs.items() if not gradient.any()]
    detail = f"{len(pairs)} modules in {bound.layout.n_layers} layers, {bound.layout.n_neurons:,} neurons"
    problems = {"not run": missing, "of another width": wrong, "without gradient": silent}
    for problem, segments in problems.items():
        if segments:
            detail += f"; {problem}: {_names(segments)}"
    return Check("binding and widths", not (missing or wrong or silent), detail)


def check_capture(bound: BoundModel) -> Check:
    """Logits are the same with and without our hooks."""
    batch = batch_of(*Encoder(bound).encode_all(probe_items()))
    with AnswerReader(bound) as reader:
        bare = reader.logits(batch).detach()
        with Capture(bound, lambda *pair: None):
            hooked = reader.logits(batch).detach()
    # before a backward pass the head is computed in float64 (inference.readout), so allow for rounding
    largest = float((hooked.double() - bare.double()).abs().max())
    scale = float(bare.double().abs().max())
    return Check(
        "capture changes nothing",
        largest <= 1e-5 * scale,
        f"logits up to {scale:.1e} differ by at most {largest:.1e}",
    )


def check_batches(bound: BoundModel) -> Check:
    """Scores depend neither on the other items of a batch nor on padding."""
    items = probe_items()
    alone, together = (
        score_benchmark(bound, items, "target", ScoreSettings(token_budget=budget)).moments.sum
        for budget in (1, 1 << 20)
    )
    difference = float(np.abs(alone - together).max() / np.abs(together).max())
    return Check(
        "batches and padding",
        difference <= tolerance(bound),
        f"scores alone and in a batch differ by {difference:.1e} of the largest",
    )


def check_labels(bound: BoundModel) -> Check:
    """The labels A–D and 1–4 are single vocabulary entries after the answer prefix."""
    encoder = Encoder(bound)
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


def check_attention(bound: BoundModel) -> Check:
    """Queries, keys and values are not mixed up.

    The first token of a causal model attends only to itself, so its query has no effect. In a prompt of one
    token its key has no effect either, but its value does.
    """
    name = "query, key and value"
    if not {QUERY, KEY, VALUE} <= set(bound.layout.modules):
        return Check(name, None, "the adapter binds no attention projections")
    encoded = Encoder(bound).encode(probe_items()[0])
    alone, whole = captured(bound, batch_of(cut_to(encoded, 1))), captured(bound, batch_of(encoded))
    wrong = set()
    for layer in range(bound.layout.n_layers):
        query, key, value = (bound.layout.segment(module, layer) for module in (QUERY, KEY, VALUE))
        single = {segment: float(alone[segment][1].abs().max()) for segment in (query, key, value)}
        first = {segment: float(whole[segment][1][:, 0].abs().max()) for segment in (query, key)}
        small = 1e-3 * single[value]
        if single[value] == 0 or single[query] > small or single[key] > small:
            wrong.add(layer)
        if first[query] > 1e-3 * first[key]:
            wrong.add(layer)
    detail = "the first token's query has no effect; its key affects only later tokens"
    if wrong:
        detail = f"wrong in layers {', '.join(map(str, sorted(wrong)))}: check the order of the slices"
    return Check(name, not wrong, detail)


def check_masking(bound: BoundModel) -> Check:
    """Masking a neuron sets its activation to zero and changes nothing before it."""
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
            outputs[number] = output.detach().clone()

        return keep

    with ExitStack() as stack, torch.inference_mode(), AnswerReader(bound) as reader:
        for number, linear in enumerate(bound.linears):
            stack.callback(linear.linear.register_forward_hook(keeping(number)).remove)
        reader.logits(batch)
    return [outputs[number] for number in range(len(bound.linears))]


def _names(segments: list[Segment]) -> str:
    names = [f"{segment.module} of layer {segment.layer}" for segment in segments]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
