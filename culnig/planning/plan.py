"""Everything that `plan` says about a model and a run, and the settings it recommends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from culnig.benchmarks.base import ChosenItems
from culnig.core.neurons import POOLS
from culnig.inference.batches import split_by_budget
from culnig.inference.encoding import Encoder
from culnig.inference.shared_batches import SharedBatch
from culnig.models.base import BoundModel
from culnig.planning.memory import (
    DEVICE_SHARE,
    MemoryPlan,
    largest_token_budget,
    plan_memory,
    weight_bytes,
)
from culnig.planning.work import BenchmarkSize, plan_disk, run_flops, share_of_work, shared_batches

LARGEST_USEFUL_BUDGET = 16384
"""Recommended at most: a batch of this size keeps a device busy, and one that does not fit costs its time."""


@dataclass(frozen=True)
class Machine:
    """What a run may use."""

    memory: int
    """Bytes of each accelerator, or of the host where there is none."""
    n_devices: int = 1
    on_device: bool = True
    tflops: float | None = None
    """Sustained 10¹² floating-point operations per second."""

    @property
    def room(self) -> int:
        """Bytes that tensors can have on all devices together."""
        return int(self.memory * self.n_devices * DEVICE_SHARE)


@dataclass(frozen=True)
class Option:
    """A way to run, and the largest token budget that fits with it."""

    settings: tuple[str, ...]
    """Options of `score`."""
    token_budget: int


def plan_run(
    skeleton: BoundModel,
    benchmarks: Mapping[str, BenchmarkSize],
    machine: Machine,
    *,
    token_budget: int,
    quantize: str | None = None,
    checkpointing: bool = False,
    sharing: bool = True,
) -> dict[str, Any]:
    """The plan as a document; `sharing` says whether prompts that begin alike may share that part."""
    sizes = list(benchmarks.values())
    n_items, n_tokens = largest_batch(sizes, token_budget)
    sharing = sharing and not checkpointing
    memory = planned_memory(
        skeleton,
        benchmarks,
        token_budget=token_budget,
        on_device=machine.on_device,
        quantize=quantize,
        checkpointing=checkpointing,
        sharing=sharing,
    )
    longest = max(max(size.lengths, default=1) for size in sizes)
    options = _options(skeleton, memory, machine, longest, quantize, checkpointing)
    left = share_of_work(skeleton, sizes, token_budget) if sharing else 1.0
    flops = int(run_flops(skeleton, sizes) * left)
    return {
        "model": skeleton.source,
        "adapter": skeleton.adapter,
        "neurons": count_neurons(skeleton),
        "parameters": sum(parameter.numel() for parameter in skeleton.model.parameters()),
        "dtype": str(skeleton.model.dtype).removeprefix("torch."),
        "batch": {"token_budget": token_budget, "n_items": n_items, "n_tokens": n_tokens},
        "memory": memory.record(),
        "machine": asdict(machine),
        "fits": memory.peak <= machine.memory * machine.n_devices * DEVICE_SHARE,
        "options": [asdict(option) for option in options],
        "recommended": _recommended(options, longest),
        "disk": asdict(plan_disk(skeleton, sizes)),
        "work": {
            "n_items": sum(len(size.lengths) for size in sizes),
            "n_tokens": sum(size.n_tokens for size in sizes),
            "saved_by_sharing": 1 - left,
            "flops": flops,
            "seconds": None if machine.tflops is None else flops / (machine.tflops * 1e12),
        },
    }


def benchmark_sizes(bound: BoundModel, chosen: Mapping[str, ChosenItems]) -> dict[str, BenchmarkSize]:
    """Cultures and prompt lengths of benchmarks; InputError names an item that is too long for the model."""
    encoder = Encoder(bound)
    sizes = {}
    for name, those in chosen.items():
        prompts = [tuple(encoder.prompt_ids(item)) for item in those.items]
        sizes[name] = BenchmarkSize(
            n_cultures=len({item.culture for item in those.items}),
            lengths=[len(ids) for ids in prompts],
            prompts=prompts,
        )
    return sizes


def count_neurons(skeleton: BoundModel) -> dict[str, int]:
    """Neurons in all and per pool."""
    layout = skeleton.layout
    return {"total": layout.n_neurons} | {pool: len(layout.pool(pool)) for pool in POOLS}


def largest_batch(sizes: list[BenchmarkSize], token_budget: int) -> tuple[int, int]:
    """Items and tokens per item of the batch with the most tokens."""
    shapes = [
        (len(group), max(size.lengths[place] for place in group))
        for size in sizes
        for group in split_by_budget(size.lengths, token_budget)
    ]
    return max(shapes, key=lambda shape: (shape[0] * shape[1], shape[1]), default=(1, 1))


def planned_memory(
    skeleton: BoundModel,
    benchmarks: Mapping[str, BenchmarkSize],
    *,
    token_budget: int,
    on_device: bool,
    quantize: str | None = None,
    checkpointing: bool = False,
    n_scorers: int = 1,
    sharing: bool = True,
) -> MemoryPlan:
    """The memory of a run alone; `score` records it beside what it measures."""
    sizes = list(benchmarks.values())
    shared, plain = largest_batches(skeleton, sizes, token_budget, sharing=sharing)
    return plan_memory(
        skeleton,
        *(plain or (0, 0)),
        max(size.n_cultures for size in sizes) * n_scorers,
        on_device=on_device,
        quantize=quantize,
        checkpointing=checkpointing,
        shared=shared,
        token_budget=token_budget,
    )


def largest_batches(
    skeleton: BoundModel, sizes: list[BenchmarkSize], token_budget: int, *, sharing: bool
) -> tuple[SharedBatch | None, tuple[int, int] | None]:
    """The largest batch that shares prefixes, and the items and tokens per item of the largest other one."""
    if not sharing:
        return None, largest_batch(sizes, token_budget)
    shared: list[SharedBatch] = []
    plain: list[tuple[int, int]] = []
    for size in sizes:
        batches = shared_batches(skeleton, size, token_budget)
        if batches is None:
            plain.append(largest_batch([size], token_budget))
            continue
        for batch in batches:
            if isinstance(batch, SharedBatch):
                shared.append(batch)
            else:
                plain.append((len(batch.items), int(batch.lengths.max())))

    def held(batch: SharedBatch) -> int:
        return batch.prefix_tokens + max(batch.part(rows).rest_tokens for rows in batch.turns(token_budget))

    return (
        max(shared, key=held, default=None),
        max(plain, key=lambda shape: (shape[0] * shape[1], shape[1]), default=None),
    )


def _options(
    skeleton: BoundModel,
    memory: MemoryPlan,
    machine: Machine,
    longest: int,
    quantize: str | None,
    checkpointing: bool,
) -> list[Option]:
    """Ways to run, the plainest first."""
    ways = [(quantize, checkpointing), (quantize, True)]
    if quantize is None and machine.on_device:
        ways += [("4bit", False), ("4bit", True)]
    spent = 0 if machine.on_device else memory.score_tables + memory.runtime
    options = []
    for bits, checked in dict.fromkeys(ways):
        weights = weight_bytes(skeleton, bits)
        budget = largest_token_budget(
            skeleton,
            longest,
            machine.room - weights - spent,
            on_device=machine.on_device,
            checkpointing=checked,
        )
        settings = []
        if bits is not None:
            settings.append(f"--quantize {bits}")
        if checked:
            settings.append("--gradient-checkpointing")
        if machine.on_device and machine.n_devices > 1 and weights > machine.room / machine.n_devices / 2:
            settings.append("--device-map auto")
        options.append(Option(tuple(settings), budget))
    return options


def _recommended(options: list[Option], longest: int) -> list[str]:
    """Settings of the plainest way that fits the longest prompt; empty where none does."""
    for option in options:
        if option.token_budget >= longest:
            budget = max(longest, min(option.token_budget, LARGEST_USEFUL_BUDGET))
            return [*option.settings, f"--token-budget {budget}"]
    return []
