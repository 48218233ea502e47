"""What a training records: the request, the model, the versions and the results."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from culnig.models.base import BoundModel
from culnig.provenance import describe_model, items_hash, versions
from culnig.training.plan import Plan
from culnig.training.settings import TrainSettings
from culnig.training.tasks import Task
from culnig.training.trainer import Trained


def request_record(
    bound: BoundModel, plan: Plan, task: Task, settings: TrainSettings, prompts: Mapping[str, Any]
) -> dict[str, Any]:
    """The request of a training; a resumed training must have the same one.

    `prompts` are those of the task's examples (`Encoder.record`).
    """
    return {
        "model": describe_model(bound),
        "plan_hash": sha256(plan.text().encode()).hexdigest(),
        "task": {
            "name": task.name,
            "examples": len(task.examples),
            "items_hash": items_hash(task.examples),
            "prompts": dict(prompts),
        },
        "settings": settings.record(),
        "versions": versions(),
    }


def result_record(plan: Plan, trained: Trained) -> dict[str, Any]:
    """The result of a training."""
    return {
        "n_trainable": trained.n_trainable,
        "planned": {"n_trainable": plan.n_trainable, "share": plan.share, "neurons": plan.n_neurons},
        "steps": trained.steps,
        "log": list(trained.log),
    }
