"""Neuron sets of other programs: the released code's JSON, LAPE's `.pth`, CSV, hook names and module paths.

The released code (github ynklab/CULNIG) writes `model_name`, `dataset_ids` and `top_neurons`, a list of
`module_name, layer_idx, neuron_idx, attribute_score` and, for culture-specific neurons, `scores` by culture.
LAPE (github RUCAIBox/Language-Specific-Neurons) saves index tensors of the MLP's gate in a list over
languages of lists over layers. Neither file holds the widths of the model, so reading one needs the model's
layout.
"""

from __future__ import annotations

import csv
import io
import json
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from culnig.core.neurons import MLP_GATE, Layout, Neuron
from culnig.core.text import csv_row
from culnig.errors import InputError, MismatchError, StoreError, argument, option
from culnig.selection.algebra import check_one_model
from culnig.selection.hook_names import (
    HOOKS_FORMAT,
    PATHS_FORMAT,
    hooks_document,
    paths_document,
    read_hooks,
    read_paths,
)
from culnig.selection.neuron_set import NEURONS_FORMAT, NeuronSet, read_neuron_set
from culnig.store.files import read_json, write_json, write_text, write_with
from culnig.store.output_folder import owned_file

if TYPE_CHECKING:
    import torch

    from culnig.models.base import BoundModel

Format = Literal["culnig", "paper-json", "lape", "csv", "transformer-lens", "nnsight"]

_SCORE_OF = "score of "
"""Prefix of the columns that hold the score of one culture."""


def read_any(
    path: Path,
    layout: Layout | None = None,
    model: str = "",
    module: str = MLP_GATE,
    bound: BoundModel | None = None,
) -> list[NeuronSet]:
    """Read a neuron-set file of ours in any form, the released code's JSON, or all groups of a LAPE file.

    Files of other programs need the model's `layout`; `model` names the model if the file does not. Module
    paths need the model itself, `bound`, which may be without weights.
    StoreError if the file is missing or damaged, MismatchError if it does not fit the layout.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such file")
    if zipfile.is_zipfile(path) or path.suffix in (".pth", ".pt"):
        return _read_lape(path, _required(path, layout), model, module)
    document = read_json(path, "a neuron set")
    if document.get("format") in (HOOKS_FORMAT, PATHS_FORMAT):
        is_hooks = document["format"] == HOOKS_FORMAT
        chosen = read_hooks(path, document) if is_hooks else read_paths(path, document, bound)
        return [chosen if layout is None else _fitting(path, chosen, layout)]
    if document.get("format") == NEURONS_FORMAT or "top_neurons" not in document:
        return [read_neuron_set(path)]
    return [_read_released(path, document, _required(path, layout))]


def _required(path: Path, layout: Layout | None) -> Layout:
    if layout is None:
        raise InputError(
            f"{path} does not record the layout of its model; name a run of the model with "
            f"{argument('run')} or the "
            f"model with {argument('model')}"
        )
    return layout


def _read_released(path: Path, document: dict[str, Any], layout: Layout) -> NeuronSet:
    neurons, scores, by_culture = [], [], []
    try:
        for entry in document["top_neurons"]:
            neurons.append(
                Neuron(str(entry["module_name"]), int(entry["layer_idx"]), int(entry["neuron_idx"]))
            )
            scores.append(float(entry["attribute_score"]))
            by_culture.append({str(name): float(value) for name, value in entry.get("scores", {}).items()})
        source = {"model": document["model_name"], "dataset_ids": dict(document["dataset_ids"])}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{path}: {type(error).__name__} {error} in a released-code neuron file; it is damaged"
        ) from None
    cultures = list(by_culture[0]) if by_culture else []
    if any(list(row) != cultures for row in by_culture):
        raise StoreError(f"{path}: `scores` has different cultures for some neurons; the file is damaged")
    return _fitting(
        path,
        NeuronSet(
            name=path.stem,
            model=str(document["model_name"]),
            layout_hash=layout.hash,
            method={"name": "released code"},
            sources=[source],
            neurons=tuple(neurons),
            scores=np.array(scores, dtype=np.float64),
            columns={
                _SCORE_OF + name: np.array([row[name] for row in by_culture], dtype=np.float64)
                for name in cultures
            },
        ),
        layout,
    )


def _read_lape(path: Path, layout: Layout, model: str, module: str) -> list[NeuronSet]:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickle protocols; unreadable files raise anyway
            groups = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file may break the restricted reader in any way
        reason = str(error).split("\n")[0]
        raise StoreError(
            f"{path}: not a file of plain tensors, the only kind that is safe to open: {reason}"
        ) from None
    if not isinstance(groups, list) or not all(isinstance(layers, list) for layers in groups):
        raise StoreError(
            f"{path}: contains a {type(groups).__name__}, expected LAPE's list of layers for each group"
        )
    return [
        _fitting(path, _lape_set(path, number, layers, layout, model, module), layout)
        for number, layers in enumerate(groups)
    ]


def _lape_set(
    path: Path, number: int, layers: list[Any], layout: Layout, model: str, module: str
) -> NeuronSet:
    import torch

    if len(layers) != layout.n_layers:
        raise MismatchError(
            f"{path}: group {number} has {len(layers)} layers, but the model has {layout.n_layers}; the "
            "file belongs to another model"
        )
    neurons = []
    for layer, index in enumerate(layers):
        if not isinstance(index, torch.Tensor) or index.is_floating_point() or index.ndim != 1:
            raise StoreError(f"{path}: group {number}, layer {layer} is not a list of neuron indices")
        neurons += [Neuron(module, layer, int(i)) for i in index.tolist()]
    return NeuronSet(
        name=f"group {number}",
        model=model,
        layout_hash=layout.hash,
        method={"name": "lape", "group": number},
        sources=[{"file": path.name}],
        neurons=tuple(neurons),
        scores=np.zeros(len(neurons)),
    )


def _fitting(path: Path, neuron_set: NeuronSet, layout: Layout) -> NeuronSet:
    """The set, after a check that the layout holds every neuron and none is listed twice."""
    try:
        flat = neuron_set.flat(layout)
    except InputError as error:
        raise MismatchError(f"{path}: {error.args[0]}; the file belongs to another model") from None
    if len(np.unique(flat)) != len(flat):
        raise StoreError(f"{path}: {neuron_set.name}: a neuron is listed twice")
    return neuron_set


def released_document(neuron_set: NeuronSet) -> dict[str, Any]:
    """The set in the released code's format."""
    cultures = [name for name in neuron_set.columns if name.startswith(_SCORE_OF)]
    entries = []
    for rank, (neuron, score) in enumerate(zip(neuron_set.neurons, neuron_set.scores.tolist(), strict=True)):
        entry: dict[str, Any] = {
            "module_name": neuron.module,
            "layer_idx": neuron.layer,
            "neuron_idx": neuron.index,
            "attribute_score": score,
        }
        if cultures:
            entry["scores"] = {
                name.removeprefix(_SCORE_OF): float(neuron_set.columns[name][rank]) for name in cultures
            }
        entries.append(entry)
    ids = [source["dataset_ids"] for source in neuron_set.sources if "dataset_ids" in source]
    return {"model_name": neuron_set.model, "dataset_ids": ids[0] if ids else {}, "top_neurons": entries}


