"""Mixtures of experts: the projections inside an expert layer, with hooks like those of a linear module.

transformers keeps the weights of a layer's experts in 3-D parameters and lets a registered function compute
the layer. The one registered here computes what transformers' own do, in this order: rows (token, choice) are
sorted by expert, each expert projects its rows, and the products of a token are added in the order of its
choices. In between, the projected rows go through an `ExpertProjection`, a module without weights that is put
into the layer. Forward hooks on it see and may change the rows, and its second input says which expert and
token a row belongs to.

Llama 4's layers have weights of that form and another way to compute them: experts are given all tokens, as
zeros where a token was not routed to them. They get a forward pass that leaves these rows out.
"""

from __future__ import annotations

import inspect
from types import MethodType
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


def experts_around(model: nn.Module, held: nn.Module) -> Any:
    """The expert layer that a projection was put into."""
    return next(module for module in model.modules() if getattr(module, _PROJECTION, None) is held)


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

    BindingError where the layer is computed in a way that is not known, where weights are missing, or where
    gate and up are not the columns that they should be.
    """
    if not (isinstance(getattr(experts, "has_gate", None), bool) or _leave_out_zeros(experts)):
        raise BindingError(
            f"layer {layer} routes tokens to experts in a way of its own ({type(experts).__name__}), so it "
            "cannot be seen which token an expert's neuron belongs to"
        )
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


def _leave_out_zeros(experts: Any) -> bool:
    """Let a layer that is given all tokens for each expert compute the routed ones; False if it is no such.

    It is known by its weights (expert, input, output), by its only input, and by what its first expert makes
    of some rows. Where a row is zero, so are gate, up and what they give.
    """
    first, last = getattr(experts, "gate_up_proj", None), getattr(experts, "down_proj", None)
    if not (isinstance(first, torch.Tensor) and isinstance(last, torch.Tensor) and first.ndim == 3):
        return False
    n_experts, hidden, columns = first.shape
    fits = last.shape == (n_experts, columns // 2, hidden) and callable(getattr(experts, "act_fn", None))
    if not fits or len(inspect.signature(experts.forward).parameters) != 1:
        return False
    if not (first.is_meta or _is_gated(experts)):
        return False
    experts.has_gate = experts.is_transposed = experts.is_concatenated = True
    experts.has_bias = experts.has_post_expert_norm = False
    experts._apply_gate = MethodType(_gated, experts)
    experts.forward = MethodType(_compute_repeated, experts)
    return True


class _FirstExpert:
    """Stands in for a layer in its own forward pass, so that not all weights are read."""

    def __init__(self, experts: Any) -> None:
        self._experts = experts
        self.num_experts = 1
        self.gate_up_proj, self.down_proj = experts.gate_up_proj[:1], experts.down_proj[:1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._experts, name)


@torch.no_grad()
def _is_gated(experts: Any) -> bool:
    """Whether the layer's own forward pass gates the second half of its columns by the first."""
    first, last = experts.gate_up_proj[0], experts.down_proj[0]
    rows = torch.linspace(-1, 1, 3 * len(first), device=first.device).to(first).reshape(3, -1)
    rows[1] = 0
    try:
        own = type(experts).forward(_FirstExpert(experts), rows).reshape(3, -1)
    except Exception:  # it is called in another way
        return False
    expected = _gated(experts, rows @ first) @ last
    return bool((own - expected).abs().max() <= 0.02 * expected.abs().max())


def _gated(experts: Any, rows: torch.Tensor) -> torch.Tensor:
    gate, up = rows.chunk(2, dim=-1)
    gated: torch.Tensor = up * experts.act_fn(gate)
    return gated


def _compute_repeated(experts: Any, hidden: torch.Tensor) -> torch.Tensor:
    """An expert layer: `hidden` holds all tokens for the first expert, then for the next, (row, column)."""
    n_tokens = len(hidden) // len(experts.gate_up_proj)
    if hidden.is_meta:  # a pass that only plans memory: one expert for each token
        given = torch.arange(n_tokens, device=hidden.device)
    else:
        given = hidden.any(dim=1).nonzero().squeeze(1)
    rows = _projected(experts, hidden[given], Routed(given // n_tokens, given % n_tokens, n_tokens))
    return torch.zeros_like(hidden).index_copy(0, given, rows)


def use_projections(model: Any) -> None:
    """Let expert layers be computed by the function whose projections can be hooked."""
    ALL_EXPERTS_FUNCTIONS.register(IMPLEMENTATION, compute)
    model.set_experts_implementation(IMPLEMENTATION)


def compute(experts: Any, hidden: torch.Tensor, choices: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """An expert layer: `hidden` (token, column), `choices` and `weights` (token, choice)."""
    n_tokens, n_choices = choices.shape
    expert, pair = choices.reshape(-1).sort(stable=True)
    token = pair // n_choices
    rows = _projected(experts, hidden[token], Routed(expert, token, n_tokens))
    if experts.has_post_expert_norm:
        rows = experts.post_expert_norm(rows)
    rows = rows * weights.reshape(-1)[pair, None]
    by_pair = rows[pair.argsort()]
    return by_pair.view(n_tokens, n_choices, -1).sum(dim=1).to(hidden.dtype)


def _projected(experts: Any, rows: torch.Tensor, routed: Routed) -> torch.Tensor:
    """Rows, sorted by expert, through both projections of their experts."""
    counts = _rows_of_experts(routed.expert, experts.num_experts)
    rows = _linear(experts, "gate_up_proj" if experts.has_gate else "up_proj", rows, counts)
    added = getattr(experts, _PROJECTION, None)
    if added is not None:
        rows = added(rows, routed)
    rows = experts._apply_gate(rows) if experts.has_gate else experts.act_fn(rows)
    if added is not None:
        rows = added.reader(rows)
    return _linear(experts, "down_proj", rows, counts)


def _rows_of_experts(expert: torch.Tensor, n_experts: int) -> list[int]:
    if expert.is_meta:  # a pass that only plans memory: shared out evenly
        return [len(part) for part in torch.arange(len(expert)).tensor_split(n_experts)]
    return torch.bincount(expert, minlength=n_experts).tolist()


def _linear(experts: Any, name: str, rows: torch.Tensor, counts: list[int]) -> torch.Tensor:
    """Each expert's part of the rows times its own weight, plus its bias where the layer has biases.

    There may be no rows at all: texts whose embeddings are zero.
    """
    weights = getattr(experts, name).unbind()  # one backward pass for all, where weights are trained
    biases = getattr(experts, f"{name}_bias").unbind() if experts.has_bias else [None] * len(weights)
    projected = [
        nn.functional.linear(own, weight.T if experts.is_transposed else weight, bias)
        for own, weight, bias in zip(torch.split(rows, counts), weights, biases, strict=True)
        if len(own) or not len(rows)
    ]
    return torch.cat(projected)
