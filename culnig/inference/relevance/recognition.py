"""What the relevance rules (`culnig.inference.relevance.rules`) apply to in a model: its norms and its MLPs.

They are found in the graph that autograd keeps of a trial pass of a few tokens, whatever modules are called.
The graph is walked from the logits to the embeddings. Every step of it must be linear, a part of attention, a
norm in a module of its own, or an MLP whose product is as the rules expect. A model with any other step is
refused, and the error names what reads it: its scores would be half relevance and half gradient.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from culnig.inference.answers import frozen
from culnig.inference.relevance.mlps import Mlp, check_mlp, mlps_of, refusal
from culnig.inference.relevance.steps import (
    PRODUCTS,
    Node,
    is_fused_norm,
    is_known,
    is_scale,
    is_size,
    kind_of,
    steps_between,
    weight_of_token,
)
from culnig.models.base import BoundModel, gives_rows, linear_outputs

_TOKENS = 3
"""Tokens of a trial pass."""


class Recognised(NamedTuple):
    """All that the rules apply to."""

    norms: list[nn.Module]
    mlps: list[Mlp]


def recognise(bound: BoundModel) -> Recognised:
    """The norms and MLPs of a model; BindingError names a part for which there is no rule."""
    for segment in bound.layout.segments:
        if not segment.module.startswith(("self_attn.", "mlp.")):
            raise refusal(
                bound, f"{segment.module} of layer {segment.layer} is no part of attention or an MLP"
            )
    mlps = mlps_of(bound)
    trial = _Trial(bound, mlps)
    trial.check_mlps()
    trial.walk()
    trial.check_zero()
    return Recognised(trial.norms, mlps)


class _Trial:
    """The graph of a forward pass of a few tokens, with what its modules read and gave."""

    def __init__(self, bound: BoundModel, mlps: Sequence[Mlp]) -> None:
        self._bound = bound
        self._mlps = mlps
        self._outputs: dict[nn.Module, torch.Tensor] = {}
        """Of the linear modules that hold neurons."""
        self._products: dict[nn.Module, torch.Tensor] = {}
        """What the last projection of each MLP reads."""
        self._owners: dict[Node, tuple[str, nn.Module]] = {}
        """By step of a norm: the module whose step it is."""
        self._before: dict[Node, tuple[str, list[Node]]] = {}
        """By step that makes the output of a linear module: its name and the step before it."""
        linears = {module for module in bound.model.modules() if _is_linear(module)}
        with contextlib.ExitStack() as stack:
            self._hook(stack, linears)
            self._logits = self._forward(stack)
        self._before |= {
            self._products[mlp.last].grad_fn: (
                f"the MLP of {mlp.name}",
                [self._outputs[linear.linear].grad_fn for linear in mlp.linears],
            )
            for mlp in self._mlps
            if mlp.last in self._products
        }

    def _hook(self, stack: contextlib.ExitStack, linears: set[nn.Module]) -> None:
        for linear in self._bound.linears:
            stack.callback(linear.linear.register_forward_hook(self._keep_output).remove)
        for mlp in self._mlps:
            stack.callback(mlp.last.register_forward_pre_hook(self._keep_product).remove)
        for name, module in self._bound.model.named_modules():
            if module in linears:
                stack.callback(module.register_forward_hook(self._note_linear(name)).remove)
            elif linears.isdisjoint(module.modules()):
                stack.callback(module.register_forward_hook(self._note_norm(name)).remove)

    def _forward(self, stack: contextlib.ExitStack) -> torch.Tensor:
        embeddings = self._bound.model.get_input_embeddings()

        def differentiable(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            return output.requires_grad_(True).clone()

        stack.callback(embeddings.register_forward_hook(differentiable).remove)
        stack.enter_context(frozen(self._bound.model))
        stack.enter_context(torch.enable_grad())
        ids = torch.arange(_TOKENS, device=self._bound.input_device) % self._bound.n_embeddings
        model: Any = self._bound.model
        logits: torch.Tensor = model(input_ids=ids[None], use_cache=False).logits
        return logits

    @property
    def norms(self) -> list[nn.Module]:
        """The modules that are norms."""
        return list(dict.fromkeys(module for _, module in self._owners.values()))

    def _keep_output(self, module: Any, inputs: Any, output: torch.Tensor) -> None:
        self._outputs[module] = output

    def _keep_product(self, module: Any, inputs: Any) -> None:
        self._products[module] = inputs[0]

    def _note_linear(self, name: str) -> Any:
        def note(module: Any, inputs: Any, output: torch.Tensor) -> None:
            if inputs and isinstance(output, torch.Tensor) and output.grad_fn is not None:
                self._before[output.grad_fn] = f"`{name}`", [inputs[0].grad_fn]

        return note

    def _note_norm(self, name: str) -> Any:
        def note(module: Any, inputs: Any, output: Any) -> None:
            if not (inputs and isinstance(inputs[0], torch.Tensor) and isinstance(output, torch.Tensor)):
                return
            for step in steps_between(output, inputs[:1]):
                if (is_scale(step) or is_fused_norm(step)) and step not in self._owners:
                    self._owners[step] = name, module

        return note

    def check_zero(self) -> None:
        """Refuse an MLP whose product is not zero where its first projection is."""
        of_last = {mlp.last: mlp for mlp in self._mlps}

        def zeroed(mlp: Mlp) -> Any:
            linear, own = mlp.first
            own = linear.as_given(own)

            def hook(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
                changed = output.detach().clone()
                own.put(changed, torch.zeros_like(own.take(changed)))
                return changed

            return hook

        def check(module: Any, inputs: Any) -> None:
            if inputs[0].any():
                name = of_last[module].name
                raise refusal(self._bound, f"the MLP of {name} gives something where its neurons are zero")

        with contextlib.ExitStack() as stack:
            for last, mlp in of_last.items():
                stack.callback(mlp.first[0].linear.register_forward_hook(zeroed(mlp)).remove)
                stack.callback(last.register_forward_pre_hook(check).remove)
            self._forward(stack)

    def check_mlps(self) -> None:
        """See `check_mlp`; an expert layer that the trial's tokens did not reach is left out."""
        for mlp in self._mlps:
            if mlp.last in self._products:
                sources = [self._outputs[linear.linear] for linear in mlp.linears]
                check_mlp(self._bound, mlp, self._products[mlp.last], sources)

    def walk(self) -> None:
        """Refuse the model at the first step that no rule is for."""
        seen: set[Node] = set()
        remaining: list[tuple[Node, str]] = [(self._logits.grad_fn, "the output")]
        while remaining:
            step, reader = remaining.pop()
            if step is None or step in seen:
                continue
            seen.add(step)
            if step in self._before:
                reader, before = self._before[step]
            else:
                before = self._passed(step, reader)
            remaining += [(each, reader) for each in before]

    def _passed(self, step: Node, reader: str) -> list[Node]:
        """The steps before a step that are walked on to; BindingError for one that no rule is for."""
        name, kind = type(step).__name__, kind_of(step)
        before = [each for each, _ in step.next_functions]
        if is_scale(step) or is_fused_norm(step):
            if step not in self._owners:
                raise refusal(self._bound, f"{reader} reads a norm ({name}) that is no module of its own")
            return before[:1] if is_fused_norm(step) else []
        if kind in PRODUCTS:
            return self._factors(step, before, reader)
        if is_known(step) or kind == "AccumulateGrad":
            return before
        raise refusal(self._bound, f"{reader} reads a value that {name} made")

    def _factors(self, step: Node, before: list[Node], reader: str) -> list[Node]:
        """The factors of a product or quotient that are walked on to."""
        if kind_of(step) == "Addmm":  # what is added, then the factors
            if before[1] is None or before[2] is None:
                return before
            before = before[1:]
        factors = [each for each in before if each is not None]
        signals = [each for each in factors if not is_size(each)]
        if len(signals) <= 1 and (kind_of(step) != "Div" or before[1] not in signals):
            return factors
        weight = weight_of_token(step) if self._bound.layout.n_experts else None
        if weight is not None:  # a router's, which keep their own gradient
            return [each for each in factors if each is not weight]
        raise refusal(
            self._bound, f"{reader} reads a product of two values ({type(step).__name__}) that is no MLP's"
        )


def _is_linear(module: nn.Module) -> bool:
    return linear_outputs(module) is not None and not gives_rows(module)
