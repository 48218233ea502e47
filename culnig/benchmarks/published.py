"""Base of the published multiple-choice benchmarks.

Each benchmark names its source, columns and wordings, and turns a row into a `Question`. Every question is
asked in every wording.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from culnig import registry
from culnig.benchmarks.base import Benchmark
from culnig.benchmarks.rows import Row, unique
from culnig.benchmarks.source import Source
from culnig.benchmarks.wordings import label_items, read_wordings
from culnig.core.data_files import own_data
from culnig.core.folding import composed
from culnig.core.items import Item, Split
from culnig.cultures.records import Culture
from culnig.errors import PluginError, UnknownNameError


@dataclass(frozen=True)
class Question:
    """A question read from a row."""

    parts: Mapping[str, str]
    """Values of the template's placeholders, except the options."""
    options: tuple[str, ...]
    gold: int
    """Index of the correct option."""
    culture: str


class PublishedBenchmark(Benchmark):
    """Multiple choice from a published file, with wordings of our own."""

    needs_data_dir = True
    source: Source
    training: Source | None = None
    """The benchmark's training questions, if it has any."""
    id_column: str
    prompts: str
    """File of its wordings in the project's own data."""
    parts: frozenset[str]
    """Placeholders that a template must contain, except the options."""
    n_options: int
    split: Split = "test"
    shuffle: bool = False
    """Whether each item shows the options in its own order."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        """Affects only the shuffles."""

    @abstractmethod
    def question(self, row: Row, names: CultureNames) -> Question:
        """Turn a row into a question; DataFileError if the row is malformed."""

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """All items, row by row, then wording by wording."""
        return self._items(self.source, self.split, data_dir)

    def read_training(self, data_dir: Path | None) -> Iterator[Item]:
        """The items of the published training file, if there is one."""
        if self.training is None:
            return super().read_training(data_dir)
        return self._items(self.training, "identify", data_dir)

    def _items(self, source: Source, split: Split, data_dir: Path | None) -> Iterator[Item]:
        wordings = read_wordings(own_data(self.prompts), {*self.parts, "options"}, n_labels=self.n_options)
        names = CultureNames(self.name)
        for row in unique(source.rows(data_dir, self._commits), self.id_column):
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
    """Cultures by a benchmark's spelling of their names, in Unicode composed form."""

    def __init__(self, benchmark: str) -> None:
        """PluginError if two culture records claim the same spelling."""
        self._benchmark = benchmark
        self._records: dict[str, Culture] = {}
        for record in registry.cultures().values():
            if benchmark in record.names:
                spelling = composed(record.names[benchmark])
                other = self._records.setdefault(spelling, record)
                if other is not record:
                    raise PluginError(
                        f"the cultures {other.key!r} and {record.key!r} both claim "
                        f"names.{benchmark} = {spelling!r}; change one of the records"
                    )

    def find(self, row: Row, column: str) -> Culture:
        """The culture that a row names; DataFileError with near spellings if no record has the spelling."""
        spelling = composed(row.text(column).strip())
        record = self._records.get(spelling)
        if record is None:
            next_step = f"add the spelling to a culture record as names.{self._benchmark}"
            error = UnknownNameError(f"culture of {self._benchmark}", spelling, self._records, next_step)
            raise row.error(error.args[0], column)
        return record

    def get(self, spelling: str) -> Culture | None:
        """The culture with a spelling; None if no record has it."""
        return self._records.get(composed(spelling))
