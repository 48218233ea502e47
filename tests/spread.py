"""Work in several processes that find each other as those of torchrun do, and one model spread over them.

`launcher` is torchrun itself, without a new interpreter for it and for each of its processes.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from culnig import registry
from culnig.cli.main import run
from culnig.core.processes import disconnect, launched
from culnig.models.base import BoundModel
from culnig.models.loading import load_model
from culnig.models.settings import LoadSettings
from tests.forked import Child
from tests.forked_commands import printed
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


def launcher(n_nodes: int, of: int, port: int, arguments: Sequence[object]) -> Child:
    """One node's torchrun, with so many processes that run a command; its answer is `Printed`.

    Its code has the exit code of each process by its number. Nodes meet at the port.
    """
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    words = [str(argument) for argument in arguments]
    meeting = {"run_id": "culnig", "rdzv_backend": "c10d", "rdzv_endpoint": f"{HOST}:{port}"}
    config = LaunchConfig(
        n_nodes, n_nodes, of, **meeting, start_method="fork", max_restarts=0, monitor_interval=0.1
    )

    def launch() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks, where there are threads
            return elastic_launch(config, run)(words)

    return Child(lambda: printed(launch))


def saved(bound: BoundModel, folder: Path) -> Path:
    """The folder with the model, saved the usual way."""
    bound.model.save_pretrained(folder)
    bound.tokenizer.save_pretrained(folder)
    return folder


def loaded(folder: Path, **settings: Any) -> BoundModel:
    """The model in a folder."""
    return load_model(str(folder), registry.adapters(), LoadSettings(**settings))
