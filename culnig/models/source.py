"""The name of a model as files to load, and errors with advice where transformers cannot read them."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from culnig.errors import (
    CulnigError,
    EnvironmentProblem,
    InputError,
    ModelLoadError,
    UnknownNameError,
    argument,
    option,
)
from culnig.models.cache import cached_folder
from culnig.models.embedded import EMBEDDED as EMBEDDED
from culnig.models.embedded import embedded_model_file
from culnig.models.gguf import parsed_once
from culnig.models.settings import LoadSettings


@dataclass(frozen=True)
class ModelFiles:
    """What transformers reads."""

    original_name: str
    """A hub name or a folder."""
    gguf: Path | None = None
    """The GGUF file in the folder."""
    cached: Path | None = None
    """The folder of the cache that stands for the GGUF file."""

    @property
    def name(self) -> str:
        """What `from_pretrained` is called with."""
        return self.original_name if self.cached is None else str(self.cached)

    @property
    def options(self) -> dict[str, Any]:
        """Keywords for every `from_pretrained`: the GGUF file, if transformers has to read it."""
        return {} if self.gguf is None or self.cached else {"gguf_file": self.gguf.name}


def locate(source: str, settings: LoadSettings, *, weights: bool = False) -> ModelFiles:
    """The files of a model. For a GGUF file its folder in the cache, if there is a good one.

    `weights` says that weights will be read, so their checksum is compared too. InputError for a revision
    of local files, ModelLoadError where there are none.
    """
    path = embedded_model_file() if source == EMBEDDED else Path(source)
    if settings.revision is not None and path.exists():
        raise InputError(
            f"{argument('revision')} {settings.revision!r} would have no effect: {source!r} is read from "
            f"this machine, and revisions are of models on the hub. Leave {argument('revision')} out, or "
            "give a hub name (owner/name)"
        )
    if path.is_file():
        if path.suffix != ".gguf":
            raise ModelLoadError(
                f"{source}: not a GGUF file; give a .gguf file, a folder with config.json and "
                f"safetensors, a hub name, or {EMBEDDED!r}"
            )
        cached = cached_folder(path, settings.dtype, weights=weights) if is_cacheable(settings) else None
        return ModelFiles(str(path.parent), path, cached)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelLoadError(f"{source}: the folder has no config.json, so it is not a model folder")
        return ModelFiles(str(path))
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
    return ModelFiles(source)


def is_cacheable(settings: LoadSettings) -> bool:
    """Whether a GGUF file may be read through the cache: no quantized weights, no code of the model."""
    return settings.quantize is None and not settings.trust_remote_code


def reading_options(files: ModelFiles, settings: LoadSettings) -> dict[str, Any]:
    """Keywords for every `from_pretrained`."""
    return files.options | {"revision": settings.revision, "trust_remote_code": settings.trust_remote_code}


@contextlib.contextmanager
def reading(source: str, files: ModelFiles, subject: str = "model") -> Iterator[None]:
    """Read files of a model without progress bars; failures become errors with advice. `subject` is read."""
    with _quiet():
        try:
            with parsed_once() if files.options else contextlib.nullcontext():
                yield
        except CulnigError:
            raise
        except ImportError as error:
            raise EnvironmentProblem(f"loading {source!r} needs a package: {error}") from error
        except Exception as error:  # a damaged file can raise any error of its reader
            raise _explained(f"{subject} {source!r}", files.name, error) from error


def _explained(subject: str, name: str, error: Exception) -> ModelLoadError:
    """An error that states in one sentence why transformers could not load it, and what to do."""
    reason = " ".join(str(error).split())[:400]
    if "trust_remote_code" in str(error):
        advice = f"read that code, and if you trust it add {option('trust_remote_code')}"
    elif Path(name).is_dir():
        advice = "check that the folder holds config.json, tokenizer files and *.safetensors weights"
    elif os.environ.get("HF_HUB_OFFLINE") == "1":
        advice = "HF_HUB_OFFLINE=1 forbids downloads: download it first, or give a local folder"
    else:
        advice = "check the name on the hub and your connection, or give a local folder"
    return ModelLoadError(f"cannot load {subject}: {reason}; {advice}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of the loaders: the command line shows its own. Logged warnings still show."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the GGUF reader's bar cannot be switched off
            yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
