"""A run made from a stored run: other aggregators, modules, items or cultures, and no model.

It works through the neurons in blocks, and through the stored parts once per block, so that memory stays
below a limit whatever the size of the store. Items are added in the order of scoring, portion by portion, by
the kernels that scored them: with the settings of the stored run the result is that run, to the bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from culnig import kernels
from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout, Segment
from culnig.errors import InputError, StoreError, argument, option
from culnig.reanalysis.aggregation import Aggregation
from culnig.reanalysis.choice import Counts, ItemChoice
from culnig.reanalysis.items import ChosenParts
from culnig.reanalysis.sources import Source, StoredScores, StoredTensors
from culnig.store import schema, tables
from culnig.store.compression import Compression
from culnig.store.data_parts import PartName, Prompts
from culnig.store.item_scores import ItemScoresWriter
from culnig.store.output_folder import check_folder
from culnig.store.prompts import PROMPTS, prompts_of
from culnig.store.record import RUN
from culnig.store.run import Run
from culnig.store.sums import TablesWriter
from culnig.store.writer import Portion, RunWriter

DEFAULT_MEMORY = 1 << 30
_LEAST_BLOCK = 1 << 14
_MOST_BLOCK = 1 << 19
"""Neurons of a block."""

PADDINGS = ("exclude", "zero")


@dataclass(frozen=True)
class Reduction:
    """Settings of a reduction."""

    aggregator: str | None = None
    """How contributions become scores (from tensors only); None takes the stored run's."""
    confidence: bool = True
    """Whether scores are weighted with P(gold)."""
    padding: str = "exclude"
    """`zero` puts a zero beside every item's contributions, as padding does in the paper's released code:
    scores are never negative. `exclude`: padding takes no part."""
    modules: tuple[str, ...] = ()
    layers: tuple[int, ...] = ()
    benchmarks: tuple[str, ...] = ()
    items: ItemChoice = field(default_factory=ItemChoice)
    level: str = "culture"
    """`culture` or `item`: what the new run stores."""

    def __post_init__(self) -> None:
        if self.padding not in PADDINGS:
            raise InputError(f"padding is {self.padding!r}; {' or '.join(PADDINGS)} is allowed")
        if self.level not in ("culture", "item"):
            raise InputError(f"level is {self.level!r}; culture or item is allowed")


Progress = Callable[[int], None]
"""Called with the number of neurons that were just finished, counted once per benchmark."""


