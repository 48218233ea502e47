"""Activations of neurons in other prompts, for interventions that replace activations by them.

The prompts are those that a run keeps (levels `item` and `token`), or those of any items.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError, MismatchError, option
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, Batch, make_batches
from culnig.inference.encoding import EncodedItem
from culnig.inference.fitting import Fallback, smallest
from culnig.models.base import BoundLinear, BoundModel
from culnig.store.prompts import prompts_of, reason
from culnig.store.run import Run

if TYPE_CHECKING:
    import torch

MOST_PROMPTS = 512
"""Most prompts that are taken from a run, at even distances."""


@dataclass(frozen=True)
class Activations:
    """Activations of neurons in some prompts."""

    mean: NDArray[np.float64]
    """Mean over all tokens of all prompts, shape (neuron,)."""
    samples: NDArray[np.float64]
    """Activations at one token of each prompt, drawn at random, shape (prompt, neuron)."""


def activations_of(
    bound: BoundModel,
    prompts: Sequence[Sequence[int]],
    flat: NDArray[np.int64],
    *,
    token_budget: int = DEFAULT_TOKEN_BUDGET,
    seed: int = 0,
) -> Activations:
    """Activations of the neurons at `flat` in prompts given as token ids; `seed` draws the tokens.

    InputError if there is no prompt, EnvironmentProblem if a prompt alone does not fit into memory.
    """
    if not prompts:
        raise InputError("no items to average over")
    import torch

    lengths = [len(prompt) for prompt in prompts]
    encoded = [EncodedItem.of_prompt(ids, f"prompt {number}") for number, ids in enumerate(prompts)]
    drawn = np.array([np.random.default_rng([seed, n]).integers(own) for n, own in enumerate(lengths)])
    collector = _Collector(len(flat), drawn)
    with contextlib.ExitStack() as stack, AnswerReader(bound) as reader:
        for linear in bound.linears:
            order, columns = linear.find(flat)
            if order.size:
                hook = linear.linear.register_forward_hook(collector.adding(linear, order, columns))
                stack.callback(hook.remove)

        def collect(batch: Batch) -> None:
            collector.begin(batch)
            reader.logits(batch)
            collector.finish()

        batches, sharding = make_batches(encoded, token_budget), bound.sharding

        def rehearse() -> None:
            spare = smallest(batches[-1])
            collector.begin(spare)
            reader.logits(spare)

        # all processes run all batches: the order in which activations are added stays the same
        turns = None if sharding is None else sharding.turns("read", rehearse)
        fallback = Fallback(collect, turns=turns)
        with torch.inference_mode():
            for batch in batches:
                fallback.run(batch)
            fallback.finish()
    return Activations(collector.sums / sum(lengths), collector.samples)


def stored_prompts(
    run: Run, bound: BoundModel, asked: Mapping[str, Mapping[str, Any]] | None = None
) -> list[tuple[int, ...]]:
    """Prompts of a run's target benchmarks, in the order of their items, at most MOST_PROMPTS.

    MismatchError if the run has another model, or its prompts another template or date than those that are
    `asked` (`Encoder.record` of each benchmark). InputError if it keeps no prompts or has no target.
    """
    described = run.record["model"]
    if (described.get("layout_hash"), described.get("weights_hash")) != (
        bound.layout.hash,
        bound.weights_hash,
    ):
        raise MismatchError(
            f"{run.folder} was scored with {run.model!r}, whose layout or weights differ from those of "
            f"{bound.source!r}; means must come from the same model. Score a run with {bound.source!r}"
        )
    check_keeps_prompts(run)
    prompts: list[tuple[int, ...]] = []
    for benchmark in run.with_role("target"):
        name = benchmark.name
        for other, prompts_asked in (asked or {}).items():
            if problem := reason(prompts_of(run.record, name), prompts_asked, same_items=False):
                raise MismatchError(f"{name!r} of {run.folder} does not fit {other!r}: {problem}")
        parts = run.item_parts(name) if run.level == "item" else run.tensor_parts(name)
        rows = {
            int(index): tuple(part.prompts.tokens(row).tolist())
            for part in parts
            for row, index in enumerate(part.prompts.item)
        }
        prompts += [rows[index] for index in sorted(rows)]
    if not prompts:
        raise InputError(f"{run.folder} keeps no prompts of its target benchmarks to average over")
    chosen = np.linspace(0, len(prompts) - 1, min(len(prompts), MOST_PROMPTS)).round().astype(int)
    return [prompts[index] for index in chosen]


def check_keeps_prompts(run: Run) -> None:
    """InputError if a run has no prompts of a target benchmark."""
    if run.level not in ("item", "token"):
        raise InputError(
            f"{run.folder} was scored at level {run.level!r}, which keeps no prompts to average over; score "
            f"it with {option('level', 'item')}"
        )
    if not run.with_role("target"):
        raise InputError(f"{run.folder} has no target benchmark to average over")


class _Collector:
    """Sums over the real tokens, and the activations at the drawn token of each prompt."""

    def __init__(self, n_neurons: int, drawn: NDArray[np.int64]) -> None:
        """`drawn` is the index of the sampled token of each prompt."""
        self.sums = np.zeros(n_neurons)
        self.samples = np.zeros((len(drawn), n_neurons))
        self._drawn = drawn

    def begin(self, batch: Batch) -> None:
        """Set the prompts of the coming forward pass."""
        self._numbers = np.array(batch.numbers)
        self._mask = batch.token_mask
        self._batch_sums = np.zeros_like(self.sums)

    def finish(self) -> None:
        """Add the sums of the batch: a forward pass that ran out of memory adds nothing."""
        self.sums += self._batch_sums

    def adding(
        self, linear: BoundLinear, order: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> Callable[[Any, Any, torch.Tensor], None]:
        """A forward hook for the neurons `order` in the columns `columns` of a linear's output."""
        import torch

        def add(module: Any, inputs: Any, output: torch.Tensor) -> None:
            mask = torch.from_numpy(self._mask).to(output.device)
            whole = linear.output(inputs, output).reshape(*mask.shape, -1)
            chosen = whole[..., torch.from_numpy(columns).to(output.device)]
            chosen = chosen.double()
            self._batch_sums[order] = (chosen * mask[..., None]).sum(dim=(0, 1)).cpu().numpy()
            rows = torch.arange(len(chosen), device=output.device)
            at_drawn = chosen[rows, torch.from_numpy(self._drawn[self._numbers]).to(output.device)]
            self.samples[np.ix_(self._numbers, order)] = at_drawn.cpu().numpy()

        return add
