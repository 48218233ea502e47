"""Neuron sets: selected neurons with their model, method and source runs, stored in one JSON file.

Equal selections give equal bytes: the file holds no times and no local paths, and neurons are in rank order.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import FORWARD_ORDER, MOST_LAYERS, Layout, Neuron
from culnig.core.notebook import html_table
from culnig.errors import MismatchError, StoreError
from culnig.store.files import read_json, write_json
from culnig.store.formats import check_format
from culnig.store.output_folder import owned_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEURONS_FORMAT = "culnig-neurons"
NEURONS_FORMAT_VERSION = 1
_OWN_COLUMNS = ("module", "layer", "index", "score")
SHOWN = 10
"""Number of neurons that a notebook shows."""


@dataclass(frozen=True, repr=False)
class NeuronSet:
    """Selected neurons and how they were selected."""

    name: str
    """Short name for tables: `general`, `specific China`, `random 3` …"""
    model: str
    """The model's name as given to the run."""
    layout_hash: str
    """Hash of the layout that the neurons belong to."""
    method: dict[str, Any]
    """Name, parameters and counts of the method."""
    sources: list[dict[str, Any]]
    """The runs it was made from, with their hashes and benchmarks."""
    neurons: tuple[Neuron, ...]
    """Best first."""
    scores: NDArray[np.float64] = field(repr=False)
    """Scores that the neurons were ranked by, shape (neuron,)."""
    columns: dict[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    """Further numbers of each neuron by name, such as `q_value` and `frequency`, each (neuron,)."""

    def keep(self, which: NDArray[np.bool_]) -> NeuronSet:
        """The set reduced to the marked neurons, in the same order."""
        return replace(
            self,
            neurons=tuple(itertools.compress(self.neurons, which)),
            scores=self.scores[which],
            columns={name: values[which] for name, values in self.columns.items()},
        )

    def flat(self, layout: Layout) -> NDArray[np.int64]:
        """Flat indices in `layout`; MismatchError if the set belongs to another model's layout."""
        if layout.hash != self.layout_hash:
            raise MismatchError(
                f"neuron set {self.name!r} was made for {self.model!r} (layout {self.layout_hash[:12]}), "
                f"this model has layout {layout.hash[:12]} with {layout.n_neurons:,} neurons; use a set made "
                "from a run of this model"
            )
        return np.array([layout.flat(neuron) for neuron in self.neurons], dtype=np.int64)

    def count_by_module_and_layer(self) -> dict[tuple[str, int], int]:
        """Number of neurons in each (module, layer) with at least one."""
        return dict(Counter((neuron.module, neuron.layer) for neuron in self.neurons))

    def table(self, layout: Layout | None = None) -> tuple[list[str], NDArray[np.float64]]:
        """Modules, and neuron counts (module, layer); without a layout, only those of the set."""
        counts = self.count_by_module_and_layer()
        if layout is not None:
            modules, n_layers = list(layout.modules), layout.n_layers
        else:
            own = {module for module, _ in counts}
            modules = [module for module in FORWARD_ORDER if module in own]
            modules += sorted(own - set(modules))
            n_layers = 1 + max((layer for _, layer in counts), default=0)
        table = [[counts.get((module, layer), 0) for layer in range(n_layers)] for module in modules]
        return modules, np.array(table, dtype=float).reshape(len(modules), n_layers)

    def plot(self, layout: Layout | None = None) -> Figure:
        """Draw the neurons by layer and module with matplotlib."""
        from culnig.core.plots import layers_figure

        title = f"{self.name}: {len(self.neurons):,} neurons of {self.model}"
        return layers_figure([(title, *self.table(layout))])

    def __repr__(self) -> str:
        return f"<NeuronSet {self.name}: {len(self.neurons):,} neurons of {self.model}>"

    def _repr_html_(self) -> str:
        """The top neurons as a table for notebooks."""
        top = list(zip(self.neurons, self.scores.tolist(), strict=True))[:SHOWN]
        more = f", the best {SHOWN} of them" if len(self.neurons) > SHOWN else ""
        return html_table(
            f"{self.name}: {len(self.neurons):,} neurons of {self.model} by {self.method.get('name')}{more}",
            _OWN_COLUMNS,
            [(*neuron, score) for neuron, score in top],
        )

    def write(self, path: Path | str, *, overwrite: bool = False, inputs: Iterable[Any] = ()) -> None:
        """Write the file; OutputExistsError if the path is taken, InputError if it is one of the `inputs`."""
        with owned_file(Path(path), overwrite=overwrite, inputs=inputs) as target:
            write_json(target, self._document())

    def _document(self) -> dict[str, Any]:
        columns = list(zip(*self.neurons, strict=True)) or [(), (), ()]
        return {
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
        }


_FIELDS = {"name": str, "model": str, "layout_hash": str, "method": dict, "sources": list}

Value = TypeVar("Value", str, int)


def _exactly(kind: type[Value], value: object) -> Value:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


NeuronSetOrPath = NeuronSet | Path | str


def as_neuron_set(neurons: NeuronSetOrPath) -> NeuronSet:
    """A set as it is, or read from its file."""
    return neurons if isinstance(neurons, NeuronSet) else read_neuron_set(neurons)


def read_neuron_set(path: Path | str) -> NeuronSet:
    """Read a neuron-set file; StoreError if it is missing or damaged."""
    path = Path(path)
    document = read_json(path, "a neuron set")
    named = (document.get("format"), document.get("format_version"))
    check_format(path, *named, NEURONS_FORMAT, NEURONS_FORMAT_VERSION)
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
        neuron_set = NeuronSet(
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
    for neuron in neurons:
        if not (0 <= neuron.layer < MOST_LAYERS and 0 <= neuron.index < 2**31):
            raise StoreError(f"{path}: no model has the neuron {tuple(neuron)}; the file is damaged")
    if not all(isinstance(source, dict) for source in document["sources"]):
        raise StoreError(f"{path}: 'sources' holds {document['sources'][:1]}; the file is damaged")
    for source in document["sources"]:
        if not isinstance(source.get("scores_hash", ""), str):
            raise StoreError(f"{path}: 'scores_hash' is {source['scores_hash']!r}; the file is damaged")
    for name, values in {"scores": scores, **more}.items():
        if values.shape != (len(neurons),):
            raise StoreError(
                f"{path}: {len(neurons)} neurons but {name} of shape {values.shape}; the file is damaged"
            )
    if len(set(neurons)) != len(neurons):
        raise StoreError(f"{path}: a neuron is listed twice; the file is damaged")
    return neuron_set
