"""The released code's score files (github ynklab/CULNIG) as a run folder.

One file holds `neuron_scores` (by `module_layer_index`, then by culture, the sum of weighted item scores),
`total_probabilities_per_country` and `dataset_ids` (the items of each data set), in any order. A file of a
12 B model is over 1 GB, so it is read once, event by event, straight into one table of numbers.

What such a file does not tell is left open: Σw² is NaN, which forbids tests of significance, positive counts
are 0, there is no item table, and the items, of which only the total is known, are spread evenly over the
cultures (a culture score is divided by the total, so no score depends on it).
"""

from __future__ import annotations

import itertools
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
from culnig.errors import DataFileError, InputError, MismatchError, OutputExistsError
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
        """The data sets, as the name of a benchmark."""
        return "+".join(self.n_items)

    @property
    def role(self) -> Role:
        """Told by the names: …control is a control, countryrc the exclusion, everything else a target."""
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
            np.array([each + (place < more) for place in range(n_cultures)], dtype=np.int64),
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
    (`outputs/MODEL/cultural_neuron`). DataFileError where a file is damaged, MismatchError where files are of
    different models, OutputExistsError where the folder is in the way.
    """
    paths, folder, model = [Path(file) for file in files], Path(out), model_name
    if not paths:
        raise InputError("no score file given")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise OutputExistsError(f"{folder} is not empty; add --overwrite to replace the run in it")
    writer: RunWriter | None = None
    layout: Layout | None = None
    read: dict[str, ScoreFile] = {}
    for path in paths:
        found = read_score_file(path)
        if found.name in read:
            raise InputError(f"{path} and {read[found.name].path} both hold {found.name!r}; give each once")
        if layout is not None and found.layout.hash != layout.hash:
            raise MismatchError(
                f"{path} has {found.layout.n_neurons:,} neurons in {found.layout.n_layers} layers, "
                f"{paths[0]} {layout.n_neurons:,} in {layout.n_layers}; give score files of one model"
            )
        layout, role = found.layout, found.role
        if writer is None:
            writer = RunWriter.open(folder, _record(paths, layout, model), layout, overwrite=overwrite)
        state = PortionState(found.moments(), Outcomes.empty([]), np.empty(0, dtype=np.int64), 1)
        writer.save_part(Portion(found.name, 0, 1, 1), role, "identify", state)
        found.sums = found.sums[:, :0]  # written; the next file needs the room
        read[found.name] = found
    assert writer is not None
    writer.finish(dict.fromkeys(read, 1))
    return Run(folder)


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
            for kind, key in events:
                if kind == "end_map":
                    break
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


class _Table:
    """Scores of all neurons, filled as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cultures: list[str] = []
        self._places: dict[tuple[str, int], _Rows] = {}

    def read(self, events: Events) -> None:
        """Read the object `neuron_scores`."""
        self._expect(next(events), "start_map", "neuron_scores")
        for kind, key in events:
            if kind == "end_map":
                return
            self._expect(next(events), "start_map", key)
            names: list[str] = []
            values: list[float] = []
            for inner, name in events:
                if inner == "end_map":
                    break
                names.append(name)
                what, value = next(events)
                if what not in ("number", "double", "integer"):
                    raise DataFileError(self._path, f"{key!r} of {name!r} is a {what}, not a number")
                values.append(value)
            self._add(key, names, values)

    def _expect(self, event: tuple[str, Any], kind: str, key: str) -> None:
        if event[0] != kind:
            raise DataFileError(self._path, f"{key!r} holds {event[1]!r}, an object is expected")

    def _add(self, key: str, names: list[str], values: list[float]) -> None:
        if not self.cultures:
            self.cultures = names
        if names != self.cultures:
            if sorted(names) != sorted(self.cultures):
                raise DataFileError(
                    self._path,
                    f"{key!r} has scores of {', '.join(names) or 'no culture'}, the first neuron of "
                    f"{', '.join(self.cultures)}",
                )
            values = [values[names.index(culture)] for culture in self.cultures]
        module, layer, index = _place(self._path, key)
        rows = self._places.get((module, layer))
        if rows is None:
            rows = self._places[module, layer] = _Rows(len(self.cultures))
        if not rows.put(index, values):
            raise DataFileError(self._path, f"{key!r} is there twice")

    def finish(self) -> tuple[Layout, NDArray[np.float64]]:
        """Layout and (culture, neuron) table; DataFileError where a neuron is missing."""
        if not self._places:
            raise DataFileError(self._path, "`neuron_scores` holds no neuron")
        for (module, layer), rows in self._places.items():
            if rows.n_filled < rows.n_rows:
                missing = f"{module}_{layer}_{rows.first_missing()}"
                raise DataFileError(self._path, f"{missing!r} is missing, though later neurons are there")
        layers = {layer for _, layer in self._places}
        for module, layer in itertools.product(
            {module for module, _ in self._places}, range(max(layers) + 1)
        ):
            if (module, layer) not in self._places:
                raise DataFileError(self._path, f"{module} of layer {layer} is missing")
        layout = Layout.from_widths(
            [(layer, module, r.n_rows) for (module, layer), r in self._places.items()]
        )
        sums = np.empty((len(self.cultures), layout.n_neurons))
        for segment in layout.segments:
            rows = self._places.pop((segment.module, segment.layer))
            sums[:, segment.columns] = rows.values[: rows.n_rows].T
        return layout, sums


