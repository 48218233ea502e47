"""The worlds that methods are compared in.

To add a world, add a row to WORLDS: its builder trains or loads a model and says which neurons are known.
Builders import what they need when they are called, because `validate --help` lists the worlds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from culnig.core.progress import Progress
from culnig.errors import InputError, UnknownNameError
from culnig.validation.settings import PlantedSettings
from culnig.validation.targets import Target, invented_targets

if TYPE_CHECKING:
    from culnig.validation.effects import Effects
    from culnig.validation.judging import MethodResult
    from culnig.validation.planted import PlantedModel

INVENTED = "invented"


@dataclass(frozen=True)
class WorldKind:
    """One world: how its model is made, at any size and seed."""

    name: str
    summary: str
    """One line for the help text."""
    build: Callable[[PlantedSettings, Progress], PlantedModel]
    """Makes the model, its items and the known neurons."""
    targets: Callable[[Effects, tuple[MethodResult, ...]], tuple[Target, ...]]
    """What has to hold of the results."""
    settings: PlantedSettings = field(default_factory=PlantedSettings)
    """The default sizes."""

    def sized(self, **sizes: int | None) -> PlantedSettings:
        """The settings with these sizes, None for the world's own; InputError for a size it does not have."""
        given = {name: size for name, size in sizes.items() if size is not None}
        known = [each.name for each in fields(self.settings)]
        if unknown := [name for name in given if name not in known]:
            raise InputError(
                f"the world {self.name!r} has no setting {unknown[0].replace('_', ' ')!r}; it has "
                f"{', '.join(name.replace('_', ' ') for name in known)}"
            )
        return replace(self.settings, **given)


def world_kind(name: str) -> WorldKind:
    """The world of this name; UnknownNameError with the names that exist."""
    if name not in WORLDS:
        raise UnknownNameError("world", name, list(WORLDS))
    return WORLDS[name]


def _invented(settings: PlantedSettings, progress: Progress) -> PlantedModel:
    from culnig.validation.planted import planted_model

    return planted_model(settings, progress)


WORLDS: Mapping[str, WorldKind] = {
    kind.name: kind
    for kind in (
        WorldKind(
            INVENTED,
            "short questions with invented answers; only the planted neurons know them",
            _invented,
            invented_targets,
        ),
    )
}
"""The worlds that `validate --world` knows, by name."""
