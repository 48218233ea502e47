"""Mixtures of experts: the projections inside an expert layer, with hooks like those of a linear module.

transformers keeps the weights of a layer's experts in 3-D parameters and lets a registered function compute
the layer. The one registered here computes what transformers' own do, in this order: rows (token, choice) are
sorted by expert, each expert projects its rows, and the products of a token are added in the order of its
choices. In between, the projected rows go through an `ExpertProjection`, a module without weights that is put
into the layer. Forward hooks on it see and may change the rows, and its second input says which expert and
token a row belongs to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from culnig.core.neurons import EXPERTS_GATE, EXPERTS_IN, EXPERTS_UP
from culnig.errors import BindingError
from culnig.models.base import ModuleSlice

IMPLEMENTATION = "culnig"
"""Name of the function that computes expert layers, in transformers' register."""

_PROJECTION = "culnig_projection"


class Routed(NamedTuple):
    """Where the rows of an expert layer belong: sorted by expert, and by token for each."""

    expert: torch.Tensor
    """Expert of each row, int64 (row,)."""
    token: torch.Tensor
    """Token of each row, counted over the items of the batch, int64 (row,)."""
    n_tokens: int
    """Tokens of all items, padding included."""

    def filled(self, rows: torch.Tensor, n_experts: int) -> torch.Tensor:
        """Rows (row, column) as (token, expert, column), with zeros where an expert did not see a token."""
        dense = rows.new_zeros((self.n_tokens, n_experts, rows.shape[1]))
        dense[self.token, self.expert] = rows
        return dense


class ExpertProjection(nn.Module):
    """What the experts of a layer compute before the activation function, as rows (routed token, column)."""

    def __init__(self, n_experts: int, n_columns: int) -> None:
        """`n_columns` are those of one expert."""
        super().__init__()
        self.n_experts = n_experts
        self.n_columns = n_columns
        self.out_features = n_experts * n_columns
        """Columns of all experts, one after the other."""
        self.reader = nn.Identity()
        """Reads what the experts make of the rows, in front of their last projections."""

    def forward(self, rows: torch.Tensor, routed: Routed) -> torch.Tensor:
        """The rows as they are, or as hooks change them."""
        return rows

    def cell(self, routed: Routed, token: int, column: int) -> tuple[torch.Tensor, int]:
        """Row (none where the expert did not see the token) and column of a cell of `all_tokens`."""
        expert, own = divmod(column, self.n_columns)
        (row,) = torch.nonzero((routed.token == token) & (routed.expert == expert), as_tuple=True)
        return row, own

    def all_tokens(self, rows: torch.Tensor, routed: Routed) -> torch.Tensor:
        """The rows as the output of a linear module with the columns of all experts, (token, column).

        Columns of experts that did not see a token are zero there.
        """
        return routed.filled(rows, self.n_experts).flatten(1)


def projection(experts: nn.Module, where: str) -> ExpertProjection:
    """The projection of an expert layer, put into it the first time; BindingError if it does not fit."""
    present = getattr(experts, _PROJECTION, None)
    if isinstance(present, ExpertProjection):
        return present
    weight = _weight(experts, "gate_up_proj" if experts.has_gate else "up_proj", where)
    _weight(experts, "down_proj", where)
    if getattr(experts, "_is_expert_parallel", False):
        raise BindingError(
            f"{where} spreads its experts over processes, so no process sees all their neurons; load the "
            "model without expert parallelism"
        )
    n_columns = int(weight.shape[2 if experts.is_transposed else 1])
    added = ExpertProjection(len(weight), n_columns)
    experts.add_module(_PROJECTION, added)
    return added


