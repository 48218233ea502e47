"""Work shared by several processes: started by torchrun, or shards of a job array.

Processes started by torchrun share one output folder, which only the first of them creates, finishes and
reports. Each shard has a folder of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from culnig.errors import AnotherStopped, InputError, option

_LONGEST_WAIT = timedelta(days=14)
"""How long the fastest process may wait for the slowest."""

_stores: list[Any] = []
"""Where the processes of the launch leave notes for each other, once they are connected."""

T = TypeVar("T")


@contextlib.contextmanager
def another_may_stop(of: int) -> Iterator[None]:
    """AnotherStopped where what is sent inside fails, because one of the processes has stopped."""
    try:
        yield
    except RuntimeError as error:
        import torch

        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise AnotherStopped(of) from error


@dataclass(frozen=True)
class Processes:
    """This process's number, and how many processes share the work."""

    number: int = 0
    of: int = 1
    is_shard: bool = False
    """Whether every process writes to its own folder."""

    @property
    def is_first(self) -> bool:
        """Whether this process creates and finishes its folder."""
        return self.is_shard or self.number == 0

    def takes(self, portion: int) -> bool:
        """Whether this process works on the portion with that number; each takes every n-th portion."""
        return portion % self.of == self.number

    def least(self, number: int) -> int:
        """The smallest of the numbers that the processes of a launch give, once all have given theirs.

        AnotherStopped if one of them has stopped.
        """
        if self.of == 1 or self.is_shard:
            return number
        import torch
        import torch.distributed as distributed

        shared = torch.tensor(number)  # on the CPU, so that gloo sends it and notices a process that stopped
        with another_may_stop(self.of):
            distributed.all_reduce(shared, distributed.ReduceOp.MIN)
        return int(shared)

    def gathered(self, value: T) -> list[T]:
        """The values that the processes of a launch give, in their order; AnotherStopped as in `least`."""
        if self.of == 1 or self.is_shard:
            return [value]
        import torch.distributed as distributed

        values: list[T | None] = [None] * self.of
        with another_may_stop(self.of):
            distributed.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def tell(self, number: int) -> Any:
        """Begin to tell another process of the launch something that it waits to `hear`; returns at once.

        What is returned must be kept until that process has heard it.
        """
        import torch
        import torch.distributed as distributed

        with another_may_stop(self.of):
            return distributed.isend(torch.zeros(1), number)

    def hear(self, number: int) -> None:
        """Wait until another process of the launch tells; AnotherStopped if it has stopped."""
        import torch
        import torch.distributed as distributed

        with another_may_stop(self.of):
            distributed.recv(torch.zeros(1), number)

    @property
    def per_node(self) -> int:
        """How many processes of the launch run on this node."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.of > 1 else 1

    def wait_for_all(self) -> None:
        """Wait until every process gets here; AnotherStopped if one has stopped."""
        self.least(0)


ALONE = Processes()


def parse_shard(text: str) -> Processes:
    """Parse a shard such as `2/8`, counted from 1; InputError if the text has another form."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not (match and 1 <= int(match[1]) <= int(match[2])):
        raise InputError(f"{option('shard', text)} is not a shard; give I/N with I from 1 to N, such as 2/8")
    return Processes(int(match[1]) - 1, int(match[2]), is_shard=True)


def launched_processes() -> int:
    """How many processes torchrun started together with this one; 1 without torchrun."""
    by_torchrun = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ)
    return int(os.environ["WORLD_SIZE"]) if by_torchrun else 1


def launched() -> Processes:
    """Connect with the other processes that torchrun started; ALONE without torchrun."""
    if launched_processes() == 1:
        return ALONE
    import torch
    import torch.distributed as distributed
    from torch.distributed.rendezvous import rendezvous

    if not distributed.is_initialized():
        on_cuda = torch.cuda.is_available()
        if on_cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        store, number, of = next(rendezvous("env://"))
        store.set_timeout(_LONGEST_WAIT)
        _stores.append(store)
        backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
        distributed.init_process_group(
            backend, store=store, rank=number, world_size=of, timeout=_LONGEST_WAIT
        )
    return Processes(distributed.get_rank(), distributed.get_world_size())


def says_why_it_stops() -> bool:
    """Whether no other process of the launch has asked this before: one message is enough for all."""
    if not _stores:
        return True
    try:
        return bool(_stores[-1].add("culnig/stopped", 1) == 1)
    except RuntimeError:  # the process that kept the store has stopped
        return False


def disconnect() -> None:
    """Close the connection that `launched` opened, if any."""
    import torch.distributed as distributed

    _stores.clear()
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
