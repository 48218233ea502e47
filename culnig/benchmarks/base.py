"""What a benchmark is, and the items of it that take part in a run or an evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from culnig.core.items import Item, Normalization, Role
from culnig.provenance import items_hash


def by_likelihood(normalization: Normalization) -> dict[str, object]:
    """What is recorded about a benchmark whose options are read as texts."""
    of_options = {
        "none": "log-probability of the option's text, summed over its tokens",
        "bytes": "log-probability of the option's text per byte, at the mean length of the item's options",
    }
    return {
        "by": "likelihood",
        "normalize": normalization,
        "target": "log-probability of the gold option's text, summed over its tokens",
        "p_gold": f"share of the gold option: softmax over the options of the {of_options[normalization]}",
    }


def licensed(name: str, *, non_commercial: bool = False) -> Mapping[str, object]:
    """A licence that allows training, as `Benchmark.licence` has it."""
    return {"name": name, "training": "allowed", "non_commercial": non_commercial}


class Benchmark(ABC):
    """Reads items. One subclass per benchmark, registered in the entry-point group `culnig.benchmarks`."""

    name: str
    role: Role
    summary: str
    """One line for `list benchmarks`."""
    needs_data_dir: bool = False
    """Whether the items come from files that the user must have (`--data-dir`, `CULNIG_DATA`)."""
    training_examples: int | None = None
    """Number of questions that the paper fine-tunes on; None for all."""
    control: str | None = None
    """Name of the benchmark that holds the same items without their question, if there is one."""

    licence: Mapping[str, object] | None = None
    """Name of the licence, whether it allows `training` (allowed, forbidden, unknown) and is
    `non_commercial`; None where the program records none."""

    about: Mapping[str, object] | None = None
    """What a declaration says about a published set: paper, licence, languages, cultures."""

    @abstractmethod
    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """All items of both splits in file order. DataFileError if the data is missing or malformed."""

    def read_training(self, data_dir: Path | None) -> Iterator[Item]:
        """Items to fine-tune on, none of the split `test`: those of `identify`, or a file of their own."""
        return (item for item in self.read(data_dir) if item.split == "identify")

    def files(self, data_dir: Path | None) -> Sequence[Path]:
        """The files that the items are made from, prompts included; their hashes go into the run."""
        return ()

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many rows the last `read` left out, by reason."""
        return {}

    def commits(self) -> Mapping[str, str]:
        """The commit of each data set on the hub that `read` has read, by `hub/` and its name."""
        return self._commits

    @cached_property
    def _commits(self) -> dict[str, str]:
        """Where a benchmark notes them."""
        return {}


@dataclass(frozen=True)
class ChosenItems:
    """The items of one benchmark that take part in a run or evaluation."""

    role: Role
    split: str
    items: Sequence[Item]
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each file that the items were made from, by `folder/name`, those of added culture records
    too, and the commit of hub data."""
    licence: Mapping[str, object] | None = None
    """As for `Benchmark`."""
    sample: Mapping[str, object] | None = None
    """How the questions were drawn (`culnig.benchmarks.sampling`); None if none were."""

    @property
    def likelihood(self) -> Normalization | None:
        """How log-probabilities of option texts are compared; None where options are labels."""
        return self.items[0].likelihood if self.items else None

    def record(self, prompts: Mapping[str, object] | None = None) -> dict[str, object]:
        """What a run or evaluation records about the items, and about their prompts (`Encoder.record`)."""
        return {
            "role": self.role,
            "split": self.split,
            "n_items": len(self.items),
            "items_hash": items_hash(self.items),
            "files": dict(self.files),
            **({} if self.likelihood is None else {"answers": by_likelihood(self.likelihood)}),
            **({} if self.licence is None else {"licence": dict(self.licence)}),
            **({} if self.sample is None else {"sample": dict(self.sample)}),
            **({} if prompts is None else {"prompts": dict(prompts)}),
        }
