"""Peak memory of a scoring run, by part, and the largest token budget that fits.

| part | what | where |
|---|---|---|
| weights | parameters and buffers | device |
| activations | tensors that the bare forward and backward pass of the largest batch holds at once | device |
| capture | activations that the hooks hold longer than autograd alone would | device |
| score tables | sums, squares and counts, one benchmark at a time | host |
| items | questions with their token ids and answers, of all benchmarks | host |
| runtime | the interpreter, torch and transformers | host |

Activations and capture are traced (`tracing`). On a CPU the heap holds more than the live tensors: with
batches of 4 to 36 items of the embedded model the process held 4/3 of them and 170 MB (glibc, torch 2.13).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from culnig.models.base import BoundModel
from culnig.planning.tracing import peak_batch_bytes

TABLE_BYTES = 8 + 8 + 4
"""Per culture and neuron: Σw and Σw² in float64, the count in uint32."""

HOST_HEAP = 4 / 3
HOST_WORKSPACE = 170_000_000
RUNTIME_BYTES = 430_000_000
"""Resident set of a process that has imported torch and transformers and built a skeleton."""

ITEM_BYTES, TOKEN_BYTES = 700, 44
"""Per item: the objects that hold it, its answer and probabilities. Per token of its prompt: the id, a
pointer to it (40 bytes in CPython 3.11), and about four letters of text."""

DEVICE_SHARE = 0.9
"""Fraction of a device's memory that tensors can use; its context and gaps between blocks take the rest."""

_TRACED_ITEMS = 64
"""Most items of a traced batch; larger batches are extrapolated."""

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
    on_device: bool
    """Whether weights, activations and capture are on an accelerator; the rest is on the host."""

    @property
    def device_peak(self) -> int:
        """Peak bytes of tensors on all accelerators together; 0 where there is none."""
        return self.weights + self.activations + self.capture if self.on_device else 0

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
) -> MemoryPlan:
    """Memory of a run whose largest batch is `n_items` prompts of `n_tokens`; `items` is `item_bytes`."""
    full, bare = (
        peak_batch_bytes(skeleton, n_items, n_tokens, capture=capture, checkpointing=checkpointing)
        for capture in (True, False)
    )
    heap, workspace = (1.0, 0) if on_device else (HOST_HEAP, HOST_WORKSPACE)
    return MemoryPlan(
        weights=weight_bytes(skeleton, quantize),
        activations=int(bare * heap) + workspace,
        capture=int((full - bare) * heap),
        score_tables=n_cultures * skeleton.layout.n_neurons * TABLE_BYTES,
        runtime=RUNTIME_BYTES,
        items=items,
        on_device=on_device,
    )


def item_bytes(n_items: int, n_tokens: int) -> int:
    """Bytes of items with `n_tokens` tokens in all."""
    return n_items * ITEM_BYTES + n_tokens * TOKEN_BYTES


def weight_bytes(skeleton: BoundModel, quantize: str | None = None) -> int:
    """Bytes of all parameters and buffers, each once however often it is used."""
    from torch import nn

    model = skeleton.model
    total = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    if quantize is None:
        return total
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    linears = [module for module in model.modules() if isinstance(module, nn.Linear) and module is not head]
    saved = sum(
        linear.weight.nbytes - int(linear.weight.numel() * QUANTIZED_BYTES[quantize]) for linear in linears
    )
    return total - saved


def largest_token_budget(
    skeleton: BoundModel, n_tokens: int, room: int, *, on_device: bool, checkpointing: bool = False
) -> int:
    """Most tokens of a batch, of prompts of `n_tokens`, whose tensors fit into `room` bytes; 0 for none."""
    if not on_device:
        room = int((room - HOST_WORKSPACE) / HOST_HEAP)
    n_items, needed = 1, peak_batch_bytes(skeleton, 1, n_tokens, checkpointing=checkpointing)
    if room < needed:
        return 0
    # memory is nearly proportional to the items, so trace a batch near the size that one item suggests
    n_items = min(room // needed, _TRACED_ITEMS)
    needed = peak_batch_bytes(skeleton, n_items, n_tokens, checkpointing=checkpointing)
    return max(1, int(n_items * (room / needed))) * n_tokens
