"""Helpers of the adapters: finding a decoder's parts, and cutting a linear's output into modules.

Neither these helpers nor the adapters look at a hub name or a family's class; only the modules count. Where a
model cannot be bound, the error names the missing part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

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
    """The outermost stack in which every layer fits; BindingError lists the stacks where there is not one.

    Only the text decoder is searched where the model names one, so the layers of a vision tower are never
    used; nor are those of a tower that is nested deeper than the decoder's.
    """
    from torch import nn

    stacks = {
        name: list(stack)
        for name, stack in _text_decoder(model).named_modules()
        if isinstance(stack, nn.ModuleList) and len(stack) > 0
    }
    fitting = {name: layers for name, layers in stacks.items() if all(fits(layer) for layer in layers)}
    outermost = min((name.count(".") for name in fitting), default=0)
    decoders = [layers for name, layers in fitting.items() if name.count(".") == outermost]
    if len(decoders) == 1:
        return decoders[0]
    described = ", ".join(f"`{name}` ({_children(layers[0])})" for name, layers in stacks.items())
    raise BindingError(
        f"expected one stack of layers with {expected}, found {', '.join(fitting) or 'none'}"
        + ("" if fitting else f" among {described or 'no stacks of layers at all'}")
    )


def _text_decoder(model: nn.Module) -> nn.Module:
    """What the model names as its decoder, if that holds layers: ModernBERT's is its output head."""
    from torch import nn

    get_decoder = getattr(model, "get_decoder", None)
    decoder = get_decoder() if callable(get_decoder) else None
    if decoder is None or not any(isinstance(part, nn.ModuleList) for part in decoder.modules()):
        return model
    return cast("nn.Module", decoder)


def _children(module: nn.Module) -> str:
    return ", ".join(name for name, _ in module.named_children()) or type(module).__name__


def cut(linear: nn.Module, name: str, layer: int, parts: Parts, times: int = 1) -> list[ModuleSlice]:
    """Cut a linear's output into modules side by side, `times` times in a row; widths must add up to its own.

    With several times, as where heads alternate, a module is what its runs hold together.
    """
    step = sum(width for _, width in parts)
    check_outputs(linear, name, layer, step * times)
    slices, offset = [], 0
    for module, width in parts:
        run, of_run = (None, None) if times == 1 else (width, step)
        slices.append(ModuleSlice(linear, module, layer, offset, width * times, run, of_run))
        offset += width
    return slices


def check_outputs(linear: nn.Module, name: str, layer: int, expected: int) -> None:
    """BindingError if a module is not linear or has other outputs than expected."""
    actual = linear_outputs(linear)
    if actual is None:
        raise BindingError(f"layer {layer}: `{name}` is a {type(linear).__name__}, not a linear module")
    if actual != expected:
        raise BindingError(
            f"layer {layer}: `{name}` has {actual} outputs, and what reads them expects {expected}"
        )
