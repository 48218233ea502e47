"""The name of a model as files to load, and errors with advice where transformers cannot read them."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from culnig.errors import CulnigError, EnvironmentProblem, ModelLoadError, UnknownNameError, option
from culnig.models.embedded import embedded_model_file
from culnig.models.gguf import parsed_once
from culnig.models.settings import LoadSettings

EMBEDDED = "embedded"


def locate(source: str) -> tuple[str, dict[str, Any]]:
    """The arguments for transformers: a name or folder, and the GGUF file in it, if any."""
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
            raise ModelLoadError(f"{source}: the folder has no config.json, so it is not a model folder")
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


def reading_options(options: dict[str, Any], settings: LoadSettings) -> dict[str, Any]:
    """Keywords for every `from_pretrained`."""
    return options | {"revision": settings.revision, "trust_remote_code": settings.trust_remote_code}


@contextlib.contextmanager
def reading(source: str, name: str, options: dict[str, Any]) -> Iterator[None]:
    """Read files of a model without progress bars; failures become errors with advice.

    `name` and `options` are those of `locate`.
    """
    with _quiet():
        try:
            with parsed_once() if "gguf_file" in options else contextlib.nullcontext():
                yield
        except CulnigError:
            raise
        except ImportError as error:
            raise EnvironmentProblem(f"loading {source!r} needs a package: {error}") from error
        except Exception as error:  # a damaged file can raise any error of its reader
            raise _explained(source, name, error) from error


def _explained(source: str, name: str, error: Exception) -> ModelLoadError:
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
    return ModelLoadError(f"cannot load model {source!r}: {reason}; {advice}")


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
