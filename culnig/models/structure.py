"""Helpers of the adapters: finding a decoder's parts, and cutting a linear's output into modules.

Neither these helpers nor the adapters look at a hub name or a family's class; only the modules count. Where a
model cannot be bound, the error names the missing part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from culnig.errors import BindingError
from culnig.models.base import ModuleSlice, linear_outputs

if TYPE_CHECKING:
    from torch import nn

Parts = Sequence[tuple[str, int]]
"""Modules that one linear holds, in the order of its output, with their widths."""


def find(module: nn.Module, path: str) -> nn.Module | None:
    """The submodule at a dotted path, or None."""
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


def has(module: nn.Module, *paths: str) -> bool:
    """Whether every path leads to a submodule."""
    return all(find(module, path) is not None for path in paths)


def decoder_layers(model: nn.Module, fits: Callable[[nn.Module], bool], expected: str) -> list[nn.Module]:
    """The only stack of layers in which every layer fits; BindingError lists the stacks where it is not one.

    Only the text decoder is searched where the model names one, so the layers of a vision tower are never
    used.
    """
    from torch import nn

    stacks = {
        name: list(stack)
        for name, stack in _text_decoder(model).named_modules()
        if isinstance(stack, nn.ModuleList) and len(stack) > 0
    }
    fitting = {name: layers for name, layers in stacks.items() if all(fits(layer) for layer in layers)}
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    for name, layers in stacks.items():
        _refuse_experts(name, layers)
    described = ", ".join(f"`{name}` ({_children(layers[0])})" for name, layers in stacks.items())
    raise BindingError(
        f"expected one stack of layers with {expected}, found {', '.join(fitting) or 'none'}"
        + ("" if fitting else f" among {described or 'no stacks of layers at all'}")
    )


def _text_decoder(model: nn.Module) -> nn.Module:
    get_decoder = getattr(model, "get_decoder", None)
    decoder = get_decoder() if callable(get_decoder) else None
    return model if decoder is None else decoder


def _refuse_experts(name: str, layers: Sequence[nn.Module]) -> None:
    routed = sum(any(path.endswith("experts") for path, _ in layer.named_modules()) for layer in layers)
    if routed:
        raise BindingError(
            f"{routed} of {len(layers)} layers in `{name}` route tokens to a mixture of experts; an expert "
            "sees only the tokens routed to it, so its outputs have no value at most tokens and their scores "
            "could not be compared with others. Mixtures of experts are not supported"
        )


def _children(module: nn.Module) -> str:
    return ", ".join(name for name, _ in module.named_children()) or type(module).__name__


def cut(linear: nn.Module, name: str, layer: int, parts: Parts) -> list[ModuleSlice]:
    """Cut a linear's output into adjacent modules; their widths must add up to its own."""
    check_outputs(linear, name, layer, sum(width for _, width in parts))
    slices, offset = [], 0
    for module, width in parts:
        slices.append(ModuleSlice(linear, module, layer, offset, width))
        offset += width
    return slices


def cut_per_head(
    linear: nn.Module, name: str, layer: int, modules: Sequence[str], heads: int, head_width: int
) -> list[ModuleSlice]:
    """Cut a linear whose output holds, head after head, `head_width` columns of each module."""
    step = len(modules) * head_width
    check_outputs(linear, name, layer, heads * step)
    return [
        ModuleSlice(linear, module, layer, number * head_width, heads * head_width, run=head_width, step=step)
        for number, module in enumerate(modules)
    ]


def check_outputs(linear: nn.Module, name: str, layer: int, declared: int) -> None:
    """BindingError if a module is not linear or has other outputs than the configuration declares."""
    actual = linear_outputs(linear)
    if actual is None:
        raise BindingError(f"layer {layer}: `{name}` is a {type(linear).__name__}, not a linear module")
    if actual != declared:
        raise BindingError(
            f"layer {layer}: `{name}` has {actual} outputs, the configuration declares {declared}"
        )


def declared(config: Any, *names: str) -> int:
    """The first of these fields that the configuration has a value for."""
    for name in names:
        value = getattr(config, name, None)
        if value is not None:
            return int(value)
    raise BindingError(f"the configuration declares none of {', '.join(names)}")
