"""Reading a run folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Role
from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout, Segment
from culnig.core.notebook import html_table, optional_package
from culnig.core.outcomes import Outcomes
from culnig.core.questions import count_questions
from culnig.errors import StoreError, UnknownNameError, argument, command, option
from culnig.provenance import file_hash
from culnig.scorers.base import GRADIENT_ACTIVATION
from culnig.store import schema, tables
from culnig.store.data_parts import Part, belongs_to, check_items, data_files, read_part, rows_of
from culnig.store.files import write_with
from culnig.store.frames import as_xarray, write_parquet
from culnig.store.hdf5 import open_hdf5
from culnig.store.item_scores import ItemScores
from culnig.store.output_folder import owned_file
from culnig.store.output_kind import REPLACES
from culnig.store.record import check_owner, one_of, open_scores, read_run_record, run_id
from culnig.store.tensors import Tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class StoredBenchmark:
    """The record of one benchmark in `scores.h5`, before its tables are read."""

    name: str
    role: Role
    split: str
    cultures: tuple[str, ...]
    n_items: int
    items_of_culture: tuple[int, ...]
    """Items of each culture, in the order of `cultures`."""


class TableRows(NamedTuple):
    """Rows of a table that `Run.blocks` walks over."""

    benchmark: str
    table: str
    """`schema.SUM` or `schema.SUM_OF_SQUARES`."""
    rows: Sequence[int] | None = None
    """Indices of the cultures to read, in this order; None for all."""


class Run:
    """A finished run. Tables are read on demand."""

    def __init__(self, folder: Path | str, scorer: str | None = None) -> None:
        """Open the run in `folder`, with the tables of a scorer (None: gradient × activation).

        StoreError if there is no run, or it is damaged or unfinished. UnknownNameError if it was not
        scored with that scorer.
        """
        self.folder = Path(folder)
        self.scorer = None if scorer == GRADIENT_ACTIVATION else scorer
        if not os.path.lexists(self.folder):
            raise StoreError(f"{self.folder}: no such run; make one with `{command('score')}`")
        self.record = read_run_record(self.folder)
        stored = self.record["settings"].get("scorers", [])
        if self.scorer is not None and self.scorer not in stored:
            raise UnknownNameError(
                f"scorer of run {self.folder}:",
                self.scorer,
                [GRADIENT_ACTIVATION, *stored],
                f"add others when scoring, with {argument('scorers')}",
            )
        self.scores_file = self.folder / schema.SCORES_FILE
        if REPLACES in self.record or not self.scores_file.exists():
            raise StoreError(
                f"{self.folder}: the run is not finished; repeat the same scoring with {option('resume')}"
            )
        with self._open_scores() as file:
            segments = tables.read_layout(file).segments
            self.layout = Layout(segments, self.record["model"].get("layout_hash"))
            benchmarks = tables.group_at(file, schema.BENCHMARKS)
            self.benchmarks: dict[str, StoredBenchmark] = {
                name: _describe(name, tables.group_at(benchmarks, name)) for name in benchmarks
            }

    @contextlib.contextmanager
    def _open_scores(self) -> Iterator[h5py.File]:
        with open_scores(self.scores_file) as file:
            check_owner(file, self.run_id, optional=True)  # another one may have replaced it
            yield file

    @contextlib.contextmanager
    def _benchmark(self, name: str) -> Iterator[h5py.Group]:
        self.stored(name)
        with self._open_scores() as file:
            yield tables.group_at(tables.group_at(file, schema.BENCHMARKS), name)

    @cached_property
    def scores_hash(self) -> str:
        """SHA-256 of `scores.h5`, as it was when the run was finished."""
        recorded = self.record.get(schema.HASHES, {}).get(schema.SCORES_FILE)
        return recorded if isinstance(recorded, str) else file_hash(self.scores_file)

    @cached_property
    def run_id(self) -> str:
        """SHA-256 of the request; all files of a run share it."""
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

    def blocks(self, chosen: Sequence[TableRows]) -> Iterator[tuple[slice, list[NDArray[np.float64]]]]:
        """Iterate over tables of all neurons, one range of neurons at a time, to keep memory small.

        Yields the columns and, for each of the tables, the values (row, neuron of the range). They are in
        buffers that the next step overwrites, so a caller may change them in place.
        """
        with self._open_scores() as file:
            group = tables.group_at(file, schema.BENCHMARKS)
            datasets = []
            for name, table, rows in chosen:
                benchmark = self._tables(tables.group_at(group, name))
                n_cultures = len(tables.read_cultures(benchmark)[0])
                dataset = tables.table_at(benchmark, table, (n_cultures, self.layout.n_neurons))
                datasets.append((dataset, range(dataset.shape[0]) if rows is None else rows))
            yield from tables.read_blocks(datasets, self.layout.n_neurons)

    def total(self, name: str) -> NDArray[np.float64]:
        """Σw over all items of a benchmark, cultures added in their order, shape (neuron,)."""
        with self._benchmark(name) as benchmark:
            stored = tables.read_total(self._tables(benchmark), self.layout.n_neurons)
        if stored is not None:
            return stored
        added = np.empty(self.layout.n_neurons)
        for columns, (sums,) in self.blocks([TableRows(name, schema.SUM)]):
            sums.sum(axis=0, out=added[columns])
        return added

    def first_half(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Items in the first half of the questions, (culture,), and their Σw (culture, neuron).

        StoreError if the run does not keep it.
        """
        with self._benchmark(name) as benchmark:
            half = tables.read_first_half(self._tables(benchmark), self.layout.n_neurons)
        if half is None and self.scorer is not None:
            raise StoreError(
                f"{self.folder} keeps no halves of {name!r}, and item scores of gradient × activation only, "
                f"not of {self.scorer}; score it again with {option('halves')}"
            )
        if half is None:
            raise StoreError(
                f"{self.folder} keeps neither item scores nor halves of {name!r}; score it again with "
                f"{option('level', 'item')}, or with {option('halves')} for split halves alone"
            )
        return half

    def outcomes(self, name: str) -> Outcomes:
        """Item table of a benchmark."""
        with self._benchmark(name) as group:
            return tables.read_outcomes(group)

    def item_parts(self, name: str) -> list[Part]:
        """Parts with the scores of all items of a benchmark, in the order of scoring.

        StoreError if the run has none, or a part is missing, damaged or another run's.
        """
        return self._parts(name, schema.ITEMS_FOLDER, "item")

    def tensor_parts(self, name: str) -> list[Part]:
        """Parts with the tensors of the chosen items of a benchmark, in the order of scoring.

        StoreError if the run has none, or a part is missing, damaged or another run's.
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
        with open_hdf5(part.path) as file:
            yield Tensors(file, part.prompts, self.layout)

    def item_scores(self, name: str, columns: slice = slice(None)) -> NDArray[np.float32]:
        """Score of every item for some neurons (flat indices), before P(gold) and clamp.

        Shape (item, neuron), items in file order. StoreError as for `item_parts`.
        """
        width = len(range(*columns.indices(self.layout.n_neurons)))
        scores = np.empty((self.stored(name).n_items, width), dtype=np.float32)
        for part in self.item_parts(name):
            with self.open_item_scores(part) as stored:
                scores[part.prompts.item] = stored.scores(columns=columns)
        return scores

    def stored(self, name: str) -> StoredBenchmark:
        """The run's record of a benchmark; UnknownNameError if the run has no benchmark of that name."""
        if name not in self.benchmarks:
            raise UnknownNameError(f"benchmark of run {self.folder}:", name, self.benchmarks)
        return self.benchmarks[name]

    def _parts(self, name: str, folder: str, level: str) -> list[Part]:
        n_items = self.stored(name).n_items
        if self.level != level:
            raise StoreError(
                f"{self.folder} was scored at level {self.level!r}; score it again with "
                f"{option('level', level)}"
            )
        kind = schema.ITEMS_FORMAT if level == "item" else schema.TENSORS_FORMAT
        stored = data_files(self.folder, folder, self.record)
        paths = [path for path in stored if belongs_to(path, name)]
        parts = [read_part(path, kind, n_items) for path in paths]
        for part in parts:
            if part.name.run_id != self.run_id or part.name.benchmark != name:
                raise StoreError(
                    f"{part.path} belongs to another run; put the right file back or score again"
                )
        expected = np.arange(n_items)
        if patterns := self.record["settings"].get("items"):
            expected = rows_of(self.outcomes(name).id.tolist(), patterns)
        check_items(self.folder / folder, name, parts, expected)
        return sorted(parts, key=lambda part: (part.name.portion, part.name.first_batch))

    def to_pandas(self, name: str) -> Any:
        """Item table of a benchmark as a pandas DataFrame, one row per item in file order.

        EnvironmentProblem if pandas is not installed.
        """
        return self.outcomes(name).to_pandas()

    def to_xarray(self, name: str) -> Any:
        """Score tables of a benchmark as an xarray Dataset with dimensions culture and neuron.

        Neurons carry module, layer and index. EnvironmentProblem if xarray is not installed.
        """
        return as_xarray(self.moments(name), self.layout, self._facts(name))

    def to_parquet(self, name: str, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write the score tables of a benchmark as a Parquet file, a row for each culture and neuron.

        OutputExistsError if the file exists, EnvironmentProblem if pyarrow is not installed.
        """
        optional_package("pyarrow")
        moments = self.moments(name)
        with owned_file(Path(path), overwrite=overwrite, inputs=(self.folder,)):
            write_with(Path(path), lambda file: write_parquet(file, moments, self.layout, self._facts(name)))
        return Path(path)

    def _facts(self, name: str) -> dict[str, str]:
        return {"benchmark": name, "role": self.benchmarks[name].role, "model": self.model}

    def plot(self, name: str) -> Figure:
        """A matplotlib figure of a benchmark: the sum of positive scores, by module and layer."""
        from culnig.core.plots import layers_figure

        total = np.maximum(self.total(name), 0) / max(1, self.stored(name).n_items)
        table = np.zeros((len(self.layout.modules), self.layout.n_layers))
        for segment in self.layout.segments:
            table[self.layout.modules.index(segment.module), segment.layer] = total[segment.columns].sum()
        title = f"positive scores of {self.model} on {name}, all cultures"
        return layers_figure([(title, self.layout.modules, table)])

    def __repr__(self) -> str:
        n_items = sum(stored.n_items for stored in self.benchmarks.values())
        cultures = {culture for stored in self.benchmarks.values() for culture in stored.cultures}
        scorer = "" if self.scorer is None else f", scorer {self.scorer}"
        return (
            f"<Run {self.folder}: {_count(len(self.benchmarks), 'benchmark')}, {_count(n_items, 'item')}, "
            f"{_count(len(cultures), 'culture')}, {_count(self.layout.n_neurons, 'neuron')} of {self.model}, "
            f"level {self.level}{scorer}>"
        )

    def _repr_html_(self) -> str:
        """For notebooks: what was scored."""
        return html_table(
            f"{self.model}: {self.layout.n_neurons:,} neurons scored, level {self.level}",
            ("benchmark", "role", "split", "items", "questions", "cultures"),
            [
                (
                    *(stored.name, stored.role, stored.split, stored.n_items),
                    count_questions(self.outcomes(stored.name)) or None,
                    ", ".join(stored.cultures),
                )
                for stored in self.benchmarks.values()
            ],
        )

    def with_role(self, role: Role) -> list[StoredBenchmark]:
        """Benchmarks of a role, by name."""
        return [stored for _, stored in sorted(self.benchmarks.items()) if stored.role == role]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _describe(name: str, group: h5py.Group) -> StoredBenchmark:
    role: Role = one_of(group, schema.ROLE, get_args(Role))  # type: ignore[assignment]
    split = one_of(group, schema.SPLIT, ("identify", "test", "all"))
    cultures, n_items = tables.read_cultures(group)
    counts = tuple(n_items.tolist())
    return StoredBenchmark(name, role, split, cultures, sum(counts), counts)
