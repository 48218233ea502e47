"""Answers of a model to benchmarks under conditions.

Prompts are encoded and put into batches once, whatever the conditions. Items that begin alike share the
work on what they have in common (`inference.trees`), once per condition. What is finished, one benchmark
under one condition, is handed to `parts`, and what it has already is not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from culnig.bound import BoundModel
from culnig.evaluation.conditions import Condition
from culnig.evaluation.short_answers import AnswerJudge
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, Batch, make_batches
from culnig.inference.encoding import EncodedItem, Encoder
from culnig.inference.generation import DEFAULT_NEW_TOKENS, AnswerWriter
from culnig.inference.trees import TreeBatch, share_prefixes, sharing_problem
from culnig.intervention import intervene
from culnig.items import Item
from culnig.outcomes import Outcomes

Answers = dict[tuple[str, str], Outcomes]
"""Outcomes by (benchmark, condition)."""

AfterBatch = Callable[[str, str, int], None]
"""Called after each batch with benchmark, condition and number of items."""

Say = Callable[[str], None]
"""Told what a user should know."""


class Parts(Protocol):
    """Keeps finished answers, so that an interrupted evaluation goes on."""

    def read(self, benchmark: str, condition: str) -> Outcomes | None:
        """The answers, or None where they are not there yet."""

    def save(self, benchmark: str, condition: str, outcomes: Outcomes) -> None:
        """Keep the answers."""


class NoParts:
    """Keeps nothing."""

    def read(self, benchmark: str, condition: str) -> Outcomes | None:
        """Nothing is there."""
        return None

    def save(self, benchmark: str, condition: str, outcomes: Outcomes) -> None:
        """Forget the answers."""


_Step = tuple[int, Callable[[Outcomes], None]]
"""How many items a batch holds, and what records their answers."""


def run_conditions(
    bound: BoundModel,
    benchmarks: Mapping[str, Sequence[Item]],
    conditions: Sequence[Condition],
    *,
    token_budget: int = DEFAULT_TOKEN_BUDGET,
    max_new_tokens: int = DEFAULT_NEW_TOKENS,
    judge: AnswerJudge | None = None,
    prefix_sharing: bool = True,
    parts: Parts | None = None,
    say: Say = lambda line: None,
    after_batch: AfterBatch = lambda benchmark, condition, n_items: None,
) -> Answers:
    """Outcomes of every benchmark under every condition.

    Labels are read off one token; short answers are written in at most `max_new_tokens` and judged. With
    `prefix_sharing`, benchmarks whose items begin alike share that part where it saves tokens and the model
    allows it; answers differ by float noise.
    """
    parts = parts or NoParts()
    encoder = Encoder(bound)
    writer = AnswerWriter(bound, (judge or AnswerJudge()).is_right, max_new_tokens)
    answers: Answers = {}
    with AnswerReader(bound) as reader:

        def steps(items: Sequence[Item]) -> list[_Step]:
            if items and items[0].accepted:
                written = writer.batches(encoder, items, token_budget)
                return [(len(batch.items), partial(writer.answer, batch)) for batch in written]
            encoded = encoder.encode_all(items)
            return [
                (len(batch.items), partial(reader.answer, batch))
                for batch in _batches(bound, reader, encoded, token_budget, prefix_sharing, say)
            ]

        work = {name: steps(items) for name, items in benchmarks.items()}
        for condition in conditions:
            with intervene(bound, condition.flat, condition.factor):
                for name, items in benchmarks.items():
                    kept = parts.read(name, condition.name)
                    if kept is not None:
                        answers[name, condition.name] = kept
                        after_batch(name, condition.name, len(items))
                        continue
                    outcomes = answers[name, condition.name] = Outcomes.empty(items)
                    for n_items, answer in work[name]:
                        answer(outcomes)
                        after_batch(name, condition.name, n_items)
                    parts.save(name, condition.name, outcomes)
    return answers


def _batches(
    bound: BoundModel,
    reader: AnswerReader,
    encoded: Sequence[EncodedItem],
    token_budget: int,
    prefix_sharing: bool,
    say: Say,
) -> Sequence[Batch | TreeBatch]:
    """Batches that share prompts where that is asked for, pays, and the model allows it."""
    shared = share_prefixes(encoded, token_budget) if prefix_sharing else None
    problem = sharing_problem(bound, reader, shared) if shared else None
    if problem:
        say(f"prompts are not shared: {problem}")
    return make_batches(encoded, token_budget) if shared is None or problem else shared
