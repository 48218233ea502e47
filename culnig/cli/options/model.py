"""--model and the options that say how to load it, for every command that runs a model."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import click

from culnig.cli.options.base import PATH, Command, together
from culnig.core.processes import launched
from culnig.models.settings import ATTENTIONS, DEVICE_MAPS, DTYPES, QUANTIZATIONS, LoadOptions, LoadSettings


@dataclass(frozen=True)
class ModelChoice:
    """The model that the options name, and how to load it."""

    source: str
    options: LoadOptions
    """How to load it, as keyword arguments of the library."""

    @property
    def reports(self) -> bool:
        """Whether this process prints: of those that the model is spread over, the first does."""
        return not self.options.get("fsdp") or launched().is_first


_STRUCTURE = (
    click.option("--revision", help="Branch, tag or commit on the hub."),
    click.option("--trust-remote-code", is_flag=True, help="Run code that ships with the model."),
)


def _weights(*, hidden: bool) -> tuple[Callable[[Command], Command], ...]:
    """How to load the weights; `hidden` for commands that accept these options but read no weights."""
    return (
        click.option(
            "--dtype",
            type=click.Choice(DTYPES),
            default=LoadSettings.dtype,
            show_default=True,
            hidden=hidden,
            help="Number format of the weights; auto is the checkpoint's own.",
        ),
        click.option(
            "--device",
            default=LoadSettings.device,
            show_default=True,
            hidden=hidden,
            help="auto, cpu, cuda or cuda:N.",
        ),
        click.option(
            "--device-map",
            type=click.Choice(DEVICE_MAPS),
            hidden=hidden,
            help="Spread the layers over all devices (accelerate).",
        ),
        click.option(
            "--attention",
            type=click.Choice(ATTENTIONS),
            default=LoadSettings.attention,
            show_default=True,
            hidden=hidden,
            help="Attention implementation; auto is eager for models that cap their attention scores (Gemma "
            "2), and transformers' choice for others.",
        ),
        click.option(
            "--quantize",
            type=click.Choice(QUANTIZATIONS),
            hidden=hidden,
            help="Load the linear modules in 4 or 8 bits (bitsandbytes).",
        ),
        click.option(
            "--adapter", type=PATH, hidden=hidden, help="Folder of a PEFT adapter to merge into the weights."
        ),
    )


_SPREADING = (
    click.option(
        "--fsdp",
        is_flag=True,
        help="Each process of torchrun holds a part of the weights (FSDP2) and does a part of the work.",
    ),
    click.option("--fsdp-offload", is_flag=True, help="With --fsdp: keep the weights in memory of the host."),
)


def model_options(
    *, required: bool = True, spreads: bool = False, reads_weights: bool = True
) -> Callable[[Command], Command]:
    """--model and how to load it; the command gets one `model: ModelChoice`, or None if none is named.

    `spreads`: the command works with a model that is spread over processes. `reads_weights`: it needs more
    than the configuration.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_choice(model: str | None, **options: Any) -> Any:
            names = [name for name in LoadOptions.__annotations__ if name in options]
            loading = cast(LoadOptions, {name: options.pop(name) for name in names})
            return command(model=None if model is None else ModelChoice(model, loading), **options)

        model_option = click.option(
            "--model", required=required, help="Hub name, model folder, .gguf file, or `embedded`."
        )
        spreading = _SPREADING if spreads else ()
        return cast(
            Command,
            together(model_option, *_STRUCTURE, *_weights(hidden=not reads_weights), *spreading)(with_choice),
        )

    return decorate
