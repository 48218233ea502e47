"""Entry points of the Python surface that join what lies in several packages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from culnig import registry
from culnig.store.run import Run

if TYPE_CHECKING:
    from culnig.models.base import BoundModel
    from culnig.models.loading import LoadSettings


def load_model(source: str, settings: LoadSettings | None = None) -> BoundModel:
    """Load and bind a model: hub name, folder, .gguf file, or `embedded`."""
    from culnig.models.loading import load_model as load

    return load(source, registry.adapters(), settings)


def open_run(folder: Path | str) -> Run:
    """Open a finished run folder; StoreError where there is none."""
    return Run(folder)
