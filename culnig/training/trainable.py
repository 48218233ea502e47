"""Make exactly a plan's weights trainable, as full updates with row masks or as LoRA.

Rows that stay get no gradient: AdamW without decay then leaves their bits as they are. What is trained is
held in float32, whatever the model is loaded in: steps of 3e-5 would vanish in the rounding of bfloat16.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from culnig.errors import EnvironmentProblem, InputError, MismatchError, argument, command, option
from culnig.models.base import BoundModel
from culnig.training.plan import Plan
from culnig.training.settings import TrainSettings
from culnig.training.weights import Part

if TYPE_CHECKING:
    import torch


@contextlib.contextmanager
def planned_weights(bound: BoundModel, plan: Plan) -> Iterator[None]:
    """Only the plan's weights take gradients inside; on exit all have their old flags and formats.

    MismatchError if the plan is another model's or does not come to its number of parameters.
    """
    import torch

    plan.check(bound)
    own = dict(bound.model.named_parameters())
    before = {name: (parameter.requires_grad, parameter.dtype) for name, parameter in own.items()}
    with contextlib.ExitStack() as stack:
        stack.callback(_restore, own, before)
        for parameter in own.values():
            parameter.requires_grad_(False)
        trainable = 0
        for part in plan.train:
            parameter = own[part.parameter]
            parameter.data = parameter.data.to(torch.float32)
            parameter.requires_grad_(True)
            trainable += part.n_parameters
            if part.indices is not None:
                stack.callback(parameter.register_hook(_masking(part)).remove)  # type: ignore[no-untyped-call]
        _check_count(trainable, plan, bound)
        yield


def _restore(own: dict[str, torch.nn.Parameter], before: dict[str, tuple[bool, torch.dtype]]) -> None:
    for name, (required, dtype) in before.items():
        own[name].grad = None
        own[name].data = own[name].data.to(dtype)
        own[name].requires_grad_(required)


def _check_count(trainable: int, plan: Plan, bound: BoundModel) -> None:
    taking = sum(p.numel() for p in bound.model.parameters() if p.requires_grad)
    left_out = sum(
        int(np.prod(part.shape)) - part.n_parameters for part in plan.train if part.indices is not None
    )
    if trainable != plan.n_trainable or taking - left_out != plan.n_trainable:
        raise MismatchError(
            f"the plan trains {plan.n_trainable:,} parameters, but {bound.source!r} has "
            f"{taking - left_out:,} of them; make a new plan with {command('modules')}"
        )


def _masking(part: Part) -> Callable[[torch.Tensor], torch.Tensor]:
    """A hook that takes the gradient from all rows that the part does not have."""
    import torch

    still = torch.from_numpy(part.left_out)
    return lambda gradient: gradient.masked_fill(still.to(gradient.device), 0)


@contextlib.contextmanager
def lora_weights(bound: BoundModel, plan: Plan, settings: TrainSettings) -> Iterator[Any]:
    """The model wrapped by peft, LoRA on the plan's linear modules; on exit it is merged into the weights.

    InputError if the plan takes only rows of a module, EnvironmentProblem without peft, MismatchError
    where peft wraps other modules than the plan names.
    """
    plan.check(bound)
    _check_whole(plan)
    try:
        from peft import LoraConfig, get_peft_model
        from peft.tuners.lora import LoraLayer
    except ModuleNotFoundError:
        raise EnvironmentProblem(
            f"{argument('lora')} needs the package peft; run `pip install 'culnig-engine[adapters]'`"
        ) from None
    import torch

    before = [(parameter, parameter.requires_grad) for parameter in bound.model.parameters()]
    transposed = all(
        not isinstance(bound.model.get_submodule(name), torch.nn.Linear) for name in plan.linears
    )
    assert settings.lora_rank is not None
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # any number; peft divides it by the rank
        lora_dropout=0.0,
        fan_in_fan_out=transposed,
        task_type="CAUSAL_LM",
        **plan.peft,
    )
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        wrapped = get_peft_model(bound.model, config)
    wrapped.peft_config["default"].base_model_name_or_path = bound.source
    try:
        named = {
            name.removeprefix("base_model.model.")
            for name, module in wrapped.named_modules()
            if isinstance(module, LoraLayer)
        }
        if named != set(plan.linears):
            raise MismatchError(
                f"the plan names {len(plan.linears)} linear modules, but peft wraps {len(named)}: "
                f"{', '.join(sorted(named ^ set(plan.linears))[:3])} differ; make a new plan"
            )
        yield wrapped
    finally:
        wrapped.merge_and_unload()
        for parameter, required in before:
            parameter.requires_grad_(required)


def _check_whole(plan: Plan) -> None:
    """LoRA adds to a whole linear module; the plan must not take a part of one, nor weights of experts."""
    if of_experts := [part.parameter for part in plan.train if len(part.shape) > 2]:
        raise InputError(
            f"LoRA changes linear modules, and the experts of {of_experts[0]} are none; train without "
            f"{argument('lora')}"
        )
    cut = [part.parameter for part in plan.train if part.indices is not None]
    if cut:
        raise InputError(
            f"LoRA changes whole linear modules, but the plan trains only rows of {cut[0]}; make a plan "
            f"without {option('keep_neurons')} and, if projections are fused, with "
            f"{option('granularity', 'mlp')} or layer"
        )
    if not plan.linears:
        raise InputError("LoRA needs linear modules, but the plan has none")
