"""Answers of a model to benchmarks under conditions.

Prompts are encoded and put into batches once for all conditions. Items that begin alike share the tokens that
they have in common (`inference.trees`). Finished answers, of one benchmark under one condition, go to
`parts`; answers that `parts` holds already are not computed again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from culnig.core.items import Item
from culnig.core.outcomes import Outcomes
from culnig.evaluation.conditions import Condition
from culnig.evaluation.masks import Replacements, change_of, check_replacements
from culnig.evaluation.sharing import Sharing, choose_sharing
from culnig.evaluation.short_answers import AnswerJudge
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, Batch
from culnig.inference.encoding import EncodedItem, Encoder
from culnig.inference.fitting import Answering
from culnig.inference.generation import DEFAULT_NEW_TOKENS, AnswerWriter, PromptBatch
from culnig.inference.likelihoods import answer_batches, cut, n_prompts, rows_of, settle_batches
from culnig.inference.trees import TreeBatch, share_prefixes
from culnig.models.base import BoundModel
from culnig.models.intervention import intervene

Answers = dict[tuple[str, str], Outcomes]
"""Outcomes by (benchmark, condition)."""

AfterBatch = Callable[[str, str, int], None]
"""Called after each batch with benchmark, condition and number of prompts: one for each item, or for each
option that is read as text."""

Say = Callable[[str], None]
"""Called with a line for the user."""


class Parts(Protocol):
    """Keeps finished answers, so that an interrupted evaluation can be resumed."""

    def read(self, benchmark: str, condition: str) -> Outcomes | None:
        """The answers, or None if they are not finished."""

    def save(self, benchmark: str, condition: str, outcomes: Outcomes) -> None:
        """Keep the answers."""


class NoParts:
    """Keeps nothing."""

    def read(self, benchmark: str, condition: str) -> Outcomes | None:
        """None: nothing is kept."""
        return None

    def save(self, benchmark: str, condition: str, outcomes: Outcomes) -> None:
        """Forget the answers."""


_Batch = Batch | TreeBatch | PromptBatch


@dataclass(frozen=True)
class _Work:
    """One benchmark in batches, and what answers them."""

    batches: Sequence[_Batch]
    answering: Answering
    unshared: Sequence[_Batch]
    """The same items in batches in which each item has all tokens for itself."""


def run_conditions(
    bound: BoundModel,
    benchmarks: Mapping[str, Sequence[Item]],
    conditions: Sequence[Condition],
    *,
    encoded: Mapping[str, Sequence[EncodedItem]] | None = None,
    token_budget: int = DEFAULT_TOKEN_BUDGET,
    max_new_tokens: int = DEFAULT_NEW_TOKENS,
    judge: AnswerJudge | None = None,
    prefix_sharing: bool = True,
    sharing: Mapping[str, Sharing] | None = None,
    replacements: Replacements | None = None,
    parts: Parts | None = None,
    say: Say = lambda line: None,
    after_batch: AfterBatch = lambda benchmark, condition, n_items: None,
) -> Answers:
    """Outcomes of every benchmark under every condition.

    `encoded` are the items where the caller has encoded them already (`Encoder.encode_answerable`).
    Labels are read at one token, texts at all their tokens; short answers are written in at most
    `max_new_tokens` and judged. With
    `prefix_sharing`, items that begin alike share tokens where that saves time and the model allows it
    (`sharing` holds the decisions where the caller has made them); answers differ by float noise. Masks
    other than `scale` need `replacements`. A batch that does not fit into memory is halved;
    EnvironmentProblem if an item alone does not fit.
    """
    check_replacements(conditions, replacements)
    parts = parts or NoParts()
    if encoded is None:
        encoder = Encoder(bound)
        encoded = {name: encoder.encode_answerable(items) for name, items in benchmarks.items()}
    if sharing is None and prefix_sharing:
        n_sharing = sum(not condition.by_item for condition in conditions)
        sharing = choose_sharing(bound, encoded, token_budget, n_sharing, say)
    sharing = sharing or {}
    writer = AnswerWriter(bound, (judge or AnswerJudge()).is_right, max_new_tokens)
    answers: Answers = {}
    with AnswerReader(bound) as reader:
        reading = _answering(bound, reader.answer, replacements, settle=settle_batches)
        writing = _answering(bound, writer.answer, replacements, kind="write", is_fixed=False)

        def plan(own: Sequence[EncodedItem], *, is_shared: bool) -> _Work:
            if own and own[0].item.accepted:
                written = writer.batches(own, token_budget)
                return _Work(written, writing, written)
            unshared = answer_batches(bound, own, token_budget)
            rows, numbers = rows_of(own)
            shared = share_prefixes(rows, token_budget) if is_shared else None
            if shared is None:
                return _Work(unshared, reading, unshared)
            return _Work([batch.renumbered(numbers) for batch in cut(bound, shared)], reading, unshared)

        work = {
            name: plan(encoded[name], is_shared=name in sharing and sharing[name].shared)
            for name in benchmarks
        }
        for condition in conditions:
            with intervene(bound, change_of(condition, replacements)):
                for name, items in benchmarks.items():
                    kept = parts.read(name, condition.name)
                    if kept is not None:
                        answers[name, condition.name] = kept.asked_as(items)
                        after_batch(name, condition.name, n_prompts(items))
                        continue
                    outcomes = answers[name, condition.name] = Outcomes.empty(items)
                    own = work[name]
                    own.answering.run(
                        own.unshared if condition.by_item else own.batches,
                        outcomes,
                        functools.partial(after_batch, name, condition.name),
                    )
                    parts.save(name, condition.name, outcomes)
    n_cut = writer.n_cut if bound.sharding is None else sum(bound.sharding.processes.gathered(writer.n_cut))
    if n_cut:
        say(
            f"{n_cut:,} written answers had not ended after {max_new_tokens} tokens (the most that "
            "are allowed) and were cut"
        )
    return answers


def _answering(
    bound: BoundModel,
    answer: Callable[[Any, Outcomes], None],
    replacements: Replacements | None,
    **turns: Any,
) -> Answering:
    """Answers batches with `answer`, in halves where memory runs out."""

    def run(batch: _Batch, outcomes: Outcomes) -> None:
        if replacements is not None:
            replacements.begin(batch.item_ids)
        answer(batch, outcomes)

    return Answering(bound, run, **turns)
