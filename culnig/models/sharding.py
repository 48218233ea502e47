"""A model whose weights are spread over the processes of a launch, by torch's own engine (FSDP2).

transformers reads the weights: each process its part of the safetensors files, straight to its device. torch
gathers the weights of one layer before the layer is computed and frees them afterwards, so all processes must
compute layer after layer together. Batches therefore go through the model in turns, one of every process at a
time (`Turns`); a process without a batch computes a short one that nobody sees.

Weights are frozen, so gathers are all that is sent, and each pass of one kind makes the same gathers. A
process that runs out of memory in the middle of a pass makes those that are left, and the others never know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeVar

from culnig.core.processes import Processes, another_may_stop
from culnig.errors import EnvironmentProblem, InputError, ModelLoadError, argument, command, listed, option
from culnig.models.settings import LoadSettings

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

Order = tuple[Any, ...]
"""The modules whose weights a pass gathers, in order."""

TESTED = "torch 2.13 and transformers 5.23"


class Sharding:
    """How a model's weights are spread, and the passes that all processes make together."""

    def __init__(self, model: Any, processes: Processes, weights_hash: str) -> None:
        """Freezes the weights. The hash is that of the whole weights, which need gathering."""
        import torch
        from torch.distributed.fsdp import FSDPModule

        self.processes = processes
        self.weights_hash = weights_hash
        on_cuda = torch.cuda.is_available()
        self.device = torch.device("cuda", torch.cuda.current_device()) if on_cuda else torch.device("cpu")
        """Where this process computes."""
        self.n_bytes = 0
        """Bytes of weights that were gathered in this process, its own part included."""
        self.n_turns = 0
        """Turns so far."""
        self.n_spare = 0
        """Turns so far in which this process had no batch."""
        self.gathered: list[Any] = []
        """The modules whose weights were gathered since the turn began."""
        self._model = model
        self._orders: dict[str, Order] = {}
        self._known: dict[str, Any] = {}
        model.requires_grad_(False)
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_custom_all_gather(_Gather(self, module))  # type: ignore[arg-type]
        # what reads the head's weights is no module, so nothing gathers them for further backward passes
        for module in (model, model.get_input_embeddings(), model.get_output_embeddings()):
            if isinstance(module, FSDPModule):
                module.set_reshard_after_backward(False, recurse=False)

    def once(self, name: str, work: Callable[[], T]) -> T:
        """What `work` returned the first time; all processes ask for it first at the same time."""
        if name not in self._known:
            self._known[name] = work()
        value: T = self._known[name]
        return value

    def share(self, batches: Sequence[T]) -> Sequence[T]:
        """This process's batches: every n-th, so that each has long and short ones."""
        return batches[self.processes.number :: self.processes.of]

    def turns(self, kind: str, spare: Callable[[], None], *, is_fixed: bool = True) -> Turns:
        """The turns of batches of one kind, whose passes all make the same gathers where `is_fixed`.

        `spare` makes the passes of a short batch whose results nobody sees.
        """
        return Turns(self, kind, spare, is_fixed=is_fixed)

    def order(self, kind: str, spare: Callable[[], None]) -> Order:
        """The gathers of a pass of this kind; a spare one shows them the first time."""
        if kind not in self._orders:
            spare()
            self._orders[kind] = tuple(self.gathered)
            self.begin()
        return self._orders[kind]

    def begin(self) -> None:
        """Forget the pass before, also one that was stopped in the middle, and free all whole weights.

        Each turn so begins with the same state in all processes.
        """
        self._model.reset_iter_state()
        self.gathered.clear()


class Turns:
    """Batches of one kind, one of each process at a time. As many turns are made everywhere."""

    def __init__(self, sharding: Sharding, kind: str, spare: Callable[[], None], *, is_fixed: bool) -> None:
        self._sharding = sharding
        self._kind = kind
        self._spare = spare
        self._is_fixed = is_fixed

    def begin(self, *, busy: bool = True) -> bool:
        """Begin a turn, as every process does; whether any of them has a batch for it."""
        own = self._sharding
        own.begin()
        if self._is_fixed:
            own.order(self._kind, self._spare)
        any_busy = own.processes.least(0 if busy else 1) == 0
        if any_busy:
            own.n_turns += 1
            own.n_spare += not busy
        return any_busy

    def wait(self) -> None:
        """One turn in which this process has to wait for what another is about to finish."""
        self.begin()
        self._sharding.n_spare += 1
        self._spare()

    def finish(self) -> None:
        """Take part in the turns of the others until none has a batch."""
        while self.begin(busy=False):
            self._spare()

    def catch_up(self) -> None:
        """After memory has run out in this process: make the gathers that the turn still owes the others.

        EnvironmentProblem where nobody knows how many are left.
        """
        own = self._sharding
        if not self._is_fixed:
            raise EnvironmentProblem(
                f"memory ran out while answers were written with {option('fsdp')}, where the other processes "
                f"cannot go on without this one; give a smaller {argument('token_budget')}"
            )
        left = own.order(self._kind, self._spare)[len(own.gathered) :]
        own.begin()
        for module in left:
            module.unshard()
            module.reshard()


class _Gather:
    """torch's own all-gather, counted, with an error that says that another process has stopped."""

    def __init__(self, sharding: Sharding, module: Any) -> None:
        self._sharding = sharding
        self._module = module

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """Memory for the whole weights."""
        import torch

        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self, output_tensor: torch.Tensor, input_tensor: torch.Tensor, group: Any, async_op: bool = False
    ) -> Any:
        """Gather the parts of all processes."""
        import torch.distributed as distributed

        own = self._sharding
        with another_may_stop(own.processes.of):
            work = distributed.all_gather_single(output_tensor, input_tensor, group, async_op)
        own.gathered.append(self._module)
        own.n_bytes += output_tensor.numel() * output_tensor.element_size()
        return work


