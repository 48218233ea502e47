"""A run made from a stored run: other aggregators, modules, items or cultures, and no model.

Works through the neurons in blocks, and through the parts of the store once per block, so that memory stays
below a limit whatever the size of the store. Items are added in the order of scoring, portion by portion, by
the kernels that scored them: with the settings of the stored run the result is that run, to the bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from culnig import kernels
from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout, Segment
from culnig.core.outcomes import Outcomes
from culnig.errors import InputError, StoreError
from culnig.reanalysis.aggregation import Aggregation
from culnig.reanalysis.choice import Counts, ItemChoice
from culnig.reanalysis.sources import Source, StoredScores, StoredTensors
from culnig.store import schema, tables
from culnig.store.compression import Compression
from culnig.store.data_parts import PartName, Prompts
from culnig.store.item_scores import ItemScoresWriter
from culnig.store.run import Run
from culnig.store.writer import Portion, RunWriter

DEFAULT_MEMORY = 1 << 30
_LEAST_BLOCK = 1 << 14
_MOST_BLOCK = 1 << 19
"""Neurons of a block."""

PADDINGS = ("exclude", "zero")


@dataclass(frozen=True)
class Reduction:
    """What to make of a stored run."""

    aggregator: str | None = None
    """From tensors: how contributions become scores; None takes the stored run's."""
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
    """A stored run and what to make of it, checked and ready."""

    def __init__(self, run: Run, reduction: Reduction, memory: int = DEFAULT_MEMORY) -> None:
        """`memory` in bytes is kept by all arrays together. InputError, StoreError: what does not fit."""
        self.run = run
        self.reduction = reduction
        self._memory = memory
        self._aggregator = self._checked_aggregator()
        self._benchmarks = self._chosen_benchmarks()
        self._answers = {name: run.outcomes(name) for name in self._benchmarks}
        self._sources = {name: self._source(name) for name in self._benchmarks}
        self._counts = {name: self._chosen_items(name) for name in self._benchmarks}
        self._segments = self._chosen_segments()
        self._layout = Layout.from_widths([(s.layer, s.module, s.width) for s in self._segments])

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
        """Make the new run. OutputExistsError where the folder is in the way."""
        if folder.resolve() == self.run.folder.resolve():
            raise InputError(f"{folder} is the run that is reduced; give another folder with -o")
        record = self._record()
        with RunWriter.open(
            folder, record, self._layout, overwrite=overwrite, compression=compression
        ) as writer:
            with writer.new_scores() as benchmarks:
                for name in self._benchmarks:
                    self._write_benchmark(writer, benchmarks.create_group(name), name, progress)
            writer.complete()
        return Run(folder)

    def _write_benchmark(self, writer: RunWriter, group: Any, name: str, progress: Progress) -> None:
        stored = self.run.benchmarks[name]
        group.attrs[schema.ROLE], group.attrs[schema.SPLIT] = stored.role, stored.split
        items = _Items.of(self._answers[name], self._counts[name], self._sources[name])
        n_items, p_gold_sum = items.totals()
        tables.write_counts(group, items.cultures, n_items, p_gold_sum)
        shape = (len(items.cultures), self._layout.n_neurons)
        moments = CultureMoments.zeros(items.cultures, 0)
        datasets = {
            table: tables.create_table(group, table, shape, getattr(moments, table).dtype, writer.compression)
            for table in schema.TABLES
        }
        with self._item_writers(writer, name) as keepers:
            start = 0
            over_cultures = np.zeros(self._layout.n_neurons)
            for block in self._blocks(len(items.cultures), items.most_items):
                width = sum(segment.width for segment in block)
                made = self._reduce_block(name, items, block, keepers, start)
                for table, dataset in datasets.items():
                    dataset[:, start : start + width] = getattr(made, table)
                np.add.reduce(made.sum, axis=0, out=over_cultures[start : start + width])
                start += width
                progress(width)
        tables.write_total(group, over_cultures, writer.compression)
        tables.write_outcomes(group, self._answers[name].take(items.places))

    def _reduce_block(
        self,
        name: str,
        items: _Items,
        block: Sequence[Segment],
        keepers: Mapping[Path, ItemScoresWriter],
        start: int,
    ) -> CultureMoments:
        """Sums of one block of neurons, portion by portion."""
        width = sum(segment.width for segment in block)
        source, clamp = self._sources[name], self.run.benchmarks[name].role == "control"
        total = CultureMoments.zeros(items.cultures, width)
        for portion in items.portions:
            sums = CultureMoments.zeros(items.cultures, width)
            for part in source.parts:
                rows = items.rows[part.path]
                if part.name.portion != portion or not len(rows):
                    continue
                scores, peaks = source.scores(part, block)
                if self.reduction.padding == "zero":
                    np.maximum(scores, 0, out=scores)
                if part.path in keepers:
                    keepers[part.path].write_columns(start, scores[rows], peaks[rows])
                places = part.prompts.item[rows]
                weight = items.p_gold[places] if self.reduction.confidence else np.ones(len(rows))
                kernels.add_scores(
                    scores[rows],
                    kernels.ScoreBatch(None, weight, items.culture_index[places], clamp),
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
        new_places = {place: number for number, place in enumerate(np.flatnonzero(counts).tolist())}
        try:
            for part in self._sources[name].parts:
                rows = [row for row, place in enumerate(part.prompts.item.tolist()) if counts[place]]
                if not rows:
                    continue
                prompts = Prompts.of(
                    [new_places[int(part.prompts.item[row])] for row in rows],
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
                "with --level item (other items or cultures) or --level token (other aggregators too)"
            )
        if self.run.level == "item" and asked != stored:
            raise StoreError(
                f"{self.run.folder} keeps item scores made with aggregator {stored!r}; for {asked!r} score "
                "it again with --level token"
            )
        if self.reduction.padding == "zero" and asked != "max":
            raise InputError(f"padding 'zero' has a meaning for aggregator max only, not for {asked!r}")
        if self.reduction.items.bootstrap and self.reduction.level == "item":
            raise InputError("a bootstrap resample holds items several times; store it at level culture")
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
        there = np.zeros(len(self._answers[name].id), dtype=np.int64)
        there[np.concatenate(stored) if stored else np.zeros(0, dtype=np.int64)] = 1
        counts = self.reduction.items.counts(self._answers[name]) * there
        if not counts.any():
            raise InputError(
                f"no stored item of benchmark {name!r} in {self.run.folder} is chosen; `inspect` shows "
                "what is there"
            )
        return counts

    def _chosen_segments(self) -> list[Segment]:
        there = list(self.run.layout.segments)
        if self.run.level == "token":
            held = set(self.run.stored_segments(self._benchmarks[0]))
            there = [segment for segment in there if segment in held]
        return Layout(tuple(there)).chosen(self.reduction.modules, self.reduction.layers)

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
                **({} if (self._counts[name] == 1).all() else {"items_hash": None}),
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


@dataclass(frozen=True)
class _Items:
    """The items of one benchmark that take part, as the sums need them."""

    cultures: tuple[str, ...]
    culture_index: Any
    """Row of each item's culture by place, -1 for none."""
    p_gold: Any
    """P(gold) by place."""
    places: Any
    """Places that take part in file order, as often as they do."""
    rows: Mapping[Path, Any]
    """Rows of each part that take part, in the order of scoring, as often as they do."""
    portions: tuple[int, ...]
    most_items: int
    """Of one part."""
    source: Source

    @classmethod
    def of(cls, answers: Outcomes, counts: Counts, source: Source) -> _Items:
        places = np.repeat(np.arange(len(counts)), counts)
        cultures = tuple(dict.fromkeys(answers.culture[places].tolist()))
        index = {culture: row for row, culture in enumerate(cultures)}
        rows = {
            part.path: np.repeat(np.arange(part.prompts.n_items), counts[part.prompts.item])
            for part in source.parts
        }
        return cls(
            cultures,
            np.array([index.get(culture, -1) for culture in answers.culture.tolist()], dtype=np.int64),
            answers.p_gold,
            places,
            rows,
            tuple(dict.fromkeys(part.name.portion for part in source.parts)),
            max((max(part.prompts.n_items, len(rows[part.path])) for part in source.parts), default=0),
            source,
        )

    def totals(self) -> tuple[Any, Any]:
        """Items and Σ P(gold) of each culture, added in the order of scoring."""
        n_items, p_gold = np.zeros(len(self.cultures), np.int64), np.zeros(len(self.cultures))
        for portion in self.portions:
            own = np.zeros(len(self.cultures))
            for part in self.source.parts:
                if part.name.portion == portion:
                    places = part.prompts.item[self.rows[part.path]]
                    np.add.at(n_items, self.culture_index[places], 1)
                    np.add.at(own, self.culture_index[places], self.p_gold[places])
            p_gold += own
        return n_items, p_gold
