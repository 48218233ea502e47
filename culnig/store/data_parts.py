"""Files of item scores and of tensors: parts of a few batches each, with the items' tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from culnig.core.text import file_name
from culnig.errors import StoreError
from culnig.store import schema, tables
from culnig.store.compression import write_column
from culnig.store.formats import check_format
from culnig.store.hdf5 import NewFile, open_hdf5, whole_hdf5

PART_VERSIONS = {
    schema.ITEMS_FORMAT: schema.ITEMS_FORMAT_VERSION,
    schema.TENSORS_FORMAT: schema.TENSORS_FORMAT_VERSION,
}


@dataclass(frozen=True)
class Prompts:
    """Items of a part, in the order of scoring, with the tokens of their prompts."""

    item: NDArray[np.int64]
    """Index of each item in its benchmark's item table, shape (item,)."""
    offsets: NDArray[np.int64]
    """Offset of each item's first token, then the number of all tokens, shape (item + 1,)."""
    token_ids: NDArray[np.int32]
    """Tokens of all items, one after the other, shape (token,)."""
    vocabulary: Mapping[int, str] = field(default_factory=dict)
    """Text of every token that occurs."""

    @classmethod
    def of(
        cls,
        indices: Sequence[int],
        token_ids: Sequence[Sequence[int]],
        text_of: Callable[[int], str] = str,
    ) -> Prompts:
        """From lists; `text_of` gives the text of a token."""
        lengths = [len(ids) for ids in token_ids]
        return cls(
            np.array(indices, dtype=np.int64),
            np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
            np.array([token for ids in token_ids for token in ids], dtype=np.int32),
            {token: text_of(token) for token in sorted({token for ids in token_ids for token in ids})},
        )

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.item)

    @property
    def n_tokens(self) -> int:
        """Number of tokens of all items."""
        return int(self.offsets[-1])

    def tokens(self, row: int) -> NDArray[np.int32]:
        """Tokens of the item in that row."""
        return self.token_ids[self.offsets[row] : self.offsets[row + 1]]


def part_file(benchmark: str, portion: int, first_batch: int) -> str:
    """Name of a part's file."""
    return f"part-{file_name(benchmark)}-{portion:03d}-{first_batch:06d}.h5"


def belongs_to(path: Path, benchmark: str) -> bool:
    """Whether a part belongs to a benchmark, by the name of its file."""
    named = path.stem.removeprefix("part-").rsplit("-", 2)[0]
    return named in (benchmark, file_name(benchmark))  # the first edition wrote the name itself


@dataclass(frozen=True)
class PartName:
    """Which run, benchmark and batches a part belongs to."""

    run_id: str
    benchmark: str
    portion: int
    first_batch: int


def data_files(run: Path, folder: str, record: Mapping[str, Any]) -> list[Path]:
    """Files of a level; StoreError if one is missing or added since the run was finished."""
    files = sorted((run / folder).glob("part-*.h5"))
    recorded = record.get(schema.DATA_FILES)
    if isinstance(recorded, list):
        present = {path.relative_to(run).as_posix() for path in files}
        expected = {str(name) for name in recorded if str(name).startswith(f"{folder}/")}
        if missing := sorted(expected - present):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise StoreError(f"{run / missing[0]} is missing{more}; put it back or score again")
        if added := sorted(present - expected):
            raise StoreError(
                f"{run / added[0]} was not there when the run was finished; remove it, or score again"
            )
    return files


def rows_of(ids: Sequence[str], patterns: Sequence[str]) -> NDArray[np.int64]:
    """Indices of the items whose id matches a pattern (`*` any characters, `?` any single one)."""
    escaped = [pattern.replace("[", "[[]") for pattern in patterns]
    matches = [row for row, own in enumerate(ids) if any(fnmatchcase(own, pattern) for pattern in escaped)]
    return np.array(matches, dtype=np.int64)


