"""Whether the disk can hold a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from culnig.benchmarks.base import ChosenItems
from culnig.core.progress import Say
from culnig.core.text import size_text
from culnig.errors import InputError, command
from culnig.models.base import BoundModel
from culnig.planning.work import BenchmarkSize, culture_bytes, max_length, parts_bytes
from culnig.store.files import require_space
from culnig.store.item_scores import item_bytes
from culnig.store.tensors import pair_size

if TYPE_CHECKING:
    from culnig.scoring.run import RunSettings


def disk_need(
    bound: BoundModel,
    chosen: Mapping[str, ChosenItems],
    sizes: Mapping[str, BenchmarkSize],
    settings: RunSettings,
    token_budget: int,
) -> int:
    """Maximum bytes on disk while a run is made. InputError if no item is chosen to be stored."""
    all_sizes = list(sizes.values())
    n_tables = (1 + len(settings.scorers)) * (2 if settings.halves else 1)
    need = n_tables * culture_bytes(bound, all_sizes)
    in_turns = bound.sharding is not None
    need += (1 + len(settings.scorers)) * parts_bytes(bound, all_sizes, token_budget, in_turns=in_turns)
    if settings.level == "item":
        each = item_bytes(bound.layout.n_neurons, settings.score_type, max_length(all_sizes))
        need += each * sum(len(size.lengths) for size in all_sizes)
    if settings.level == "token":
        n_neurons = sum(segment.width for segment in settings.tensors.segments(bound.layout))
        n_tokens = 0
        for name, own in chosen.items():
            indices = settings.tensors.item_indices(own.items)
            lengths = sizes[name].lengths
            n_tokens += sum(lengths) if indices is None else sum(lengths[index] for index in indices)
        if n_tokens == 0:
            raise InputError(
                f"no item has the id {', '.join(settings.tensors.items)}; {command('inspect')} shows the ids"
            )
        need += n_tokens * n_neurons * pair_size(str(bound.model.dtype).removeprefix("torch."))
    return need


def announce_disk(say: Say, folder: Path, need: int, *, force: bool) -> None:
    """Report the disk space a run needs; EnvironmentProblem if less is free, unless `force`."""
    say(f"disk: up to {size_text(need)}")
    if not force:
        require_space(folder, need)
