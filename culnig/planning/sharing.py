"""How evenly processes share the batches of a run (`--fsdp`).

They run in turns, so each turn takes as long as its longest batch. Whole batches are shared out: where there
are few for each process, the last turn leaves many without one. Other batches can help then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from culnig.core.progress import Say
from culnig.inference.batches import batch_shapes
from culnig.models.base import BoundModel
from culnig.planning.choice import FIXED_TOKENS
from culnig.planning.work import BenchmarkSize, max_length
from culnig.scoring.levels import Level
from culnig.scoring.portions import Piece, batches_in_turns, split_batches, stretches

BATCHES_EACH = 10
"""With so many batches each, the last turn, in which some processes have none, is a tenth of the time."""
BUSY = 0.9
"""Share of the time below which a run says that its work is shared out badly."""
_STEP = 0.95
"""By which budgets are tried, one after the other."""


@dataclass(frozen=True)
class Shares:
    """What each process does of a run, by process."""

    passes: tuple[int, ...]
    """Batches."""
    tokens: tuple[int, ...]
    """Tokens of its batches, padding included."""
    turn_tokens: int
    """Tokens of the longest batch of each turn, added up."""

    @property
    def n_batches(self) -> int:
        """Batches of all."""
        return sum(self.passes)

    @property
    def busy(self) -> float:
        """Share of the time in which the processes work, if a batch takes as long as it has tokens."""
        return sum(self.tokens) / (len(self.tokens) * self.turn_tokens) if self.turn_tokens else 1.0

    @property
    def cost(self) -> int:
        """Time of the run, in tokens: a batch also takes the time to read the weights."""
        return self.turn_tokens + FIXED_TOKENS[True] * max(self.passes)


def shares_of(
    sizes: Sequence[BenchmarkSize], token_budget: int, n_processes: int, *, hands_over: bool = True
) -> Shares:
    """How processes share a run over benchmarks of these sizes.

    `hands_over` says whether a portion may be begun by one process and finished by the next.
    """
    batches = [
        [n_items * length for n_items, length in batch_shapes(size.lengths, token_budget)] for size in sizes
    ]
    longest = batches_in_turns(sum(map(len, batches)))
    portions = [
        [own[number] for number in portion]
        for own in batches
        for portion in split_batches(len(own), longest=longest)
    ]
    if hands_over:
        pieces = stretches([len(own) for own in portions], [0] * len(portions), n_processes)
    else:
        whole = [Piece(index, 0, len(own)) for index, own in enumerate(portions)]
        pieces = [whole[number::n_processes] for number in range(n_processes)]
    by_process = [
        [n for piece in own for n in portions[piece.portion][piece.begin : piece.end]] for own in pieces
    ]
    return Shares(
        tuple(map(len, by_process)),
        tuple(map(sum, by_process)),
        sum(max(turn) for turn in zip_longest(*by_process, fillvalue=0)),
    )


def shared_out(budget: int, sizes: Sequence[BenchmarkSize], n_processes: int) -> int:
    """The budget, or a smaller one with which the run ends sooner because fewer processes wait.

    Not smaller than gives each process some batches.
    """
    n_tokens = sum(size.n_tokens for size in sizes)
    least = max(1, max_length(sizes), n_tokens // (BATCHES_EACH * n_processes))
    tried = [budget]
    while int(tried[-1] * _STEP) > least:
        tried.append(int(tried[-1] * _STEP))
    if budget > least:
        tried.append(least)
    return min(tried, key=lambda own: (shares_of(sizes, own, n_processes).cost, -own))


def announce_shares(
    say: Say, bound: BoundModel, sizes: Sequence[BenchmarkSize], token_budget: int, level: Level
) -> None:
    """Say where a run has too few batches for the processes that its model is spread over, and what helps."""
    if bound.sharding is None:
        return
    of, hands_over = bound.sharding.processes.of, level == "culture"
    shares = shares_of(sizes, token_budget, of, hands_over=hands_over)
    if shares.busy >= BUSY:
        return
    better = shared_out(token_budget, sizes, of)
    busy = shares_of(sizes, better, of, hands_over=hands_over).busy
    advice = f"a token budget of {better:,} would make that {busy:.0%}"
    say(
        f"Warning: {shares.n_batches:,} batches for {of} processes, so each is busy {shares.busy:.0%} of the "
        f"time; {advice if busy > shares.busy else 'fewer processes would be busier'}"
    )
