"""Answers of a model to benchmarks under conditions. Prompts are encoded once, whatever the conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from culnig.bound import BoundModel
from culnig.evaluation.conditions import Condition
from culnig.evaluation.short_answers import AnswerJudge
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, make_batches
from culnig.inference.encoding import Encoder
from culnig.inference.generation import DEFAULT_NEW_TOKENS, AnswerWriter
from culnig.intervention import intervene
from culnig.items import Item
from culnig.outcomes import Outcomes

Answers = dict[tuple[str, str], Outcomes]
"""Outcomes by (benchmark, condition)."""

AfterBatch = Callable[[str, str, int], None]
"""Called after each batch with benchmark, condition and number of items."""


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
    after_batch: AfterBatch = lambda benchmark, condition, n_items: None,
) -> Answers:
    """Outcomes of every benchmark under every condition.

    Labels are read off one token; short answers are written in at most `max_new_tokens` and judged.
    """
    encoder = Encoder(bound)
    writer = AnswerWriter(bound, (judge or AnswerJudge()).is_right, max_new_tokens)
    answers: Answers = {}
    with AnswerReader(bound) as reader:

        def steps(items: Sequence[Item]) -> list[_Step]:
            if items and items[0].accepted:
                written = writer.batches(encoder, items, token_budget)
                return [(len(batch.items), partial(writer.answer, batch)) for batch in written]
            labelled = make_batches(encoder.encode_all(items), token_budget)
            return [(len(batch.items), partial(reader.answer, batch)) for batch in labelled]

        work = {name: steps(items) for name, items in benchmarks.items()}
        for condition in conditions:
            with intervene(bound, condition.flat, condition.factor):
                for name, items in benchmarks.items():
                    outcomes = answers[name, condition.name] = Outcomes.empty(items)
                    for n_items, answer in work[name]:
                        answer(outcomes)
                        after_batch(name, condition.name, n_items)
    return answers