def lape_groups(sets: Sequence[NeuronSet], n_layers: int, module: str = MLP_GATE) -> list[list[torch.Tensor]]:
    """Sets in LAPE's format: ascending indices by set and layer. InputError for other modules."""
    import torch

    groups = []
    for each in sets:
        other = sorted({neuron.module for neuron in each.neurons} - {module})
        if other:
            raise InputError(
                f"{each.name!r} has neurons of {', '.join(other)}; LAPE's format holds one module, "
                f"{module}: select from that module alone ({option('pool', 'mlp')}), or name another with "
                f"{argument('module')}"
            )
        last = max((neuron.layer for neuron in each.neurons), default=-1)
        if last >= n_layers:
            raise MismatchError(
                f"{each.name!r} has neurons in layer {last}, but the model has {n_layers} layers; name a run "
                "of the model that the set belongs to"
            )
        layers: list[list[int]] = [[] for _ in range(n_layers)]
        for neuron in each.neurons:
            layers[neuron.layer].append(neuron.index)
        groups.append([torch.tensor(sorted(index), dtype=torch.long) for index in layers])
    return groups


def csv_text(neuron_set: NeuronSet) -> str:
    """One line per neuron: module, layer, index, score and further columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(csv_row(["module", "layer", "index", "score", *neuron_set.columns]))
    columns = [values.tolist() for values in (neuron_set.scores, *neuron_set.columns.values())]
    for neuron, *numbers in zip(neuron_set.neurons, *columns, strict=True):
        writer.writerow(csv_row([*neuron, *numbers]))
    return text.getvalue()


def write_as(
    sets: Sequence[NeuronSet],
    path: Path,
    form: Format,
    *,
    n_layers: int | None = None,
    module: str = MLP_GATE,
    bound: BoundModel | None = None,
    overwrite: bool = False,
    inputs: Iterable[Any] = (),
) -> None:
    """Write sets in a format; only LAPE's holds several, and only module paths need the model.

    OutputExistsError if the path is taken, InputError if it is one of the `inputs`.
    """
    check_one_model(sets, at_least=1)
    if form != "lape" and len(sets) > 1:
        raise InputError(
            f"a {form} file holds one set, but {len(sets)} are given; write each to its own file"
        )
    if form == "culnig":
        sets[0].write(path, overwrite=overwrite, inputs=inputs)
        return
    if form == "lape":
        if n_layers is None:
            raise InputError(
                "LAPE's format lists every layer of the model; name a run of the model with "
                f"{argument('run')} or the model with {argument('model')}"
            )
        groups = lape_groups(sets, n_layers, module)
    if form == "transformer-lens":
        document = hooks_document(sets[0])
    elif form == "nnsight":
        if bound is None:
            raise InputError(
                f"nnsight's format names modules of the model; name it with {argument('model')} (its weights "
                "are not read)"
            )
        document = paths_document(sets[0], bound)
    with owned_file(path, overwrite=overwrite, inputs=inputs):
        if form == "lape":
            import torch

            write_with(path, lambda file: torch.save(groups, file))  # by name, it would store the name
        elif form in ("transformer-lens", "nnsight"):
            write_json(path, document)
        elif form == "csv":
            write_text(path, csv_text(sets[0]))
        else:
            write_text(path, json.dumps(released_document(sets[0]), indent=4))
