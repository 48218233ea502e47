"""`culnig-engine plan`: what a run will need, from the model's configuration alone."""

from __future__ import annotations

from typing import Any

import click

from culnig.cli.options import (
    ModelChoice,
    ignored_prefix_sharing_option,
    item_options,
    json_option,
    model_options,
)
from culnig.cli.output import percent, print_json, print_line, print_table, size_text
from culnig.cli.progress import progress_view
from culnig.core.quantities import number
from culnig.core.text import time_text
from culnig.models.embedded import model_name


@click.command("plan")
@model_options(spreads=True)
@item_options("identify", required=False, seeded=True, budget_from_memory=True)
@click.option("--device-memory", help="Memory of each GPU, such as 80G; default: this machine's.")
@click.option("--gpus", type=click.IntRange(min=1), default=1, show_default=True, help="Number of GPUs.")
@click.option(
    "--tflops", type=click.FloatRange(min=0, min_open=True), help="Sustained TFLOP/s, for a time estimate."
)
@click.option(
    "--link",
    type=click.FloatRange(min=0, min_open=True),
    help="With --fsdp: GB/s that a GPU receives from the others, for a time estimate.",
)
@click.option("--gradient-checkpointing", is_flag=True, help="Plan with gradient checkpointing.")
@ignored_prefix_sharing_option()
@click.option(
    "--tokens-per-item",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Length of a prompt, if no benchmark is given.",
)
@json_option()
def command(model: ModelChoice, as_json: bool, **options: Any) -> None:
    """Estimate what scoring needs (memory, disk, time) and which settings fit. No weights are read."""
    from culnig.planning.request import plan

    with progress_view() as view:
        document = plan(model.source, say=view.say, **options, **model.options)
    if as_json:
        print_json(document)
    else:
        _print(document)


def _print(plan: dict[str, Any]) -> None:
    machine, batch, memory, work = plan["machine"], plan["batch"], plan["memory"], plan["work"]
    name = model_name(plan["model"])
    print_line(f"{name} ({plan['adapter']}, {plan['dtype']}): {plan['parameters']:,} parameters")
    print_table("Neurons", ("pool", "neurons"), list(plan["neurons"].items()))
    print_line(f"Largest batch: {batch['n_items']} prompts of {batch['n_tokens']} tokens")
    spread = (
        f", a process over {memory['n_devices']} devices: each of them" if memory["n_devices"] > 1 else ""
    )
    print_table(f"Peak memory{spread}", ("part", "where", "size"), _memory_rows(memory))
    each = " each" if machine["n_devices"] > 1 else ""
    owner = "device" if machine["on_device"] else "host"
    verdict = "fits" if plan["fits"] else "does not fit"
    print_line(f"{machine['n_devices']} {owner} of {size_text(machine['memory'])}{each}: this plan {verdict}")
    print_table(
        "Largest token budget for the longest prompt",
        ("settings", "processes", "token budget", "time"),
        [_option_row(row) for row in plan["options"]],
    )
    if plan["spread"]:
        _print_spread(plan["spread"])
    seconds = work["seconds"]
    at = "" if seconds is None else f", {time_text(seconds)} at {machine['tflops']:g} TFLOP/s"
    print_line(
        f"{work['n_items']:,} items, {work['n_tokens']:,} tokens: {work['flops'] / 1e12:,.1f} TFLOP{at}"
    )
    if plan["benchmarks"]:
        print_table(
            "Items, and the independent questions that they are about",
            ("benchmark", "items", "questions"),
            [(row["benchmark"], row["n"], row["n_questions"]) for row in plan["benchmarks"]],
        )
    print_table("Disk", ("level", "size"), [(level, size_text(size)) for level, size in plan["disk"].items()])
    if plan["recommended"]:
        launch = f"{plan['launch']}: " if plan["launch"] else ""
        print_line(f"Recommended: {launch}{' '.join(plan['recommended'])}")
    else:
        print_line("Not even one prompt fits with any settings: use more or larger devices (--gpus)")
    if plan["note"]:
        print_line(plan["note"])


def _print_spread(spread: dict[str, Any]) -> None:
    """What each GPU holds and receives where the model is spread over all of them."""
    rows = [
        ("its share of the weights", size_text(spread["weights"])),
        ("whole weights at once", size_text(spread["gathered"])),
        ("received for each batch", size_text(spread["received"])),
        (f"batches of up to {spread['used_budget']:,} tokens", f"{spread['n_batches']:,}"),
    ]
    if spread["busy"] is not None:
        rows.append(("busy (the rest is waiting for others)", percent(spread["busy"])))
    for key, shown in (
        ("compute_seconds", "arithmetic of a batch"),
        ("gather_seconds", "gathers of a batch"),
    ):
        if spread[key] is not None:
            rows.append((shown, f"{number(spread[key])} s"))
    if spread["items_per_second"] is not None:
        rows.append(("items per second, all GPUs", number(spread["items_per_second"])))
    print_table(f"Spread over {spread['n_processes']} GPUs (--fsdp), each of them", ("part", ""), rows)


def _option_row(option: dict[str, Any]) -> tuple[str, int, int | None, str | None]:
    """Time in seconds where the speed is known, else relative to two passes on one device."""
    time, seconds = option["time"], option["seconds"]
    shown = None if time is None else f"{number(time)} ×" if seconds is None else time_text(seconds)
    settings = " ".join(option["settings"]) or "none"
    return settings, option["n_processes"], option["token_budget"] or None, shown


def _memory_rows(memory: dict[str, Any]) -> list[tuple[str, str, str]]:
    owner = "device" if memory["on_device"] else "host"
    rows = [(part, owner, size_text(memory[part])) for part in ("weights", "activations", "capture")]
    if memory["on_device"]:
        rows.append(("item scores", owner, size_text(memory["item_scores"])))
    rows += [
        (
            "score tables",
            f"{owner} and host" if memory["on_device"] else owner,
            size_text(memory["score_tables"]),
        ),
        ("items", "host", size_text(memory["items"])),
        ("runtime", "host", size_text(memory["runtime"])),
    ]
    if memory["on_device"]:
        rows.append(("all on a device", "device", size_text(memory["device_peak"])))
    return [*rows, ("all on the host", "host", size_text(memory["host_peak"]))]
