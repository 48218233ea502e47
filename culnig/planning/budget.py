"""The token budget of a run that is given none.

On CUDA devices it follows from their free memory once the model is loaded: small batches would leave a device
waiting for its weights. On a CPU larger batches gain nothing. A resumed run keeps its own, because the order
of its sums depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from culnig.core.processes import Processes
from culnig.core.progress import Say
from culnig.core.text import size_text
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET
from culnig.models.base import BoundModel
from culnig.planning.choice import useful_budget
from culnig.planning.memory import DEVICE_SHARE, batch_bytes, table_bytes, text_bytes
from culnig.planning.sharing import announce_shares, shared_out
from culnig.planning.work import BenchmarkSize, max_length
from culnig.scoring.run import RunSettings
from culnig.store import schema
from culnig.store.record import read_run_record


def run_budget(
    given: int | None,
    bound: BoundModel,
    sizes: Mapping[str, BenchmarkSize],
    settings: RunSettings,
    folder: Path,
    processes: Processes,
    say: Say,
    *,
    resume: bool = False,
) -> int:
    """The token budget that is given, or `default_budget`; says where processes will wait for each other."""
    budget = given
    if budget is None:
        budget = default_budget(bound, sizes, settings, folder, processes, say, resume=resume)
    announce_shares(say, bound, list(sizes.values()), budget, settings.level)
    return budget


def default_budget(
    bound: BoundModel,
    sizes: Mapping[str, BenchmarkSize],
    settings: RunSettings,
    folder: Path,
    processes: Processes,
    say: Say,
    *,
    resume: bool = False,
) -> int:
    """The token budget of a run in `folder`, the same in every process of a launch.

    That of the unfinished run, with `resume`; on CUDA devices the largest useful one whose batches fit into
    their free memory, where the model was loaded by name. Shards run alone and must agree, so theirs is
    fixed.
    """
    if resume and (folder / schema.RUN_FILE).exists():
        recorded = read_run_record(folder).get("settings", {}).get("token_budget")
        if isinstance(recorded, int):
            return recorded
    devices = _cuda_devices(bound)
    if not devices:
        return DEFAULT_TOKEN_BUDGET
    if processes.is_shard or bound.skeleton is None:
        reason = "shards must agree" if processes.is_shard else "the model was not loaded by name"
        say(f"token budget {DEFAULT_TOKEN_BUDGET:,}: {reason}, so free memory does not decide")
        return DEFAULT_TOKEN_BUDGET
    free = min(free_bytes(device) for device in devices)
    longest = max(1, max_length(list(sizes.values())))
    n_cultures = max(size.n_cultures for size in sizes.values())
    n_tables = 1 + len(settings.scorers)
    room = int(free * DEVICE_SHARE) - n_tables * table_bytes(bound.skeleton, n_cultures)
    room -= text_bytes(bound.skeleton, max(size.n_targets for size in sizes.values()))
    n_devices, checkpointing = len(devices), settings.gradient_checkpointing
    batch = batch_bytes(bound.skeleton, longest, [n_devices], on_device=True, checkpointing=checkpointing)
    budget = processes.least(useful_budget(batch[n_devices].items_in(room) * longest, longest))
    if bound.sharding is not None:
        budget = shared_out(budget, list(sizes.values()), processes.of)
    if processes.is_first:
        each = " on each device" if n_devices > 1 else ""
        say(f"token budget {budget:,}, for {size_text(free)} of free memory{each}")
    return budget


def _cuda_devices(bound: BoundModel) -> set[torch.device]:
    """The devices that compute: of a model that is spread, this process's, wherever its weights are kept."""
    if bound.sharding is not None:
        return {bound.sharding.device} - {torch.device("cpu")}
    return {weight.device for weight in bound.model.parameters() if weight.device.type == "cuda"}


def free_bytes(device: torch.device) -> int:
    """Bytes that new tensors can take on a CUDA device, including what torch holds and does not use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
