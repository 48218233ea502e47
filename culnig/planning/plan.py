"""Everything that `plan` says about a model and a run, and the settings it recommends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from culnig.benchmarks.base import ChosenItems
from culnig.core.neurons import POOLS
from culnig.inference.batches import split_by_budget
from culnig.inference.encoding import Encoder
from culnig.models.base import BoundModel
from culnig.planning.memory import (
    DEVICE_SHARE,
    MemoryPlan,
    item_bytes,
    largest_token_budget,
    plan_memory,
    weight_bytes,
)
from culnig.planning.work import BenchmarkSize, plan_disk, run_flops

LARGEST_USEFUL_BUDGET = 16384
"""Largest recommended budget: a batch of this size keeps a device busy, and a failed batch costs its time."""


@dataclass(frozen=True)
class Machine:
    """The memory and speed that a run may use."""

    memory: int
    """Bytes of each accelerator, or of the host where there is none."""
    n_devices: int = 1
    on_device: bool = True
    tflops: float | None = None
    """Sustained 10¹² floating-point operations per second."""

    @property
    def room(self) -> int:
        """Bytes that tensors can use on all devices together."""
        return int(self.memory * self.n_devices * DEVICE_SHARE)


@dataclass(frozen=True)
class Option:
    """Settings of a run, and the largest token budget that fits with them."""

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
) -> dict[str, Any]:
    """The plan as a document."""
    sizes = list(benchmarks.values())
    n_items, n_tokens = largest_batch(sizes, token_budget)
    memory = planned_memory(
        skeleton,
        benchmarks,
        token_budget=token_budget,
        on_device=machine.on_device,
        quantize=quantize,
        checkpointing=checkpointing,
    )
    longest = max(max(size.lengths, default=1) for size in sizes)
    options = _options(skeleton, memory, machine, longest, quantize, checkpointing)
    flops = run_flops(skeleton, sizes)
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
            "saved_by_sharing": 0.0,  # every prompt is computed whole; scripts may read the key
            "flops": flops,
            "seconds": None if machine.tflops is None else flops / (machine.tflops * 1e12),
        },
    }


def benchmark_sizes(bound: BoundModel, chosen: Mapping[str, ChosenItems]) -> dict[str, BenchmarkSize]:
    """Cultures and prompt lengths of benchmarks; InputError names an item that is too long for the model."""
    encoder = Encoder(bound)
    return {
        name: BenchmarkSize(
            n_cultures=len({item.culture for item in benchmark.items}),
            lengths=[len(encoder.prompt_ids(item)) for item in benchmark.items],
        )
        for name, benchmark in chosen.items()
    }


def count_neurons(skeleton: BoundModel) -> dict[str, int]:
    """Neurons in all and per pool."""
    layout = skeleton.layout
    return {"total": layout.n_neurons} | {pool: len(layout.pool(pool)) for pool in POOLS}


def largest_batch(sizes: list[BenchmarkSize], token_budget: int) -> tuple[int, int]:
    """Items and tokens per item of the batch with the most tokens."""
    shapes = [
        (len(group), max(size.lengths[index] for index in group))
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
) -> MemoryPlan:
    """Only the memory of a run; `score` records it beside the measured peak."""
    sizes = list(benchmarks.values())
    return plan_memory(
        skeleton,
        *largest_batch(sizes, token_budget),
        max(size.n_cultures for size in sizes) * n_scorers,
        on_device=on_device,
        quantize=quantize,
        checkpointing=checkpointing,
        items=item_bytes(sum(len(size.lengths) for size in sizes), sum(size.n_tokens for size in sizes)),
    )


def _options(
    skeleton: BoundModel,
    memory: MemoryPlan,
    machine: Machine,
    longest: int,
    quantize: str | None,
    checkpointing: bool,
) -> list[Option]:
    """Combinations of settings, the simplest first."""
    combinations = [(quantize, checkpointing), (quantize, True)]
    if quantize is None and machine.on_device:
        combinations += [("4bit", False), ("4bit", True)]
    spent = 0 if machine.on_device else memory.score_tables + memory.items + memory.runtime
    options = []
    for bits, checked in dict.fromkeys(combinations):
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
    """Settings of the simplest option that fits the longest prompt; empty where none does."""
    for option in options:
        if option.token_budget >= longest:
            budget = max(longest, min(option.token_budget, LARGEST_USEFUL_BUDGET))
            return [*option.settings, f"--token-budget {budget}"]
    return []
