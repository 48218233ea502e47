"""Names and flat order of a model's neurons.

A neuron is one output coordinate of a linear module in a layer. `Layout` fixes the flat order of all
neurons of a model: layer-major, then modules in forward order, then index. Every score row, every
stored table and every neuron set is in that order, and `Layout.hash` tells whether two files speak of
the same one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError

MLP_GATE = "mlp.gate_proj"
MLP_UP = "mlp.up_proj"
MLP_IN = "mlp.fc_in"
"""First projection of an MLP without a gate, whatever the family calls it."""
QUERY = "self_attn.q_proj"
KEY = "self_attn.k_proj"
VALUE = "self_attn.v_proj"

FORWARD_ORDER = (QUERY, KEY, VALUE, MLP_GATE, MLP_UP, MLP_IN)
"""Order of the modules inside a layer."""

POOLS: dict[str, tuple[str, ...]] = {
    "mlp": (MLP_GATE, MLP_IN),
    "attention": (QUERY, KEY, VALUE),
    "all": (QUERY, KEY, VALUE, MLP_GATE, MLP_IN),
}
"""Modules that are ranked together. An MLP is gated (`gate_proj`, `up_proj`) or plain (`fc_in`).

`mlp.up_proj` is scored but belongs to no pool (METHOD: not selected)."""


class Neuron(NamedTuple):
    """One output coordinate of a linear module."""

    module: str
    layer: int
    index: int  # type: ignore[assignment]  # the word of the field outweighs tuple.index


@dataclass(frozen=True)
class Segment:
    """The neurons of one module in one layer: `width` flat positions from `start`."""

    module: str
    layer: int
    start: int
    width: int

    @property
    def columns(self) -> slice:
        """Where this segment lies in a row of scores."""
        return slice(self.start, self.start + self.width)


@dataclass(frozen=True)
class Layout:
    """Flat order of all neurons of a model, as consecutive segments."""

    segments: tuple[Segment, ...]
    model_hash: str | None = None
    """Hash of the whole model's layout, where these are some of its segments."""

    @classmethod
    def from_widths(cls, widths: list[tuple[int, str, int]]) -> Layout:
        """Lay out `(layer, module, width)` triples: sorted by layer, then forward order of modules."""
        known = {module: place for place, module in enumerate(FORWARD_ORDER)}
        ordered = sorted(widths, key=lambda w: (w[0], known.get(w[1], len(known)), w[1]))
        segments, start = [], 0
        for layer, module, width in ordered:
            segments.append(Segment(module, layer, start, width))
            start += width
        return cls(tuple(segments))

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return self.segments[-1].start + self.segments[-1].width if self.segments else 0

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return 1 + max((segment.layer for segment in self.segments), default=-1)

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """Names of the modules, each once, in layout order."""
        return tuple(dict.fromkeys(segment.module for segment in self.segments))

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the segments of the model: equal for equal models, across machines and versions."""
        if self.model_hash is not None:
            return self.model_hash
        rows = [[s.module, s.layer, s.start, s.width] for s in self.segments]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.array([segment.start for segment in self.segments], dtype=np.int64)

    @cached_property
    def _by_place(self) -> dict[tuple[str, int], Segment]:
        return {(segment.module, segment.layer): segment for segment in self.segments}

    def segment(self, module: str, layer: int) -> Segment:
        """The segment of `module` in `layer`; InputError names what exists."""
        try:
            return self._by_place[module, layer]
        except KeyError:
            raise InputError(
                f"no module {module!r} in layer {layer}; this model has layers 0 to "
                f"{self.n_layers - 1} with {', '.join(self.modules)}"
            ) from None

    def flat(self, neuron: Neuron) -> int:
        """Flat position of a neuron."""
        segment = self.segment(neuron.module, neuron.layer)
        if not 0 <= neuron.index < segment.width:
            raise InputError(
                f"neuron index {neuron.index} is outside {neuron.module} of layer {neuron.layer}, "
                f"which has {segment.width} neurons"
            )
        return segment.start + neuron.index

    def segment_of(self, flat: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of the segment that each flat position lies in, shape as given."""
        return np.searchsorted(self._starts, flat, side="right") - 1

    def neurons(self, flat: NDArray[np.int64]) -> list[Neuron]:
        """Neurons at the given flat positions, in the given order."""
        numbers = self.segment_of(flat)
        return [
            Neuron(self.segments[n].module, self.segments[n].layer, int(f) - self.segments[n].start)
            for f, n in zip(flat, numbers, strict=True)
        ]

    def chosen(self, modules: Sequence[str] = (), layers: Sequence[int] = ()) -> list[Segment]:
        """Segments of these modules (names, or their last part) and layers; none named stands for all.

        InputError for a module or layer that is not there.
        """
        short = {module.rpartition(".")[2]: module for module in self.modules}
        wanted = {short.get(module, module) for module in modules} or set(self.modules)
        if unknown := sorted(wanted - set(self.modules)):
            raise InputError(f"no module {', '.join(unknown)}; there are {', '.join(self.modules)}")
        there = {segment.layer for segment in self.segments}
        if unknown_layers := sorted(set(layers) - there):
            raise InputError(
                f"no layer {', '.join(map(str, unknown_layers))}; there are {min(there)} to {max(there)}"
            )
        return [
            segment
            for segment in self.segments
            if segment.module in wanted and (not layers or segment.layer in layers)
        ]

    def pool(self, name: str) -> NDArray[np.int64]:
        """Flat positions of a pool, ascending. InputError for a name that is not in POOLS."""
        if name not in POOLS:
            raise InputError(f"unknown pool {name!r}; pools are {', '.join(POOLS)}")
        ranges = [
            np.arange(s.start, s.start + s.width, dtype=np.int64)
            for s in self.segments
            if s.module in POOLS[name]
        ]
        return np.concatenate(ranges) if ranges else np.empty(0, dtype=np.int64)


def parse_layers(text: str) -> tuple[int, ...]:
    """Layers from text such as `0-3,7`; InputError where it is none."""
    layers: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last:
            raise InputError(f"layers {text!r}: {part!r} is no layer; numbers and ranges such as 0-3,7 are")
        layers += range(first, last + 1)
    return tuple(dict.fromkeys(layers))
