"""Reading a run folder."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Role
from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout, Segment
from culnig.core.notebook import html_table
from culnig.core.outcomes import Outcomes
from culnig.errors import EnvironmentProblem, StoreError, UnknownNameError
from culnig.scorers.base import GRADIENT_ACTIVATION
from culnig.store import schema, tables
from culnig.store.data_parts import Part, benchmark_of, read_part
from culnig.store.files import file_hash, open_hdf5, read_json
from culnig.store.item_scores import ItemScores
from culnig.store.tensors import Tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECORD_SECTIONS = ("model", "settings", "benchmarks")
"""Objects that every run.json has, and that a resumed run must share with the request."""
_ROLES = ("target", "control", "exclusion")
_SPLITS = ("identify", "test", "all")


@dataclass(frozen=True)
class StoredBenchmark:
    """What `scores.h5` says about one benchmark, before its tables are read."""

    name: str
    role: Role
    split: str
    cultures: tuple[str, ...]
    n_items: int
    items_of_culture: tuple[int, ...]
    """Items of each culture, in the order of `cultures`."""


class Wanted(NamedTuple):
    """A table that `Run.blocks` shall walk over."""

    benchmark: str
    table: str
    """`schema.SUM` or `schema.SUM_OF_SQUARES`."""
    rows: Sequence[int] | None = None
    """Which cultures, by number and in which order; None for all."""


class Run:
    """A finished run. Tables are read when asked for."""

    def __init__(self, folder: Path | str, scorer: str | None = None) -> None:
        """Open the run in `folder`, with the tables of a scorer (None: gradient × activation).

        StoreError where there is no run, or it is damaged or unfinished. UnknownNameError where it was not
        scored with that scorer.
        """
        self.folder = Path(folder)
        self.scorer = None if scorer == GRADIENT_ACTIVATION else scorer
        if not os.path.lexists(self.folder):
            raise StoreError(f"{self.folder}: no such run; make one with `culnig-engine score … -o {folder}`")
        self.record = read_run_record(self.folder)
        there = self.record["settings"].get("scorers", [])
        if self.scorer is not None and self.scorer not in there:
            raise UnknownNameError(
                f"scorer of run {self.folder}:",
                self.scorer,
                [GRADIENT_ACTIVATION, *there],
                "score with --scorer to have others",
            )
        self.scores_file = self.folder / schema.SCORES_FILE
        if not self.scores_file.exists():
            raise StoreError(
                f"{self.folder}: the run is not finished; run the same `score` command with --resume"
            )
        with open_scores(self.scores_file) as file:
            segments = tables.read_layout(file).segments
            self.layout = Layout(segments, self.record["model"].get("layout_hash"))
            benchmarks = tables.group_at(file, schema.BENCHMARKS)
            self.benchmarks: dict[str, StoredBenchmark] = {
                name: _describe(name, tables.group_at(benchmarks, name)) for name in benchmarks
            }

    @contextlib.contextmanager
    def _benchmark(self, name: str) -> Iterator[h5py.Group]:
        self.stored(name)
        with open_scores(self.scores_file) as file:
            yield tables.group_at(tables.group_at(file, schema.BENCHMARKS), name)

    @cached_property
    def scores_hash(self) -> str:
        """SHA-256 of `scores.h5`, as it was when the run was finished."""
        recorded = self.record.get(schema.HASHES, {}).get(schema.SCORES_FILE)
        return recorded if isinstance(recorded, str) else file_hash(self.scores_file)

    @cached_property
    def run_id(self) -> str:
        """SHA-256 over what was asked for: all files of a run share it."""
        return run_id(self.record)

    @property
    def level(self) -> str:
        """`culture`, `item` or `token`."""
        return str(self.record["settings"].get("level", "culture"))

    @property
    def model(self) -> str:
        """Name of the model, as it was asked for."""
        return str(self.record["model"]["source"])

    def _tables(self, benchmark: h5py.Group) -> h5py.Group:
        """The group with the scorer's tables."""
        if self.scorer is None:
            return benchmark
        return tables.group_at(tables.group_at(benchmark, schema.SCORERS), self.scorer)

    def moments(self, name: str) -> CultureMoments:
        """Score tables of a benchmark."""
        with self._benchmark(name) as benchmark:
            group = self._tables(benchmark)
            return tables.read_moments(group, self.layout.n_neurons)

    def blocks(self, wanted: Sequence[Wanted]) -> Iterator[tuple[slice, list[NDArray[np.float64]]]]:
        """Walk over tables of all neurons, a range of neurons at a time, so that memory stays small.

        Yields the columns and, for each wanted table, the values (row, neuron of the range). They lie in
        buffers that the next step overwrites, so a caller may change them in place.
        """
        with open_scores(self.scores_file) as file:
            group = tables.group_at(file, schema.BENCHMARKS)
            found = []
            for name, table, rows in wanted:
                benchmark = self._tables(tables.group_at(group, name))
                n_cultures = len(tables.read_cultures(benchmark)[0])
                dataset = tables.table_at(benchmark, table, (n_cultures, self.layout.n_neurons))
                found.append((dataset, range(dataset.shape[0]) if rows is None else rows))
            yield from tables.read_blocks(found, self.layout.n_neurons)

    def total(self, name: str) -> NDArray[np.float64]:
        """Σw over all items of a benchmark, cultures added in their order, shape (neuron,)."""
        with self._benchmark(name) as benchmark:
            stored = tables.read_total(self._tables(benchmark), self.layout.n_neurons)
        if stored is not None:
            return stored
        added = np.empty(self.layout.n_neurons)
        for columns, (sums,) in self.blocks([Wanted(name, schema.SUM)]):
            sums.sum(axis=0, out=added[columns])
        return added

    def first_half(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Items in the first half of each culture's questions, (culture,), and their Σw (culture, neuron).

        StoreError where the run does not keep it.
        """
        with self._benchmark(name) as benchmark:
            found = tables.read_first_half(self._tables(benchmark), self.layout.n_neurons)
        if found is None and self.scorer is not None:
            raise StoreError(
                f"{self.folder} keeps no halves of {name!r}, and item scores of gradient × activation only, "
                f"not of {self.scorer}; score it again with --halves"
            )
        if found is None:
            raise StoreError(
                f"{self.folder} keeps neither item scores nor halves of {name!r}; score it again with "
                "--level item, or with --halves for split halves alone"
            )
        return found

    def outcomes(self, name: str) -> Outcomes:
        """Item table of a benchmark."""
        with self._benchmark(name) as group:
            return tables.read_outcomes(group)

    def item_parts(self, name: str) -> list[Part]:
        """Where the scores of all items of a benchmark are, in the order of scoring.

        StoreError where the run has none, or a part is missing, damaged or another run's.
        """
        parts = self._parts(name, schema.ITEMS_FOLDER, "item")
        n_items = self.stored(name).n_items
        places = np.concatenate([part.prompts.item for part in parts]) if parts else np.zeros(0)
        if not np.array_equal(np.sort(places), np.arange(n_items)):
            raise StoreError(
                f"{self.folder / schema.ITEMS_FOLDER}: the parts of {name!r} hold {len(set(places))} of "
                f"{n_items} items; one is missing or there twice"
            )
        return parts

    def tensor_parts(self, name: str) -> list[Part]:
        """Where the tensors of the chosen items of a benchmark are, in the order of scoring.

        StoreError where the run has none, or a part is missing, damaged or another run's.
        """
        return self._parts(name, schema.TENSORS_FOLDER, "token")

    def stored_segments(self, name: str) -> list[Segment]:
        """Segments whose tensors are stored."""
        parts = self.tensor_parts(name)
        if not parts:
            return []
        with self.open_tensors(parts[0]) as stored:
            return stored.segments

    @contextlib.contextmanager
    def open_item_scores(self, part: Part) -> Iterator[ItemScores]:
        """Open one of `item_parts`."""
        with open_hdf5(part.path) as file:
            yield ItemScores(file, part.prompts, self.layout.n_neurons)

    @contextlib.contextmanager
    def open_tensors(self, part: Part) -> Iterator[Tensors]:
        """Open one of `tensor_parts`."""
        with (
            open_hdf5(part.path) as file,
            contextlib.closing(Tensors(file, part.prompts, self.layout)) as stored,
        ):
            yield stored

    def item_scores(self, name: str, columns: slice = slice(None)) -> NDArray[np.float32]:
        """Score of every item for some neurons (flat positions), before P(gold) and clamp.

        Shape (item, neuron), items in file order. StoreError as for `item_parts`.
        """
        width = len(range(*columns.indices(self.layout.n_neurons)))
        scores = np.empty((self.stored(name).n_items, width), dtype=np.float32)
        for part in self.item_parts(name):
            with self.open_item_scores(part) as stored:
                scores[part.prompts.item] = stored.scores(columns=columns)
        return scores

    def stored(self, name: str) -> StoredBenchmark:
        """What the run says about a benchmark; UnknownNameError where it has none of that name."""
        if name not in self.benchmarks:
            raise UnknownNameError(f"benchmark of run {self.folder}:", name, self.benchmarks)
        return self.benchmarks[name]

    def _parts(self, name: str, folder: str, level: str) -> list[Part]:
        n_items = self.stored(name).n_items
        if self.level != level:
            raise StoreError(
                f"{self.folder} was scored at level {self.level!r}; score it again with --level {level}"
            )
        kind = {schema.ITEMS_FOLDER: schema.ITEMS_FORMAT, schema.TENSORS_FOLDER: schema.TENSORS_FORMAT}[
            folder
        ]
        parts = [
            read_part(path, kind, n_items) for path in self._data_files(folder) if benchmark_of(path) == name
        ]
        for part in parts:
            if part.name.run_id != self.run_id or part.name.benchmark != name:
                raise StoreError(
                    f"{part.path} belongs to another run; put the right file back or score again"
                )
        return sorted(parts, key=lambda part: (part.name.portion, part.name.first_batch))

    def _data_files(self, folder: str) -> list[Path]:
        """Files of a level; StoreError where one that the run was finished with is missing."""
        files = sorted((self.folder / folder).glob("part-*.h5"))
        recorded = self.record.get(schema.DATA_FILES)
        if isinstance(recorded, list):
            there = {path.relative_to(self.folder).as_posix() for path in files}
            if missing := sorted({str(name) for name in recorded if str(name).startswith(folder)} - there):
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise StoreError(f"{self.folder / missing[0]} is missing{more}; put it back or score again")
        return files

    def to_pandas(self, name: str) -> Any:
        """Item table of a benchmark as a pandas DataFrame, one row per item in file order.

        EnvironmentProblem where pandas is not installed.
        """
        return item_frame(self.outcomes(name))

    def to_xarray(self, name: str) -> Any:
        """Score tables of a benchmark as an xarray Dataset with dimensions culture and neuron.

        Neurons carry module, layer and index. EnvironmentProblem where xarray is not installed.
        """
        xarray = _optional("xarray")
        moments = self.moments(name)
        neurons = self.layout.neurons(np.arange(self.layout.n_neurons))
        return xarray.Dataset(
            {table: (("culture", "neuron"), getattr(moments, table)) for table in schema.TABLES}
            | {
                "n_items": ("culture", moments.n_items),
                "p_gold_sum": ("culture", moments.p_gold_sum),
            },
            coords={
                "culture": list(moments.cultures),
                "module": ("neuron", [neuron.module for neuron in neurons]),
                "layer": ("neuron", [neuron.layer for neuron in neurons]),
                "index": ("neuron", [neuron.index for neuron in neurons]),
            },
            attrs={"benchmark": name, "role": self.benchmarks[name].role, "model": self.model},
        )

    def plot(self, name: str) -> Figure:
        """A matplotlib figure of a benchmark's scores: Σ of what is positive, by module and layer."""
        from culnig.core.plots import layers_figure

        total = np.maximum(self.total(name), 0) / max(1, self.stored(name).n_items)
        table = np.zeros((len(self.layout.modules), self.layout.n_layers))
        for segment in self.layout.segments:
            table[self.layout.modules.index(segment.module), segment.layer] = total[segment.columns].sum()
        title = f"positive scores of {self.model} on {name}, all cultures"
        return layers_figure([(title, self.layout.modules, table)])

    def _repr_html_(self) -> str:
        """For notebooks: what was scored."""
        return html_table(
            f"{self.model}: {self.layout.n_neurons:,} neurons scored, level {self.level}",
            ("benchmark", "role", "split", "items", "cultures"),
            [
                (one.name, one.role, one.split, one.n_items, ", ".join(one.cultures))
                for one in self.benchmarks.values()
            ],
        )

    def with_role(self, role: Role) -> list[StoredBenchmark]:
        """Benchmarks of a role, by name."""
        return [stored for _, stored in sorted(self.benchmarks.items()) if stored.role == role]


def item_frame(outcomes: Outcomes) -> Any:
    """Answered items as a pandas DataFrame; EnvironmentProblem where pandas is not installed."""
    pandas = _optional("pandas")
    columns = ("id", "question_id", "culture", "topic", "split", "gold", "predicted", "correct")
    numbers = ("p_gold", "option_mass", "alignment")
    return pandas.DataFrame({column: getattr(outcomes, column) for column in (*columns, *numbers)})


def _optional(package: str) -> Any:
    """A package that the engine does not need itself."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        raise EnvironmentProblem(f"this needs the package {package}; run `pip install {package}`") from None


def run_id(record: Mapping[str, Any]) -> str:
    """SHA-256 over what was asked for."""
    asked = {section: record[section] for section in RECORD_SECTIONS}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def read_run_record(folder: Path) -> dict[str, Any]:
    """Read `run.json`; StoreError where it is missing, foreign or of another version."""
    if not os.path.isdir(folder):  # noqa: PTH112 - unlike Path.is_dir, never raises
        raise StoreError(f"{folder}: not a folder; a run is a folder with {schema.RUN_FILE} in it")
    record = read_json(folder / schema.RUN_FILE, "the record of a run")
    path = folder / schema.RUN_FILE
    _check_format(path, record.get(schema.FORMAT), record.get(schema.FORMAT_VERSION))
    for section in RECORD_SECTIONS:
        if not isinstance(record.get(section), dict):
            raise StoreError(f"{path}: {section!r} is {record.get(section)!r}, expected an object")
    if not isinstance(record["model"].get("source"), str):
        raise StoreError(f"{path}: 'model' names no source")
    return record


@contextlib.contextmanager
def open_scores(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file of a run for reading and check its format attributes."""
    with open_hdf5(path) as file:
        _check_format(path, file.attrs.get(schema.FORMAT), file.attrs.get(schema.FORMAT_VERSION))
        yield file


def _check_format(path: Path, found: Any, version: Any) -> None:
    if not isinstance(found, str) or found != schema.RUN_FORMAT:
        raise StoreError(f"{path}: format is {found!r}, expected {schema.RUN_FORMAT!r}; not a run of culnig")
    if np.ndim(version) or version != schema.RUN_FORMAT_VERSION:
        raise StoreError(
            f"{path}: format version {version}, this culnig reads {schema.RUN_FORMAT_VERSION}; "
            "use the version of culnig-engine that run.json names"
        )


def _describe(name: str, group: h5py.Group) -> StoredBenchmark:
    role, split = group.attrs.get(schema.ROLE), group.attrs.get(schema.SPLIT)
    if not isinstance(role, str) or role not in _ROLES:
        raise StoreError(
            f"{group.file.filename}: {group.name}: role is {role!r}, expected one of {', '.join(_ROLES)}"
        )
    if split not in _SPLITS:
        raise StoreError(
            f"{group.file.filename}: {group.name}: split is {split!r}, expected one of {', '.join(_SPLITS)}"
        )
    cultures, n_items = tables.read_cultures(group)
    counts = tuple(n_items.tolist())
    return StoredBenchmark(name, role, str(split), cultures, sum(counts), counts)  # type: ignore[arg-type]
