"""Configurations that come with the program, so that plans need neither a download nor a login.

They are those of the paper's models: the sizes that decide memory and arithmetic, and nothing else. Only
plans use them; a model that is loaded has its own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from culnig import registry
from culnig.core.data_files import own_data
from culnig.models.settings import LoadSettings
from culnig.models.skeleton import load_skeleton

if TYPE_CHECKING:
    from culnig.models.base import BoundModel


def configuration_folder(model: str) -> Path | None:
    """The folder with the configuration of a model on the hub; None for models that we have none of."""
    folder = own_data("configurations")
    folders = (path.parent for path in folder.glob("*/*/config.json"))
    return next((path for path in folders if path.relative_to(folder).as_posix() == model), None)


def carried_model(model: str, settings: LoadSettings) -> BoundModel | None:
    """The model without weights, by its configuration here; None for those that we have none of."""
    folder = configuration_folder(model)
    if folder is None:
        return None
    bound = load_skeleton(str(folder), registry.adapters(), replace(settings, revision=None)).bound
    return replace(bound, source=model)
