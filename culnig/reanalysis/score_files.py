"""The released code's score files (github ynklab/CULNIG) as a run folder.

One file holds `neuron_scores` (by `module_layer_index`, then by culture, the sum of weighted item scores),
`total_probabilities_per_country` and `dataset_ids` (the items of each data set), in any order. A file of a
12 B model is over 1 GB, so it is read once, event by event, straight into one table of numbers.

Such a file does not hold everything that a run does: Σw² is NaN, which forbids tests of significance,
positive counts are 0, there is no item table, and the items, of which only the total is known, are spread
evenly over the cultures (a culture score is divided by the total, so no score depends on it).
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Role
from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout
from culnig.core.outcomes import Outcomes
from culnig.core.text import file_name, is_storable
from culnig.errors import DataFileError, InputError, MismatchError
from culnig.store.output_folder import check_folder
from culnig.store.record import RUN
from culnig.store.run import Run
from culnig.store.writer import Portion, PortionState, RunWriter

Events = Iterator[tuple[str, Any]]

_BUFFER = 1 << 20


@dataclass
class ScoreFile:
    """What a score file holds."""

    path: Path
    layout: Layout
    cultures: tuple[str, ...]
    sums: NDArray[np.float64]
    """Σ w, (culture, neuron)."""
    p_gold_sum: NDArray[np.float64]
    """Σ P(gold) of each culture, (culture,)."""
    n_items: dict[str, int]
    """Items of each data set."""

    @property
    def name(self) -> str:
        """The data sets, as the name of a benchmark; made plain where it could not be a file's name."""
        return file_name("+".join(self.n_items))

    @property
    def role(self) -> Role:
        """By the names: …control is a control, countryrc the exclusion, everything else a target."""
        roles = {role_of(name) for name in self.n_items}
        if len(roles) > 1:
            raise DataFileError(
                self.path,
                f"its data sets {', '.join(self.n_items)} have different roles ({', '.join(sorted(roles))})",
            )
        return roles.pop()

    def moments(self) -> CultureMoments:
        """The table as a run stores it."""
        total, n_cultures = sum(self.n_items.values()), len(self.cultures)
        each, more = divmod(total, n_cultures)
        unknown = np.broadcast_to(np.float64(np.nan), self.sums.shape)
        return CultureMoments(
            self.cultures,
            np.array([each + (number < more) for number in range(n_cultures)], dtype=np.int64),
            self.p_gold_sum,
            self.sums,
            unknown,
            np.broadcast_to(np.uint32(0), self.sums.shape),
        )


def role_of(dataset: str) -> Role:
    """Role of a data set of the released code, by its name."""
    if "control" in dataset:
        return "control"
    return "exclusion" if "countryrc" in dataset else "target"


def import_scores(
    files: Sequence[Path | str], out: Path | str, *, model_name: str | None = None, overwrite: bool = False
) -> Run:
    """Make a run of score files, one benchmark each.

    `model_name` is the model's name; without it, it is taken from the folder the released code writes to
    (`outputs/MODEL/cultural_neuron`). DataFileError if a file is damaged, MismatchError if the files are of
    different models, OutputExistsError if the folder is in use.
    """
    paths, folder, model = [Path(file) for file in files], Path(out), model_name
    if not paths:
        raise InputError("no score file given")
    check_folder(folder, RUN, overwrite=overwrite, inputs=paths)
    if overwrite and len(paths) > 1 and folder.exists():  # the last file is read before the run is replaced
        for scores in _read_together(paths):
            del scores
    writer: RunWriter | None = None
    names = []
    for scores in _read_together(paths):
        if writer is None:
            record = _record(paths, scores.layout, model)
            writer = RunWriter.open(folder, record, scores.layout, overwrite=overwrite)
        state = PortionState(scores.moments(), Outcomes.empty([]), np.empty(0, dtype=np.int64), 1)
        writer.save_part(Portion(scores.name, 0, 1, 1), scores.role, "identify", state)
        names.append(scores.name)
        del scores, state  # the next file needs the memory
    assert writer is not None
    writer.finish(dict.fromkeys(names, 1))
    return Run(folder)