def _weight(experts: nn.Module, name: str, where: str) -> torch.Tensor:
    weight = getattr(experts, name, None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 3 or not weight.is_floating_point():
        shown = f"{weight.dtype} {tuple(weight.shape)}" if isinstance(weight, torch.Tensor) else type(weight)
        raise BindingError(
            f"{where}: `{name}` is {shown}, not weights (expert, …, …) in floating point; load the model "
            "with its experts dequantized"
        )
    return weight


def expert_slices(experts: nn.Module, layer: int) -> list[ModuleSlice]:
    """The neurons of a layer's routed experts: gate and up, or the only projection where there is no gate.

    BindingError where weights are missing, or where gate and up are not the columns that they should be.
    """
    where = f"layer {layer}: `experts` ({type(experts).__name__})"
    held = projection(experts, where)
    n, columns = held.n_experts, held.n_columns
    if not experts.has_gate:
        return [ModuleSlice(held, EXPERTS_IN, layer, 0, n * columns, experts=n, read_by=held.reader)]
    width = columns // 2
    run, step = (width, columns) if experts.is_concatenated else (1, 2)
    slices = [
        ModuleSlice(held, module, layer, number * run, n * width, run, step, experts=n, read_by=held.reader)
        for number, module in enumerate((EXPERTS_GATE, EXPERTS_UP))
    ]
    _check_gate(experts, run, step, where)
    return slices


def _check_gate(experts: Any, run: int, step: int, where: str) -> None:
    """BindingError unless the product is linear in the columns taken for up, and not in the others."""
    if experts.down_proj.is_meta:
        return
    columns = torch.arange(step * 2 if run == 1 else step)
    up = columns % step >= run
    # small and positive, so that no limit of the activation function is reached
    rows = torch.linspace(0.1, 0.4, len(columns), device=experts.down_proj.device)

    def bend(moved: torch.Tensor) -> float:
        """How far the product is from linear while some columns move."""
        products = [experts._apply_gate((rows * (1 + by * moved.to(rows)))[None]) for by in (-1, 0, 1)]
        return float((products[0] - 2 * products[1] + products[2]).abs().max())

    if not bend(up) < 1e-5 < bend(~up):
        raise BindingError(
            f"{where}: its columns are not gate and up in the order that the layer declares "
            f"(is_concatenated={experts.is_concatenated}), so their neurons cannot be named"
        )


def use_projections(model: Any) -> None:
    """Let expert layers be computed by the function whose projections can be hooked."""
    ALL_EXPERTS_FUNCTIONS.register(IMPLEMENTATION, compute)
    model.set_experts_implementation(IMPLEMENTATION)


def compute(experts: Any, hidden: torch.Tensor, choices: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """An expert layer: `hidden` (token, column), `choices` and `weights` (token, choice)."""
    n_tokens, n_choices = choices.shape
    expert, pair = choices.reshape(-1).sort(stable=True)
    token = pair // n_choices
    counts = _rows_of_experts(expert, experts.num_experts)
    name = "gate_up_proj" if experts.has_gate else "up_proj"
    rows = _linear(experts, name, hidden[token], counts)
    added = getattr(experts, _PROJECTION, None)
    if added is not None:
        rows = added(rows, Routed(expert, token, n_tokens))
    rows = experts._apply_gate(rows) if experts.has_gate else experts.act_fn(rows)
    if added is not None:
        rows = added.reader(rows)
    rows = _linear(experts, "down_proj", rows, counts)
    if experts.has_post_expert_norm:
        rows = experts.post_expert_norm(rows)
    rows = rows * weights.reshape(-1)[pair, None]
    by_pair = rows[pair.argsort()]
    return by_pair.view(n_tokens, n_choices, -1).sum(dim=1).to(hidden.dtype)


def _rows_of_experts(expert: torch.Tensor, n_experts: int) -> list[int]:
    if expert.is_meta:  # a pass that only plans memory: shared out evenly
        return [len(part) for part in torch.arange(len(expert)).tensor_split(n_experts)]
    return torch.bincount(expert, minlength=n_experts).tolist()


def _linear(experts: Any, name: str, rows: torch.Tensor, counts: list[int]) -> torch.Tensor:
    """Each expert's part of the rows times its own weight, plus its bias where the layer has biases."""
    weight = getattr(experts, name)
    biases = getattr(experts, f"{name}_bias") if experts.has_bias else [None] * len(weight)
    projected = [
        nn.functional.linear(
            own, weight[expert].T if experts.is_transposed else weight[expert], biases[expert]
        )
        for expert, own in enumerate(torch.split(rows, counts))
        if len(own)
    ]
    return torch.cat(projected)
