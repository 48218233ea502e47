"""The scoring loop: items of one benchmark through the model, into one table of culture moments.

Per batch: forward, P(gold) at the last position, one backward pass from ΣP. Items do not mix, so the
gradient of the sum holds every item's own gradient; `Capture` hands each module's pair to the kernel,
which adds to the table while autograd goes on.

The order of batches is fixed by the items and the token budget, and so are the portions they are cut into.
Each portion has a table of its own, which after k batches is the same whether or not the process was
interrupted in between, and whichever process it was; the tables are added in the order of portions.

Where items begin alike and it pays, a batch forwards what they have in common once (`sharing`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Item, Role
from culnig.core.moments import CultureMoments
from culnig.core.outcomes import Outcomes
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, Batch, make_batches
from culnig.inference.encoding import Encoder
from culnig.inference.grouping import share_prefixes
from culnig.inference.shared_batches import SharedBatch, renumbered, whole
from culnig.models.base import BoundModel
from culnig.scorers.base import Scorer
from culnig.scoring.accumulator import Accumulator
from culnig.scoring.capture import Capture
from culnig.scoring.checkpointing import checkpointed
from culnig.scoring.halving import half_of_items
from culnig.scoring.keeping import Keeper
from culnig.scoring.pieces import Pieces
from culnig.scoring.portions import MOST_PORTIONS, split_batches
from culnig.scoring.sharing_trial import sharing_problem


@dataclass(frozen=True)
class ScoreSettings:
    """What decides the numbers of a run, beside model and items."""

    aggregator: str = "max"
    """How contributions at the tokens become one instance score: max, absmax, sum, mean or last."""
    token_budget: int = DEFAULT_TOKEN_BUDGET
    """Most tokens of one batch, padding included. Changes scores only by the model's float noise."""
    prefix_sharing: bool = True
    """Whether prompts that begin alike share that part where it pays. Changes scores only as that does."""


@dataclass
class BenchmarkScores:
    """What scoring one benchmark gives; grows batch by batch."""

    moments: CultureMoments
    outcomes: Outcomes
    batches_done: int = 0
    scorers: dict[str, CultureMoments] = field(default_factory=dict)
    """The sums of other scorers, by name."""


AfterBatch = Callable[[int, int], None]
"""Called after each batch with the number of batches done and the number of items in the last."""


