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
    fsdp: bool
    fsdp_offload: bool


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
    fsdp: bool = False
    """Whether the processes of torchrun hold a part of the weights each (FSDP2) and share the work."""
    fsdp_offload: bool = False
    """With `fsdp`: whether the parts are kept in memory of the host."""

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
        self._check_sharding()
        if self.quantize is not None and self.adapter is not None:
            raise InputError(
                f"an adapter cannot be merged exactly into quantized weights; leave out "
                f"{argument('quantize')}, or merge the adapter, save the model and quantize that"
            )

    def _check_sharding(self) -> None:
        """InputError for what cannot be combined with `fsdp`."""
        if self.fsdp_offload and not self.fsdp:
            raise InputError(
                f"{argument('fsdp_offload')} says where {argument('fsdp')} keeps weights, and has no effect "
                "alone; give both or none"
            )
        reasons = {
            "device_map": "spreads a model over the devices of a single process",
            "quantize": "packs weights in a way that cannot be divided",
            "adapter": "must be merged into whole weights; merge it, save the model and give that one",
        }
        for name, reason in reasons.items():
            if self.fsdp and getattr(self, name) is not None:
                raise InputError(
                    f"{argument('fsdp')} and {argument(name)} exclude each other: {argument(name)} {reason}"
                )
