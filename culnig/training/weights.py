"""Which weights belong to a module, an MLP, a layer or a neuron, found by structure.

A linear module keeps one row per output (transformers' Conv1D one column), so a neuron is one row of its
module's weight and one entry of its bias, also where projections are fused. A neuron of an MLP is more: what
the gate lets through is multiplied by the same row of the up projection and leaves through one column of the
projection back, so these belong to it too. Experts keep both in parameters with an axis of experts in front.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.errors import BindingError
from culnig.models.base import BoundModel, BoundSlice, gives_rows, linear_outputs

if TYPE_CHECKING:
    from torch import nn

MLP = "mlp."
"""What names of an MLP's modules begin with."""


@dataclass(frozen=True)
class Part:
    """A parameter of the model, or some of its rows along one axis."""

    parameter: str
    shape: tuple[int, ...]
    axis: int = 0
    indices: NDArray[np.int64] | None = None
    """Ascending indices along the axis; None for the whole parameter."""
    by_expert: bool = False
    """Whether the first axis is of experts: the indices then go on from one expert to the next."""

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes that the indices count through, the last one fastest."""
        return (0, self.axis) if self.by_expert else (self.axis,)

    @property
    def n_rows(self) -> int:
        """Indices that there could be."""
        return int(np.prod([self.shape[axis] for axis in self.axes]))

    @property
    def n_parameters(self) -> int:
        """Numbers in it."""
        whole = int(np.prod(self.shape))
        return whole if self.indices is None else whole // self.n_rows * len(self.indices)

    @property
    def left_out(self) -> NDArray[np.bool_]:
        """Which rows it does not have; broadcasts over the parameter."""
        left_out = np.full(self.n_rows, self.indices is not None)
        if self.indices is not None:
            left_out[self.indices] = False
        return left_out.reshape([n if axis in self.axes else 1 for axis, n in enumerate(self.shape)])

    def without(self, axis: int, indices: NDArray[np.int64], by_expert: bool = False) -> Part:
        """The part without these indices along an axis."""
        whole = replace(self, axis=axis, by_expert=by_expert)
        mine = np.arange(whole.n_rows) if self.indices is None else self.indices
        left = np.setdiff1d(mine, indices)
        return self if len(left) == len(mine) else replace(whole, indices=left)

    def document(self) -> dict[str, Any]:
        """As a plan's file holds it."""
        document: dict[str, Any] = {"parameter": self.parameter, "shape": list(self.shape)}
        if self.indices is not None:
            document |= {"axis": self.axis, "places": ranges_text(self.indices)}
            document |= {"by_expert": True} if self.by_expert else {}
        return document

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Part:
        """A part from its document; KeyError, TypeError or ValueError if it is damaged."""
        shape, axis = tuple(map(int, document["shape"])), int(document.get("axis", 0))
        whole = cls(document["parameter"], shape, axis, by_expert=bool(document.get("by_expert")))
        if "places" not in document:
            return whole
        return replace(whole, indices=parse_ranges(str(document["places"]), whole.n_rows))


def ranges_text(indices: NDArray[np.int64]) -> str:
    """Ascending numbers as text: `0-3,7`."""
    runs = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs if len(run))


_MOST_ROWS = 1 << 26
"""Longest axis of a parameter; a longer one is a damaged plan."""


def parse_ranges(text: str, size: int = _MOST_ROWS) -> NDArray[np.int64]:
    """The inverse of `ranges_text`; ValueError for any other text, or an index that `size` does not have."""
    ends = [[int(end) for end in run.split("-")] for run in text.split(",")]
    last = max(max(run) for run in ends)
    if last >= min(size, _MOST_ROWS) or len(ends) > size:
        raise ValueError(f"index {last} is beyond its axis of {size}")
    indices = list(itertools.chain.from_iterable(range(run[0], run[-1] + 1) for run in ends))
    if not indices or any(a >= b for a, b in itertools.pairwise(indices)):
        raise ValueError(f"{text!r} is not a list of ascending ranges")
    return np.array(indices, dtype=np.int64)