def _read_together(paths: Sequence[Path]) -> Iterator[ScoreFile]:
    """Read files of one model, one after the other; errors as for `import_scores`."""
    layout: Layout | None = None
    read: dict[str, Path] = {}
    for path in paths:
        scores = read_score_file(path)
        if scores.name in read:
            raise InputError(f"{path} and {read[scores.name]} both hold {scores.name!r}; give each once")
        if twin := next((name for name in read if name.casefold() == scores.name.casefold()), None):
            raise InputError(
                f"{path} holds {scores.name!r}, {read[twin]} {twin!r}; names that differ only in case "
                "are one file on many systems. Rename the data set in `dataset_ids` of one of them"
            )
        if layout is not None and scores.layout.hash != layout.hash:
            raise MismatchError(
                f"{path} has {scores.layout.n_neurons:,} neurons in {scores.layout.n_layers} layers, "
                f"{paths[0]} {layout.n_neurons:,} in {layout.n_layers}; give score files of one model"
            )
        assert scores.role  # refuses data sets of several roles
        layout, read[scores.name] = scores.layout, path
        yield scores
        del scores


def _record(paths: Sequence[Path], layout: Layout, model: str | None) -> dict[str, Any]:
    from importlib import metadata

    return {
        "model": {
            "source": model or _model_of(paths[0]),
            "n_layers": layout.n_layers,
            "n_neurons": layout.n_neurons,
            "layout_hash": layout.hash,
        },
        "settings": {
            "imported_from": "score files of the released code",
            "files": [path.name for path in paths],
            "aggregator": "max",
            "level": "culture",
            "moments": "sums only",
            "items_of_culture": "assumed equal",
        },
        "benchmarks": {},
        "versions": {"culnig-engine": metadata.version("culnig-engine")},
        "complete": False,
    }


def _model_of(path: Path) -> str:
    folder = path.resolve().parent
    return folder.parent.name if folder.name == "cultural_neuron" else path.stem


def read_score_file(path: Path) -> ScoreFile:
    """Read a score file in one pass; memory grows with the table, not with the text."""
    import ijson

    table = _Table(path)
    totals: dict[str, float] = {}
    n_items: dict[str, int] = {}
    if not path.is_file():
        raise DataFileError(path, "no such file; expected a score file of the released code")
    try:
        with path.open("rb") as file:
            events: Events = ijson.basic_parse(file, use_float=True, buf_size=_BUFFER)
            if next(events) != ("start_map", None):
                raise DataFileError(path, "not a score file: a JSON object is expected")
            for key in _keys(path, "the file", itertools.chain([("start_map", None)], events)):
                if key == "neuron_scores":
                    table.read(events)
                elif key == "total_probabilities_per_country":
                    totals = _numbers(path, key, events)
                elif key == "dataset_ids":
                    n_items = _counts(path, events)
                else:
                    _skip(next(events), events)
    except ijson.JSONError as error:
        reason = str(error).split("\n")[0]
        raise DataFileError(path, f"not valid JSON, or cut off: {reason}") from None
    except StopIteration:
        raise DataFileError(path, "not valid JSON, or cut off") from None
    _check_names(path, [*table.cultures, *n_items])
    if not n_items or not sum(n_items.values()):
        raise DataFileError(path, "`dataset_ids` names no item; scores cannot be divided by their number")
    layout, sums = table.finish()
    return ScoreFile(
        path,
        layout,
        tuple(table.cultures),
        sums,
        np.array([totals.get(culture, 0.0) for culture in table.cultures]),
        n_items,
    )


def _check_names(path: Path, names: Sequence[str]) -> None:
    """DataFileError for a name that HDF5 cannot hold."""
    for name in names:
        if not is_storable(name):
            raise DataFileError(path, f"{name!r} holds a NUL or half of a character; give it another name")


