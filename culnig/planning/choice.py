"""Settings of a run that fit a machine, and the fastest of them.

The time of a run grows with the passes over its tokens. Gradient checkpointing computes every layer twice:
three passes instead of two. Whatever its size, a batch also takes the time to read the weights once per
pass, so small batches are slow. A device map adds memory and no speed, because the devices work one after
the other; so a machine of several devices is divided among as many processes as fit, each with a share of the
items. Quantization changes the scores: it is recommended only where nothing else fits.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from culnig.inference.batches import LARGEST_USEFUL_BUDGET
from culnig.models.base import BoundModel
from culnig.planning.memory import DEVICE_SHARE, batch_bytes, weight_bytes

CHECKPOINTING_TIME = 1.5
"""Forward, forward again and backward, in place of forward and backward."""
FIXED_TOKENS = {True: 256, False: 16}
"""Tokens whose arithmetic takes as long as reading the weights, on an accelerator and on a CPU.

A pass does two operations per token with a weight. In bfloat16 (two bytes) that gives operations per second
over bytes per second, by the makers' data sheets: 989e12 / 3.35e12 = 295 on an H100, 206 on an H200, 156 on
an A100. A CPU with 2e11 operations and 2.5e10 bytes per second has 16 in float32."""


@dataclass(frozen=True)
class Machine:
    """The memory and speed that a run may use."""

    memory: int
    """Bytes of each accelerator, or of the host where there is none."""
    n_devices: int = 1
    on_device: bool = True
    tflops: float | None = None
    """Sustained 10¹² floating-point operations per second of each device."""
    link: float | None = None
    """Sustained 10⁹ bytes per second that each device receives from the others."""

    @property
    def room(self) -> int:
        """Bytes that tensors can use on each device."""
        return int(self.memory * DEVICE_SHARE)

    @property
    def divisions(self) -> list[int]:
        """Numbers of devices that one process may have, where all processes have as many."""
        return [n for n in range(1, self.n_devices + 1) if self.n_devices % n == 0]


@dataclass(frozen=True)
class Option:
    """Settings of a run, and the largest token budget that fits with them."""

    settings: tuple[str, ...]
    """Options of `score`."""
    token_budget: int
    """0 where not even one prompt fits."""
    devices_each: int = 1
    """Devices of one process."""
    n_processes: int = 1
    time: float | None = None
    """Relative to one device, two passes and batches of any size; None where nothing fits."""
    is_exact: bool = True
    """Whether the scores are those of the settings asked for."""

    @property
    def launch(self) -> str:
        """How several processes are started; empty for one."""
        if self.n_processes == 1:
            return ""
        if self.devices_each == 1:
            return f"torchrun --nproc-per-node {self.n_processes} -m culnig score"
        return f"{self.n_processes} shards, each with {self.devices_each} GPUs in CUDA_VISIBLE_DEVICES"

    def record(self, flops: int, tflops: float | None) -> dict[str, Any]:
        """As a document, with the seconds that `flops` operations take."""
        timed = self.time is not None and tflops is not None
        seconds = flops / (tflops * 1e12) * self.time if timed else None  # type: ignore[operator]
        return {**asdict(self), "settings": list(self.settings), "launch": self.launch, "seconds": seconds}


def relative_time(token_budget: int, *, checkpointing: bool, on_device: bool, n_processes: int = 1) -> float:
    """Time of a run with batches of this size; see `Option.time`."""
    budget = min(token_budget, LARGEST_USEFUL_BUDGET)
    passes = CHECKPOINTING_TIME if checkpointing else 1.0
    return passes * (1 + FIXED_TOKENS[on_device] / budget) / n_processes


def find_options(
    skeleton: BoundModel,
    machine: Machine,
    spent: int,
    longest: int,
    quantize: str | None,
    checkpointing: bool,
) -> list[Option]:
    """The fastest division of the machine for every combination of settings, those asked for first.

    `spent` are the bytes on a device, or on the host, that depend on neither batch nor weights.
    """
    bits_tried = [quantize] if quantize or not machine.on_device else [None, "4bit"]
    batches = {
        checked: batch_bytes(
            skeleton, longest, machine.divisions, on_device=machine.on_device, checkpointing=checked
        )
        for checked in dict.fromkeys((checkpointing, True))
    }
    options = []
    for bits in bits_tried:
        for checked, by_devices in batches.items():
            divided = []
            for n, batch in by_devices.items():
                room = machine.room - spent - weight_bytes(skeleton, bits, n)
                settings = _settings(bits, checked, n, machine.n_devices // n)
                budget = batch.items_in(room) * longest
                divided.append(_option(settings, budget, machine, n, checked, bits == quantize))
            options.append(
                min(divided, key=lambda option: (option.time or float("inf"), -option.devices_each))
            )
    return options


def _settings(bits: str | None, checked: bool, devices_each: int, n_processes: int) -> tuple[str, ...]:
    given = {
        f"--quantize {bits}": bits is not None,
        "--gradient-checkpointing": checked,
        "--device-map auto": devices_each > 1,
        f"--shard I/{n_processes}": devices_each > 1 and n_processes > 1,
    }
    return tuple(setting for setting, is_given in given.items() if is_given)


def _option(
    settings: tuple[str, ...], budget: int, machine: Machine, devices_each: int, checked: bool, exact: bool
) -> Option:
    n_processes = machine.n_devices // devices_each
    time = None
    if budget:
        time = relative_time(
            budget, checkpointing=checked, on_device=machine.on_device, n_processes=n_processes
        )
    return Option(settings, budget, devices_each, n_processes, time, exact)


def fastest(options: list[Option]) -> Option | None:
    """The fastest option that fits, of those with the scores asked for if any of them does."""
    fitting = [option for option in options if option.time is not None]
    return min(fitting, key=lambda option: (not option.is_exact, option.time), default=None)


def useful_budget(token_budget: int, longest: int) -> int:
    """The budget to use where `token_budget` fits: no larger than is useful, one prompt at least."""
    return max(longest, min(token_budget, LARGEST_USEFUL_BUDGET))
