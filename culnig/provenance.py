"""Where numbers come from: the model, the versions of what computed them, hashes of files and items."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from culnig.core.items import Item
    from culnig.models.base import BoundModel

RECORDED_PACKAGES = ("culnig-engine", "torch", "transformers", "numpy", "h5py")


def describe_model(bound: BoundModel) -> dict[str, Any]:
    """What a run, an evaluation or a training records about its model."""
    return {
        "source": bound.source,
        "adapter": bound.adapter,
        "architecture": bound.architecture,
        "dtype": str(bound.model.dtype).removeprefix("torch."),
        "attention": getattr(bound.model.config, "_attn_implementation", None),
        "n_layers": bound.layout.n_layers,
        "n_neurons": bound.layout.n_neurons,
        "layout_hash": bound.layout.hash,
        "weights_hash": bound.weights_hash,
    }


def versions(computation: Mapping[str, str] | None = None) -> dict[str, str]:
    """Versions of the packages, and what the numbers were computed with (`computation_of`)."""
    recorded = {"python": platform.python_version()}
    recorded |= {package: metadata.version(package) for package in RECORDED_PACKAGES}
    return recorded | dict(computation or {})


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_hashes(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file, by `folder/name`."""
    return {f"{path.parent.name}/{path.name}": file_hash(path) for path in files}


def items_hash(items: Iterable[Item]) -> str:
    """SHA-256 of the full text of the items, which tells whether the data has changed.

    Which items share a question is not part of the text: earlier versions did not know it. Fields that they
    did not have are part of it only where they say something.
    """
    digest = hashlib.sha256()
    for item in items:
        content = asdict(item)
        del content["unit"]
        for name in ("also_right", "distribution", "together", "likelihood"):
            if not content[name]:
                del content[name]
        digest.update(json.dumps(content, sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()
