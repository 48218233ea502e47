"""Work by several processes: those that torchrun started, or shards of a job array.

Under torchrun all share one folder, and only the first makes it, ends it and reports; shards have a folder
each.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta

from culnig.errors import EnvironmentProblem, InputError

_LONGEST_WAIT = timedelta(days=14)
"""For the slowest process."""


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is."""

    number: int = 0
    of: int = 1
    is_shard: bool = False
    """Whether the others have folders of their own."""

    @property
    def is_first(self) -> bool:
        """Whether this process makes and ends its folder."""
        return self.is_shard or self.number == 0

    def takes(self, turn: int) -> bool:
        """Whether the piece of work of that number is this process's; each takes every n-th."""
        return turn % self.of == self.number

    def wait_for_all(self) -> None:
        """Wait until every process has come here; EnvironmentProblem where one has stopped."""
        if self.of == 1 or self.is_shard:
            return
        import torch.distributed as distributed

        try:
            distributed.barrier()
        except RuntimeError as error:
            raise EnvironmentProblem(
                f"another of the {self.of} processes has stopped, so this one does too; its message says why"
            ) from error


ALONE = Processes()


def parse_shard(text: str) -> Processes:
    """The shard of text such as `2/8` (from 1); InputError where it is none."""
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not (found and 1 <= int(found[1]) <= int(found[2])):
        raise InputError(f"--shard {text!r}: i/n with i from 1 to n is allowed, such as 2/8")
    return Processes(int(found[1]) - 1, int(found[2]), is_shard=True)


def launched() -> Processes:
    """The processes that torchrun started, connected with each other; ALONE without torchrun."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ):
        return ALONE
    import torch
    import torch.distributed as distributed

    if not distributed.is_initialized():
        on_cuda = torch.cuda.is_available()
        if on_cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo", timeout=_LONGEST_WAIT)
    return Processes(distributed.get_rank(), distributed.get_world_size())


def disconnect() -> None:
    """End the connection that `launched` made, if any."""
    import torch.distributed as distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
