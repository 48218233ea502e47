"""Answers of a model to benchmarks under conditions. Prompts are encoded once, whatever the conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from culnig.bound import BoundModel
from culnig.evaluation.conditions import Condition
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, make_batches
from culnig.inference.encoding import Encoder
from culnig.intervention import intervene
from culnig.items import Item
from culnig.outcomes import Outcomes

Answers = dict[tuple[str, str], Outcomes]
"""Outcomes by (benchmark, condition)."""

AfterBatch = Callable[[str, str, int], None]
"""Called after each batch with benchmark, condition and number of items."""


def run_conditions(
    bound: BoundModel,
    benchmarks: Mapping[str, Sequence[Item]],
    conditions: Sequence[Condition],
    *,
    token_budget: int = DEFAULT_TOKEN_BUDGET,
    after_batch: AfterBatch = lambda benchmark, condition, n_items: None,
) -> Answers:
    """Outcomes of every benchmark under every condition."""
    encoder = Encoder(bound)
    batches = {
        name: make_batches(encoder.encode_all(items), token_budget) for name, items in benchmarks.items()
    }
    answers: Answers = {}
    with AnswerReader(bound) as reader:
        for condition in conditions:
            with intervene(bound, condition.flat, condition.factor):
                for name, items in benchmarks.items():
                    outcomes = answers[name, condition.name] = Outcomes.empty(items)
                    for batch in batches[name]:
                        reader.answer(batch, outcomes)
                        after_batch(name, condition.name, len(batch.items))
    return answers
