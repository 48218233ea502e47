"""Peak memory of a scoring run, by part, and the largest token budget that fits.

| part | what | where |
|---|---|---|
| weights | parameters and buffers | device |
| activations | tensors that the bare forward and backward pass of the largest batch holds at once | device |
| capture | activations that the hooks hold longer than autograd alone would | device |
| item scores | a score of every item of a batch and every neuron | device, if it is no CPU |
| score tables | sums, squares and counts, one benchmark at a time | device and host |
| items | questions with their token ids and answers, of all benchmarks | host |
| runtime | the interpreter, torch and transformers | host |

Activations and capture are traced (`tracing`). On a CPU the heap holds more than the live tensors: with
batches of 4 to 36 items of the embedded model the process held 4/3 of them and 170 MB (glibc, torch 2.13).

Where a device map spreads a process over several devices, all numbers are those of the fullest. It holds
whole layers, so up to one more than its share, and the logits of the answer position.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from culnig.inference.batches import LARGEST_USEFUL_BUDGET
from culnig.inference.likelihoods import LOGIT_BYTES, MOST_LOGITS
from culnig.models.base import BoundModel
from culnig.planning.depth import stack_of
from culnig.planning.tracing import peaks_by_depth

TABLE_BYTES = 8 + 8 + 4
"""Per culture and neuron: Σw and Σw² in float64, the count in uint32."""

ITEM_SCORE_BYTES = 4
"""Per item of a batch and neuron, on an accelerator."""

HOST_HEAP = 4 / 3
HOST_WORKSPACE = 170_000_000
RUNTIME_BYTES = 430_000_000
"""Resident set of a process that has imported torch and transformers and built a skeleton."""

ITEM_BYTES, TOKEN_BYTES = 700, 44
"""Per item: the objects that hold it, its answer and probabilities. Per token of its prompt: the id, a
pointer to it (40 bytes in CPython 3.11), and about four letters of text."""

DEVICE_SHARE = 0.9
"""Fraction of a device's memory that tensors can use; its context and gaps between blocks take the rest."""

QUANTIZED_BYTES = {"4bit": 0.5 + 4 / 64, "8bit": 1.0}
"""Per weight of a quantized linear; 4 bits come with a float32 scale for each block of 64."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes by part; see the table at the top of the file."""

    weights: int
    activations: int
    capture: int
    score_tables: int
    runtime: int
    items: int = field(default=0, kw_only=True)
    item_scores: int = field(default=0, kw_only=True)
    on_device: bool
    """Whether weights, activations and capture are on an accelerator; the rest is on the host."""

    @property
    def device_peak(self) -> int:
        """Peak bytes of tensors on the accelerators that the numbers are of; 0 where there is none."""
        parts = self.weights, self.activations, self.capture, self.item_scores, self.score_tables
        return sum(parts) if self.on_device else 0

    @property
    def host_peak(self) -> int:
        """Peak bytes of the process on the host."""
        host = self.score_tables + self.items + self.runtime
        return host if self.on_device else host + self.weights + self.activations + self.capture

    @property
    def peak(self) -> int:
        """The peak that `score` measures: tensors on accelerators where there are any, else the process."""
        return self.device_peak if self.on_device else self.host_peak

    def record(self) -> dict[str, Any]:
        """As a document."""
        return asdict(self) | {"device_peak": self.device_peak, "host_peak": self.host_peak}


def plan_memory(
    skeleton: BoundModel,
    n_items: int,
    n_tokens: int,
    n_cultures: int,
    *,
    on_device: bool,
    quantize: str | None = None,
    checkpointing: bool = False,
    items: int = 0,
    texts: int = 0,
    n_devices: int = 1,
) -> MemoryPlan:
    """Memory of a run whose largest batch is `n_items` prompts of `n_tokens`.

    `items` is `item_bytes`, `texts` are `text_bytes`.

    Of the fullest of the `n_devices` that one process is spread over.
    """
    depth = layers_each(skeleton, n_devices)
    full, bare = (
        peaks_by_depth(skeleton, n_items, n_tokens, [depth], capture=capture, checkpointing=checkpointing)[0]
        for capture in (True, False)
    )
    heap, workspace = (1.0, 0) if on_device else (HOST_HEAP, HOST_WORKSPACE)
    n_neurons = skeleton.layout.n_neurons
    return MemoryPlan(
        weights=weight_bytes(skeleton, quantize, n_devices),
        activations=int(bare * heap) + workspace + texts,
        capture=int((full - bare) * heap),
        item_scores=n_items * n_neurons * ITEM_SCORE_BYTES if on_device else 0,
        score_tables=table_bytes(skeleton, n_cultures),
        runtime=RUNTIME_BYTES,
        items=items,
        on_device=on_device,
    )