class Reducer:
    """A stored run and the settings of its reduction, checked and ready."""

    def __init__(self, run: Run, reduction: Reduction, memory: int = DEFAULT_MEMORY) -> None:
        """Arrays take at most `memory` bytes. InputError or StoreError if the run does not allow it."""
        self.run = run
        self.reduction = reduction
        self._memory = memory
        self._aggregator = self._checked_aggregator()
        self._benchmarks = self._chosen_benchmarks()
        self._answers = {name: run.outcomes(name) for name in self._benchmarks}
        self._sources = {name: self._source(name) for name in self._benchmarks}
        self._counts = {name: self._chosen_items(name) for name in self._benchmarks}
        self._segments = self._chosen_segments()
        self._layout = Layout.of(self._segments)

    @property
    def n_steps(self) -> int:
        """Neurons times benchmarks: what progress counts up to."""
        return self._layout.n_neurons * len(self._benchmarks)

    def write(
        self,
        folder: Path,
        *,
        overwrite: bool = False,
        compression: Compression = "default",
        progress: Progress = lambda n_neurons: None,
    ) -> Run:
        """Make the new run. OutputExistsError if the folder is in use."""
        if folder.resolve() == self.run.folder.resolve():
            raise InputError(f"{folder} is the run to reduce; give another folder with {argument('out')}")
        check_folder(folder, RUN, overwrite=overwrite, inputs=[self.run])
        record = self._record()
        with RunWriter.open(
            folder, record, self._layout, overwrite=overwrite, compression=compression
        ) as writer:
            with writer.new_scores() as benchmarks:
                for name in self._benchmarks:
                    self._write_benchmark(writer, benchmarks.create_group(name), name, progress)
            writer.complete()
        return Run(folder)

    def _write_benchmark(self, writer: RunWriter, group: h5py.Group, name: str, progress: Progress) -> None:
        stored = self.run.benchmarks[name]
        group.attrs[schema.ROLE], group.attrs[schema.SPLIT] = stored.role, stored.split
        items = ChosenParts.of(self._answers[name], self._counts[name], self._sources[name].parts)
        tables.write_counts(group, items.cultures, *items.totals())
        written = TablesWriter(group, items.cultures, self._layout.n_neurons, writer.compression)
        with self._item_writers(writer, name) as keepers:
            start = 0
            for segments in self._blocks(len(items.cultures), items.most_items):
                columns = slice(start, start + sum(segment.width for segment in segments))
                sums = self._reduce_block(name, items, segments, keepers, columns)
                for table in schema.TABLES:
                    written.write(table, slice(None), columns, getattr(sums, table))
                progress(columns.stop - start)
                start = columns.stop
        written.close()
        tables.write_outcomes(group, self._answers[name].take(items.indices))

    def _reduce_block(
        self,
        name: str,
        items: ChosenParts,
        segments: Sequence[Segment],
        keepers: Mapping[Path, ItemScoresWriter],
        columns: slice,
    ) -> CultureMoments:
        """Sums of one block of neurons, portion by portion."""
        width = columns.stop - columns.start
        total = CultureMoments.zeros(items.cultures, width)
        for portion in items.portions():
            sums = CultureMoments.zeros(items.cultures, width)
            for part, rows, indices in portion:
                scores, peaks = self._sources[name].scores(part, segments)
                if self.reduction.padding == "zero":
                    np.maximum(scores, 0, out=scores)
                if part.path in keepers:
                    keepers[part.path].write_columns(columns.start, scores[rows], peaks[rows])
                kernels.add_scores(
                    scores[rows],
                    kernels.ScoreBatch(
                        weight=items.p_gold[indices] if self.reduction.confidence else np.ones(len(rows)),
                        culture_index=items.culture_index[indices],
                        clamp_at_zero=self.run.benchmarks[name].role == "control",
                    ),
                    kernels.ScoreTables(sums.sum, sums.sum_of_squares, sums.positive_count),
                )
            total.add(sums)
        return total

    @contextlib.contextmanager
    def _item_writers(self, writer: RunWriter, name: str) -> Iterator[dict[Path, ItemScoresWriter]]:
        """A part of item scores for every part of the source, where they are asked for."""
        made: dict[Path, ItemScoresWriter] = {}
        if self.reduction.level != "item":
            yield made
            return
        counts = self._counts[name]
        new_index = {item: number for number, item in enumerate(np.flatnonzero(counts).tolist())}
        try:
            for part in self._sources[name].parts:
                rows = np.flatnonzero(counts[part.prompts.item]).tolist()
                if not rows:
                    continue
                prompts = Prompts.of(
                    [new_index[int(part.prompts.item[row])] for row in rows],
                    [part.prompts.tokens(row).tolist() for row in rows],
                    part.prompts.vocabulary.__getitem__,
                )
                portion = Portion(name, part.name.portion, 0, 0)
                path = writer.data_file(schema.ITEMS_FOLDER, portion, part.name.first_batch)
                part_name = PartName(writer.run_id, name, part.name.portion, part.name.first_batch)
                made[part.path] = ItemScoresWriter(
                    path, part_name, prompts, self._layout.n_neurons, compression=writer.compression
                )
            yield made
        except BaseException:
            for keeper in made.values():
                keeper.abandon()
            raise
        for keeper in made.values():
            keeper.close()

    def _blocks(self, n_cultures: int, most_items: int) -> Iterator[list[Segment]]:
        """Consecutive segments whose sums and scores fit into half of the memory."""
        each = 2 * n_cultures * (8 + 8 + 4) + 2 * most_items * (4 + 4)
        most = min(_MOST_BLOCK, max(_LEAST_BLOCK, self._memory // 2 // each))
        block: list[Segment] = []
        width = 0
        for segment in self._segments:
            if block and width + segment.width > most:
                yield block
                block, width = [], 0
            block.append(segment)
            width += segment.width
        if block:
            yield block

    def _checked_aggregator(self) -> str:
        stored = str(self.run.record["settings"].get("aggregator", "max"))
        asked = self.reduction.aggregator or stored
        if self.run.level == "culture":
            raise StoreError(
                f"{self.run.folder} was scored at level 'culture', which keeps sums only; score it again "
                f"with {option('level', 'item')} (other items or cultures) or {option('level', 'token')} "
                "(other aggregators too)"
            )
        if self.run.level == "item" and asked != stored:
            raise StoreError(
                f"{self.run.folder} keeps item scores made with aggregator {stored!r}; for {asked!r} score "
                f"it again with {option('level', 'token')}"
            )
        if self.reduction.padding == "zero" and asked != "max":
            raise InputError(f"padding 'zero' works only with aggregator max, not with {asked!r}")
        if self.reduction.items.bootstrap and self.reduction.level == "item":
            raise InputError("a bootstrap resample contains items several times; store it at level culture")
        return asked

    def _chosen_benchmarks(self) -> list[str]:
        asked = self.reduction.benchmarks or tuple(self.run.benchmarks)
        return [self.run.stored(name).name for name in dict.fromkeys(asked)]

    def _source(self, name: str) -> Source:
        if self.run.level == "item":
            return StoredScores(self.run, name)
        return StoredTensors(self.run, name, Aggregation(self._aggregator), self._memory // 4)

    def _chosen_items(self, name: str) -> Counts:
        stored = [part.prompts.item for part in self._sources[name].parts]
        is_stored = np.zeros(len(self._answers[name].id), dtype=np.int64)
        is_stored[np.concatenate(stored) if stored else np.zeros(0, dtype=np.int64)] = 1
        counts = self.reduction.items.counts(self._answers[name]) * is_stored
        if not counts.any():
            raise InputError(
                f"the choice leaves no stored item of benchmark {name!r} in {self.run.folder}; choose other "
                "cultures or items"
            )
        return counts

    def _chosen_segments(self) -> list[Segment]:
        segments = list(self.run.layout.segments)
        if self.run.level == "token":
            stored = set(self.run.stored_segments(self._benchmarks[0]))
            segments = [segment for segment in segments if segment in stored]
        return Layout(tuple(segments)).chosen(self.reduction.modules, self.reduction.layers)

    def _of_other_items(self, name: str) -> dict[str, Any]:
        """Entries of a benchmark's record that change with its items: no hash is of the chosen ones."""
        prompts = prompts_of(self.run.record, name)
        if prompts is None:
            return {"items_hash": None}
        return {"items_hash": None, PROMPTS: {**prompts, "hash": None, "examples": []}}

    def _record(self) -> dict[str, Any]:
        reduction = self.reduction
        kept = {**self.run.record["settings"]}
        for name in ("scorers", "halves"):  # a reduced run has gradient × activation of chosen items only
            kept.pop(name, None)
        settings: dict[str, Any] = {
            **kept,
            "aggregator": self._aggregator,
            "level": reduction.level,
            "reduced": {
                "confidence": reduction.confidence,
                "padding": reduction.padding,
                "modules": list(self._layout.modules),
                "layers": sorted({segment.layer for segment in self._segments}),
                "items": reduction.items.record(),
            },
        }
        if reduction.level == "item":
            settings["score_type"] = "float32"
        benchmarks = {
            name: {
                **self.run.record["benchmarks"].get(name, {}),
                "n_items": int(self._counts[name].sum()),
                **({} if (self._counts[name] == 1).all() else self._of_other_items(name)),
            }
            for name in self._benchmarks
        }
        return {
            "model": self.run.record["model"],
            "settings": settings,
            "benchmarks": benchmarks,
            "versions": self.run.record.get("versions", {}),
            "sources": [
                {
                    "run": str(self.run.folder),
                    "run_id": self.run.run_id,
                    "scores_hash": self.run.scores_hash,
                }
            ],
            "complete": False,
        }
