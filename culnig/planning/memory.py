"""Peak memory of a scoring run, by part, and the largest token budget that fits.

| part | what | where |
|---|---|---|
| weights | parameters and buffers | device |
| activations | what the bare forward and backward pass of the largest batch holds at once | device |
| capture | what the hooks keep beside that: activations that autograd alone would have let go | device |
| score tables | sums, squares and counts, one benchmark at a time | host |
| runtime | the interpreter, torch and transformers | host |

Activations and capture are traced (`tracing`). On a CPU the heap keeps more than what is alive: over batches
of 4 to 36 items of the embedded model the process held 4/3 of it and 170 MB (glibc, torch 2.13).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from culnig.inference.shared_batches import SharedBatch
from culnig.models.base import BoundModel
from culnig.planning.tracing import peak_batch_bytes, peak_shared_bytes

TABLE_BYTES = 8 + 8 + 4
"""Of one culture and neuron: Σw and Σw² in float64, the count in uint32."""

JOINED_BYTES = 4
"""Of one item and neuron: its score, while the parts of prompts that share prefixes are put together."""

HOST_HEAP = 4 / 3
HOST_WORKSPACE = 170_000_000
RUNTIME_BYTES = 430_000_000
"""Resident set of a process that has imported torch and transformers and built a skeleton."""

DEVICE_SHARE = 0.9
"""Of a device's memory, what tensors can have: the rest goes to its context and to gaps between blocks."""

_TRACED_ITEMS = 64
"""Most items of a traced batch; larger ones grow in proportion."""

QUANTIZED_BYTES = {"4bit": 0.5 + 4 / 64, "8bit": 1.0}
"""Of one weight of a quantized linear; in 4 bits with a float32 scale for each block of 64."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes by part; see the table at the top of the file."""

    weights: int
    activations: int
    capture: int
    score_tables: int
    runtime: int
    on_device: bool
    """Whether weights, activations and capture lie on an accelerator and the rest on the host."""

    @property
    def device_peak(self) -> int:
        """Most bytes of tensors on all accelerators together; 0 where there is none."""
        return self.weights + self.activations + self.capture if self.on_device else 0

    @property
    def host_peak(self) -> int:
        """Most bytes that the process holds on the host."""
        host = self.score_tables + self.runtime
        return host if self.on_device else host + self.weights + self.activations + self.capture

    @property
    def peak(self) -> int:
        """What `score` measures: tensors on the accelerators where there are any, else the process."""
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
    shared: SharedBatch | None = None,
    token_budget: int = 0,
) -> MemoryPlan:
    """Memory of a run whose largest batch is `n_items` prompts of `n_tokens`.

    `shared` is the largest batch whose prompts share prefixes, in turns under `token_budget`.
    """

    def peak(capture: bool) -> int:
        most = 0
        if n_items:
            most = peak_batch_bytes(skeleton, n_items, n_tokens, capture=capture, checkpointing=checkpointing)
        if shared is not None:
            most = max(most, peak_shared_bytes(skeleton, shared, token_budget, capture=capture))
        return most

    full, bare = peak(True), peak(False)
    joined = 0 if shared is None else len(shared.batch.items) * skeleton.layout.n_neurons * JOINED_BYTES
    heap, workspace = (1.0, 0) if on_device else (HOST_HEAP, HOST_WORKSPACE)
    return MemoryPlan(
        weights=weight_bytes(skeleton, quantize),
        activations=int(bare * heap) + workspace,
        capture=int((full - bare) * heap),
        score_tables=n_cultures * skeleton.layout.n_neurons * TABLE_BYTES + joined,
        runtime=RUNTIME_BYTES,
        on_device=on_device,
    )


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
    """Most tokens of a batch of prompts of `n_tokens` whose tensors fit into `room` bytes; 0 for none."""
    if not on_device:
        room = int((room - HOST_WORKSPACE) / HOST_HEAP)
    n_items, needed = 1, peak_batch_bytes(skeleton, 1, n_tokens, checkpointing=checkpointing)
    if room < needed:
        return 0
    # a batch costs nearly as much as its items: traced at the size that one item leads to, or near it
    n_items = min(room // needed, _TRACED_ITEMS)
    needed = peak_batch_bytes(skeleton, n_items, n_tokens, checkpointing=checkpointing)
    return max(1, int(n_items * (room / needed))) * n_tokens
