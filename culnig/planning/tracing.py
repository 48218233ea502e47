"""A batch on the meta device: the scoring loop's forward and backward pass with sizes instead of numbers.

The same code runs that will score (reader, capture, checkpointing); a dispatch mode sees every tensor that
comes and goes, so what a family keeps for its backward pass is counted and not guessed.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from culnig.core.items import Item
from culnig.inference.answers import AnswerReader, frozen, gold_probabilities
from culnig.inference.batches import Batch
from culnig.inference.encoding import EncodedItem
from culnig.inference.prefixes import PrefixReader
from culnig.inference.shared_batches import SharedBatch
from culnig.models.base import BoundModel
from culnig.scoring.capture import Capture
from culnig.scoring.checkpointing import checkpointed
from culnig.scoring.sharing import SharedPasses


def peak_batch_bytes(
    skeleton: BoundModel, n_items: int, n_tokens: int, *, capture: bool = True, checkpointing: bool = False
) -> int:
    """Most bytes that a batch of `n_items` prompts of `n_tokens` holds at once, weights not counted."""
    with _LiveBytes(skeleton) as live, _fused_attention():
        _run(skeleton, n_items, n_tokens, capture=capture, checkpointing=checkpointing)
    return int(live.peak)


def peak_shared_bytes(
    skeleton: BoundModel, shared: SharedBatch, token_budget: int, *, capture: bool = True
) -> int:
    """Most bytes that a batch whose items share prefixes holds at once, weights not counted."""
    with _LiveBytes(skeleton) as live, _fused_attention():
        _run_shared(skeleton, shared, token_budget, capture=capture)
    return int(live.peak)


def batch_flops(skeleton: BoundModel, n_items: int, n_tokens: int) -> int:
    """Floating-point operations of one batch, forward and backward."""
    with FlopCounterMode(display=False) as counter, _NoQuestions():  # type: ignore[no-untyped-call]
        _run(skeleton, n_items, n_tokens, capture=False, checkpointing=False)
    return int(counter.get_total_flops())


def _run(skeleton: BoundModel, n_items: int, n_tokens: int, *, capture: bool, checkpointing: bool) -> None:
    batch = _batch(n_items, n_tokens)
    with (
        checkpointed(skeleton) if checkpointing else contextlib.nullcontext(),
        AnswerReader(skeleton) as reader,
        Capture(skeleton, lambda segment, activation, gradient: None) if capture else _backward(skeleton),
    ):
        p_gold = gold_probabilities(batch, reader.logits(batch).softmax(-1))
        p_gold.sum().backward()  # type: ignore[no-untyped-call]


def _run_shared(skeleton: BoundModel, shared: SharedBatch, token_budget: int, *, capture: bool) -> None:
    with (
        AnswerReader(skeleton) as reader,
        Capture(skeleton, lambda segment, activation, gradient: None)
        if capture
        else _backward(skeleton) as hooks,
    ):
        passes = SharedPasses(PrefixReader(skeleton, reader), shared)
        for rows in shared.turns(token_budget):
            part = shared.part(rows)
            gold_probabilities(part.batch, passes.rests(part).softmax(-1)).sum().backward()  # type: ignore[no-untyped-call]
            passes.collect(rows)
        for number in range(passes.n_back):
            last = number + 1 == passes.n_back
            with hooks.going_on() if isinstance(hooks, Capture) and not last else contextlib.nullcontext():
                passes.back(number)


@contextlib.contextmanager
def _backward(skeleton: BoundModel) -> Any:
    """A backward pass to activations without the capture."""
    embeddings = skeleton.model.get_input_embeddings()
    handle = embeddings.register_forward_hook(lambda module, inputs, output: output.requires_grad_(True))
    with frozen(skeleton.model):
        yield
    handle.remove()


def _batch(n_items: int, n_tokens: int) -> Batch:
    item = Item("planned", "planned", "general", "identify", "", ("A", "B"), "A")
    return Batch(tuple(range(n_items)), (EncodedItem(item, (0,) * n_tokens, 0, (0, 1)),) * n_items)


class _NoQuestions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers what a family asks about values, which are not there: whether rows hold a single text each."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            return True
        return function(*args, **(kwargs or {}))


class _LiveBytes(_NoQuestions):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages that are alive, weights not counted."""

    def __init__(self, skeleton: BoundModel) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: int = 0
        self.peak: int = 0
        model = skeleton.model
        weights = [tensor.untyped_storage() for tensor in [*model.parameters(), *model.buffers()]]
        self._known = {id(storage) for storage in weights}
        self._weights = weights  # held, so that their ids stay theirs

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(function, types, args, kwargs)
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._note(leaf.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        if id(storage) in self._known:
            return
        self._known.add(id(storage))
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, id(storage), storage.nbytes())

    def _forget(self, identity: int, n_bytes: int) -> None:
        self._known.discard(identity)
        self.live -= n_bytes


@contextlib.contextmanager
def _fused_attention() -> Iterator[None]:
    """Attention as the devices run it, block by block; the meta device would write out every weight.

    Replaced where families look it up. A torch-function mode would not do: what checkpointing computes again
    runs inside the backward pass, where modes are suspended.
    """
    own = functional.scaled_dot_product_attention

    def fused(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
        causal, mask = kwargs.get("is_causal", False), kwargs.get("attn_mask")
        return attend(query, key, value, 0.0, causal, attn_mask=mask)[0]

    functional.scaled_dot_product_attention = fused
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = own
