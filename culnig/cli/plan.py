"""`culnig-engine plan`: what a run will need, from the model's configuration alone."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from culnig.benchmarks.base import ChosenItems
from culnig.cli.model_options import ModelChoice, model_options
from culnig.cli.options import item_options, json_option, read_benchmarks
from culnig.cli.output import print_json, print_line, print_table, size_text
from culnig.core.items import SplitChoice
from culnig.errors import ModelLoadError

if TYPE_CHECKING:
    from culnig.models.base import BoundModel
    from culnig.planning.plan import Machine
    from culnig.planning.work import BenchmarkSize

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_CHARACTERS_PER_TOKEN = 3.5
"""Assumed where there is no tokenizer: a little less than English prose has, so that plans err upwards."""


class Size(click.ParamType[int]):
    """Bytes, such as 80G or 24GB (powers of ten)."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes of a text."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", str(value).strip(), re.IGNORECASE)
        if match is None or float(match[1]) == 0:
            self.fail(f"{value!r} is no size; give a number with K, M, G or T, such as 80G", param, ctx)
        return int(float(match[1]) * _UNITS[match[2].upper()])


@click.command("plan")
@model_options()
@item_options("identify", required=False)
@click.option(
    "--device-memory", type=Size(), help="Memory of each GPU, such as 80G; default: this machine's."
)
@click.option("--gpus", type=click.IntRange(min=1), default=1, show_default=True, help="Number of GPUs.")
@click.option(
    "--tflops", type=click.FloatRange(min=0, min_open=True), help="Sustained TFLOP/s, for a time estimate."
)
@click.option("--gradient-checkpointing", is_flag=True, help="Plan with it.")
@click.option(
    "--no-prefix-sharing", is_flag=True, hidden=True, help="No effect: scoring computes every prompt whole."
)
@click.option(
    "--tokens-per-item",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Length of a prompt where no benchmark is given.",
)
@json_option()
def command(
    model: ModelChoice,
    benchmarks: tuple[str, ...],
    data_dir: Path | None,
    split: SplitChoice,
    cultures: tuple[str, ...],
    limit: int | None,
    per_culture: int | None,
    token_budget: int,
    device_memory: int | None,
    gpus: int,
    tflops: float | None,
    gradient_checkpointing: bool,
    no_prefix_sharing: bool,
    tokens_per_item: int,
    as_json: bool,
) -> None:
    """Say what scoring needs: memory, disk, time, and which settings fit. No weights are read."""
    from culnig.planning.plan import plan_run
    from culnig.planning.work import BenchmarkSize

    chosen = read_benchmarks(benchmarks, data_dir, split, cultures, limit, per_culture)
    skeleton = model.skeleton().bound
    note = ""
    if chosen:
        sizes, note = _sizes(model, skeleton, chosen)
    else:
        n_items = max(1, token_budget // tokens_per_item)
        sizes = {"one batch": BenchmarkSize(16, [tokens_per_item] * n_items)}
        note = f"No benchmark was given: one batch of prompts of {tokens_per_item} tokens, 16 cultures."
    plan = plan_run(
        skeleton,
        sizes,
        _machine(device_memory, gpus, tflops),
        token_budget=token_budget,
        quantize=model.settings.quantize,
        checkpointing=gradient_checkpointing,
    )
    if as_json:
        print_json({**plan, "note": note})
        return
    _print(plan, note)


def _sizes(
    model: ModelChoice, skeleton: BoundModel, chosen: dict[str, ChosenItems]
) -> tuple[dict[str, BenchmarkSize], str]:
    """Lengths of the prompts, estimated where the model comes without a tokenizer."""
    from culnig.planning.plan import benchmark_sizes
    from culnig.planning.work import BenchmarkSize

    try:
        tokenizer = model.tokenizer()
    except ModelLoadError:
        estimated = {
            name: BenchmarkSize(
                len({item.culture for item in those.items}),
                [int(len(item.prompt) / _CHARACTERS_PER_TOKEN) + 16 for item in those.items],
            )
            for name, those in chosen.items()
        }
        return estimated, (
            "The model has no tokenizer here: lengths are estimated at "
            f"{_CHARACTERS_PER_TOKEN} characters a token."
        )
    return benchmark_sizes(replace(skeleton, tokenizer=tokenizer), chosen), ""


def _machine(device_memory: int | None, gpus: int, tflops: float | None) -> Machine:
    import torch

    from culnig.planning.plan import Machine

    if device_memory is not None:
        return Machine(device_memory, gpus, on_device=True, tflops=tflops)
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
        return Machine(memory, gpus, on_device=True, tflops=tflops)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(memory, 1, on_device=False, tflops=tflops)


def _print(plan: dict[str, Any], note: str) -> None:
    machine, batch, work = plan["machine"], plan["batch"], plan["work"]
    print_line(f"{plan['model']} ({plan['adapter']}, {plan['dtype']}): {plan['parameters']:,} parameters")
    print_table("Neurons", ("pool", "neurons"), list(plan["neurons"].items()))
    print_line(f"Largest batch: {batch['n_items']} prompts of {batch['n_tokens']} tokens")
    print_table("Peak memory", ("part", "where", "size"), _memory_rows(plan["memory"]))
    each = " each" if machine["n_devices"] > 1 else ""
    place = "device" if machine["on_device"] else "host"
    verdict = "fits" if plan["fits"] else "does not fit"
    print_line(f"{machine['n_devices']} {place} of {size_text(machine['memory'])}{each}: this plan {verdict}")
    print_table(
        "Largest token budget for the longest prompt",
        ("settings", "token budget"),
        [(" ".join(row["settings"]) or "as it is", row["token_budget"] or None) for row in plan["options"]],
    )
    seconds = work["seconds"]
    at = "" if seconds is None else f", {_time(seconds)} at {machine['tflops']:g} TFLOP/s"
    print_line(
        f"{work['n_items']:,} items, {work['n_tokens']:,} tokens: {work['flops'] / 1e12:,.1f} TFLOP{at}"
    )
    print_table("Disk", ("level", "size"), [(level, size_text(size)) for level, size in plan["disk"].items()])
    if plan["recommended"]:
        print_line(f"Recommended: {' '.join(plan['recommended'])}")
    else:
        print_line("Not even one prompt fits, however it is run: use more or larger devices (--gpus)")
    if note:
        print_line(note)


def _memory_rows(memory: dict[str, Any]) -> list[tuple[str, str, str]]:
    place = "device" if memory["on_device"] else "host"
    rows = [(part, place, size_text(memory[part])) for part in ("weights", "activations", "capture")]
    rows += [
        ("score tables", "host", size_text(memory["score_tables"])),
        ("runtime", "host", size_text(memory["runtime"])),
    ]
    if memory["on_device"]:
        rows.append(("all on devices", "device", size_text(memory["device_peak"])))
    return [*rows, ("all on the host", "host", size_text(memory["host_peak"]))]


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