def item_bytes(n_items: int, n_tokens: int) -> int:
    """Bytes of items with `n_tokens` tokens in all."""
    return n_items * ITEM_BYTES + n_tokens * TOKEN_BYTES


def text_bytes(skeleton: BoundModel, n_targets: int) -> int:
    """Bytes of the logits at the tokens of texts, `n_targets` in all, that one batch holds at most."""
    return LOGIT_BYTES * min(MOST_LOGITS, n_targets * skeleton.n_embeddings)


def table_bytes(skeleton: BoundModel, n_cultures: int) -> int:
    """Bytes of the tables that hold the sums of a benchmark."""
    return n_cultures * skeleton.layout.n_neurons * TABLE_BYTES


def layers_each(skeleton: BoundModel, n_devices: int) -> int:
    """Most layers on one of the devices that a process is spread over."""
    n_layers = skeleton.layout.n_layers
    return n_layers if n_devices == 1 else min(n_layers, math.ceil(n_layers / n_devices) + 1)


def weight_bytes(skeleton: BoundModel, quantize: str | None = None, n_devices: int = 1) -> int:
    """Bytes of all parameters and buffers, each once however often it is used; of the fullest device."""
    model: Any = skeleton.model
    head = model.get_output_embeddings()
    total = _bytes_of(model, head, quantize)
    if n_devices == 1:
        return total
    stack = stack_of(skeleton)
    largest = max((_bytes_of(layer, head, quantize) for layer in stack.layers), default=0) if stack else total
    return min(total, total // n_devices + largest)


def _bytes_of(part: Any, head: Any, quantize: str | None) -> int:
    from torch import nn

    total = sum(tensor.nbytes for tensor in [*part.parameters(), *part.buffers()])
    if quantize is None:
        return int(total)
    linears = [module for module in part.modules() if isinstance(module, nn.Linear) and module is not head]
    saved = sum(
        linear.weight.nbytes - int(linear.weight.numel() * QUANTIZED_BYTES[quantize]) for linear in linears
    )
    return int(total - saved)


@dataclass(frozen=True)
class BatchBytes:
    """Tensors of a batch of prompts of one length: so many bytes, and so many more for each prompt."""

    fixed: float
    per_item: float

    def items_in(self, room: int) -> int:
        """Most prompts of a batch that fits into `room` bytes."""
        return max(0, int((room - self.fixed) / self.per_item))


def batch_bytes(
    skeleton: BoundModel,
    n_tokens: int,
    n_devices: Sequence[int],
    *,
    on_device: bool,
    checkpointing: bool = False,
) -> dict[int, BatchBytes]:
    """Bytes of batches of prompts of `n_tokens`, by the number of devices that a process is spread over.

    From traces of one prompt and of a batch of the largest useful budget. Between them memory is at most on
    the straight line, because its peak is the largest of several moments that each grow evenly.
    """
    depths = [layers_each(skeleton, n) for n in n_devices]
    n_items = max(2, LARGEST_USEFUL_BUDGET // n_tokens)
    least, most = (
        peaks_by_depth(skeleton, n, n_tokens, depths, checkpointing=checkpointing) for n in (1, n_items)
    )
    heap, workspace = (1.0, 0) if on_device else (HOST_HEAP, HOST_WORKSPACE)
    scores = skeleton.layout.n_neurons * ITEM_SCORE_BYTES if on_device else 0
    bytes_of = {}
    for n, of_one, of_several in zip(n_devices, least, most, strict=True):
        per_item = (of_several - of_one) / (n_items - 1)
        bytes_of[n] = BatchBytes((of_one - per_item) * heap + workspace, per_item * heap + scores)
    return bytes_of
