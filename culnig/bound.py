"""A bound model: a loaded model whose neurons have names and places.

An adapter (entry-point group `culnig.models`) finds the linear modules of a model by structure and says
which part of their output is which module of which layer. `BoundModel` puts that together with tokenizer
and layout; capture, intervention and inference work on it and never look at the family again.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from culnig.errors import BindingError
from culnig.neurons import Layout, Segment

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class ModuleSlice:
    """Columns of a linear module's output that are the neurons of one module in one layer."""

    linear: nn.Module
    module: str
    layer: int
    offset: int
    width: int


class ModelAdapter(ABC):
    """Finds the neurons of a family of models by their structure."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for `list models`: which structure, which families, what a neuron is."""

    @abstractmethod
    def bind(self, model: nn.Module, config: Any) -> list[ModuleSlice]:
        """All slices of the model, in any order. BindingError says which part was not found.

        `config` is the text part of the transformers configuration.
        """


@dataclass(frozen=True)
class BoundSlice:
    """A segment of the layout and where it lies in its linear module's output."""

    segment: Segment
    offset: int

    @property
    def columns(self) -> slice:
        """Columns of the module's output."""
        return slice(self.offset, self.offset + self.segment.width)


@dataclass(frozen=True)
class BoundLinear:
    """One linear module and the segments that its output holds (several where projections are fused)."""

    linear: nn.Module
    slices: tuple[BoundSlice, ...]


@dataclass(frozen=True)
class BoundModel:
    """A loaded model with tokenizer, layout and the linear modules that hold its neurons."""

    source: str
    """What the user asked for: hub name, folder, file or `embedded`."""
    adapter: str
    """Name of the adapter that bound it."""
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    layout: Layout
    linears: tuple[BoundLinear, ...]

    @property
    def weights_hash(self) -> str:
        """SHA-256 over name, shape and 64 evenly spaced values of every parameter.

        Fast on the largest model, and different for any fine-tuned copy that changed more than a few values.
        """
        digest = hashlib.sha256()
        for name, parameter in sorted(self.model.named_parameters()):
            flat = parameter.detach().reshape(-1)
            values = flat[:: max(1, flat.numel() // 64)][:64].float().cpu().numpy()
            digest.update(f"{name} {tuple(parameter.shape)}".encode())
            digest.update(values.tobytes())
        return digest.hexdigest()

    @property
    def max_tokens(self) -> int | None:
        """Longest sequence the model's configuration allows, or None where it sets no limit."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(limit) if limit else None


def bind_model(
    source: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    adapters: Sequence[ModelAdapter],
) -> BoundModel:
    """Bind a model with the first adapter that fits; BindingError gives every adapter's reason."""
    reasons = []
    for adapter in adapters:
        try:
            slices = adapter.bind(model, model.config.get_text_config())
        except BindingError as reason:
            reasons.append(f"{adapter.name}: {reason}")
            continue
        return _assemble(source, adapter.name, model, tokenizer, slices)
    raise BindingError(
        f"model {source!r} ({type(model).__name__}) fits no adapter; {'; '.join(reasons)}. "
        "Other families come through a plugin: see `Add a model` in CONTRIBUTING.md"
    )


def _assemble(
    source: str,
    adapter: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    slices: list[ModuleSlice],
) -> BoundModel:
    layout = Layout.from_widths([(s.layer, s.module, s.width) for s in slices])
    by_linear: dict[int, tuple[nn.Module, list[BoundSlice]]] = {}
    for piece in slices:
        segment = layout.segment(piece.module, piece.layer)
        _, held = by_linear.setdefault(id(piece.linear), (piece.linear, []))
        held.append(BoundSlice(segment, piece.offset))
    linears = [BoundLinear(linear, tuple(held)) for linear, held in by_linear.values()]
    linears.sort(key=lambda bound: min(s.segment.start for s in bound.slices))
    return BoundModel(source, adapter, model, tokenizer, layout, tuple(linears))