class _Table:
    """Scores of all neurons, collected while reading."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cultures: list[str] = []
        self._neurons: dict[tuple[str, int], tuple[array[int], array[float]]] = {}
        """By module and layer: indices, and scores of all cultures neuron after neuron."""

    def read(self, events: Events) -> None:
        """Read the object `neuron_scores`."""
        for key in _keys(self._path, "neuron_scores", events):
            scores = _numbers(self._path, key, events)
            if not self.cultures:
                self.cultures = list(scores)
            if not scores or sorted(scores) != sorted(self.cultures):
                raise DataFileError(
                    self._path,
                    f"{key!r} has scores of {', '.join(scores) or 'no culture'}, the first neuron of "
                    f"{', '.join(self.cultures) or 'none'}",
                )
            module, layer, index = _neuron(self._path, key)
            indices, values = self._neurons.setdefault((module, layer), (array("q"), array("d")))
            indices.append(index)
            values.extend(scores[culture] for culture in self.cultures)

    def finish(self) -> tuple[Layout, NDArray[np.float64]]:
        """Layout and (culture, neuron) table; DataFileError if a neuron is missing or stored twice."""
        if not self._neurons:
            raise DataFileError(self._path, "`neuron_scores` holds no neuron")
        for (module, layer), (indices, _) in self._neurons.items():
            counts = np.bincount(indices)
            for problem, wrong in (("is there twice", counts > 1), ("is missing", counts == 0)):
                if wrong.any():
                    raise DataFileError(self._path, f"'{module}_{layer}_{np.argmax(wrong)}' {problem}")
        n_layers = max(layer for _, layer in self._neurons) + 1
        for module in {module for module, _ in self._neurons}:
            for layer in range(n_layers):
                if (module, layer) not in self._neurons:
                    raise DataFileError(self._path, f"{module} of layer {layer} is missing")
        widths = [(layer, module, len(indices)) for (module, layer), (indices, _) in self._neurons.items()]
        layout = Layout.from_widths(widths)
        sums = np.empty((len(self.cultures), layout.n_neurons))
        for segment in layout.segments:
            indices, values = self._neurons.pop((segment.module, segment.layer))
            rows = np.frombuffer(values).reshape(segment.width, -1)
            sums[:, segment.start + np.frombuffer(indices, dtype=np.int64)] = rows.T
        return layout, sums


_MOST_NEURONS = 1 << 22
"""In one module and layer; a larger index is a damaged name, not a wider model."""


def _neuron(path: Path, key: str) -> tuple[str, int, int]:
    module, _, index = key.rpartition("_")
    module, _, layer = module.rpartition("_")
    if not (module and layer.isdecimal() and index.isdecimal() and int(index) < _MOST_NEURONS):
        raise DataFileError(path, f"{key!r} names no neuron; module_layer_index is expected")
    return module, int(layer), int(index)


def _keys(path: Path, name: str, events: Events) -> Iterator[str]:
    """Keys of an object, one by one; the value of each is read from `events` before the next is asked for."""
    kind, value = next(events)
    if kind != "start_map":
        raise DataFileError(path, f"{name!r} holds {value!r}, an object is expected")
    for kind, key in events:
        if kind == "end_map":
            return
        yield key


def _numbers(path: Path, name: str, events: Events) -> dict[str, float]:
    numbers = {}
    for key in _keys(path, name, events):
        kind, value = next(events)
        if kind not in ("number", "double", "integer"):
            raise DataFileError(path, f"{name!r} of {key!r} is a {kind}, not a number")
        numbers[key] = float(value)
    return numbers


def _counts(path: Path, events: Events) -> dict[str, int]:
    """How many items each data set of `dataset_ids` lists."""
    counts = {}
    for key in _keys(path, "dataset_ids", events):
        if next(events)[0] != "start_array":
            raise DataFileError(path, f"'dataset_ids' of {key!r} is no list")
        counts[key] = sum(1 for _ in itertools.takewhile(lambda event: event[0] != "end_array", events))
    return counts


def _skip(event: tuple[str, Any], events: Events) -> None:
    """Skip one value, however deeply nested."""
    depth = 0
    while True:
        depth += {"start_map": 1, "start_array": 1, "end_map": -1, "end_array": -1}.get(event[0], 0)
        if depth == 0:
            return
        event = next(events)
