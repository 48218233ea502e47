"""What the multiple-choice benchmarks that others published have in common.

Each names its source, its columns and its wordings, and turns a row into a `Question`; every question is
asked in every wording.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from culnig import registry
from culnig.benchmarks.base import Benchmark
from culnig.benchmarks.rows import Row, Source, composed, unique
from culnig.benchmarks.wordings import label_items, read_wordings
from culnig.core.data_files import own_data
from culnig.core.items import Item, Split
from culnig.cultures.records import Culture
from culnig.errors import UnknownNameError


@dataclass(frozen=True)
class Question:
    """A row, read."""

    parts: Mapping[str, str]
    """What the templates lay out beside the options."""
    options: tuple[str, ...]
    gold: int
    """Place of the right option."""
    culture: str


class PublishedBenchmark(Benchmark):
    """Multiple choice out of a published file, four wordings of our own."""

    needs_data_dir = True
    source: Source
    training: Source | None = None
    """The same questions to fine-tune on, where they were published."""
    id_column: str
    prompts: str
    """Its wordings, in the project's own data."""
    parts: frozenset[str]
    """What a template must hold beside the options."""
    n_options: int
    split: Split = "test"
    shuffle: bool = False
    """Whether options are shown in an order of their own for every item."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        """Changes the shuffles and nothing else."""

    @abstractmethod
    def question(self, row: Row, names: CultureNames) -> Question:
        """Read a row; DataFileError where something is wrong with it."""

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """All items, row by row, then wording by wording."""
        return self._items(self.source, self.split, data_dir)

    def read_training(self, data_dir: Path | None) -> Iterator[Item]:
        """The items of the published training file, where there is one."""
        if self.training is None:
            return super().read_training(data_dir)
        return self._items(self.training, "identify", data_dir)

    def training_files(self, data_dir: Path | None) -> list[Path]:
        """Data and wordings of the items to fine-tune on."""
        return [*(self.training or self.source).files(data_dir), own_data(self.prompts)]

    def _items(self, source: Source, split: Split, data_dir: Path | None) -> Iterator[Item]:
        wordings = read_wordings(own_data(self.prompts), {*self.parts, "options"}, n_labels=self.n_options)
        names = CultureNames(self.name)
        for row in unique(source.rows(data_dir), self.id_column):
            question = self.question(row, names)
            yield from label_items(
                wordings,
                question.parts,
                question.options,
                question.gold,
                question_id=row.text(self.id_column),
                culture=question.culture,
                split=split,
                shuffle=self.shuffle,
                seed=self.seed,
            )

    def files(self, data_dir: Path | None) -> list[Path]:
        """The data and the wordings."""
        return [*self.source.files(data_dir), own_data(self.prompts)]


class CultureNames:
    """Cultures by the spelling of one benchmark, in Unicode composed form."""

    def __init__(self, benchmark: str) -> None:
        self._benchmark = benchmark
        self._records = {
            composed(record.names[benchmark]): record
            for record in registry.cultures().values()
            if benchmark in record.names
        }

    def find(self, row: Row, column: str) -> Culture:
        """The culture that a row names; DataFileError with near spellings where there is none."""
        spelling = composed(row.text(column).strip())
        record = self._records.get(spelling)
        if record is None:
            next_step = f"a culture record takes the spelling as names.{self._benchmark}"
            error = UnknownNameError(f"culture of {self._benchmark}", spelling, self._records, next_step)
            raise row.error(str(error), column)
        return record

    def get(self, spelling: str) -> Culture | None:
        """The culture of a spelling, None where no record has it."""
        return self._records.get(composed(spelling))
