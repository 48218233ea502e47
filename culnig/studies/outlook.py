"""What steps will need: memory, disk and arithmetic, from configurations alone (`culnig.plan`).

`plan` counts a forward and a backward pass over the items. A forward pass costs half of that, and passes that
also compute gradients of weights one and a half times as much. The passes of each function follow from this.
They are an upper bound: prompts that share a beginning take less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.core.progress import Say
from culnig.core.text import counted, size_text
from culnig.errors import CulnigError, EnvironmentProblem, ModelLoadError
from culnig.evaluation.conditions import DOSE_FACTORS
from culnig.planning.request import PlannedModel, machine_of, plan_of, planned_model
from culnig.planning.work import ITEM_ROW_BYTES
from culnig.scorers.base import GRADIENT_ACTIVATION
from culnig.store.files import free_space
from culnig.studies.hashes import digest
from culnig.studies.keys import keywords_of
from culnig.studies.outside import ITEMS, Outside
from culnig.studies.steps import SETS, Step
from culnig.training.tasks import read_task
from culnig.verification.missed import MOST_ZEROED

PLANS = "plans of steps"
"""What progress is told of."""
FORWARD, TRAINING = 0.5, 1.5
"""Shares of a forward and backward pass to activations."""


@dataclass(frozen=True)
class Need:
    """What a step needs."""

    memory: int = 0
    """Peak bytes on a device, or on the host where there is none."""
    host_memory: int = 0
    """Peak bytes on the host."""
    disk: int = 0
    """Bytes of the output."""
    parts: int = 0
    """Bytes on disk that it needs only until it is done."""
    flops: int = 0
    seconds: float | None = None
    fits: bool = True
    """Whether any settings fit the machine."""
    note: str = ""
    """Why the step does not fit, or why its needs are not known."""
    is_known: bool = True
    assumptions: tuple[str, ...] = ()
    """What the plan assumes."""
    not_read: str = ""
    """Why the model cannot be read here, though its sizes are known."""

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class MachineChoice:
    """The machine to plan for; by default this one."""

    device_memory: int | str | None = None
    gpus: int = 1
    tflops: float | None = None


def need_of(step: Step, outside: Outside, steps: Mapping[str, Step], machine: MachineChoice) -> Need:
    """What a step needs; all zero for those that run no model. CulnigError if it is not known."""
    if (model := step.model) is None or step.function == "plan_training":
        return Need()
    arguments = outside.arguments(step)
    items = _asked(step, outside, arguments)
    options = {key: arguments[key] for key in ("token_budget", "gradient_checkpointing") if key in arguments}

    def planned(chosen: Mapping[str, ChosenItems]) -> Mapping[str, Any]:
        texts = {
            name: [choice.items[0].id, len(choice.items), choice.items[-1].id]
            for name, choice in chosen.items()
        }
        asked = [arguments.get(key) for key in (*ITEMS, "benchmarks", "task", "examples", "control")]
        key = digest([model, texts, asked, options, asdict(machine)])
        if key not in outside.plans:
            on = machine_of(machine.device_memory, machine.gpus, machine.tflops)
            outside.plans[key] = plan_of(_read_once(model, outside), chosen, on, **options)
        return outside.plans[key]

    document = planned(items)
    passes = _passes(step, outside, steps, arguments, document["work"]["n_items"])
    written = _written(step, arguments, items) / document["work"]["n_tokens"]
    flops = int(document["work"]["flops"] * passes * (1 + written))
    if step.function == "compare_arms" and (evaluated := outside.items(step)):
        n_trained = _n_trainings(arguments)
        flops += int(planned(evaluated)["work"]["flops"] * FORWARD * (1 + n_trained))
    memory = document["memory"]
    return Need(
        memory=memory["device_peak" if memory["on_device"] else "host_peak"],
        host_memory=memory["host_peak"],
        disk=_disk(step, arguments, document, passes),
        parts=_n_scored(arguments) * document["disk_of_parts"] if step.function == "score" else 0,
        flops=flops,
        seconds=None if machine.tflops is None else flops / (machine.tflops * 1e12),
        fits=_fits(document),
        note=_too_large(document),
        assumptions=tuple(f"{document['model']}: {line}" for line in document["note"].splitlines()),
        not_read=document["not_read"],
    )


def _read_once(name: str, outside: Outside) -> PlannedModel:
    """What plans need of a model of the study."""
    if name not in outside.planned:
        source, loading = outside.model(name)
        outside.planned[name] = planned_model(source, **loading)
    return outside.planned[name]


def _asked(step: Step, outside: Outside, arguments: Mapping[str, Any]) -> Mapping[str, ChosenItems]:
    """The items that the model reads; for a training, its examples."""
    if "task" not in arguments:
        return outside.items(step)
    known = keywords_of(step.function)
    task = read_task(
        registry.benchmark(arguments["task"]),
        arguments.get("data_dir"),
        arguments.get("examples"),
        arguments.get("seed", known["seed"][1]),
    )
    return {"task": ChosenItems("target", "identify", task.examples)}


def _passes(
    step: Step, outside: Outside, steps: Mapping[str, Step], arguments: Mapping[str, Any], n_items: int
) -> float:
    """How many forward and backward passes over the items a step takes."""
    known = keywords_of(step.function)
    value = {key: arguments.get(key, default) for key, (_, default) in known.items()}
    if step.function == "score":
        scorers = [registry.scorer(name) for name in value["scorers"] if name != GRADIENT_ACTIVATION]
        return 1 + FORWARD * len({target for scorer in scorers for target in scorer.targets})
    if step.function == "evaluate":
        return FORWARD * n_conditions(step, outside, steps, value)
    if step.function == "audit":
        return 1 + FORWARD * float(2 * value["top"] + (MOST_ZEROED if value["bound"] else 0))
    if step.function in ("train", "compare_arms"):
        epochs = float(value["epochs"])
        if value["max_steps"] is not None:
            epochs = value["max_steps"] * value["batch_size"] * value["accumulation"] / n_items
        return TRAINING * epochs * _n_trainings(value)
    return 1.0


def _written(step: Step, arguments: Mapping[str, Any], items: Mapping[str, ChosenItems]) -> int:
    """Most tokens of the answers that a model writes in one pass over the items, beside those of prompts."""
    if step.function != "evaluate":
        return 0
    longest = arguments.get("max_new_tokens", keywords_of("evaluate")["max_new_tokens"][1])
    n_free = sum(not item.options for own in items.values() for item in own.items)
    return int(longest) * n_free


def _n_scored(arguments: Mapping[str, Any]) -> int:
    """How many scores a run has of each neuron."""
    return len({GRADIENT_ACTIVATION, *arguments.get("scorers", ())})


def _n_trainings(arguments: Mapping[str, Any]) -> int:
    """How often a model is trained: with each arm and seed."""
    return len(arguments.get("arms", [""])) * int(arguments.get("seeds", 1))


def n_conditions(step: Step, outside: Outside, steps: Mapping[str, Step], value: Mapping[str, Any]) -> int:
    """Conditions of an evaluation: the unmasked model, and each set at each dose with its random sets."""
    n_sets = sum(
        _n_sets(steps[source.step], source.culture, outside, steps) for source in step.reads["neuron_sets"]
    )
    factors = value["factors"]
    doses = len(DOSE_FACTORS) if value["dose"] else 1
    if isinstance(factors, Sequence) and factors:
        doses = len(factors)
    return 1 + n_sets * doses * len(value["shares"]) * (1 + int(value["random_baseline"]))


def _n_sets(step: Step, culture: str | None, outside: Outside, steps: Mapping[str, Step]) -> int:
    if culture is not None or step.function not in SETS:
        return 1
    named = step.settings.get("cultures", ("all",))
    if "all" not in named:
        return len(named)
    (run,) = step.reads["run"]
    items = outside.items(steps[run.step])
    return len(
        {item.culture for choice in items.values() if choice.role == "target" for item in choice.items}
    )


def _disk(step: Step, arguments: Mapping[str, Any], document: Mapping[str, Any], passes: float) -> int:
    n_items = document["work"]["n_items"]
    if step.function == "score":
        of_culture = document["disk"]["culture"]
        n_tables = _n_scored(arguments) * (2 if arguments.get("halves") else 1)
        return int(document["disk"][arguments.get("level", "culture")] + (n_tables - 1) * of_culture)
    if step.function == "evaluate":
        return int(n_items * passes / FORWARD) * ITEM_ROW_BYTES
    if step.function == "train" or arguments.get("keep_models"):
        return int(document["memory"]["weights"])
    return 0


def _fits(document: Mapping[str, Any]) -> bool:
    """Whether the model fits as requested; a quantized one would be a different model."""
    return any(option["time"] is not None and option["is_exact"] for option in document["options"])


def _too_large(document: Mapping[str, Any]) -> str:
    if _fits(document):
        return ""
    machine, owner = document["machine"], "device" if document["machine"]["on_device"] else "host"
    return (
        f"{document['model']} does not fit on {counted(machine['n_devices'], owner)} of "
        f"{size_text(machine['memory'])}, not even with one prompt at a time; use a larger one"
    )


def outlook(
    todo: Sequence[Step], outside: Outside, steps: Mapping[str, Step], folder: Path, say: Say
) -> dict[str, Exception]:
    """Say what runs need before they begin; returns the steps that cannot run, with the reason.

    EnvironmentProblem if the disk cannot hold the runs.
    """
    refused: dict[str, Exception] = {}
    disk = parts = 0
    for step in todo:
        try:
            if step.function != "score":
                outside.items(step)
                continue
            need = need_of(step, outside, steps, MachineChoice())
            if need.not_read:
                raise ModelLoadError(need.not_read)
            if not need.fits:
                raise EnvironmentProblem(need.note)
        except CulnigError as error:
            refused[step.name] = error
            say(f"{step.name} cannot run: {error}")
        else:
            disk, parts = disk + need.disk, max(parts, need.parts)
            say(f"{step.name}: up to {size_text(need.memory)} of memory, {size_text(need.disk)} on disk")
    free = free_space(folder)
    if disk + parts > free:
        raise EnvironmentProblem(
            f"{folder}: the runs of this study need about {size_text(disk + parts)}, but the disk has only "
            f"{size_text(free)} free; free some space, store less (level), or run fewer steps"
        )
    return refused
