"""Which weights belong to a module, an MLP, a layer or a neuron, found by structure.

A linear module keeps one row per output (transformers' Conv1D one column), so a neuron is one row of its
module's weight and one entry of its bias, also where projections are fused. A neuron of an MLP is more: what
the gate lets through is multiplied by the same row of the up projection and leaves through one column of the
projection back, so these belong to it too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.errors import BindingError, InputError
from culnig.models.base import BoundModel, BoundSlice, linear_outputs

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

    @property
    def n_parameters(self) -> int:
        """Numbers in it."""
        whole = int(np.prod(self.shape))
        return whole if self.indices is None else whole // self.shape[self.axis] * len(self.indices)

    def without(self, axis: int, indices: NDArray[np.int64]) -> Part:
        """The part without these indices along an axis."""
        mine = np.arange(self.shape[axis]) if self.indices is None else self.indices
        left = np.setdiff1d(mine, indices)
        return self if len(left) == len(mine) else Part(self.parameter, self.shape, axis, left)

    def document(self) -> dict[str, Any]:
        """As a plan's file holds it."""
        document: dict[str, Any] = {"parameter": self.parameter, "shape": list(self.shape)}
        if self.indices is not None:
            document |= {"axis": self.axis, "places": ranges_text(self.indices)}
        return document

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Part:
        """A part from its document; KeyError, TypeError or ValueError if it is damaged."""
        shape, axis = tuple(map(int, document["shape"])), int(document.get("axis", 0))
        indices = None
        if "places" in document:
            indices = parse_ranges(str(document["places"]), shape[axis])
        return cls(document["parameter"], shape, axis, indices)


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
        whole = len(indices) == part.shape[part.axis]
        joint[part.parameter] = Part(part.parameter, part.shape, part.axis, None if whole else indices)
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
        """Weight and bias of a module; rows of them where projections are fused."""
        linear, piece = self._slices[module, layer]
        columns = piece.columns(np.arange(piece.segment.width))
        return joined(self._rows(linear, columns, output=True))

    def mlp_path(self, layer: int) -> str:
        """Name of the submodule that is the MLP of a layer; BindingError if there is none."""
        inside, outside = self._paths(layer)
        path = _common([path.rpartition(".")[0] for path in inside])
        if not path or any(other.startswith(f"{path}.") for other in outside):
            raise BindingError(
                f"layer {layer}: the MLP is not a submodule of its own; rank modules or layers "
                "(--granularity)"
            )
        return path

    def _paths(self, layer: int) -> tuple[list[str], list[str]]:
        """Names of the linears with neurons in a layer: those of its MLP, and all others."""
        paths = {m: self._names[id(linear)] for (m, n), (linear, _) in self._slices.items() if n == layer}
        inside = [path for module, path in paths.items() if module.startswith(MLP)]
        return inside, [path for module, path in paths.items() if not module.startswith(MLP)]

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
        layout = self._bound.layout
        numbers = layout.segment_of(flat)
        rows: list[NeuronRows] = []
        for number in np.unique(numbers):
            segment = layout.segments[number]
            (chosen,) = np.nonzero(numbers == number)
            index = flat[chosen] - segment.start
            for linear, columns, output in self._linears_of(segment.module, segment.layer, index):
                rows += [NeuronRows(part, chosen) for part in self._rows(linear, columns, output=output)]
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
            if n == layer and name.startswith(MLP) and its.segment.width == width
        ]
        return beside + [(back, index, False) for back in self._back_projections(layer, width)]

    def _back_projections(self, layer: int, width: int) -> list[nn.Module]:
        """Linears of the MLP that hold no neurons and read as many numbers as it has.

        Where the MLP is no submodule of its own (OPT), those in submodules of other parts do not count.
        """
        inside, outside = self._paths(layer)
        path = _common([own.rpartition(".")[0] for own in inside])
        apart = {f"{other.rpartition('.')[0]}." for other in outside} - {f"{path}."}
        holding = {id(held.linear) for held in self._bound.linears}
        return [
            module
            for name, module in self._bound.model.get_submodule(path).named_modules(prefix=path)
            if id(module) not in holding
            and not name.startswith(tuple(apart))
            and linear_outputs(module) is not None
            and _weight(module).shape[1 - _output_axis(module)] == width
        ]

    def _rows(self, linear: nn.Module, columns: NDArray[np.int64], *, output: bool) -> list[Part]:
        """Weight (and bias, which only outputs have) along an axis; InputError for those of experts."""
        if hasattr(linear, "all_tokens"):
            raise InputError(
                "the weights of single experts cannot be trained by neuron or module; rank layers "
                "(--granularity)"
            )
        name, axis = self._names[id(linear)], _output_axis(linear)
        weight = f"{name}.weight"
        parts = [Part(weight, self._shapes[weight], axis if output else 1 - axis, columns)]
        if output and f"{name}.bias" in self._shapes:
            parts.append(Part(f"{name}.bias", self._shapes[f"{name}.bias"], 0, columns))
        return parts

    @cached_property
    def _slices(self) -> dict[tuple[str, int], tuple[nn.Module, BoundSlice]]:
        """Linear and slice of every module and layer."""
        return {
            (piece.segment.module, piece.segment.layer): (held.linear, piece)
            for held in self._bound.linears
            for piece in held.slices
        }


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
