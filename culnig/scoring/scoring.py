"""The scoring loop: items of one benchmark through the model, into one table of culture moments.

Per batch: forward, P(gold) at the last position, one backward pass from ΣP. Items do not mix, so the
gradient of the sum holds every item's own gradient; `Capture` hands each module's pair to the kernel,
which adds to the table while autograd goes on.

The items and the token budget fix the order of the batches and the portions that they are cut into. Each
portion has a table of its own, which after k batches is the same whether or not the process was interrupted
in between, and whichever process it was; the tables are added in the order of portions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Item, Role
from culnig.core.moments import CultureMoments
from culnig.core.outcomes import Outcomes
from culnig.inference.answers import AnswerReader
from culnig.inference.attention import reproducible_attention
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, Batch
from culnig.inference.encoding import EncodedItem, Encoder
from culnig.inference.fitting import Fallback, smallest
from culnig.models.base import BoundModel
from culnig.scorers.base import BY_RULES, Scorer
from culnig.scoring.accumulator import Accumulator
from culnig.scoring.capture import Capture
from culnig.scoring.checkpointing import checkpointed
from culnig.scoring.culture_swap import Baseline, question_batches
from culnig.scoring.keepers import Keeper
from culnig.scoring.portions import MOST_PORTIONS, split_batches
from culnig.scoring.question_halves import Halving
from culnig.scoring.targets import BatchPasses
from culnig.scoring.texts import check_texts, score_batches

if TYPE_CHECKING:
    from culnig.inference.relevance.rules import RelevanceRules
    from culnig.models.sharding import Turns


@dataclass(frozen=True)
class ScoreSettings:
    """Settings of a run that decide its scores, together with model and items."""

    aggregator: str = "max"
    """How contributions at the tokens become one instance score: max, absmax, sum, mean or last."""
    token_budget: int = DEFAULT_TOKEN_BUDGET
    """Most tokens of one batch, padding included. Changes scores only by the model's float noise."""


@dataclass
class BenchmarkScores:
    """Results of scoring one benchmark; grows batch by batch."""

    moments: CultureMoments
    outcomes: Outcomes
    batches_done: int = 0
    scorers: dict[str, CultureMoments] = field(default_factory=dict)
    """The sums of other scorers, by name."""
    accumulator: Accumulator | None = None
    """Holds the sums while batches are being scored, perhaps on other devices."""

    def so_far(self) -> BenchmarkScores:
        """Copies of the sums while batches are being scored; the answers are shared."""
        if self.accumulator is None:
            return self
        moments, *of_scorers = self.accumulator.sums()
        scorers = dict(zip(self.scorers, of_scorers, strict=True))
        return BenchmarkScores(moments, self.outcomes, self.batches_done, scorers)


AfterBatch = Callable[[int, int], None]
"""Called after each batch with the number of batches done and the number of items in the last."""


