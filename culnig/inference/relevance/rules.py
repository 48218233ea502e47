"""Relevance rules: a backward pass that is not the gradient, through a forward pass that is unchanged.

In the backward passes inside `acting`, the scale of a norm is held fixed, an activation function φ is the
line φ(z)/z · z through its value, and each factor of a gated MLP's product gets half of the product's.
Attention and the weights of routers keep their own gradient. Formulas and source: docs/method.md.

Nothing in the forward pass is replaced: hooks on autograd's graph change what is passed back, and only while
the rules act. In all other backward passes through the same graph the gradient is the gradient.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from culnig.inference.relevance.mlps import Mlp
from culnig.inference.relevance.recognition import recognise
from culnig.inference.relevance.steps import Node, is_fused_norm, is_scale, steps_between
from culnig.models.base import BoundModel

Gradients = tuple[torch.Tensor | None, ...]


class RelevanceRules:
    """The rules of a bound model; BindingError at once if it has a part without one."""

    def __init__(self, bound: BoundModel) -> None:
        self._norms, self._mlps = recognise(bound)
        self._acting = False

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Forward passes inside can be differentiated by the rules. Enter it after a `Capture`.

        The capture then sees the gradient of an MLP's neurons before it is halved for what made them: the
        relevance of a gate or up neuron is its product's, z · ∂M/∂z = h · ∂M/∂h.
        """
        with contextlib.ExitStack() as stack:
            for norm in self._norms:
                stack.callback(norm.register_forward_hook(self._hold_scale).remove)
            for mlp in self._mlps:
                passes = _MlpPasses(mlp, self)
                for handle in passes.hooks():
                    stack.callback(handle.remove)
            yield

    @contextlib.contextmanager
    def acting(self) -> Iterator[None]:
        """Backward passes inside follow the rules."""
        self._acting = True
        try:
            yield
        finally:
            self._acting = False

    @property
    def act(self) -> bool:
        """Whether the rules act now."""
        return self._acting

    def _hold_scale(self, module: Any, inputs: Any, output: torch.Tensor) -> None:
        if not output.requires_grad:  # the first forward pass under gradient checkpointing
            return
        for step in steps_between(output, inputs[:1]):
            if is_scale(step):
                step.register_prehook(self._none_of)
            elif is_fused_norm(step):
                step.register_hook(self._with_fixed_scale(step))

    def _none_of(self, gradients: Gradients) -> Gradients | None:
        """No gradient for a scale, so that autograd leaves out the steps that made it."""
        return (None,) * len(gradients) if self._acting else None

    def _with_fixed_scale(self, step: Node) -> Callable[[Gradients, Gradients], Gradients | None]:
        """The gradient of a norm in one step, with its scale held fixed."""
        centres = type(step).__name__.startswith("NativeLayerNorm")
        scale = (step._saved_result2 if centres else step._saved_result1).detach()
        weight = step._saved_weight

        def replace(inputs: Gradients, outputs: Gradients) -> Gradients | None:
            own = outputs[0]
            if not self._acting or own is None or inputs[0] is None:
                return None
            wide = own.float() if weight is None else own.float() * weight.float()
            if centres:
                wide = wide - wide.mean(-1, keepdim=True)
            return ((wide * scale).to(own.dtype), *inputs[1:])

        return replace


class _MlpPasses:
    """The rule of one MLP, in every forward pass."""

    def __init__(self, mlp: Mlp, rules: RelevanceRules) -> None:
        self._mlp = mlp
        self._rules = rules
        self._pass: _MlpPass | None = None
        """The forward pass under way, from the first projection to the last."""

    def hooks(self) -> Iterator[Any]:
        """Hooks on the first projections, in front of and behind those of a capture, and on the last."""
        yield self._mlp.first[0].linear.register_forward_hook(self._begin, prepend=True)
        yield self._mlp.last.register_forward_pre_hook(self._end)
        if self._mlp.up is not None:
            for linear in self._mlp.linears:
                yield linear.linear.register_forward_hook(self._halve)

    def _begin(self, module: Any, inputs: Any, output: torch.Tensor) -> None:
        if output.requires_grad:
            self._pass = _MlpPass(self._mlp, output.detach())
            output.register_hook(self._when_acting(self._pass.of_first))  # type: ignore[no-untyped-call]

    def _end(self, module: Any, inputs: Any) -> None:
        own, self._pass = self._pass, None
        if own is not None and inputs[0].requires_grad:
            own.product = inputs[0].detach()
            inputs[0].register_hook(self._when_acting(own.keep))

    def _halve(self, module: Any, inputs: Any, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.register_hook(self._when_acting(lambda own: own * 0.5))  # type: ignore[no-untyped-call]

    def _when_acting(
        self, rule: Callable[[torch.Tensor], torch.Tensor | None]
    ) -> Callable[[torch.Tensor], torch.Tensor | None]:
        return lambda own: rule(own) if self._rules.act else None


class _MlpPass:
    """One forward pass of an MLP, and what its backward pass has of the product."""

    def __init__(self, mlp: Mlp, output: torch.Tensor) -> None:
        linear, own = mlp.first
        self._slice = linear.as_given(own)
        self._output = output
        self.product: torch.Tensor | None = None
        self._gradient: torch.Tensor | None = None

    def keep(self, gradient: torch.Tensor) -> None:
        """Keep the gradient of the product."""
        self._gradient = gradient

    def of_first(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient of the first projection's output: in the columns of the gate, that of φ(z)/z · z."""
        of_product, self._gradient = self._gradient, None
        assert self.product is not None
        assert of_product is not None
        values = self._slice.take(self._output).float()
        slope = self.product.reshape(values.shape) / values
        # 0/0 where the neuron is 0; anything else that is not a number would be one in P(gold) too
        slope.nan_to_num_(nan=0.0, posinf=math.inf, neginf=-math.inf).mul_(of_product.reshape(values.shape))
        slope = slope.to(gradient.dtype)
        if slope.shape == gradient.shape:
            return slope
        changed = gradient.contiguous().clone()
        self._slice.put(changed, slope)
        return changed