def check_items(folder: Path, benchmark: str, parts: Sequence[Part], expected: NDArray[np.int64]) -> None:
    """StoreError unless the parts hold the expected items (their indices), each once."""
    indices = np.concatenate([part.prompts.item for part in parts]) if parts else np.zeros(0, np.int64)
    if not np.array_equal(np.sort(indices), expected):
        n_held = len(np.intersect1d(indices, expected))
        raise StoreError(
            f"{folder}: the parts of {benchmark!r} hold {n_held} of {len(expected)} items; a part is missing "
            "or stored twice. Put the right files back or score again"
        )


class Abandoned(Exception):
    """Raised in the context of a new part to remove it."""


@contextlib.contextmanager
def new_part(path: Path, kind: str, name: PartName, prompts: Prompts) -> Iterator[NewFile]:
    """A part to fill; it appears when the context ends."""
    with whole_hdf5(path) as file:
        file.attrs[schema.FORMAT], file.attrs[schema.FORMAT_VERSION] = kind, PART_VERSIONS[kind]
        file.attrs[schema.RUN_ID], file.attrs[schema.BENCHMARK] = name.run_id, name.benchmark
        file.attrs[schema.PORTION], file.attrs[schema.FIRST_BATCH] = name.portion, name.first_batch
        write_column(file, schema.ITEM, prompts.item)
        write_column(file, schema.OFFSETS, prompts.offsets)
        write_column(file, schema.TOKEN_IDS, prompts.token_ids)
        write_column(file, schema.VOCABULARY_IDS, np.array(list(prompts.vocabulary), dtype=np.int32))
        tables.write_texts(file, schema.VOCABULARY, list(prompts.vocabulary.values()))
        yield file


@dataclass(frozen=True)
class Part:
    """A stored part: its path, what it belongs to, and its items."""

    path: Path
    name: PartName
    prompts: Prompts


def read_part(path: Path, kind: str, n_items: int) -> Part:
    """Name and items of a part, without its data. `n_items` is the number of items of its benchmark.

    StoreError if it is of another kind or version, or damaged.
    """
    with open_hdf5(path) as file:
        return Part(path, _read_name(file, kind), _read_prompts(file, n_items))


def _read_name(file: h5py.File, kind: str) -> PartName:
    named = (file.attrs.get(schema.FORMAT), file.attrs.get(schema.FORMAT_VERSION))
    check_format(Path(file.filename), *named, kind, PART_VERSIONS[kind])
    texts = [file.attrs.get(key) for key in (schema.RUN_ID, schema.BENCHMARK)]
    if not all(isinstance(text, str) for text in texts):
        raise StoreError(f"{file.filename}: attributes {schema.RUN_ID} and {schema.BENCHMARK} are not text")
    counts = [tables.count_attribute(file, key) for key in (schema.PORTION, schema.FIRST_BATCH)]
    return PartName(str(texts[0]), str(texts[1]), *counts)


def _read_prompts(file: h5py.File, n_items: int) -> Prompts:
    items = tables.column_at(file, schema.ITEM, "i")
    item = tables.read_cells(tables.table_at(file, schema.ITEM, (len(items),), "i"))
    offsets = tables.read_cells(tables.table_at(file, schema.OFFSETS, (len(item) + 1,), "i"))
    if offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise StoreError(f"{file.filename}: /{schema.OFFSETS} does not ascend from 0")
    if len(item) and (item.min() < 0 or item.max() >= n_items):
        raise StoreError(
            f"{file.filename}: /{schema.ITEM} names items {item.min()} to {item.max()} of {n_items}"
        )
    if len(np.unique(item)) < len(item):
        raise StoreError(f"{file.filename}: /{schema.ITEM} names an item twice")
    ids = tables.read_cells(tables.table_at(file, schema.TOKEN_IDS, (int(offsets[-1]),), "i"))
    known = tables.read_cells(tables.column_at(file, schema.VOCABULARY_IDS, "i"))
    texts = tables.read_texts(file, schema.VOCABULARY)
    if len(texts) != len(known) or not np.isin(ids, known).all():
        raise StoreError(f"{file.filename}: /{schema.VOCABULARY} does not hold the text of every token")
    return Prompts(item, offsets, ids, dict(zip(known.tolist(), texts, strict=True)))