class Scoring:
    """One benchmark's items, encoded and cut into batches and portions, ready to be scored."""

    def __init__(
        self,
        bound: BoundModel,
        items: Sequence[Item],
        role: Role,
        settings: ScoreSettings,
        *,
        gradient_checkpointing: bool = False,
        scorers: Sequence[Scorer] = (),
        halves: bool = False,
    ) -> None:
        """`gradient_checkpointing` takes less memory and more time, and gives the same scores.

        `scorers` are those beside gradient × activation. Neither goes with prefix sharing (`settled`). With
        `halves` a portion holds items of one half of the questions only (`halving`).
        """
        self._scorers = scorers
        self._bound = bound
        self._items = items
        self._clamp_at_zero = role == "control"
        self._settings = settings
        self._checkpointing = gradient_checkpointing
        encoded = Encoder(bound).encode_all(items)
        self.work: list[SharedBatch | Batch] = []
        """The batches as they are run."""
        self.portions: list[range] = []
        self.half_of_portion: list[int | None] = []
        """Which half of the questions a portion holds, 1 or 2; None for both."""
        for half, places in self._shares(halves):
            chosen = [encoded[place] for place in places]
            shared = share_prefixes(chosen, settings.token_budget) if settings.prefix_sharing else None
            batches = shared or list[SharedBatch | Batch](make_batches(chosen, settings.token_budget))
            most = MOST_PORTIONS if half is None else MOST_PORTIONS // 2
            self.portions += split_batches(len(batches), most, len(self.work))
            self.work += [renumbered(batch, places) for batch in batches]
            self.half_of_portion += [half] * (len(self.portions) - len(self.half_of_portion))
        self.batches = [whole(batch) for batch in self.work]

    def _shares(self, halves: bool) -> list[tuple[int | None, Sequence[int]]]:
        """The items that are batched together: all, or those of each half that has any."""
        if not halves:
            return [(None, range(len(self._items)))]
        half_of = half_of_items(self._items)
        shares = [(half, np.flatnonzero(half_of == half).tolist()) for half in (1, 2)]
        return [(half, places) for half, places in shares if places]

    def places(self, portion: int) -> NDArray[np.int64]:
        """Places of a portion's items in file order, ascending."""
        numbers = [place for number in self.portions[portion] for place in self.batches[number].numbers]
        return np.sort(np.array(numbers, dtype=np.int64))

    def empty(self) -> BenchmarkScores:
        """A table for the cultures of all items, in order of first appearance."""
        cultures = list(dict.fromkeys(item.culture for item in self._items))
        n_neurons = self._bound.layout.n_neurons
        return BenchmarkScores(
            CultureMoments.zeros(cultures, n_neurons),
            Outcomes.empty(self._items),
            scorers={scorer.name: CultureMoments.zeros(cultures, n_neurons) for scorer in self._scorers},
        )

    def score(
        self,
        portion: int,
        scores: BenchmarkScores,
        *,
        keeper: Keeper | None = None,
        after_batch: AfterBatch = lambda batches_done, n_items: None,
    ) -> None:
        """Score a portion into its table `scores`, from the batch on that `scores` has come to.

        A batch that does not fit into memory is halved until it does. Items of a control benchmark have
        their weighted scores clamped at zero (METHOD §1). Raises NonFiniteError, naming module, layer and
        item, where an activation or gradient is not finite, and EnvironmentProblem where a single item does
        not fit into memory.
        """
        accumulator = Accumulator(
            scores.moments,
            self._bound.layout,
            self._settings.aggregator,
            clamp_at_zero=self._clamp_at_zero,
            keeper=keeper,
            others=[(scorer, scores.scorers[scorer.name]) for scorer in self._scorers],
        )
        with (
            checkpointed(self._bound) if self._checkpointing else contextlib.nullcontext(),
            AnswerReader(self._bound) as reader,
            Capture(self._bound, accumulator.add) as capture,
        ):
            targets = tuple(dict.fromkeys(t for scorer in self._scorers for t in scorer.targets))
            pieces = Pieces(
                self._bound,
                reader,
                capture,
                accumulator,
                scores.outcomes,
                self._settings.token_budget,
                targets,
            )
            for number in self.portions[portion][scores.batches_done :]:
                if keeper:
                    keeper.begin(number)
                pieces.score(self.work[number])
                if keeper:
                    keeper.end(number)
                scores.batches_done += 1
                after_batch(scores.batches_done, len(self.batches[number].items))


def settled(
    settings: ScoreSettings,
    bound: BoundModel,
    *,
    gradient_checkpointing: bool = False,
    scorers: Sequence[Scorer] = (),
    tensors: bool = False,
) -> tuple[ScoreSettings, str]:
    """The settings with prefix sharing off where it is asked for and cannot be, and the reason.

    `tensors` says that activations and gradients of whole prompts are kept.
    """
    problem = None
    if settings.prefix_sharing:
        if tensors:
            problem = "level token keeps the tensors of whole prompts"
        elif scorers:
            problem = f"scorer {scorers[0].name} sees whole prompts"
        elif gradient_checkpointing:
            problem = "gradient checkpointing runs layers twice"
        else:
            problem = sharing_problem(bound)
    return (settings, "") if problem is None else (replace(settings, prefix_sharing=False), problem)


def score_benchmark(
    bound: BoundModel,
    items: Sequence[Item],
    role: Role,
    settings: ScoreSettings,
    *,
    after_batch: AfterBatch = lambda batches_done, n_items: None,
    gradient_checkpointing: bool = False,
    scorers: Sequence[Scorer] = (),
) -> BenchmarkScores:
    """Score `items` in memory: the numbers that `culnig.scoring.run.score_run` stores, to the bit.

    Raises as `Scoring.score` does.
    """
    settings, _ = settled(settings, bound, gradient_checkpointing=gradient_checkpointing, scorers=scorers)
    scoring = Scoring(
        bound, items, role, settings, gradient_checkpointing=gradient_checkpointing, scorers=scorers
    )
    total = scoring.empty()
    for portion in range(len(scoring.portions)):
        part = scoring.empty()
        part.outcomes = total.outcomes
        before = total.batches_done
        scoring.score(
            portion,
            part,
            after_batch=lambda done, n_items, before=before: after_batch(before + done, n_items),  # type: ignore[misc]
        )
        total.moments.add(part.moments)
        for name, moments in part.scorers.items():
            total.scorers[name].add(moments)
        total.batches_done += part.batches_done
    return total
