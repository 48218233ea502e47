"""Everything that `plan` says about a model and a run, and the settings it recommends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from culnig.benchmarks.base import ChosenItems
from culnig.core.neurons import POOLS
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, batch_shapes
from culnig.inference.encoding import Encoder
from culnig.models.base import BoundModel
from culnig.planning.choice import Machine, Option, fastest, find_options, useful_budget
from culnig.planning.memory import (
    RUNTIME_BYTES,
    MemoryPlan,
    item_bytes,
    plan_memory,
    table_bytes,
    text_bytes,
)
from culnig.planning.spread import SpreadPlan, plan_spread
from culnig.planning.work import BenchmarkSize, max_length, parts_bytes, plan_disk, run_flops


def plan_run(
    skeleton: BoundModel,
    benchmarks: Mapping[str, BenchmarkSize],
    machine: Machine,
    *,
    token_budget: int | None = None,
    quantize: str | None = None,
    checkpointing: bool = False,
    spreads: bool = False,
) -> dict[str, Any]:
    """The plan as a document; with `spreads` also that of a model spread over all devices.

    `disk_of_parts` is what a run also needs until it is finished.

    Without a token budget it is that of `score`: the largest useful one that fits a device, with the settings
    asked for, and a fixed one on a CPU. `memory` is that of one device, or of the host.
    """
    sizes = list(benchmarks.values())
    longest = max(1, max_length(sizes))
    spent = table_bytes(skeleton, max(size.n_cultures for size in sizes)) + _text_bytes(skeleton, sizes)
    if not machine.on_device:
        spent += _item_bytes(sizes) + RUNTIME_BYTES
    options = find_options(skeleton, machine, spent, longest, quantize, checkpointing)
    flops = run_flops(skeleton, sizes)
    spread = None
    if spreads:
        spread, option = plan_spread(
            *(skeleton, sizes, machine, spent, longest, flops, token_budget), checkpointing=checkpointing
        )
        options.append(option)
    if token_budget is None:
        budget = options[0].token_budget if machine.on_device else DEFAULT_TOKEN_BUDGET
        token_budget = useful_budget(budget, longest) if machine.on_device else budget
    memory = planned_memory(
        skeleton,
        benchmarks,
        token_budget=token_budget,
        on_device=machine.on_device,
        quantize=quantize,
        checkpointing=checkpointing,
        n_devices=options[0].devices_each,
    )
    n_items, n_tokens = largest_batch(sizes, token_budget)
    chosen = fastest(options)
    return {
        "model": skeleton.source,
        "adapter": skeleton.adapter,
        "neurons": count_neurons(skeleton),
        "parameters": sum(parameter.numel() for parameter in skeleton.model.parameters()),
        "dtype": str(skeleton.model.dtype).removeprefix("torch."),
        "batch": {"token_budget": token_budget, "n_items": n_items, "n_tokens": n_tokens},
        "memory": {**memory.record(), "n_devices": options[0].devices_each},
        "machine": asdict(machine),
        "spread": None if spread is None else spread.record(),
        "fits": memory.peak <= machine.room,
        "options": [option.record(flops, machine.tflops) for option in options],
        "recommended": [] if chosen is None else _recommended(chosen, longest, spread),
        "launch": "" if chosen is None else chosen.launch,
        "disk": asdict(plan_disk(skeleton, sizes)),
        "disk_of_parts": parts_bytes(skeleton, sizes, token_budget),
        "work": {
            "n_items": sum(len(size.lengths) for size in sizes),
            "n_tokens": sum(size.n_tokens + sum(size.text_lengths) for size in sizes),
            "saved_by_sharing": 0.0,  # every prompt is computed whole; scripts may read the key
            "flops": flops,
            "seconds": None if machine.tflops is None else flops / (machine.tflops * 1e12),
        },
    }


def _recommended(option: Option, longest: int, spread: SpreadPlan | None) -> list[str]:
    budget = useful_budget(option.token_budget, longest)
    if spread is not None and "--fsdp" in option.settings:
        budget = spread.used_budget
    return [*option.settings, f"--token-budget {budget}"]


def benchmark_sizes(bound: BoundModel, chosen: Mapping[str, ChosenItems]) -> dict[str, BenchmarkSize]:
    """Cultures and prompt lengths of benchmarks; InputError names an item that is too long for the model."""
    encoder = Encoder(bound)
    return {
        name: BenchmarkSize.of(encoder.encode_all(benchmark.items))
        if benchmark.likelihood
        else BenchmarkSize(
            n_cultures=len({item.culture for item in benchmark.items}),
            lengths=[len(encoder.prompt_ids(item)) for item in benchmark.items],
        )
        for name, benchmark in chosen.items()
    }


def count_neurons(skeleton: BoundModel) -> dict[str, int]:
    """Neurons in all and per pool."""
    layout = skeleton.layout
    counts = {pool: len(layout.pool(pool)) for pool in POOLS}
    return {"total": layout.n_neurons} | {pool: count for pool, count in counts.items() if count}


def largest_batch(sizes: list[BenchmarkSize], token_budget: int) -> tuple[int, int]:
    """Items and tokens per item of the batch with the most tokens."""
    shapes = [shape for size in sizes for shape in batch_shapes(size.lengths, token_budget)]
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
    n_devices: int = 1,
) -> MemoryPlan:
    """Only the memory of a run; `score` records it beside the measured peak.

    Of the fullest of the `n_devices` that one process is spread over.
    """
    sizes = list(benchmarks.values())
    return plan_memory(
        skeleton,
        *largest_batch(sizes, token_budget),
        max(size.n_cultures for size in sizes) * n_scorers,
        on_device=on_device,
        quantize=quantize,
        checkpointing=checkpointing,
        items=_item_bytes(sizes),
        texts=_text_bytes(skeleton, sizes),
        n_devices=n_devices,
    )


def _item_bytes(sizes: list[BenchmarkSize]) -> int:
    n_tokens = sum(size.n_tokens + size.n_targets for size in sizes)
    return item_bytes(sum(len(size.lengths) for size in sizes), n_tokens)


def _text_bytes(skeleton: BoundModel, sizes: list[BenchmarkSize]) -> int:
    return text_bytes(skeleton, max(size.n_targets for size in sizes))
