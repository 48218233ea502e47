"""The worlds that methods are compared in.

To add a world, add a row to WORLDS: its builder trains or loads a model and says which neurons are known.
Builders import what they need when they are called, because `validate --help` lists the worlds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from culnig.core.progress import Progress, Say
from culnig.errors import InputError, UnknownNameError
from culnig.validation.settings import PlantedSettings, RealSettings, RowsSettings, Settings
from culnig.validation.targets import Target, hard_targets, invented_targets, real_targets, rows_targets

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
    build: Callable[[Any, Progress, Say], PlantedModel]
    """Makes the model, its items and the known neurons from settings of the type of `settings`; long training
    says how far it has come."""
    targets: Callable[[Effects, tuple[MethodResult, ...]], tuple[Target, ...]]
    """What has to hold of the results."""
    settings: Settings = field(default_factory=PlantedSettings)
    """The default sizes."""
    most_passes: int | None = None
    """Scorers that take more passes over the items are left out, where the model is large."""

    n_timed: int = 64
    """Facts, the first ones, that are scored to measure what a scorer costs."""

    def sized(self, **sizes: int | None) -> Settings:
        """The settings with these sizes, None for the world's own; InputError for a size it does not have."""
        given = {name: size for name, size in sizes.items() if size is not None}
        known = [each.name for each in fields(self.settings)]
        if unknown := [name for name in given if name not in known]:
            raise InputError(
                f"the world {self.name!r} has no setting {unknown[0].replace('_', ' ')!r}; it has "
                f"{', '.join(name.replace('_', ' ') for name in known)}"
            )
        own: Any = self.settings
        sized: Settings = replace(own, **given)
        return sized


def world_kind(name: str) -> WorldKind:
    """The world of this name; UnknownNameError with the names that exist."""
    if name not in WORLDS:
        raise UnknownNameError("world", name, list(WORLDS))
    return WORLDS[name]


def _invented(settings: PlantedSettings, progress: Progress, say: Say) -> PlantedModel:
    from culnig.validation.planted import planted_model

    return planted_model(settings, progress)


def _hard(settings: PlantedSettings, progress: Progress, say: Say) -> PlantedModel:
    from culnig.validation.hard import hard_model

    return hard_model(settings, progress, say)


def _real_rows(settings: RowsSettings, progress: Progress, say: Say) -> PlantedModel:
    from culnig.validation.real import rows_model

    return rows_model(settings, progress, say)


def _real(settings: RealSettings, progress: Progress, say: Say) -> PlantedModel:
    from culnig.validation.real import learned_model

    return learned_model(settings, progress, say)


WORLDS: Mapping[str, WorldKind] = {
    kind.name: kind
    for kind in (
        WorldKind(
            INVENTED,
            "short questions with invented answers, which only the planted neurons know",
            _invented,
            invented_targets,
        ),
        WorldKind(
            "hard",
            "letters, long prompts, 1 % planted, overlapping sets, and decoys for control and exclusion",
            _hard,
            hard_targets,
            PlantedSettings(cultures=4, questions=8, neurons_per_culture=8, layers=4, mlp_width=704),
        ),
        WorldKind(
            "real-rows",
            "the embedded model learns the everyday facts in the rows of known neurons",
            _real_rows,
            rows_targets,
            RowsSettings(),
            most_passes=4,
            n_timed=16,
        ),
        WorldKind(
            "real",
            "the embedded model learns the everyday facts with all its weights; no neurons are known",
            _real,
            real_targets,
            RealSettings(),
        ),
    )
}
"""The worlds that `validate --world` knows, by name."""
