"""A model that is spread over GPUs (`--fsdp`): what each holds, what each receives, and how fast that is.

Each GPU holds its share of the weights and computes whole batches of its own. A batch gathers every weight
once on the way forward, and those of the layers once more on the way back. The next layer's weights arrive
while one layer computes, so a batch takes the longer of the two times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from culnig.errors import InputError, argument, option
from culnig.models.base import BoundModel
from culnig.planning.choice import Machine, Option, relative_time, useful_budget
from culnig.planning.depth import stack_of
from culnig.planning.memory import batch_bytes, weight_bytes
from culnig.planning.sharing import shared_out, shares_of
from culnig.planning.work import BenchmarkSize

HELD_LAYERS = 3
"""Layers whose whole weights are in memory at once: one that computes, the next, and the buffer that it comes
in."""

APART = "embed_tokens"
"""transformers' plan gathers an embedding of this name by itself; others together with the head."""


@dataclass(frozen=True)
class Gathers:
    """Bytes of whole weights."""

    forward: int
    """All that a batch gathers on the way forward."""
    backward: int
    """Those of the layers once more, and of an embedding that is gathered by itself."""
    held: int
    """Most that are whole at once."""

    @property
    def per_batch(self) -> int:
        """What each process gathers for a batch, its own share included."""
        return self.forward + self.backward


def gathers_of(skeleton: BoundModel) -> Gathers:
    """What a batch gathers; InputError for a model whose layers are no list."""
    stack = stack_of(skeleton)
    if stack is None:
        raise InputError(
            f"model {skeleton.source!r} has no list of layers to gather one after the other; leave out "
            f"{option('fsdp')}"
        )
    total = _parameter_bytes(skeleton.model)
    layers = [_parameter_bytes(layer) for layer in stack.layers]
    again = sum(layers) + _embedding_bytes(skeleton)
    return Gathers(total, again, total - sum(layers) + HELD_LAYERS * max(layers))


def _embedding_bytes(skeleton: BoundModel) -> int:
    """The embedding of a model whose head has weights of its own, if transformers gathers it by itself.

    torch prefetches what was gathered before the first layer on the way back, too.
    """
    model: Any = skeleton.model
    embedding = model.get_input_embeddings()
    is_apart = any(module is embedding for name, module in model.named_modules() if name.endswith(APART))
    is_tied = model.get_output_embeddings().weight is embedding.weight
    return _parameter_bytes(embedding) if is_apart and not is_tied else 0


def _parameter_bytes(part: Any) -> int:
    return sum(int(parameter.nbytes) for parameter in part.parameters())


@dataclass(frozen=True)
class SpreadPlan:
    """A run whose model is spread; bytes and seconds are those of each GPU."""

    n_processes: int
    weights: int
    """Its share of the weights, and all buffers."""
    gathered: int
    """Weights that are whole at once."""
    token_budget: int
    """Largest that fits; 0 where not even one prompt does."""
    received: int
    """What it receives from the others for a batch."""
    used_budget: int
    """The token budget of the run: as given where it fits, else that of `score`, with which few wait."""
    n_batches: int
    """Batches of each process, the last turn included."""
    busy: float | None
    """Share of the time in which a process has a batch; None where not even one prompt fits."""
    compute_seconds: float | None
    """For a batch; None where the speed is not given."""
    gather_seconds: float | None
    """For a batch; None where the speed of the links is not given."""
    items_per_second: float | None
    """Of all GPUs together."""

    def record(self) -> dict[str, Any]:
        """As a document."""
        return asdict(self)


def plan_spread(
    skeleton: BoundModel,
    sizes: Sequence[BenchmarkSize],
    machine: Machine,
    spent: int,
    longest: int,
    flops: int,
    token_budget: int | None = None,
    *,
    checkpointing: bool,
) -> tuple[SpreadPlan, Option]:
    """The plan, and the option that it is among the others; `spent` as for `find_options`."""
    of = machine.n_devices
    if of < 2 or not machine.on_device:
        raise InputError(
            f"{option('fsdp')} spreads a model over several GPUs; give {option('gpus', 2)} or more, and "
            f"{argument('device_memory')} where this machine has none"
        )
    gathers = gathers_of(skeleton)
    buffers = weight_bytes(skeleton) - gathers.forward
    weights = math.ceil(gathers.forward / of) + buffers
    room = machine.room - spent - weights - gathers.held
    batch = batch_bytes(skeleton, longest, [1], on_device=True, checkpointing=checkpointing)[1]
    budget = batch.items_in(room) * longest
    received = gathers.per_batch * (of - 1) // of
    used, n_batches, busy, time, compute, gather, rate = 0, 0, None, None, None, None, None
    if budget:
        free = shared_out(useful_budget(budget, longest), sizes, of)
        used = free if token_budget is None else min(token_budget, budget)
        shares = shares_of(sizes, used, of)
        n_batches, busy = max(shares.passes), shares.busy
        time = relative_time(used, checkpointing=checkpointing, on_device=True, n_processes=of) / busy
        if machine.tflops is not None:
            seconds = flops / (machine.tflops * 1e12)  # of one GPU, two passes
            compute = seconds * time / n_batches
            gather = None if machine.link is None else received / (machine.link * 1e9)
            time = max(compute, gather or 0.0) * n_batches / seconds
            rate = sum(len(size.lengths) for size in sizes) / (seconds * time)
    settings = ("--fsdp", *(["--gradient-checkpointing"] if checkpointing else []))
    own = (of, weights, gathers.held, budget, received, used, n_batches, busy)
    plan = SpreadPlan(*own, compute, gather, rate)
    return plan, Option(settings, budget, 1, of, time)