class Scoring:
    """One benchmark's encoded items, cut into batches and portions, ready to be scored."""

    def __init__(
        self,
        bound: BoundModel,
        encoded: Sequence[EncodedItem],
        role: Role,
        settings: ScoreSettings,
        *,
        gradient_checkpointing: bool = False,
        scorers: Sequence[Scorer] = (),
        halving: Halving | None = None,
        rules: RelevanceRules | None = None,
        baseline: Baseline | None = None,
    ) -> None:
        """`gradient_checkpointing` takes less memory and more time, and gives the same scores.

        `scorers` are those beside gradient × activation, `rules` what `relevance_rules` gives for them. With
        `halving` a portion holds items of one half of the questions only (`question_halves`). A `baseline` is
        that of target and control (`culture_swap`).
        """
        self._items = [each.item for each in encoded]
        check_texts(self._items, scorers, baseline, is_spread=bound.sharding is not None)
        self._scorers = scorers
        self._bound = bound
        self._targets = tuple(dict.fromkeys(target for scorer in scorers for target in scorer.targets))
        self._rules = rules or relevance_rules(bound, scorers)
        self._clamp_at_zero = role == "control"
        self._settings = settings
        self._checkpointing = gradient_checkpointing
        swaps = baseline is not None and role != "exclusion"
        self.batches: list[Batch] = []
        self._n_batches: list[tuple[int | None, int]] = []
        """How many of the batches are of each half of the questions, in order."""
        for half, numbers in self._halves(halving):
            own, budget = [encoded[number] for number in numbers], settings.token_budget
            batches = question_batches(own, budget) if swaps else score_batches(bound, own, budget)
            self.batches += [batch.renumbered(numbers) for batch in batches]
            self._n_batches.append((half, len(batches)))
        self.cut()

    def cut(self, longest: int | None = None) -> None:
        """Cut the batches into portions, of at most `longest` batches each where it is given."""
        self.portions: list[range] = []
        self.half_of_portion: list[int | None] = []
        """Which half of the questions a portion holds, 1 or 2; None for both."""
        start = 0
        for half, n_batches in self._n_batches:
            most = MOST_PORTIONS if half is None else MOST_PORTIONS // 2
            self.portions += split_batches(n_batches, most, start, longest)
            self.half_of_portion += [half] * (len(self.portions) - len(self.half_of_portion))
            start += n_batches

    def _halves(self, halving: Halving | None) -> list[tuple[int | None, Sequence[int]]]:
        """Indices of the items that are batched together: all, or those of each half that has any."""
        if halving is None:
            return [(None, range(len(self._items)))]
        half_of = halving(self._items)
        by_half = [(half, np.flatnonzero(half_of == half).tolist()) for half in (1, 2)]
        return [(half, numbers) for half, numbers in by_half if numbers]

    def item_indices(self, portion: int) -> NDArray[np.int64]:
        """Indices of a portion's items in file order, ascending."""
        indices = [index for number in self.portions[portion] for index in self.batches[number].numbers]
        return np.sort(np.array(indices, dtype=np.int64))

    def empty(self) -> BenchmarkScores:
        """A table for the cultures of all items, in order of first appearance."""
        cultures = list(dict.fromkeys(item.culture for item in self._items))
        n_neurons = self._bound.layout.n_neurons
        return BenchmarkScores(
            CultureMoments.zeros(cultures, n_neurons),
            Outcomes.empty(self._items, self._bound.layout.n_experts),
            scorers={scorer.name: CultureMoments.zeros(cultures, n_neurons) for scorer in self._scorers},
        )

    def score(
        self,
        portion: int,
        scores: BenchmarkScores,
        *,
        keeper: Keeper | None = None,
        after_batch: AfterBatch = lambda batches_done, n_items: None,
        end: int | None = None,
    ) -> None:
        """Score a portion into its table `scores`, from the first batch that `scores` does not hold.

        With `end`, the batches from that one on are left out; it is counted within the portion.
        A batch that does not fit into memory is halved until it does. Items of a control benchmark have
        their weighted scores clamped at zero (docs/method.md). Raises NonFiniteError, naming module, layer
        and item, where an activation or gradient is not finite, and EnvironmentProblem if a single item
        does not fit into memory.
        """
        accumulator = Accumulator(
            scores.moments,
            self._settings.aggregator,
            clamp_at_zero=self._clamp_at_zero,
            keeper=keeper,
            scorers=[(scorer, scores.scorers[scorer.name]) for scorer in self._scorers],
        )
        with self._open(accumulator) as passes:
            scores.accumulator = accumulator
            fallback = Fallback(passes.run, can_checkpoint=not self._checkpointing, turns=self._turns(passes))
            for number in self.portions[portion][scores.batches_done : end]:
                if keeper:
                    keeper.begin(number)
                fallback.run(self.batches[number], scores.outcomes)
                if keeper:
                    keeper.end(number)
                scores.batches_done += 1
                after_batch(scores.batches_done, len(self.batches[number].items))
        accumulator.settle()
        scores.accumulator = None

    @contextlib.contextmanager
    def _open(self, accumulator: Accumulator) -> Iterator[BatchPasses]:
        """The passes of batches whose pairs go to the accumulator."""
        with (
            checkpointed(self._bound) if self._checkpointing else contextlib.nullcontext(),
            reproducible_attention(self._bound.input_device),
            AnswerReader(self._bound) as reader,
            Capture(self._bound, accumulator.add, takes_rows=True) as capture,
            self._rules.hooked() if self._rules else contextlib.nullcontext(),
        ):
            accumulator.place(capture.devices)
            yield BatchPasses(self._bound, reader, capture, accumulator, self._targets, self._rules)

    def _turns(self, passes: BatchPasses) -> Turns | None:
        """The turns that batches are scored in, where the model is spread over processes."""
        sharding = self._bound.sharding
        if sharding is None:
            return None
        names = [scorer.name for scorer in self._scorers]
        kind = f"score {' '.join(names)}{', checkpointing' if self._checkpointing else ''}"
        return sharding.turns(kind, lambda: passes.rehearse(smallest(self.batches[-1])))

    @contextlib.contextmanager
    def without_batches(self) -> Iterator[Turns]:
        """The turns in which this process has no batch; only for a model that is spread over processes."""
        nowhere = Accumulator(
            CultureMoments.zeros([], self._bound.layout.n_neurons), "max", clamp_at_zero=False
        )
        with self._open(nowhere) as passes:
            turns = self._turns(passes)
            assert turns is not None
            yield turns


def relevance_rules(bound: BoundModel, scorers: Sequence[Scorer]) -> RelevanceRules | None:
    """The relevance rules of a model, if a scorer needs them; BindingError for a part without one."""
    if not any(target in BY_RULES for scorer in scorers for target in scorer.targets):
        return None
    from culnig.inference.relevance.rules import RelevanceRules

    return RelevanceRules(bound)


def score_benchmark(
    bound: BoundModel,
    items: Sequence[Item],
    role: Role,
    settings: ScoreSettings,
    *,
    encoder: Encoder | None = None,
    after_batch: AfterBatch = lambda batches_done, n_items: None,
    gradient_checkpointing: bool = False,
    scorers: Sequence[Scorer] = (),
    baseline: Baseline | None = None,
) -> BenchmarkScores:
    """Score `items` in memory: the numbers that `culnig.scoring.run.score_run` stores, to the bit.

    Raises as `Scoring.score` does.
    """
    scoring = Scoring(
        bound,
        (encoder or Encoder(bound)).encode_all(items),
        role,
        settings,
        gradient_checkpointing=gradient_checkpointing,
        scorers=scorers,
        baseline=baseline,
    )
    total = scoring.empty()
    for portion in range(len(scoring.portions)):
        scores = scoring.empty()
        scores.outcomes = total.outcomes
        before = total.batches_done
        scoring.score(
            portion,
            scores,
            after_batch=lambda done, n_items, before=before: after_batch(before + done, n_items),  # type: ignore[misc]
        )
        total.moments.add(scores.moments)
        for name, moments in scores.scorers.items():
            total.scorers[name].add(moments)
        total.batches_done += scores.batches_done
    if bound.sharding is not None:
        with scoring.without_batches() as turns:
            turns.finish()
    return total