def joined(parts: Iterable[Part]) -> list[Part]:
    """The parts with those of one parameter put together, in the order of their first ones."""
    joint: dict[str, Part] = {}
    for part in parts:
        other = joint.setdefault(part.parameter, part)
        if other is part or other.indices is None:
            continue
        if part.indices is None:
            joint[part.parameter] = part
            continue
        indices = np.union1d(other.indices, part.indices)
        whole = len(indices) == part.n_rows
        joint[part.parameter] = replace(part, indices=None if whole else indices)
    return list(joint.values())


@dataclass(frozen=True)
class NeuronRows:
    """Where one parameter holds weights of neurons."""

    part: Part
    """Its indices are in the order of `neurons`, one for each."""
    neurons: NDArray[np.int64]
    """Which of the given neurons they are, as indices."""


class Weights:
    """The parameters of a bound model by what they belong to; weights are not read, so a skeleton will do."""

    def __init__(self, bound: BoundModel) -> None:
        self._bound = bound
        self._names = {id(module): name for name, module in bound.model.named_modules()}
        self._shapes = {name: tuple(p.shape) for name, p in bound.model.named_parameters()}

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every parameter by name; tied ones appear once."""
        return self._shapes

    @property
    def n_parameters(self) -> int:
        """Number of weights of the whole model."""
        return sum(int(np.prod(shape)) for shape in self._shapes.values())

    def below(self, path: str) -> list[Part]:
        """All parameters of a submodule."""
        return [Part(n, shape) for n, shape in self._shapes.items() if n.startswith(f"{path}.")]

    def module(self, module: str, layer: int) -> list[Part]:
        """Weight and bias of a module; rows of them where projections are fused, or of experts."""
        linear, piece = self._slices[module, layer]
        columns = piece.columns(np.arange(piece.segment.width))
        return joined(self._rows(linear, columns, output=True))

    def mlp_path(self, layer: int) -> str:
        """Name of the submodule that is the MLP of a layer; BindingError if there is none."""
        inside, outside = self._paths(layer, lambda module: module.startswith(MLP))
        path = _common([path.rpartition(".")[0] for path in inside])
        if not path or any(other.startswith(f"{path}.") for other in outside):
            raise BindingError(
                f"layer {layer}: the MLP is not a submodule of its own; rank modules or layers "
                "(--granularity)"
            )
        return path

    def _paths(self, layer: int, belongs: Callable[[str], bool]) -> tuple[list[str], list[str]]:
        """Names of the linears with neurons in a layer: those of modules that belong, and all others."""
        paths = {m: self._names[id(linear)] for (m, n), (linear, _) in self._slices.items() if n == layer}
        inside = [path for module, path in paths.items() if belongs(module)]
        return inside, [path for module, path in paths.items() if not belongs(module)]

    def layer_path(self, layer: int) -> str:
        """Name of the submodule that is a layer."""
        paths = [self._names[id(linear)] for (_, n), (linear, _) in self._slices.items() if n == layer]
        common = _common([path.rpartition(".")[0] for path in paths]).split(".")
        # a layer with a single part is more than that part: it ends at its number in the stack
        end = next((index for index, name in enumerate(common) if name.isdigit()), len(common))
        return ".".join(common[: end + 1])

    def linear_names(self, parameters: Iterable[str]) -> list[str]:
        """Names of the linear modules that these parameters belong to."""
        owners = dict.fromkeys(name.rpartition(".")[0] for name in parameters)
        model = self._bound.model
        return [name for name in owners if linear_outputs(model.get_submodule(name)) is not None]

    def of_neurons(self, flat: NDArray[np.int64]) -> list[NeuronRows]:
        """All weights that belong to neurons at these flat positions, parameter by parameter."""
        rows: list[NeuronRows] = []
        for segment, chosen, index in self._bound.layout.by_segment(flat):
            for linear, columns, output in self._linears_of(segment.module, segment.layer, index):
                rows += [NeuronRows(part, chosen) for part in self._rows(linear, columns, output=output)]
        return rows

    def computing(self, flat: NDArray[np.int64]) -> list[NeuronRows]:
        """The weights that compute neurons at these flat positions: a row and a bias of each, no more."""
        rows: list[NeuronRows] = []
        for segment, chosen, index in self._bound.layout.by_segment(flat):
            linear, piece = self._slices[segment.module, segment.layer]
            columns = piece.columns(index)
            rows += [NeuronRows(part, chosen) for part in self._rows(linear, columns, output=True)]
        return rows

    def _linears_of(
        self, module: str, layer: int, index: NDArray[np.int64]
    ) -> list[tuple[nn.Module, NDArray[np.int64], bool]]:
        """Linears with columns of their output, or of their input, that belong to neurons of a module."""
        linear, piece = self._slices[module, layer]
        if not module.startswith(MLP):
            return [(linear, piece.columns(index), True)]
        width = piece.segment.width
        beside = [
            (other, its.columns(index), True)
            for (name, n), (other, its) in self._slices.items()
            if n == layer and _is_beside(name, module) and its.segment.width == width
        ]
        if gives_rows(linear):
            return [*beside, (linear, index, False)]
        return beside + [(back, index, False) for back in self._back_projections(module, layer, width)]

    def _back_projections(self, module: str, layer: int, width: int) -> list[nn.Module]:
        """Linears of the MLP that hold no neurons and read as many numbers as it has.

        Where the MLP is no submodule of its own (OPT), those in submodules of other parts do not count.
        """
        inside, outside = self._paths(layer, lambda other: _is_beside(other, module))
        path = _common([own.rpartition(".")[0] for own in inside])
        apart = {f"{other.rpartition('.')[0]}." for other in outside} - {f"{path}."}
        holding = {id(held.linear) for held in self._bound.linears}
        return [
            read
            for name, read in self._bound.model.get_submodule(path).named_modules(prefix=path)
            if id(read) not in holding
            and not name.startswith(tuple(apart))
            and linear_outputs(read) is not None
            and _weight(read).shape[1 - _output_axis(read)] == width
        ]

    def _rows(self, linear: nn.Module, columns: NDArray[np.int64], *, output: bool) -> list[Part]:
        """Weight (and bias, which only outputs have) along an axis."""
        if gives_rows(linear):
            return self._rows_of_experts(linear, columns, output=output)
        name, axis = self._names[id(linear)], _output_axis(linear)
        weight = f"{name}.weight"
        parts = [Part(weight, self._shapes[weight], axis if output else 1 - axis, columns)]
        if output and f"{name}.bias" in self._shapes:
            parts.append(Part(f"{name}.bias", self._shapes[f"{name}.bias"], 0, columns))
        return parts

    def _rows_of_experts(self, linear: nn.Module, columns: NDArray[np.int64], *, output: bool) -> list[Part]:
        """The same of all experts of a layer: their first projection, or what the last one reads."""
        name = self._names[id(linear)].rpartition(".")[0]
        experts: Any = self._bound.model.get_submodule(name)
        first = "gate_up_proj" if experts.has_gate else "up_proj"
        weight = f"{name}.{first if output else 'down_proj'}"
        parts = [Part(weight, self._shapes[weight], 1 + (output == experts.is_transposed), columns, True)]
        if output and experts.has_bias:
            bias = f"{weight}_bias"
            parts.append(Part(bias, self._shapes[bias], 1, columns, True))
        return parts

    @cached_property
    def _slices(self) -> dict[tuple[str, int], tuple[nn.Module, BoundSlice]]:
        """Linear and slice of every module and layer."""
        return {
            (piece.segment.module, piece.segment.layer): (held.linear, piece)
            for held in self._bound.linears
            for piece in held.slices
        }


def _is_beside(module: str, other: str) -> bool:
    """Whether modules are of the same MLP, also where a layer has routed and shared experts."""
    return module.rpartition(".")[0] == other.rpartition(".")[0]


def _weight(linear: nn.Module) -> Any:
    return linear.weight


def _output_axis(linear: nn.Module) -> int:
    """Axis of the weight along which the outputs lie: 0, or 1 in transformers' Conv1D."""
    return 1 if not hasattr(linear, "out_features") else 0


def _common(paths: Sequence[str]) -> str:
    """The longest dotted path that all begin with."""
    common = []
    for parts in zip(*(path.split(".") for path in paths), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common)