def check_launch(settings: LoadSettings, processes: Processes, versions: Mapping[str, str]) -> None:
    """Raise unless all processes have the same `versions` of libraries and the same kind of device.

    InputError for a device that cannot be shared out, EnvironmentProblem that names what differs.
    """
    import torch

    kind = "cuda" if torch.cuda.is_available() else "cpu"
    if settings.device not in ("auto", kind):
        raise InputError(
            f"{option('fsdp')} gives each process of a node a device of its own, here of kind {kind}, but "
            f"{option('device', settings.device)} was asked for; leave it out"
        )
    if settings.fsdp_offload and kind == "cpu":
        raise InputError(
            f"{argument('fsdp_offload')} moves weights between a GPU and the host, and there is no GPU; "
            "leave it out"
        )
    facts = {**versions, "device": torch.cuda.get_device_name() if kind == "cuda" else "cpu"}
    if kind == "cuda" and processes.per_node > torch.cuda.device_count():
        raise EnvironmentProblem(
            f"{processes.per_node} processes on a node with {torch.cuda.device_count()} CUDA devices; with "
            f"{option('fsdp')} each needs its own: start as many processes as there are devices"
        )
    check_equal(processes.gathered(facts))


def check_equal(facts: Sequence[Mapping[str, str]]) -> None:
    """EnvironmentProblem that names the versions and devices in which the processes differ, first to last."""
    for name in facts[0]:
        values = [own.get(name, "none") for own in facts]
        if len(set(values)) > 1:
            by_value = [
                f"{value} in {'process' if values.count(value) == 1 else 'processes'} "
                + ", ".join(str(number) for number, own in enumerate(values) if own == value)
                for value in dict.fromkeys(values)
            ]
            raise EnvironmentProblem(
                f"the processes do not have the same {name}: {'; '.join(by_value)}. Their numbers would "
                f"differ, or they would wait for each other forever; make them the same on all nodes"
            )


def loading_options(settings: LoadSettings, stack: str, processes: Processes) -> dict[str, Any]:
    """Keywords with which transformers spreads the weights; `stack` is the path of the layers."""
    try:
        import torch.distributed as distributed
        from torch.distributed.fsdp import FSDPModule
        from transformers.distributed.configuration_utils import DistributedConfig

        missing = not (hasattr(FSDPModule, "reset_iter_state") and hasattr(distributed, "all_gather_single"))
        plan = DistributedConfig(
            fsdp_size=processes.of,
            fsdp_plan={f"{stack}.*": "free_full_weight"},
            fsdp_cpu_offload=settings.fsdp_offload,
        )
    except (ImportError, TypeError):
        missing = True
    if missing:
        installed = " and ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers"))
        raise EnvironmentProblem(
            f"{option('fsdp')} needs newer packages than {installed}; it is tested with {TESTED}: "
            "pip install -U torch transformers"
        )
    return {"distributed_config": plan}


def check_experts(source: str, model: Any, processes: Processes) -> None:
    """InputError where a process would have no part of the experts' weights, which transformers cannot read.

    `model` may be without weights.
    """
    for own in model.parameters():
        part = -(-len(own) // processes.of) if own.ndim == 3 else 0
        if own.ndim == 3 and part * (processes.of - 1) >= len(own):
            raise InputError(
                f"model {source!r} has {len(own)} experts in a layer, {part} for each process, so the last "
                f"of {processes.of} would have none; start as many processes as divide {len(own)}"
            )


def check_sharded(source: str, model: Any, stack: str) -> None:
    """ModelLoadError where a part of the model stays whole in every process, or was not loaded.

    Weights must be spread. Buffers are not; small ones (masks, rotary frequencies) are whole everywhere, but
    together they may not exceed the weights of one layer.
    """
    import torch
    from torch.distributed.tensor import DTensor

    if model.dtype == torch.float16:
        raise InputError(
            f"model {source!r} has float16 weights, whose passes are repeated where gradients overflow, "
            f"and with {option('fsdp')} all processes make the same passes; add {option('dtype', 'bfloat16')}"
        )
    whole = [name for name, own in model.named_parameters() if not isinstance(own, DTensor)]
    buffers = dict(model.named_buffers())
    empty = [name for name, own in buffers.items() if own.is_meta]
    layer = sum(own.numel() * own.element_size() for own in model.get_submodule(stack)[0].parameters())
    sizes = {name: own.numel() * own.element_size() for name, own in buffers.items() if not own.is_meta}
    large = sorted(sizes, key=lambda name: -sizes[name])[:3] if sum(sizes.values()) > layer else []
    for names, problem in (
        (whole, "weights that torch cannot spread"),
        (empty, "buffers that were not loaded"),
        (large, "buffers larger than a layer's weights, which would be whole in every process"),
    ):
        if names:
            raise ModelLoadError(
                f"model {source!r} cannot be loaded with {option('fsdp')}: it has {problem}: "
                f"{listed(names)}; use {option('device_map', 'auto')} in one process. {command('plan')} says "
                "what fits"
            )


def check_items(sharding: Sharding | None, n_items: int) -> None:
    """InputError where one of the processes that a model is spread over would have nothing to do."""
    if sharding is not None and n_items < (of := sharding.processes.of):
        raise InputError(
            f"{of} processes share {n_items} items, so some would have none; start at most "
            f"{n_items} processes, or choose more items"
        )
