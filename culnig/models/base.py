"""A bound model: a loaded model whose neurons have names.

An adapter (entry-point group `culnig.models`) finds the linear modules of a model by structure and says
which part of their output is which module of which layer. `BoundModel` puts that together with tokenizer
and layout; capture, intervention and inference work on it and never look at the family again.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import Layout, Segment
from culnig.errors import BindingError, InputError

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from culnig.models.sharding import Sharding


@dataclass(frozen=True)
class ModuleSlice:
    """The columns of a linear layer's output that are the neurons of one module in one layer.

    They are adjacent from column `offset` on, or, where heads alternate (GPT-NeoX: query, key and value of
    head 0, then of head 1 …), in runs of `run` columns that begin every `step` columns.
    """

    linear: nn.Module
    module: str
    layer: int
    offset: int
    width: int
    run: int | None = None
    """Adjacent columns; None if all are adjacent."""
    step: int | None = None
    """Columns from the beginning of one run to that of the next."""
    experts: int = 1
    """Experts whose columns follow one another, where `linear` is an `ExpertProjection`."""
    read_by: nn.Module | None = None
    """Of an MLP's neurons: the module that reads what the MLP makes of them, its last projection."""


class ModelAdapter(ABC):
    """Finds the neurons in a family of models by their structure."""

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
    """A segment of the layout and its columns in the output of its linear module (see ModuleSlice)."""

    segment: Segment
    offset: int
    run: int | None = None
    step: int | None = None
    read_by: nn.Module | None = None

    def take(self, output: torch.Tensor) -> torch.Tensor:
        """The neurons (…, neuron) of an output (…, column): a view, or a copy where runs alternate."""
        if self.run is None or self.step is None:
            return output[..., self.offset : self.offset + self.segment.width]
        runs = output.reshape(*output.shape[:-1], -1, self.step)
        return runs[..., self.offset : self.offset + self.run].flatten(-2)

    def put(self, output: torch.Tensor, neurons: torch.Tensor) -> None:
        """Write neurons (…, neuron) into their columns of an output (…, column), which is contiguous."""
        if self.run is None or self.step is None:
            output[..., self.offset : self.offset + self.segment.width] = neurons
        else:
            runs = output.view(*output.shape[:-1], -1, self.step)
            of_run = neurons.reshape(*neurons.shape[:-1], -1, self.run)
            runs[..., self.offset : self.offset + self.run] = of_run

    @property
    def of_one_expert(self) -> BoundSlice:
        """The same in an expert layer's rows, (row, column of one expert)."""
        width = self.segment.width // self.segment.experts
        alternates = self.run is not None and self.run < width
        run, step = (self.run, self.step) if alternates else (None, None)
        segment = replace(self.segment, width=width, experts=1)
        return BoundSlice(segment, self.offset, run, step, self.read_by)

    def take_rows(self, rows: torch.Tensor) -> torch.Tensor:
        """The neurons (row, neuron of one expert) of an expert layer's rows (row, column of one expert)."""
        return self.of_one_expert.take(rows)

    def columns(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Columns of the output that hold the neurons at these indices of the segment."""
        if self.run is None or self.step is None:
            return index + self.offset
        number, inside = np.divmod(index, self.run)
        return number * self.step + inside + self.offset


def gives_rows(module: nn.Module) -> bool:
    """Whether a module is an `ExpertProjection`, whose outputs are rows of routed tokens."""
    return hasattr(module, "all_tokens")


@dataclass(frozen=True)
class BoundLinear:
    """One linear module and the segments that its output holds (several where projections are fused)."""

    linear: nn.Module
    slices: tuple[BoundSlice, ...]

    @property
    def is_routed(self) -> bool:
        """Whether the linear is an `ExpertProjection`, whose outputs are rows of routed tokens."""
        return gives_rows(self.linear)

    def as_given(self, own: BoundSlice) -> BoundSlice:
        """One of the slices with its columns in what the linear itself gives, also where that is rows."""
        return own.of_one_expert if self.is_routed else own

    def output(self, inputs: Sequence[Any], output: torch.Tensor) -> torch.Tensor:
        """The output in which the slices have their columns, from what a forward hook is given.

        That is the output itself, or that of all experts, (token, column), with zeros where a token was not
        routed to an expert.
        """
        linear: Any = self.linear
        return linear.all_tokens(output, inputs[1]) if self.is_routed else output

    def find(self, flat: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of the neurons at these flat indices the linear holds, and in which columns of its output.

        The first array holds indices into `flat`; both are (neuron of this linear,).
        """
        matches, columns = [], []
        for bound in self.slices:
            start, width = bound.segment.start, bound.segment.width
            (inside,) = np.nonzero((flat >= start) & (flat < start + width))
            matches.append(inside)
            columns.append(bound.columns(flat[inside] - start))
        return np.concatenate(matches), np.concatenate(columns)


@dataclass(frozen=True, repr=False)
class BoundModel:
    """A loaded model with tokenizer, layout and the linear modules that hold its neurons."""

    source: str
    """The model's name as the user gave it: hub name, folder, file or `embedded`."""
    adapter: str
    """Name of the adapter that bound it."""
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    layout: Layout
    linears: tuple[BoundLinear, ...]
    skeleton: BoundModel | None = None
    """The model without its weights, where it was loaded by name: what `plan` reads."""
    sharding: Sharding | None = None
    """How the weights are spread over the processes of a launch, if they are."""

    def __repr__(self) -> str:
        neurons = f"{self.layout.n_neurons:,} neurons in {self.layout.n_layers} layers"
        return f"<BoundModel {self.source}: {neurons} ({self.adapter})>"

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports: of those that the model is spread over, the first does."""
        return self.sharding is None or self.sharding.processes.is_first

    @property
    def architecture(self) -> str:
        """Name of the model's class in transformers."""
        return own_class(self.model).__name__

    def check_neurons(self, flat: NDArray[np.int64]) -> None:
        """Raise InputError if a flat index is outside the layout or listed twice."""
        if flat.size and not (flat.min() >= 0 and flat.max() < self.layout.n_neurons):
            raise InputError(f"a neuron is outside the layout of {self.layout.n_neurons:,} neurons")
        if len(np.unique(flat)) != len(flat):
            raise InputError("a neuron is listed twice; list each once")

    @property
    def weights_hash(self) -> str:
        """See `weights_hash`."""
        return weights_hash(self.model) if self.sharding is None else self.sharding.weights_hash

    @property
    def input_device(self) -> torch.device:
        """The device that token ids must be on."""
        if self.sharding is not None:
            return self.sharding.device
        embeddings: nn.Module = self.model.get_input_embeddings()
        return next(embeddings.parameters()).device

    @property
    def n_embeddings(self) -> int:
        """How many token ids have an embedding and a logit."""
        model: Any = self.model
        heads = [model.get_input_embeddings(), model.get_output_embeddings()]
        sizes = [getattr(head, "num_embeddings", getattr(head, "out_features", None)) for head in heads]
        return min(int(size) for size in sizes if size is not None)

    def check_token_ids(self, ids: Sequence[int], name: str) -> None:
        """InputError if a token of the text called `name` has no embedding."""
        if ids and max(ids) >= self.n_embeddings:
            token = self.tokenizer.convert_ids_to_tokens(max(ids))
            raise InputError(
                f"{name} holds the token {token!r} with id {max(ids)}, and the model's embedding has "
                f"{self.n_embeddings:,} rows; leave such texts out, or use a model that knows the token"
            )

    @property
    def max_tokens(self) -> int | None:
        """Longest sequence that the model's configuration allows; None if it sets no limit."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(limit) if limit and limit > 0 else None


def own_class(module: Any) -> type:
    """The module's class, without what FSDP2 puts before the classes of the modules that it gathers."""
    first, *bases = type(module).__mro__
    return bases[1] if bases[0].__name__ == "FSDPModule" else first


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over name, shape and 64 evenly spaced values of every parameter.

    Fast on the largest model, and different for any fine-tuned copy with more than a few changed values.
    Parameters that are spread over processes are gathered one after the other, in all processes at once.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        whole = getattr(parameter, "full_tensor", None)
        flat = (parameter if whole is None else whole()).detach().reshape(-1)
        values = flat[:: max(1, flat.numel() // 64)][:64].float().cpu().numpy()
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def bind_model(
    source: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    adapters: Sequence[ModelAdapter],
) -> BoundModel:
    """Bind a model with the first adapter that fits; BindingError gives every adapter's reason."""
    reasons: dict[str, list[str]] = {}
    for adapter in adapters:
        try:
            slices = adapter.bind(model, model.config.get_text_config())
        except BindingError as reason:
            reasons.setdefault(str(reason), []).append(adapter.name)
            continue
        except Exception as error:  # a broken plugin must not keep other adapters from being tried
            reasons.setdefault(f"failed with {type(error).__name__}: {error}", []).append(adapter.name)
            continue
        return _assemble(source, adapter.name, model, tokenizer, slices)
    described = [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]
    raise BindingError(
        f"model {source!r} ({type(model).__name__}) fits no adapter; {'; '.join(described)}. "
        "Other families need a plugin: docs/models.md shows how to write one"
    )


def linear_outputs(linear: nn.Module) -> int | None:
    """Number of outputs of a linear module (also of GPT-2's Conv1D), or None for any other module."""
    outputs = getattr(linear, "out_features", getattr(linear, "nf", None))
    return outputs if isinstance(outputs, int) else None


def _check_slices(adapter: str, slices: Sequence[ModuleSlice]) -> None:
    """Every neuron is a column of its linear, and no column is two neurons."""
    taken: dict[int, NDArray[np.bool_]] = {}
    for own in slices:
        where = f"layer {own.layer}: `{own.module}`"
        outputs = linear_outputs(own.linear)
        if outputs is None:
            raise BindingError(f"{where} is a {type(own.linear).__name__}, not a linear module")
        bound = BoundSlice(Segment("", 0, 0, own.width), own.offset, own.run, own.step)
        columns = bound.columns(np.arange(own.width))
        if columns.size and not (columns.min() >= 0 and columns.max() < outputs):
            raise BindingError(
                f"{where}: adapter {adapter!r} takes columns {columns.min()} to {columns.max()} of a linear "
                f"module with {outputs} outputs"
            )
        of_linear = taken.setdefault(id(own.linear), np.zeros(outputs, dtype=bool))
        if of_linear[columns].any():
            raise BindingError(f"{where}: adapter {adapter!r} takes columns that belong to another module")
        of_linear[columns] = True


def _assemble(
    source: str,
    adapter: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    slices: list[ModuleSlice],
) -> BoundModel:
    _check_slices(adapter, slices)
    layout = Layout.of(Segment(s.module, s.layer, 0, s.width, s.experts) for s in slices)
    by_linear: dict[int, tuple[nn.Module, list[BoundSlice]]] = {}
    for own in slices:
        segment = layout.segment(own.module, own.layer)
        _, held = by_linear.setdefault(id(own.linear), (own.linear, []))
        held.append(BoundSlice(segment, own.offset, own.run, own.step, own.read_by))
    linears = [BoundLinear(linear, tuple(held)) for linear, held in by_linear.values()]
    linears.sort(key=lambda bound: min(s.segment.start for s in bound.slices))
    return BoundModel(source, adapter, model, tokenizer, layout, tuple(linears))
