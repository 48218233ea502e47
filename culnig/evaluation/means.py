"""Activations of neurons in other prompts, for interventions that put them in the place of their own.

Prompts are those that a run keeps (levels `item` and `token`), or those of any items.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Item
from culnig.errors import InputError, MismatchError, option
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, padded, split_by_budget
from culnig.inference.encoding import Encoder
from culnig.models.base import BoundLinear, BoundModel
from culnig.store.run import Run

if TYPE_CHECKING:
    import torch

MOST_PROMPTS = 512
"""Of a run with more prompts so many are taken, at even distances."""


@dataclass(frozen=True)
class Activations:
    """What neurons did in some prompts."""

    mean: NDArray[np.float64]
    """Mean over all tokens of all prompts, shape (neuron,)."""
    samples: NDArray[np.float64]
    """What they had at one token of each prompt, drawn at random, shape (prompt, neuron)."""


def mean_activations(
    bound: BoundModel,
    items: Sequence[Item],
    flat: NDArray[np.int64],
    *,
    token_budget: int = DEFAULT_TOKEN_BUDGET,
) -> NDArray[np.float64]:
    """Mean activation of the neurons at `flat` over all real tokens of `items`, shape (neuron,).

    Items are those of any benchmark whose answers are labels. InputError where there is none.
    """
    prompts = [encoded.token_ids for encoded in Encoder(bound).encode_all(items)]
    return activations_of(bound, prompts, flat, token_budget=token_budget).mean


def activations_of(
    bound: BoundModel,
    prompts: Sequence[Sequence[int]],
    flat: NDArray[np.int64],
    *,
    token_budget: int = DEFAULT_TOKEN_BUDGET,
    seed: int = 0,
) -> Activations:
    """Activations of the neurons at `flat` in prompts given as token ids; `seed` draws the tokens.

    InputError where there is no prompt.
    """
    if not prompts:
        raise InputError("no items to take means over")
    lengths = [len(prompt) for prompt in prompts]
    drawn = np.array([np.random.default_rng([seed, n]).integers(own) for n, own in enumerate(lengths)])
    collected = _Collected(np.zeros(len(flat)), np.zeros((len(prompts), len(flat))))
    with contextlib.ExitStack() as stack, AnswerReader(bound) as reader:
        for linear in bound.linears:
            order, columns = _columns(linear, flat)
            if order.size:
                hook = linear.linear.register_forward_hook(collected.adding(order, columns))
                stack.callback(hook.remove)
        import torch

        with torch.inference_mode():
            for numbers in split_by_budget(lengths, token_budget):
                ids = padded([prompts[number] for number in numbers])
                own = np.array([lengths[number] for number in numbers])
                collected.begin(np.array(numbers), np.arange(ids.shape[1]) < own[:, None], drawn[numbers])
                reader.forward(
                    torch.from_numpy(ids).to(bound.input_device), torch.from_numpy(own - 1), use_cache=False
                )
    return Activations(collected.sums / sum(lengths), collected.samples)


def stored_prompts(run: Run, bound: BoundModel) -> list[tuple[int, ...]]:
    """Prompts of a run's target benchmarks, in the order of their items, at most MOST_PROMPTS.

    MismatchError where the run is of another model, InputError where it keeps no prompts or has no target.
    """
    described = run.record["model"]
    if (described.get("layout_hash"), described.get("weights_hash")) != (
        bound.layout.hash,
        bound.weights_hash,
    ):
        raise MismatchError(
            f"{run.folder} was scored with {run.model!r}, whose layout or weights are not those of "
            f"{bound.source!r}; means are those of one model. Score a run with this one"
        )
    check_keeps_prompts(run)
    prompts: list[tuple[int, ...]] = []
    for one in run.with_role("target"):
        parts = run.item_parts(one.name) if run.level == "item" else run.tensor_parts(one.name)
        rows = {
            int(place): tuple(part.prompts.tokens(row).tolist())
            for part in parts
            for row, place in enumerate(part.prompts.item)
        }
        prompts += [rows[place] for place in sorted(rows)]
    if not prompts:
        raise InputError(f"{run.folder} keeps no prompts of its target benchmarks to take means over")
    chosen = np.linspace(0, len(prompts) - 1, min(len(prompts), MOST_PROMPTS)).round().astype(int)
    return [prompts[place] for place in chosen]


def check_keeps_prompts(run: Run) -> None:
    """InputError where a run has no prompts of a target benchmark."""
    if run.level not in ("item", "token"):
        raise InputError(
            f"{run.folder} was scored at level {run.level!r}, which keeps no prompts to take means over; "
            f"score it with {option('level', 'item')}"
        )
    if not run.with_role("target"):
        raise InputError(f"{run.folder} has no target benchmark to take means over")


class _Collected:
    """Sums over the tokens, and the values at one token of each prompt."""

    def __init__(self, sums: NDArray[np.float64], samples: NDArray[np.float64]) -> None:
        self.sums, self.samples = sums, samples
        self._numbers = self._drawn = np.empty(0, dtype=np.int64)
        self._real = np.empty((0, 0), dtype=np.bool_)

    def begin(self, numbers: NDArray[np.int64], real: NDArray[np.bool_], drawn: NDArray[np.int64]) -> None:
        """The prompts of the next batch, their real tokens (prompt, token) and the places drawn."""
        self._numbers, self._real, self._drawn = numbers, real, drawn

    def adding(
        self, order: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> Callable[[Any, Any, torch.Tensor], None]:
        import torch

        def add(module: Any, inputs: Any, output: torch.Tensor) -> None:
            real = torch.from_numpy(self._real).to(output.device)
            chosen = output.reshape(*real.shape, -1)[..., torch.from_numpy(columns).to(output.device)]
            chosen = chosen.double()
            self.sums[order] += (chosen * real[..., None]).sum(dim=(0, 1)).cpu().numpy()
            rows = torch.arange(len(chosen), device=output.device)
            at = chosen[rows, torch.from_numpy(self._drawn).to(output.device)]
            self.samples[np.ix_(self._numbers, order)] = at.cpu().numpy()

        return add


def _columns(linear: BoundLinear, flat: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places in `flat` of the neurons in a linear, and the columns of its output that hold them."""
    order, columns = [], []
    for piece in linear.slices:
        start, width = piece.segment.start, piece.segment.width
        (inside,) = np.nonzero((flat >= start) & (flat < start + width))
        order.append(inside)
        columns.append(piece.places(flat[inside] - start))
    return np.concatenate(order), np.concatenate(columns)
