"""Work in several processes that find each other as those of torchrun do, and one model spread over them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from culnig import registry
from culnig.core.processes import disconnect, launched
from culnig.models.base import BoundModel
from culnig.models.loading import load_model
from culnig.models.settings import LoadSettings
from tests.forked import Child
from tests.ports import HOST, free_port


def on_ranks(of: int, work: Callable[[int], Any], seconds: float = 120) -> list[Any]:
    """What `work` returned in each of the processes, by its number."""
    environment = {"WORLD_SIZE": str(of), "MASTER_ADDR": HOST, "MASTER_PORT": str(free_port())}

    def connected(rank: int) -> Any:
        os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(of))
        launched()
        answer = work(rank)
        disconnect()
        return answer

    children = [Child(lambda rank=rank: connected(rank)) for rank in range(of)]
    answers, problems = [], []
    for child in children:
        try:
            answers.append(child.wait(seconds))
        except AssertionError as problem:
            problems.append(str(problem))
    assert not problems, "\n".join(problems)
    return answers


def saved(bound: BoundModel, folder: Path) -> Path:
    """The folder with the model, saved the usual way."""
    bound.model.save_pretrained(folder)
    bound.tokenizer.save_pretrained(folder)
    return folder


def loaded(folder: Path, **settings: Any) -> BoundModel:
    """The model in a folder."""
    return load_model(str(folder), registry.adapters(), LoadSettings(**settings))
