"""Where the tensors of a checkpoint hold the weights that compute some neurons.

The files of a checkpoint may name and pack weights otherwise than the model that transformers builds of them:
an expert's projections are tensors of their own there, queries, keys and values one tensor. Names are taken
from what transformers does when it loads the files. Where it joins, cuts or reorders tensors, numbers that
mark the neurons go the way back that transformers' weights go when a model is saved. Shapes are read, values
are not.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError, listed
from culnig.models.base import gives_rows, own_class
from culnig.models.checkpoint import FLOATS, StoredTensor
from culnig.training.weights import NeuronRows, Part, Weights

if TYPE_CHECKING:
    import torch

    from culnig.models.base import BoundModel


class Rows(NamedTuple):
    """Entries of one tensor of a checkpoint that belong to neurons, each a whole slice along an axis."""

    tensor: str
    axis: int
    indices: NDArray[np.int64]
    neurons: NDArray[np.int64]
    """Which of the given neurons each slice belongs to."""
    expert: int | None = None
    """Of a tensor of all experts: the one that axis and indices are of."""


class CheckpointRows:
    """Finds neurons in the tensors of one checkpoint."""

    def __init__(self, skeleton: BoundModel, stored: Mapping[str, StoredTensor]) -> None:
        """`skeleton` is the model without its weights, `stored` what the files hold."""
        self._skeleton = skeleton
        self._model: Any = skeleton.model
        self._stored = stored
        self._shapes = {name: tuple(own.shape) for name, own in self._model.state_dict().items()}

    def of_neurons(self, flat: NDArray[np.int64]) -> list[Rows]:
        """Rows and biases that compute the neurons at these flat indices.

        InputError where they cannot be changed exactly: packed numbers, a module that is not simply linear in
        its weights, or tensors whose way into the model is not known.
        """
        self._check_linear(flat)
        rows: list[Rows] = []
        packed: list[NeuronRows] = []
        for own in Weights(self._skeleton).computing(flat):
            plain = self.plain.get(own.part.parameter)
            if plain is None or self._stored[plain].shape != own.part.shape:
                packed.append(own)
            else:
                rows += _plain_rows(plain, own)
        rows += self._repacked(packed)
        if wrong := {each.tensor for each in rows if self._stored[each.tensor].number_format not in FLOATS}:
            described = [f"{name} ({self._stored[name].number_format})" for name in wrong]
            raise InputError(
                f"the weights of {self._skeleton.source!r} are packed: {listed(described)}; a factor cannot "
                "be exact in them. Export from the model in floating point (dequantized)"
            )
        return rows

    def _check_linear(self, flat: NDArray[np.int64]) -> None:
        """InputError where a neuron's module does more than multiply its input with its weights."""
        for held in self._skeleton.linears:
            is_plain = gives_rows(held.linear) or _multiplies(own_class(held.linear))
            if not is_plain and len(held.find(flat)[0]):
                segment = held.slices[0].segment
                raise InputError(
                    f"{segment.module} of layer {segment.layer} is a {type(held.linear).__name__}, which may "
                    "do more than multiply its input with its weights; a factor in them need not be a factor "
                    "of its neurons. Mask it with culnig.intervene, or leave the module out of the set"
                )

    @cached_property
    def _targets(self) -> dict[str, tuple[str, str | None]]:
        """For each tensor of the checkpoint: the parameter that it loads into, and what converts it, if so.

        A tensor that loads into several parameters has the first of them.
        """
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import (
            WeightConverter,
            WeightRenaming,
            dot_natural_key,
            rename_source_key,
        )

        transforms = get_model_conversion_mapping(self._model)
        renamings = [own for own in transforms if isinstance(own, WeightRenaming)]
        converters = [own for own in transforms if isinstance(own, WeightConverter)]
        prefix, parameters = self._model.base_model_prefix, self._model.state_dict()
        targets = {}
        for key in sorted(self._stored, key=dot_natural_key):  # some renamings depend on the order
            target = rename_source_key(key, renamings, converters, prefix, parameters)
            if target[0] not in parameters and key in parameters:
                target = rename_source_key(key, [], [], prefix, parameters)
            targets[key] = target
        return targets

    @cached_property
    def plain(self) -> dict[str, str]:
        """Parameters that are one tensor of the checkpoint, with its name there.

        InputError where two tensors load into one parameter: it is not known which of them counts.
        """
        plain: dict[str, str] = {}
        for key, (target, converter) in self._targets.items():
            if converter is None and plain.setdefault(target, key) != key:
                raise InputError(
                    f"the checkpoint of {self._skeleton.source!r} has {plain[target]} and {key}, which both "
                    f"load into {target}; remove one of them"
                )
        return plain

    def _repacked(self, packed: Sequence[NeuronRows]) -> list[Rows]:
        """Rows in tensors that transformers makes several parameters of, or several tensors one parameter.

        Layer by layer: the marks of a layer take the memory of its weights as bytes.
        """
        by_layer: dict[str, list[NeuronRows]] = {}
        for own in packed:
            by_layer.setdefault(_layer_of(own.part.parameter), []).append(own)
        return [rows for layer, marked in by_layer.items() for rows in self._of_layer(layer, marked)]

    def _of_layer(self, layer: str, marked: Sequence[NeuronRows]) -> Iterator[Rows]:
        import torch
        from transformers.core_model_loading import revert_weight_conversion

        marks = {
            name: torch.zeros((), dtype=torch.int8).expand(shape)
            for name, shape in self._shapes.items()
            if name.startswith(layer)
        }
        for own in marked:
            marks[own.part.parameter] = _marked(marks[own.part.parameter], own)
        for name, mark in revert_weight_conversion(self._model, marks).items():
            if bool(mark.any()):
                yield from _rows_marked(self._stored_name(name, mark, layer), mark)

    def _stored_name(self, name: str, mark: torch.Tensor, layer: str) -> str:
        """The tensor that transformers would save as `name`; checkpoints may have more or less before it."""
        names = (
            [name]
            if name in self._stored
            else [key for key in self._stored if key.endswith(f".{name}") or name.endswith(f".{key}")]
        )
        shape = tuple(mark.shape)
        fitting = [
            key
            for key in names
            if self._stored[key].shape == shape and self._targets[key][0].startswith(layer)
        ]
        if len(fitting) != 1:
            raise InputError(
                f"the checkpoint of {self._skeleton.source!r} holds no tensor {name} of shape {shape}, as "
                "transformers would save it, so it is not known where its neurons are; load the model with "
                "transformers, save it with save_pretrained, and export from that folder"
            )
        return fitting[0]


