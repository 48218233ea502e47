"""Neuron sets: which neurons, from which model, by which method, out of which runs — one JSON file.

Equal selections give equal bytes: no times, no paths of the machine, neurons in rank order.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import FORWARD_ORDER, Layout, Neuron
from culnig.core.notebook import html_table
from culnig.errors import MismatchError, OutputExistsError, StoreError
from culnig.store.files import make_folder, read_json, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEURONS_FORMAT = "culnig-neurons"
NEURONS_FORMAT_VERSION = 1
SHOWN = 10
"""Neurons that a notebook shows."""


@dataclass(frozen=True, repr=False)
class NeuronSet:
    """Selected neurons with where they come from."""

    name: str
    """Short name for tables: `general`, `specific China`, `random 3` …"""
    model: str
    """The model as it was asked for when the run was made."""
    layout_hash: str
    """Hash of the layout that the neurons are places in."""
    method: dict[str, Any]
    """Name of the method and all its parameters and counts."""
    sources: list[dict[str, Any]]
    """The runs it was made from, with hashes and the benchmarks used."""
    neurons: tuple[Neuron, ...]
    """Best first."""
    scores: NDArray[np.float64] = field(repr=False)
    """What they were ranked by, shape (neuron,)."""
    columns: dict[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    """More numbers per neuron by name, such as `q_value` and `frequency`, each (neuron,)."""

    def keep(self, which: NDArray[np.bool_]) -> NeuronSet:
        """The set with only these neurons, in the same order."""
        return replace(
            self,
            neurons=tuple(itertools.compress(self.neurons, which)),
            scores=self.scores[which],
            columns={name: values[which] for name, values in self.columns.items()},
        )

    def flat(self, layout: Layout) -> NDArray[np.int64]:
        """Flat positions in `layout`; MismatchError where the set belongs to another model's layout."""
        if layout.hash != self.layout_hash:
            raise MismatchError(
                f"neuron set {self.name!r} was made for {self.model!r} (layout {self.layout_hash[:12]}), "
                f"this model has layout {layout.hash[:12]} with {layout.n_neurons:,} neurons; use a set made "
                "from a run of this model"
            )
        return np.array([layout.flat(neuron) for neuron in self.neurons], dtype=np.int64)

    def count_by_module_and_layer(self) -> dict[tuple[str, int], int]:
        """How many neurons lie in each module and layer that has any."""
        counts: dict[tuple[str, int], int] = {}
        for neuron in self.neurons:
            counts[neuron.module, neuron.layer] = counts.get((neuron.module, neuron.layer), 0) + 1
        return counts

    def table(self, layout: Layout | None = None) -> tuple[list[str], NDArray[np.float64]]:
        """Modules, and neurons of each (module, layer); without a layout only what the set reaches."""
        counts = self.count_by_module_and_layer()
        if layout is not None:
            modules, n_layers = list(layout.modules), layout.n_layers
        else:
            there = {module for module, _ in counts}
            modules = [module for module in FORWARD_ORDER if module in there]
            modules += sorted(there - set(modules))
            n_layers = 1 + max((layer for _, layer in counts), default=0)
        found = np.array(
            [[counts.get((name, n), 0) for n in range(n_layers)] for name in modules], dtype=float
        )
        return modules, found.reshape(len(modules), n_layers)

    def plot(self, layout: Layout | None = None) -> Figure:
        """A matplotlib figure of the neurons by layer and module."""
        from culnig.core.plots import layers_figure

        title = f"{self.name}: {len(self.neurons):,} neurons of {self.model}"
        return layers_figure([(title, *self.table(layout))])

    def __repr__(self) -> str:
        return f"<NeuronSet {self.name}: {len(self.neurons):,} neurons of {self.model}>"

    def _repr_html_(self) -> str:
        """For notebooks: what it is and its best neurons."""
        best = list(zip(self.neurons, self.scores.tolist(), strict=True))[:SHOWN]
        more = f", the best {SHOWN} of them" if len(self.neurons) > SHOWN else ""
        return html_table(
            f"{self.name}: {len(self.neurons):,} neurons of {self.model} by {self.method.get('name')}{more}",
            ("module", "layer", "index", "score"),
            [(*neuron, score) for neuron, score in best],
        )

    def write(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the file; OutputExistsError where it exists with other contents."""
        if path.is_dir():
            raise OutputExistsError(f"{path} is a folder; give a file with -o")
        if os.path.lexists(path) and not overwrite:
            raise OutputExistsError(f"{path} exists; add --overwrite to replace it, or give another file")
        make_folder(path.parent)
        columns = list(zip(*self.neurons, strict=True)) or [(), (), ()]
        write_json(
            path,
            {
                "format": NEURONS_FORMAT,
                "format_version": NEURONS_FORMAT_VERSION,
                "name": self.name,
                "model": self.model,
                "layout_hash": self.layout_hash,
                "method": self.method,
                "sources": self.sources,
                "neurons": {
                    "module": list(columns[0]),
                    "layer": list(columns[1]),
                    "index": list(columns[2]),
                    "score": self.scores.tolist(),
                    **{name: values.tolist() for name, values in self.columns.items()},
                },
            },
        )


_OWN_COLUMNS = ("module", "layer", "index", "score")

_FIELDS = {"name": str, "model": str, "layout_hash": str, "method": dict, "sources": list}

Value = TypeVar("Value", str, int)


def _exactly(kind: type[Value], value: object) -> Value:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def read_neuron_set(path: Path | str) -> NeuronSet:
    """Read a neuron-set file; StoreError says what is wrong with it."""
    path = Path(path)
    document = read_json(path, "a neuron set")
    if document.get("format") != NEURONS_FORMAT:
        raise StoreError(f"{path}: format is {document.get('format')!r}, expected {NEURONS_FORMAT!r}")
    if document.get("format_version") != NEURONS_FORMAT_VERSION:
        raise StoreError(
            f"{path}: format version {document.get('format_version')}, this culnig reads "
            f"{NEURONS_FORMAT_VERSION}"
        )
    for key, kind in _FIELDS.items():
        if key in document and not isinstance(document[key], kind):
            raise StoreError(f"{path}: {key!r} is {document[key]!r}; the file is damaged")
    try:
        columns = document["neurons"]
        modules, layers, indices = columns["module"], columns["layer"], columns["index"]
        neurons = tuple(
            Neuron(_exactly(str, module), _exactly(int, layer), _exactly(int, index))
            for module, layer, index in zip(modules, layers, indices, strict=True)
        )
        scores = np.array(columns["score"], dtype=np.float64)
        more = {
            name: np.array(values, dtype=np.float64)
            for name, values in columns.items()
            if name not in _OWN_COLUMNS
        }
        found = NeuronSet(
            name=document["name"],
            model=document["model"],
            layout_hash=document["layout_hash"],
            method=document["method"],
            sources=document["sources"],
            neurons=neurons,
            scores=scores,
            columns=more,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path}: {type(error).__name__} {error} in a neuron set; the file is damaged"
        ) from None
    for name, values in {"scores": scores, **more}.items():
        if values.shape != (len(neurons),):
            raise StoreError(f"{path}: {len(neurons)} neurons but {name} of shape {values.shape}")
    if len(set(neurons)) != len(neurons):
        raise StoreError(f"{path}: a neuron is listed twice")
    return found
