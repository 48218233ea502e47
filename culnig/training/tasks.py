"""Tasks: a benchmark's items to train on, in their first wording, and those that judge the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from culnig.benchmarks.base import Benchmark
from culnig.core.items import Item
from culnig.errors import DataFileError, TrainingError, option


@dataclass(frozen=True)
class Task:
    """The examples that a model is fine-tuned on."""

    name: str
    examples: Sequence[Item]
    """In file order, first wording, all labelled."""


def read_task(benchmark: Benchmark, data_dir: Path | str | None, n_examples: int | None, seed: int) -> Task:
    """The examples of a benchmark, `n_examples` of them drawn by `seed` (None: its own number, or all).

    TrainingError if it has none, or answers in free text.
    """
    try:
        items = list(benchmark.read_training(None if data_dir is None else Path(data_dir)))
    except DataFileError as error:
        if error.path.exists():  # the file is there and something is wrong with it
            raise
        raise TrainingError(f"task {benchmark.name!r} has no training split here: {error.args[0]}") from None
    if not items:
        raise TrainingError(
            f"task {benchmark.name!r} has no training split: none of its items is in the split identify; "
            "declare one in a YAML file (`split: identify` or columns.split, docs/training.md)"
        )
    if any(not item.options for item in items):
        raise TrainingError(f"task {benchmark.name!r} is answered in free text; training needs labels")
    if any(item.likelihood for item in items):
        raise TrainingError(
            f"task {benchmark.name!r} reads its options as texts; training needs labels, so declare it with "
            "`answer_by: label`"
        )
    examples = first_wording(items)
    n_drawn = n_examples if n_examples is not None else benchmark.training_examples
    if n_drawn is not None and n_drawn < len(examples):
        indices = np.sort(np.random.default_rng(seed).permutation(len(examples))[:n_drawn])
        examples = [examples[index] for index in indices]
    return Task(benchmark.name, examples)


def check_licence(benchmark: Benchmark, *, has_permission: bool) -> None:
    """TrainingError if the data's licence does not allow training, and nobody has said to have permission."""
    licence = benchmark.licence
    if licence is None or licence["training"] == "allowed" or has_permission:
        return
    why = "forbids training" if licence["training"] == "forbidden" else "is not known to allow training"
    raise TrainingError(
        f"task {benchmark.name!r}: its licence ({licence['name']}) {why}; read its terms or ask its authors, "
        f"then add {option('i_have_permission')}, which the training records"
    )


def first_wording(items: Sequence[Item]) -> list[Item]:
    """The items in the first item's wording; ids in several wordings end in `/` and the wording."""
    endings = [item.id.rpartition("/") for item in items]
    wordings = [
        ending if slash and ending != item.culture else ""
        for (_, slash, ending), item in zip(endings, items, strict=True)
    ]
    return [item for item, wording in zip(items, wordings, strict=True) if wording == wordings[0]]
