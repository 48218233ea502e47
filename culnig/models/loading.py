"""Load a model and its tokenizer: hub name, local folder, GGUF file, or `embedded`.

transformers does the loading; this file decides what kind of thing the user named, turns what can go wrong
into errors that say what to do, and hands the result to the adapters.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig.bound import BoundModel, ModelAdapter, bind_model
from culnig.errors import EnvironmentProblem, InputError, ModelLoadError, UnknownNameError
from culnig.models.embedded import embedded_model_file

if TYPE_CHECKING:
    import torch

EMBEDDED = "embedded"
DTYPES = ("auto", "float32", "float16", "bfloat16")


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
    """Whether code that comes with the model may run."""


def load_model(
    source: str, adapters: Sequence[ModelAdapter], settings: LoadSettings | None = None
) -> BoundModel:
    """Load and bind the model that `source` names."""
    settings = settings or LoadSettings()
    if settings.dtype not in DTYPES:
        raise InputError(f"unknown dtype {settings.dtype!r}; choose from {', '.join(DTYPES)}")
    device = _device(settings.device)
    name, options = _locate(source)
    options |= {"revision": settings.revision, "trust_remote_code": settings.trust_remote_code}
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with _quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, **options)
            model = AutoModelForCausalLM.from_pretrained(
                name, dtype=settings.dtype, use_safetensors=True, **options
            )
        except ImportError as error:
            raise EnvironmentProblem(f"loading {source!r} needs a package: {error}") from error
        except Exception as error:  # a damaged file raises whatever its reader happens to trip over
            raise _explained(source, name, error) from error
    model.to(device=device)  # type: ignore[call-arg]
    model.eval()  # type: ignore[no-untyped-call]
    return bind_model(source, model, tokenizer, adapters)


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device {name!r}; give auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentProblem(
            f"device {name!r} is not here: {torch.cuda.device_count()} CUDA devices found; use --device cpu"
        )
    return device


def _locate(source: str) -> tuple[str, dict[str, Any]]:
    """What to hand to transformers: a name or folder, and the GGUF file in it if it is one."""
    path = embedded_model_file() if source == EMBEDDED else Path(source)
    if path.is_file():
        if path.suffix != ".gguf":
            raise ModelLoadError(
                f"{source}: not a GGUF file; give a .gguf file, a folder with config.json and "
                f"safetensors, a hub name, or {EMBEDDED!r}"
            )
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelLoadError(f"{source}: the folder has no config.json, so it is no model folder")
        return str(path), {}
    looks_like_path = source.startswith((".", "/", "~")) or source.endswith(".gguf")
    if looks_like_path or source.count("/") > 1:
        raise ModelLoadError(f"{source}: no such file or folder")
    if "/" not in source:
        raise UnknownNameError(
            "model",
            source,
            [EMBEDDED],
            "or give a hub name (owner/name), a model folder or a .gguf file",
        )
    return source, {}


def _explained(source: str, name: str, error: Exception) -> ModelLoadError:
    """Say in one sentence why transformers could not load it, and what to do."""
    reason = " ".join(str(error).split())[:400]
    if Path(name).is_dir():
        advice = "check that the folder holds config.json, tokenizer files and *.safetensors weights"
    elif os.environ.get("HF_HUB_OFFLINE") == "1":
        advice = "HF_HUB_OFFLINE=1 forbids downloads: download it first, or give a local folder"
    else:
        advice = "check the name on the hub and your connection, or give a local folder"
    return ModelLoadError(f"cannot load model {source!r}: {reason}; {advice}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of the loaders: the command line shows its own. Logged warnings still show."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the GGUF reader's bar heeds no setting
            yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
