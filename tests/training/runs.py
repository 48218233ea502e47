"""Small trainings of tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from culnig.inference.encoding import Encoder
from culnig.models.base import BoundModel
from culnig.training.folder import TrainingFolder
from culnig.training.plan import Plan, PlanSettings, make_plan
from culnig.training.settings import TrainSettings
from culnig.training.trainer import Trained, fit
from tests.tiny_models import tiny_items
from tests.training.chosen import random_set


def plan_of(bound: BoundModel, **settings: Any) -> Plan:
    return make_plan(bound, random_set(bound), PlanSettings(**{"budget": 0.3, **settings}))


def weights_of(bound: BoundModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in bound.model.named_parameters()}


def run(bound: BoundModel, plan: Plan, folder: Path, *, more: Any = None, **settings: Any) -> Trained:
    """Three steps of a tiny model over short items."""
    how = TrainSettings(**{"learning_rate": 1e-3, "max_steps": 3, "log_every": 1, **settings})
    where = TrainingFolder(folder)
    folder.mkdir(exist_ok=True)
    return fit(bound, plan, Encoder(bound).encode_all(tiny_items(24)), how, where, **(more or {}))
