"""Scoring options that are read as texts.

The target is log P(gold text | prompt), the sum over the text's tokens by teacher forcing: one forward and
one backward pass of prompt and gold text. Its weight is the share of the gold option among the options
(`culnig.core.likelihood`). For that the other options are read without a graph, each with its whole prompt:
scoring shares no prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from culnig.benchmarks.base import ChosenItems
from culnig.benchmarks.choosing import require_items
from culnig.core.items import Item
from culnig.core.outcomes import Outcomes
from culnig.errors import InputError, option
from culnig.inference.batches import Batch, make_batches
from culnig.inference.encoding import EncodedItem
from culnig.inference.likelihoods import cut, log_probabilities, record
from culnig.models.base import BoundModel
from culnig.scorers.base import RELEASED_CODE, Scorer, Target
from culnig.scoring.culture_swap import Baseline
from culnig.scoring.diagnosis import non_finite_activation

if TYPE_CHECKING:
    from culnig.inference.answers import AnswerReader

LABELS_ONLY: tuple[Target, ...] = ("wrong", "log-odds", "relevance-log-odds")
"""Targets that compare the gold label with other labels; other texts have no gradient."""


def score_batches(bound: BoundModel, encoded: Sequence[EncodedItem], token_budget: int) -> list[Batch]:
    """Batches of items with labels, or of items with their gold text."""
    return cut(bound, make_batches(encoded, token_budget))


def read_wrong_texts(bound: BoundModel, reader: AnswerReader, batch: Batch, outcomes: Outcomes) -> None:
    """Record the log-probabilities of all texts but the gold ones, in batches no larger than this one."""
    import torch

    owned = [
        (number, row)
        for number, own in zip(batch.numbers, batch.items, strict=True)
        for row in own.by_option()
        if row.read != own.read
    ]
    rows = make_batches([row for _, row in owned], batch.n_tokens)
    with torch.no_grad():
        for part in cut(bound, [each.renumbered([number for number, _ in owned]) for each in rows]):
            values = log_probabilities(part, reader.logits(part))
            if not values.isfinite().all():
                raise non_finite_activation(bound, reader, part)
            record(part, values, outcomes)


def check_chosen(
    chosen: Mapping[str, ChosenItems],
    scorers: Iterable[Scorer],
    baseline: Baseline | None,
    *,
    is_spread: bool,
) -> None:
    """InputError if there is no benchmark, or for what cannot score one, before the model is loaded."""
    require_items(chosen)
    for own in chosen.values():
        check_texts(own.items, scorers, baseline, is_spread=is_spread)


def check_texts(
    items: Iterable[Item],
    scorers: Iterable[Scorer] = (),
    baseline: Baseline | None = None,
    *,
    is_spread: bool = False,
) -> None:
    """InputError for what cannot score options that are read as texts, if an item has such options."""
    item = next((item for item in items if item.likelihood), None)
    if item is None:
        return
    texts = f"the options of item {item.id} are read as texts"
    for scorer in scorers:
        if scorer.name == RELEASED_CODE or scorer.weight == "wrong" or set(scorer.targets) & {*LABELS_ONLY}:
            raise InputError(
                f"scorer {scorer.name!r} is only for labels, which are read at one token, but {texts}; leave "
                "it out, or declare the benchmark with labels"
            )
    if baseline is not None:
        raise InputError(
            f"{option('baseline', baseline)} compares prompts token by token, but {texts}, which differ "
            "between cultures; leave it out"
        )
    if is_spread:
        raise InputError(
            f"{texts}, and a model that is spread over processes cannot be scored on them; load it without "
            f"{option('fsdp')}, for example with {option('device_map', 'auto')}"
        )
