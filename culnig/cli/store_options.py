"""Options of `score` about what is stored, and whether the disk can hold it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.cli.options import Command, together
from culnig.cli.output import size_text
from culnig.core.neurons import parse_layers
from culnig.errors import InputError
from culnig.scorers.base import GRADIENT_ACTIVATION

if TYPE_CHECKING:
    from culnig.models.base import BoundModel
    from culnig.planning.work import BenchmarkSize
    from culnig.scoring.run import RunSettings


@dataclass(frozen=True)
class StoreChoice:
    """What the options say."""

    level: Any
    score_type: Any
    modules: tuple[str, ...]
    layers: str | None
    items: tuple[str, ...]
    halves: bool
    compression: Any
    force: bool

    def settings(self, *, gradient_checkpointing: bool, scorers: Sequence[str] = ()) -> RunSettings:
        """As the run takes it; UsageError where options do not go together."""
        from culnig.scoring.levels import StoredTensors
        from culnig.scoring.run import RunSettings

        tensors = StoredTensors(
            self.modules, () if self.layers is None else parse_layers(self.layers), self.items
        )
        if tensors != StoredTensors() and self.level != "token":
            raise click.UsageError(
                "--modules, --layers and --items choose the tensors of --level token; at level "
                f"{self.level!r} all are scored. For fewer items use --culture, --limit or --per-culture"
            )
        if self.score_type != "float32" and self.level != "item":
            raise click.UsageError("--score-type is the number format of --level item")
        return RunSettings(
            level=self.level,
            score_type=self.score_type,
            tensors=tensors,
            halves=self.halves,
            compression=self.compression,
            scorers=tuple(
                registry.scorer(name) for name in dict.fromkeys(scorers) if name != GRADIENT_ACTIVATION
            ),
            gradient_checkpointing=gradient_checkpointing,
        )


def store_options() -> Callable[[Command], Command]:
    """--level and what goes with it."""
    return together(
        click.option(
            "--level",
            type=click.Choice(["culture", "item", "token"]),
            default="culture",
            show_default=True,
            help="What is stored: sums per culture, beside them the score of every item, or activations and "
            "gradients at every token.",
        ),
        click.option(
            "--score-type",
            type=click.Choice(["float32", "float16"]),
            default="float32",
            show_default=True,
            help="Number format of stored item scores.",
        ),
        click.option(
            "--halves",
            is_flag=True,
            help="Keep sums over half of the questions too: `select --stability` without item scores.",
        ),
        click.option("--modules", multiple=True, help="Level token: only these modules, such as gate_proj."),
        click.option("--layers", help="Level token: only these layers, such as 0-3,7."),
        click.option(
            "--items", multiple=True, help="Level token: only items of this id; * stands for any characters."
        ),
        click.option(
            "--compression",
            type=click.Choice(["none", "fast", "default"]),
            default="default",
            show_default=True,
            help="How files are packed.",
        ),
        click.option("--force", is_flag=True, help="Write even if the disk looks too small."),
    )


def disk_need(
    bound: BoundModel,
    chosen: Mapping[str, ChosenItems],
    sizes: Mapping[str, BenchmarkSize],
    how: RunSettings,
    token_budget: int,
) -> int:
    """Most bytes that a run takes while it is made. InputError where no stored item was chosen."""
    from culnig.planning.work import culture_bytes, max_length, parts_bytes
    from culnig.store.item_scores import item_bytes

    all_sizes = list(sizes.values())
    need = (1 + len(how.scorers)) * (
        culture_bytes(bound, all_sizes) + parts_bytes(bound, all_sizes, token_budget)
    )
    if how.halves:
        need += (1 + len(how.scorers)) * culture_bytes(bound, all_sizes)
    if how.level == "item":
        each = item_bytes(bound.layout.n_neurons, how.score_type, max_length(all_sizes))
        need += each * sum(len(size.lengths) for size in all_sizes)
    if how.level == "token":
        n_neurons = sum(segment.width for segment in how.tensors.segments(bound.layout))
        n_tokens = 0
        for name, those in chosen.items():
            places = how.tensors.item_indices(those.items)
            lengths = sizes[name].lengths
            n_tokens += sum(lengths) if places is None else sum(lengths[place] for place in places)
        if n_tokens == 0:
            raise InputError(f"no item is named {', '.join(how.tensors.items)}; ids are as in `inspect`")
        need += n_tokens * n_neurons * 2 * bound.model.dtype.itemsize
    return need


def announce_disk(say: Callable[[str], None], folder: Path, need: int, *, force: bool) -> None:
    """Say what the run takes on the disk; EnvironmentProblem where there is less, unless `force`."""
    from culnig.store.files import require_space

    say(f"disk: up to {size_text(need)}")
    if not force:
        require_space(folder, need)
