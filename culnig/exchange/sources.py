"""Where the weights of an exported model come from: the files of a checkpoint, or a loaded model.

A folder or a model from the hub is copied file by file and never loaded. A GGUF file is exported from its
entry in the cache, which is such a folder. Models without safetensors files are loaded and saved: a GGUF file
that is not in the cache, a model with a merged adapter, a model that was loaded in Python.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from culnig import registry
from culnig.core.progress import Say
from culnig.errors import InputError, argument
from culnig.exchange.model_card import card_beside
from culnig.models.base import BoundModel
from culnig.models.checkpoint import INDEX, weight_files
from culnig.models.named import loaded_model
from culnig.models.peft_adapter import with_base
from culnig.models.settings import LoadSettings
from culnig.models.source import ModelFiles, locate, reading
from culnig.store.files import copy_contents, write_text

if TYPE_CHECKING:
    from culnig.models.settings import LoadOptions

_BESIDE = (
    *("config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json"),
    *("vocab*", "merges.txt", "spiece.model", "*.tiktoken", "chat_template*"),
    *("preprocessor_config.json", "processor_config.json", "*.py", "LICENSE*", "NOTICE*", "USE_POLICY*"),
)
"""Files beside the weights that belong to a model; others are not copied."""


@dataclass(frozen=True)
class ExportSource:
    """A model whose weights can be written into a folder."""

    name: str
    """Hub name, `embedded`, or the last part of a path: exported files hold no paths of this machine."""
    structure: BoundModel
    """The model, with or without its weights."""
    folder: Path | None
    """The checkpoint's folder; None for a loaded model."""
    write: Callable[[Path], None]
    """Writes weights, configuration, tokenizer and what belongs to them into an empty folder."""

    @property
    def card(self) -> str | None:
        """The model card beside the checkpoint."""
        return None if self.folder is None else card_beside(self.folder)


def export_source(model: str | Path | BoundModel, loading: LoadOptions, say: Say) -> ExportSource:
    """What to export `model` from; errors as for `load_model`.

    InputError if weights would be written in another form than they are stored in.
    """
    from culnig.models.loading import load_model, load_skeleton, load_tokenizer

    if not isinstance(model, str | Path):
        return _loaded(loaded_model(model, say, **loading))  # refuses options that need a name
    settings = LoadSettings(**loading)
    if settings.quantize is not None:
        raise InputError(
            f"{argument('quantize')} packs weights, in which a factor cannot be exact; leave it out"
        )
    source, settings = with_base(str(model), settings)
    files = locate(source, settings, weights=True)
    if settings.adapter is not None or (files.gguf is not None and files.cached is None):
        say(f"loading {model}, because its weights are not in safetensors files yet")
        bound = load_model(str(model), registry.adapters(), LoadSettings(**loading))
        files = locate(source, settings, weights=True)  # the cache may hold them now
        if settings.adapter is not None or files.cached is None:
            return _loaded(bound)
    if settings.dtype != "auto" and files.gguf is None:
        raise InputError(
            f"weights are exported in the number format of the checkpoint, so {argument('dtype')} "
            f"{settings.dtype!r} would have no effect; leave it out"
        )
    structure = load_skeleton(source, registry.adapters(), settings).bound
    load_tokenizer(source, settings)  # reports missing files before anything is copied
    folder = _folder(source, files, settings)

    def write(out: Path) -> None:
        _copy(source, folder, out)
        _name_architecture(out / "config.json", structure.architecture)

    return ExportSource(_public(str(model)), structure, folder, write)


def _public(source: str) -> str:
    return Path(source).resolve().name if Path(source).exists() else source


def _loaded(bound: BoundModel) -> ExportSource:
    from culnig.training.train import save_model

    def write(out: Path) -> None:
        save_model(bound, bound.model, out)

    return ExportSource(_public(bound.source), bound, None, write)


def _folder(source: str, files: ModelFiles, settings: LoadSettings) -> Path:
    """The folder of the checkpoint; that of a model on the hub is downloaded into the hub's cache."""
    if Path(files.name).is_dir():
        return Path(files.name)
    from huggingface_hub import snapshot_download

    with reading(source, files):
        return Path(
            snapshot_download(
                files.name,
                revision=settings.revision,
                allow_patterns=["model*.safetensors", INDEX, "README.md", *_BESIDE],
            )
        )


def _copy(source: str, folder: Path, out: Path) -> None:
    weights = weight_files(source, folder)
    index = folder / INDEX
    beside = {path for pattern in _BESIDE for path in folder.glob(pattern) if path.is_file()}
    for path in [*weights, *([index] if len(weights) > 1 or index.is_file() else []), *sorted(beside)]:
        copy_contents(path, out / path.name)


def _name_architecture(path: Path, architecture: str) -> None:
    """Name the model's class, which other programs go by; transformers leaves it out for GGUF files."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    if not settings.get("architectures"):
        write_text(path, json.dumps({"architectures": [architecture], **settings}, indent=2) + "\n")