@functools.cache
def _multiplies(kind: Any) -> bool:
    """Whether modules of a class give their input times their weights, plus their bias, and nothing else."""
    import torch
    from transformers.pytorch_utils import Conv1D

    weight, bias = torch.linspace(-1, 2, 12).view(4, 3), torch.linspace(0.5, 1, 3)
    inputs = torch.linspace(-2, 1, 8).view(2, 4)
    stored = weight if issubclass(kind, Conv1D) else weight.T
    stand_in = SimpleNamespace(weight=stored, bias=bias, nf=3, in_features=4, out_features=3)
    try:
        outputs = kind.forward(stand_in, inputs)
    except Exception:  # it needs more than weights
        return False
    return isinstance(outputs, torch.Tensor) and torch.allclose(outputs, inputs @ weight + bias)


def _layer_of(parameter: str) -> str:
    """The path of a parameter up to the number of its layer, with the dot that follows."""
    parts = parameter.split(".")
    end = next((index for index, part in enumerate(parts) if part.isdigit()), len(parts) - 1)
    return ".".join(parts[: end + 1]) + "."


def _plain_rows(tensor: str, own: NeuronRows) -> list[Rows]:
    part = own.part
    indices = _indices(part)
    if not part.by_expert:
        return [Rows(tensor, part.axis, indices, own.neurons)]
    experts, inside = np.divmod(indices, part.shape[part.axis])
    return [
        Rows(tensor, part.axis - 1, inside[experts == expert], own.neurons[experts == expert], int(expert))
        for expert in np.unique(experts)
    ]


def _indices(part: Part) -> NDArray[np.int64]:
    assert part.indices is not None
    return part.indices


def _marked(mark: torch.Tensor, own: NeuronRows) -> torch.Tensor:
    """The marks of a parameter with those of some neurons.

    Those of a bias say which neuron it is, counted from 1: what a bias is set to depends on it.
    """
    import torch

    part, indices = own.part, torch.from_numpy(_indices(own.part))
    is_bias = len(part.shape) == 1 + part.by_expert
    values = torch.from_numpy(own.neurons + 1) if is_bias else torch.ones(len(indices), dtype=torch.int8)
    rows = torch.zeros(part.n_rows, dtype=values.dtype)
    rows[indices] = values
    broadcast = [size if axis in part.axes else 1 for axis, size in enumerate(part.shape)]
    earlier = mark.to(values.dtype)
    if bool(earlier.any()):
        return torch.maximum(earlier, rows.view(broadcast).expand(part.shape))
    return rows.view(broadcast).expand(part.shape)


def _rows_marked(tensor: str, mark: torch.Tensor) -> Iterator[Rows]:
    """The marked slices of a tensor, which are whole along one axis."""
    if mark.ndim == 3:
        for expert, part_mark in enumerate(mark):
            if bool(part_mark.any()):
                yield from (rows._replace(expert=expert) for rows in _rows_marked(tensor, part_mark))
        return
    for axis in range(mark.ndim):
        across = tuple(other for other in range(mark.ndim) if other != axis)
        lowest, highest = (mark.amin(across), mark.amax(across)) if across else (mark, mark)
        if bool((lowest == highest).all()):
            indices = highest.nonzero().squeeze(1)
            yield Rows(tensor, axis, indices.numpy(), highest[indices].numpy().astype(np.int64) - 1)
            return
    raise InputError(
        f"neurons are no whole rows or columns of {tensor}, so a factor cannot be written into its weights"
    )
