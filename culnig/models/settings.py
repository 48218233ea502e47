"""How to load a model: checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from culnig.errors import InputError, argument, check_choice

DTYPES = ("auto", "float32", "float16", "bfloat16")
ATTENTIONS = ("auto", "eager", "sdpa", "flash_attention_2", "flex_attention")
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
QUANTIZATIONS = ("4bit", "8bit")


class LoadOptions(TypedDict, total=False):
    """Keyword arguments that say how to load a model; the fields of `LoadSettings`."""

    revision: str | None
    dtype: str
    device: str
    device_map: str | None
    attention: str
    quantize: str | None
    adapter: Path | str | None
    trust_remote_code: bool


@dataclass(frozen=True)
class LoadSettings:
    """How to load a model."""

    dtype: str = "auto"
    """One of DTYPES; `auto` takes what the checkpoint was saved in."""
    device: str = "auto"
    """`auto` is the first CUDA device where there is one, else the CPU."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    trust_remote_code: bool = False
    """Whether code that ships with the model may run."""
    attention: str = "auto"
    """One of ATTENTIONS; `auto` is eager for models that cap their attention scores (Gemma 2), because sdpa
    cannot, and transformers' own choice for all others."""
    device_map: str | None = None
    """One of DEVICE_MAPS: accelerate spreads the layers over all devices; None keeps them on `device`."""
    quantize: str | None = None
    """One of QUANTIZATIONS: bitsandbytes holds the linear modules in so many bits; None leaves them."""
    adapter: Path | str | None = None
    """Folder of a PEFT adapter that is merged into the weights."""

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("dtype", self.dtype, DTYPES),
            ("attention", self.attention, ATTENTIONS),
            ("device_map", self.device_map, (None, *DEVICE_MAPS)),
            ("quantize", self.quantize, (None, *QUANTIZATIONS)),
        ):
            check_choice(name, value, allowed)
        if self.device_map is not None and self.device != "auto":
            raise InputError(
                f"{argument('device_map')} {self.device_map!r} spreads the model over all devices, but "
                f"{argument('device')} {self.device!r} is a single device; give only one of them"
            )
        if self.quantize is not None and self.adapter is not None:
            raise InputError(
                f"an adapter cannot be merged exactly into quantized weights; leave out "
                f"{argument('quantize')}, or merge the adapter, save the model and quantize that"
            )