class _Rows:
    """(index, culture) scores of one module and layer; grows by doubling."""

    def __init__(self, n_cultures: int) -> None:
        self.values = np.empty((1024, n_cultures))
        self._filled = np.zeros(1024, dtype=bool)
        self.n_rows = 0
        self.n_filled = 0

    def put(self, index: int, values: list[float]) -> bool:
        """Store a neuron; False where it has been stored before."""
        while index >= len(self._filled):
            self.values = np.concatenate([self.values, np.empty_like(self.values)])
            self._filled = np.concatenate([self._filled, np.zeros_like(self._filled)])
        if self._filled[index]:
            return False
        self.values[index] = values
        self._filled[index] = True
        self.n_rows = max(self.n_rows, index + 1)
        self.n_filled += 1
        return True

    def first_missing(self) -> int:
        """Least index that was not stored."""
        return int(np.argmin(self._filled))


_MOST_NEURONS = 1 << 22
"""Of one module in one layer; a larger index is a damaged name, not a wider model."""


def _place(path: Path, key: str) -> tuple[str, int, int]:
    module, _, rest = key.rpartition("_")
    module, _, layer = module.rpartition("_")
    if not (module and layer.isdecimal() and rest.isdecimal() and int(rest) < _MOST_NEURONS):
        raise DataFileError(path, f"{key!r} names no neuron; module_layer_index is expected")
    return module, int(layer), int(rest)


def _numbers(path: Path, what: str, events: Events) -> dict[str, float]:
    if next(events)[0] != "start_map":
        raise DataFileError(path, f"{what!r} is no object")
    found = {}
    for kind, key in events:
        if kind == "end_map":
            break
        inner, value = next(events)
        if inner not in ("number", "double", "integer"):
            raise DataFileError(path, f"{what!r} of {key!r} is {value!r}, not a number")
        found[key] = float(value)
    return found


def _counts(path: Path, events: Events) -> dict[str, int]:
    """How many items each data set of `dataset_ids` lists."""
    if next(events)[0] != "start_map":
        raise DataFileError(path, "'dataset_ids' is no object")
    found = {}
    for kind, key in events:
        if kind == "end_map":
            break
        if next(events)[0] != "start_array":
            raise DataFileError(path, f"'dataset_ids' of {key!r} is no list")
        n_items = 0
        for inner, _ in events:
            if inner == "end_array":
                break
            n_items += 1
        found[key] = n_items
    return found


def _skip(event: tuple[str, Any], events: Events) -> None:
    """Pass over one value, however deep."""
    depth = 0
    while True:
        depth += {"start_map": 1, "start_array": 1, "end_map": -1, "end_array": -1}.get(event[0], 0)
        if depth == 0:
            return
        event = next(events)
