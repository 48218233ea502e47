"""Names of a model's neurons, and the order in which they are stored.

A neuron is one output coordinate of a linear module in a layer. `Layout` lists all neurons of a model in one
flat order: layer-major, then modules in forward order, then index. Score rows, stored tables and neuron sets
all use that order; two files belong to the same layout if their `Layout.hash` is equal.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError, UnknownNameError

MLP_GATE = "mlp.gate_proj"
MLP_UP = "mlp.up_proj"
MLP_IN = "mlp.fc_in"
"""First projection of an MLP without a gate, whatever the model family calls it."""
QUERY = "self_attn.q_proj"
KEY = "self_attn.k_proj"
VALUE = "self_attn.v_proj"

EXPERTS_GATE = "mlp.experts.gate_proj"
"""The experts that tokens are routed to, one after the other: neuron = expert · width of one + index."""
EXPERTS_UP = "mlp.experts.up_proj"
EXPERTS_IN = "mlp.experts.fc_in"
"""First projection of experts without a gate."""
SHARED_GATE = "mlp.shared_experts.gate_proj"
"""The experts beside them that see every token."""
SHARED_UP = "mlp.shared_experts.up_proj"
SHARED_IN = "mlp.shared_experts.fc_in"

FORWARD_ORDER = (
    *(QUERY, KEY, VALUE, MLP_GATE, MLP_UP, MLP_IN),
    *(EXPERTS_GATE, EXPERTS_UP, EXPERTS_IN, SHARED_GATE, SHARED_UP, SHARED_IN),
)
"""Order of the modules inside a layer."""

_EXPERTS = (EXPERTS_GATE, EXPERTS_IN)
_MLP = (MLP_GATE, MLP_IN, *_EXPERTS, SHARED_GATE, SHARED_IN)
_ATTENTION = (QUERY, KEY, VALUE)

POOLS: dict[str, tuple[str, ...]] = {
    "mlp": _MLP,
    "attention": _ATTENTION,
    "all": (*_ATTENTION, *_MLP),
    "experts": _EXPERTS,
}
"""Modules that are ranked together. An MLP is gated (`gate_proj`, `up_proj`) or plain (`fc_in`).

Up projections are scored but belong to no pool (docs/method.md, Score). `experts` are those that tokens are
routed to, which `mlp` holds too."""


MOST_LAYERS = 10_000
"""A file that names more layers is damaged: tables by layer would fill the memory."""


class Neuron(NamedTuple):
    """One output coordinate of a linear module."""

    module: str
    layer: int
    index: int  # type: ignore[assignment]  # the field's usual name matters more than tuple.index


@dataclass(frozen=True)
class Segment:
    """The neurons of one module in one layer: `width` flat indices from `start`."""

    module: str
    layer: int
    start: int
    width: int
    experts: int = 1
    """Experts that share the neurons evenly, in their order; 1 for a module that every token goes through."""

    @property
    def columns(self) -> slice:
        """The segment's columns in a table of scores."""
        return slice(self.start, self.start + self.width)


def _rank(module: str) -> int:
    """Where a module stands inside a layer; those that other parts have come last."""
    return FORWARD_ORDER.index(module) if module in FORWARD_ORDER else len(FORWARD_ORDER)


