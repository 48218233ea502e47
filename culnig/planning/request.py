"""Plan a run from the model's configuration, the chosen items and the machine; no weights are read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig.benchmarks.base import ChosenItems
from culnig.benchmarks.choosing import BenchmarkChoice, read_benchmarks
from culnig.core.items import SplitChoice
from culnig.core.progress import Say, say_nothing
from culnig.core.questions import count_questions
from culnig.core.sizes import parse_size
from culnig.errors import ModelLoadError
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, LARGEST_USEFUL_BUDGET
from culnig.models.carried import carried_model
from culnig.models.fallbacks import slow_mixers
from culnig.models.loading import load_tokenizer
from culnig.models.named import model_without_weights
from culnig.models.settings import LoadOptions, LoadSettings
from culnig.planning.choice import Machine
from culnig.planning.plan import benchmark_sizes, plan_run
from culnig.planning.work import BenchmarkSize

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from culnig.models.base import BoundModel

_CHARACTERS_PER_TOKEN = 3.5
"""Assumed without a tokenizer: slightly below English prose, so that plans err on the high side."""
_N_CULTURES = 16
"""Assumed without a benchmark."""


def plan(
    model: str | Path | BoundModel,
    benchmarks: BenchmarkChoice = (),
    *,
    data_dir: Path | str | None = None,
    split: SplitChoice = "identify",
    cultures: Sequence[str] = (),
    limit: int | None = None,
    per_culture: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    token_budget: int | None = None,
    device_memory: int | str | None = None,
    gpus: int = 1,
    tflops: float | None = None,
    link: float | None = None,
    gradient_checkpointing: bool = False,
    tokens_per_item: int = 256,
    say: Say = say_nothing,
    **loading: Unpack[LoadOptions],
) -> dict[str, Any]:
    """Estimate what scoring needs (memory, disk, time) and which settings fit.

    Without benchmarks, the plan is for some prompts of `tokens_per_item` tokens. Without a
    `token_budget` it is for that of `score`: what fits a GPU, and a fixed one on a CPU. `device_memory` is
    the memory of each GPU in bytes or as text such as "80G" (by default this machine's), `tflops` its
    sustained TFLOP/s, for an estimate of the time. With several `gpus` all numbers are those of one. With
    `fsdp` the plan has one more option, the model spread over all GPUs, and `spread`: what each holds and
    receives; `link` is the GB/s that a GPU receives from the others. `note` in the result lists the
    assumptions; `not_read` says why the model's own configuration could not be read, if one that comes with
    the program is used in its place. `say` is told what is done.
    """
    chosen: Mapping[str, ChosenItems] = {}
    notes: list[str] = []
    if not isinstance(benchmarks, Sequence | Mapping) or benchmarks:
        say("reading the benchmarks")
        chosen = read_benchmarks(
            benchmarks,
            data_dir,
            split,
            cultures,
            limit,
            per_culture,
            sample=sample,
            seed=seed,
            say=notes.append,
        )
    machine = replace(machine_of(device_memory, gpus, tflops), link=link)
    say("reading the model's configuration")
    planned = planned_model(model, with_tokenizer=bool(chosen), **loading)
    return plan_of(
        *(planned, chosen, machine),
        token_budget=token_budget,
        gradient_checkpointing=gradient_checkpointing,
        tokens_per_item=tokens_per_item,
        notes=notes,
        say=say,
    )


@dataclass(frozen=True)
class PlannedModel:
    """A model as far as plans need it: read once for several of them."""

    bound: BoundModel
    """Without weights; without a tokenizer where there is none here."""
    not_read: str
    """Why its own configuration cannot be read, if its sizes are those that come with the program."""
    loading: LoadOptions


def planned_model(
    model: str | Path | BoundModel, *, with_tokenizer: bool = True, **loading: Unpack[LoadOptions]
) -> PlannedModel:
    """Read what plans need of a model; errors as for `load_model`."""
    not_read = ""
    try:
        bound = model_without_weights(model, **loading)
    except ModelLoadError as error:
        carried = carried_model(str(model), LoadSettings(**loading))
        if carried is None:
            raise
        bound, not_read = carried, str(error)
    if with_tokenizer and isinstance(model, str | Path):
        with contextlib.suppress(ModelLoadError):
            bound = replace(bound, tokenizer=load_tokenizer(str(model), LoadSettings(**loading)))
    return PlannedModel(bound, not_read, loading)


def plan_of(
    planned: PlannedModel,
    chosen: Mapping[str, ChosenItems],
    machine: Machine,
    *,
    token_budget: int | None = None,
    gradient_checkpointing: bool = False,
    tokens_per_item: int = 256,
    notes: Sequence[str] = (),
    say: Say = say_nothing,
) -> dict[str, Any]:
    """`plan` for a model that was read, items that were chosen, and a machine."""
    bound, notes = planned.bound, list(notes)
    if planned.not_read:
        notes.append(
            f"The configuration of {bound.source} cannot be read here: the plan uses the sizes that come "
            "with culnig-engine."
        )
    if chosen:
        say("measuring the prompts")
        sizes, note = _sizes(bound, chosen)
    else:
        default = LARGEST_USEFUL_BUDGET if machine.on_device else DEFAULT_TOKEN_BUDGET
        n_items = max(1, (token_budget or default) // tokens_per_item)
        sizes = {"prompts": BenchmarkSize(_N_CULTURES, [tokens_per_item] * n_items)}
        note = (
            f"No benchmark was given: the plan is for {n_items} prompts of {tokens_per_item} tokens and "
            f"{_N_CULTURES} cultures."
        )
    say("tracing a batch of the longest prompt")
    document = plan_run(
        bound,
        sizes,
        machine,
        token_budget=token_budget,
        quantize=planned.loading.get("quantize"),
        checkpointing=gradient_checkpointing,
        spreads=planned.loading.get("fsdp", False),
    )
    notes += [slow] if (slow := slow_mixers(bound)) else []
    rows = [
        {"benchmark": name, "n": len(own.items), "n_questions": count_questions(own.items)}
        for name, own in chosen.items()
    ]
    note = "\n".join([*notes, *([note] if note else [])])
    return {**document, "not_read": planned.not_read, "benchmarks": rows, "note": note}


def _sizes(bound: BoundModel, chosen: Mapping[str, ChosenItems]) -> tuple[dict[str, BenchmarkSize], str]:
    """Lengths of the prompts, and a note if they are estimated because the model has no tokenizer."""
    if bound.tokenizer is not None:
        return benchmark_sizes(bound, chosen), ""
    estimated = {
        name: BenchmarkSize(
            len({item.culture for item in benchmark_items.items}),
            [int(len(item.prompt) / _CHARACTERS_PER_TOKEN) + 16 for item in benchmark_items.items],
        )
        for name, benchmark_items in chosen.items()
    }
    return estimated, (
        "The model has no tokenizer here: lengths are estimated at "
        f"{_CHARACTERS_PER_TOKEN} characters a token."
    )


def machine_of(device_memory: int | str | None, gpus: int, tflops: float | None) -> Machine:
    """The machine to plan for: GPUs of a given memory, or this one."""
    import torch

    if device_memory is not None:
        return Machine(parse_size(device_memory), gpus, on_device=True, tflops=tflops)
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
        return Machine(memory, gpus, on_device=True, tflops=tflops)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(memory, 1, on_device=False, tflops=tflops)
