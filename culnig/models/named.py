"""The model that a public function is given: a loaded one, or the name of one to load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from culnig import registry
from culnig.core.progress import Say, say_nothing
from culnig.errors import InputError, argument
from culnig.models.settings import LoadOptions, LoadSettings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from culnig.models.base import BoundModel


def loaded_model(
    model: str | Path | BoundModel,
    say: Say = say_nothing,
    *,
    spreads: bool = False,
    **loading: Unpack[LoadOptions],
) -> BoundModel:
    """The model with its weights; a loaded model is returned as it is.

    `spreads` says that the work can be done with a model that is spread over processes; else InputError.
    """
    is_spread = not isinstance(model, str | Path) and model.sharding is not None
    if not spreads and (is_spread or loading.get("fsdp")):
        raise InputError(
            f"{argument('fsdp')} spreads a model for scores, evaluations, instances, audits and checks, "
            "not for this; load it whole in one process"
        )
    if not isinstance(model, str | Path):
        return _as_given(model, loading)
    from culnig.models.loading import load_model

    settings = LoadSettings(**loading)
    say(f"loading {model}")
    return load_model(str(model), registry.adapters(), settings)


def model_without_weights(model: str | Path | BoundModel, **loading: Unpack[LoadOptions]) -> BoundModel:
    """The model as its configuration describes it; one that was not loaded by name as it is."""
    if not isinstance(model, str | Path):
        return _as_given(model, loading).skeleton or model
    from culnig.models.skeleton import load_skeleton

    return load_skeleton(str(model), registry.adapters(), LoadSettings(**loading)).bound


def _as_given(model: BoundModel, loading: LoadOptions) -> BoundModel:
    LoadSettings(**loading)
    if loading:
        raise InputError(
            f"{model.source!r} is loaded already, so {', '.join(loading)} would have no effect; leave "
            f"{'it' if len(loading) == 1 else 'them'} out, or give the model's name"
        )
    return model