@dataclass(frozen=True)
class Layout:
    """The order of all neurons of a model, as consecutive segments."""

    segments: tuple[Segment, ...]
    model_hash: str | None = None
    """Hash of the whole model's layout, if this layout holds only some of its segments."""

    @classmethod
    def from_widths(cls, widths: list[tuple[int, str, int]]) -> Layout:
        """Lay out `(layer, module, width)` triples, sorted by layer, then by the modules' forward order."""
        return cls.of(Segment(module, layer, 0, width) for layer, module, width in widths)

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> Layout:
        """Lay out segments in the same order, wherever they start now."""
        laid_out, start = [], 0
        for each in sorted(segments, key=lambda s: (s.layer, _rank(s.module), s.module)):
            laid_out.append(replace(each, start=start))
            start += each.width
        return cls(tuple(laid_out))

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
        """Names of the modules, each once, in the order they have inside a layer that has them."""
        names = dict.fromkeys(segment.module for segment in self.segments)
        return tuple(sorted(names, key=_rank))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the model's segments; equal models have equal hashes on every machine and version."""
        if self.model_hash is not None:
            return self.model_hash
        rows = [
            [s.module, s.layer, s.start, s.width, *([s.experts] if s.experts > 1 else ())]
            for s in self.segments
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    @cached_property
    def experts(self) -> dict[int, slice]:
        """By layer with experts: its columns in a table of the experts of all layers."""
        columns: dict[int, slice] = {}
        end = 0
        for segment in self.segments:
            if segment.experts > 1 and segment.layer not in columns:
                columns[segment.layer] = slice(end, end + segment.experts)
                end += segment.experts
        return columns

    @property
    def n_experts(self) -> int:
        """Experts of all layers."""
        return sum(columns.stop - columns.start for columns in self.experts.values())

    def unrouted(self, routed_tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which neurons are of experts that saw no token of any item, shape (neuron,).

        `routed_tokens` is (item, expert), as in `Outcomes`. The score of such a neuron is not measured.
        """
        unseen = np.zeros(self.n_neurons, dtype=np.bool_)
        if routed_tokens.shape[1]:
            never = routed_tokens.sum(axis=0) == 0
            for segment in self.segments:
                if segment.experts > 1:
                    of_expert = never[self.experts[segment.layer]]
                    unseen[segment.columns] = of_expert.repeat(segment.width // segment.experts)
        return unseen

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.array([segment.start for segment in self.segments], dtype=np.int64)

    @cached_property
    def _by_module_and_layer(self) -> dict[tuple[str, int], Segment]:
        return {(segment.module, segment.layer): segment for segment in self.segments}

    def segment(self, module: str, layer: int) -> Segment:
        """The segment of `module` in `layer`; InputError lists the modules and layers of this layout."""
        try:
            return self._by_module_and_layer[module, layer]
        except KeyError:
            raise InputError(
                f"no module {module!r} in layer {layer}; this model has layers 0 to "
                f"{self.n_layers - 1} with {', '.join(self.modules)}"
            ) from None

    def has(self, module: str, layer: int) -> bool:
        """Whether a layer has the module; the layers of hybrids have not all the same."""
        return (module, layer) in self._by_module_and_layer

    def flat(self, neuron: Neuron) -> int:
        """Flat index of a neuron; InputError if the layout does not hold it."""
        segment = self.segment(neuron.module, neuron.layer)
        if not 0 <= neuron.index < segment.width:
            raise InputError(
                f"neuron index {neuron.index} is outside {neuron.module} of layer {neuron.layer}, "
                f"which has {segment.width} neurons"
            )
        return segment.start + neuron.index

    def segment_of(self, flat: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each flat index, the index of its segment; shape as given."""
        return np.searchsorted(self._starts, flat, side="right") - 1

    def by_segment(
        self, flat: NDArray[np.int64]
    ) -> Iterator[tuple[Segment, NDArray[np.int64], NDArray[np.int64]]]:
        """Each segment that holds some of these flat indices, their positions in `flat`, and their columns.

        Segments come in the layout's order, positions ascending; a column counts from the segment's start.
        """
        numbers = self.segment_of(flat)
        for number in np.unique(numbers).tolist():
            segment = self.segments[number]
            (positions,) = np.nonzero(numbers == number)
            yield segment, positions, flat[positions] - segment.start

    def neurons(self, flat: NDArray[np.int64]) -> list[Neuron]:
        """The neurons with these flat indices, in the given order."""
        segments = (self.segments[number] for number in self.segment_of(flat))
        return [
            Neuron(segment.module, segment.layer, int(index) - segment.start)
            for index, segment in zip(flat, segments, strict=True)
        ]

    def chosen(self, modules: Sequence[str] = (), layers: Sequence[int] = ()) -> list[Segment]:
        """Segments of these modules (full names or their last component) and layers; by default all of them.

        InputError for a module or layer that the layout lacks.
        """
        # attention and MLP before modules of their own kind that end alike, such as linear_attn.q_proj
        first = sorted(self.modules, key=FORWARD_ORDER.__contains__)
        by_short_name = {module.rpartition(".")[2]: module for module in first}
        names = {by_short_name.get(module, module) for module in modules} or set(self.modules)
        if unknown := sorted(names - set(self.modules)):
            raise InputError(f"no module {', '.join(unknown)}; this model has {', '.join(self.modules)}")
        own_layers = {segment.layer for segment in self.segments}
        if unknown_layers := sorted(set(layers) - own_layers):
            raise InputError(
                f"no layer {', '.join(map(str, unknown_layers))}; this model has layers {min(own_layers)} to "
                f"{max(own_layers)}"
            )
        return [
            segment
            for segment in self.segments
            if segment.module in names and (not layers or segment.layer in layers)
        ]

    def pool(self, name: str) -> NDArray[np.int64]:
        """Flat indices of a pool of POOLS or of a single module, ascending.

        UnknownNameError lists the pools and modules of this layout.
        """
        if name not in POOLS and name not in self.modules:
            raise UnknownNameError("pool or module", name, [*POOLS, *self.modules])
        modules = POOLS.get(name, (name,))
        ranges = [
            np.arange(s.start, s.start + s.width, dtype=np.int64)
            for s in self.segments
            if s.module in modules
        ]
        return np.concatenate(ranges) if ranges else np.empty(0, dtype=np.int64)


def parse_layers(text: str) -> tuple[int, ...]:
    """Layers from text such as `0-3,7`; InputError if the text has another form."""
    layers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise InputError(
                f"layers {text!r}: {part!r} is neither a layer nor a range; give layers such as 0-3,7"
            )
        layers += range(first, last + 1)
    return tuple(dict.fromkeys(layers))
