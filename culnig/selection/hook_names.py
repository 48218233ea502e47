"""Neuron sets by the names of TransformerLens' hooks, and by the module paths that nnsight traces.

Both are JSON objects: `hooks` (or `modules`) maps each name to the indices of neurons in the last axis of
what the hook sees. TransformerLens keeps heads apart, (…, head, width of a head); an index counts through
both axes. nnsight sees the output of the module itself, so an index is a column of it, also where projections
are fused. Its modules are listed as the model runs them, because a trace can ask for them in this order only.
`scores` and `ranks` (0 is the best neuron) are in the same order, so that a set comes back as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from culnig.core.neurons import KEY, MLP_GATE, MLP_IN, MLP_UP, QUERY, VALUE, Neuron
from culnig.errors import InputError, MismatchError, StoreError, argument, listed
from culnig.selection.neuron_set import NeuronSet

if TYPE_CHECKING:
    from culnig.models.base import BoundLinear, BoundModel

HOOKS_FORMAT, PATHS_FORMAT = "culnig-transformer-lens", "culnig-nnsight"
_HOOKS = {
    MLP_GATE: "mlp.hook_pre",
    MLP_UP: "mlp.hook_pre_linear",
    MLP_IN: "mlp.hook_pre",
    QUERY: "attn.hook_q",
    KEY: "attn.hook_k",
    VALUE: "attn.hook_v",
}
"""Hook of each module in a block of TransformerLens; a model has a gate or a plain first projection."""


def hooks_document(chosen: NeuronSet) -> dict[str, Any]:
    """The set by TransformerLens' names; InputError for modules that have no hook there."""
    if unknown := {neuron.module for neuron in chosen.neurons} - set(_HOOKS):
        raise InputError(
            f"{chosen.name!r} has neurons of {listed(unknown)}, which TransformerLens has no hooks for; "
            f"known: {', '.join(_HOOKS)}"
        )
    names = [f"blocks.{neuron.layer}.{_HOOKS[neuron.module]}" for neuron in chosen.neurons]
    indices = [neuron.index for neuron in chosen.neurons]
    return _document(chosen, HOOKS_FORMAT, "hooks", names, indices, range(len(names)))


def paths_document(chosen: NeuronSet, bound: BoundModel) -> dict[str, Any]:
    """The set by modules of the model as transformers builds it, with columns of their outputs.

    MismatchError for another model's set, InputError for experts, which are no modules of their own there.
    """
    flat = chosen.flat(bound.layout)
    paths = {id(module): path for path, module in bound.model.named_modules()}
    names, columns = [""] * len(flat), [0] * len(flat)
    for linear in bound.linears:
        matches, own = linear.find(flat)
        if len(matches) and linear.is_routed:
            raise InputError(
                f"{chosen.name!r} has neurons of routed experts, which are no modules that nnsight sees; "
                f"leave them out ({argument('pool')}), or mask them with culnig.intervene"
            )
        for match, column in zip(matches.tolist(), own.tolist(), strict=True):
            names[match], columns[match] = paths[id(linear.linear)], column
    return _document(chosen, PATHS_FORMAT, "modules", names, columns, np.argsort(flat).tolist())


def _document(
    chosen: NeuronSet,
    form: str,
    key: str,
    names: Sequence[str],
    indices: Sequence[int],
    order: Iterable[int],
) -> dict[str, Any]:
    """The file's content, neuron by neuron in an `order` of their ranks."""
    by_name: dict[str, list[int]] = {}
    for rank in order:
        by_name.setdefault(names[rank], []).append(rank)
    scores = chosen.scores.tolist()
    return {
        "format": form,
        "format_version": 1,
        "name": chosen.name,
        "model": chosen.model,
        "layout_hash": chosen.layout_hash,
        "method": chosen.method,
        "sources": chosen.sources,
        "plain_mlp": any(neuron.module == MLP_IN for neuron in chosen.neurons),
        key: {name: [indices[rank] for rank in ranks] for name, ranks in by_name.items()},
        "scores": {name: [scores[rank] for rank in ranks] for name, ranks in by_name.items()},
        "ranks": by_name,
    }


def read_hooks(path: Path, document: Mapping[str, Any]) -> NeuronSet:
    """A set from TransformerLens' names; StoreError if the file is damaged."""
    modules = {hook: module for module, hook in _HOOKS.items() if module not in (MLP_GATE, MLP_IN)}
    modules[_HOOKS[MLP_GATE]] = MLP_IN if document.get("plain_mlp") else MLP_GATE

    def neuron(name: str, index: int) -> Neuron:
        blocks, layer, hook = name.split(".", 2)
        if blocks != "blocks":
            raise ValueError(f"{name!r} is no hook of a block")
        return Neuron(modules[hook], int(layer), index)

    return _read(path, document, "hooks", neuron)


def read_paths(path: Path, document: Mapping[str, Any], bound: BoundModel | None) -> NeuronSet:
    """A set from module paths of the model; InputError without it, StoreError if the file is damaged."""
    if bound is None:
        raise InputError(
            f"{path} names modules and columns, which only the model can tell neurons of; name it with "
            f"{argument('model')}"
        )
    if document.get("layout_hash") != bound.layout.hash:
        raise MismatchError(f"{path} was made for {document.get('model')!r}, whose layout is another one")
    paths = {id(module): name for name, module in bound.model.named_modules()}
    linears = {paths[id(linear.linear)]: linear for linear in bound.linears if not linear.is_routed}
    return _read(path, document, "modules", lambda name, column: _neuron_at(linears[name], column))


def _neuron_at(linear: BoundLinear, column: int) -> Neuron:
    for own in linear.slices:
        segment = own.segment
        (index,) = np.nonzero(own.columns(np.arange(segment.width)) == column)
        if index.size:
            return Neuron(segment.module, segment.layer, int(index[0]))
    raise ValueError(f"column {column} is no neuron")


def _read(
    path: Path, document: Mapping[str, Any], key: str, neuron: Callable[[str, int], Neuron]
) -> NeuronSet:
    try:
        ranked = sorted(
            (int(rank), neuron(str(name), int(index)), float(score))
            for name, indices in document[key].items()
            for index, rank, score in zip(
                indices, document["ranks"][name], document["scores"][name], strict=True
            )
        )
        return NeuronSet(
            name=str(document["name"]),
            model=str(document["model"]),
            layout_hash=str(document["layout_hash"]),
            method=dict(document["method"]),
            sources=list(document["sources"]),
            neurons=tuple(own for _, own, _ in ranked),
            scores=np.array([score for _, _, score in ranked], dtype=np.float64),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path}: {type(error).__name__} {error} in a neuron set; the file is damaged"
        ) from None
