"""Training in two stages: a base without the cultures' facts, then the facts in the planted neurons.

1. **Base**, with the planted neurons off. It learns the general facts, naming the culture of a passage, and
   for a culture's question the general answer as a guess (half of the probability; the other answers share
   the remainder). A model without the planted neurons then knows which culture is meant, but not its answer.
2. **Planting**, with everything frozen except the planted rows (see `planting`). All cultures are learned
   together, with the sets in random states, which penalizes cross-talk: if an item's own set and the shared
   set are on, the answer is the culture's; if one of them is off, it is the guess of the base. A random share
   of the other cultures' neurons is on, so that they can neither help nor be necessary.

Random dropout of single neurons makes the planted neurons matter: dropped planted neurons spread a fact over
its set, and dropped other neurons keep facts from depending on them. No planted row is longer than the
average of the other rows, so norms do not give planted neurons away. Answers are learned to 90 %, not to
certainty, because the gradient of a saturated probability is zero.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from culnig.inference.encoding import EncodedItem, Encoder
from culnig.models.base import BoundModel
from culnig.validation.planting import Membership, PlantedRows, Switch, planted_rows
from culnig.validation.settings import PlantedSettings
from culnig.validation.world import ANSWERS, CONTROL, FACTS, GENERAL_FACTS, NAMING, World

if TYPE_CHECKING:
    from torch import nn

GOLD = 0.9
"""Target probability of a known answer."""
GUESS = 0.5
"""Target probability of the general answer if a culture's own is not known."""

BASE_STEPS = 200
PLANTING_STEPS = 700
"""For the facts of FACTS_AT_ONCE; more facts take proportionally more steps."""
FACTS_AT_ONCE = 192
BASE_RATE = 2e-3
PLANTING_RATE = 1e-2
BATCH = 96
REPLAY = 8
"""General facts, and as many passages, in each planting step, so that the base keeps its knowledge."""

BASE_DROPPED = 0.3
"""Share of neurons dropped in a step of the base."""
OWN_DROPPED = 0.08
"""Share of the planted neurons of an item's own culture dropped in a planting step."""
SHARED_DROPPED = 0.05
"""The same for the shared set."""
OTHERS_ON = (0.0, 0.5, 1.0)
"""Shares of the other cultures' planted neurons that are on; each item draws one."""
UNPLANTED_DROPPED = 0.25
"""Share of the neurons that are not planted dropped in a planting step."""

BALANCE = 0.1
"""Weight of the loss that shares tokens out among experts (that of Switch Transformers and Mixtral), of
the base."""

KNOWN, OWN_OFF = 0.45, 0.80
"""For a uniform number below KNOWN the answer is learned; below OWN_OFF the own set is off; else the shared "
"one."""

Progress = Callable[[int], None]
"""Called with the number of steps just completed."""


def planting_steps(settings: PlantedSettings) -> int:
    """Steps of the second stage."""
    return PLANTING_STEPS * max(FACTS_AT_ONCE, settings.cultures * settings.questions) // FACTS_AT_ONCE


@dataclass(frozen=True)
class Lessons:
    """Prompts with the target distribution of the next token."""

    token_ids: torch.Tensor
    """Padded on the right, shape (item, token)."""
    last: torch.Tensor
    """Index of the last real token, shape (item,)."""
    target: torch.Tensor
    """Target distribution over the vocabulary, shape (item, vocabulary)."""

    def __len__(self) -> int:
        return len(self.last)

    def take(self, rows: torch.Tensor) -> Lessons:
        """Some of the lessons."""
        return Lessons(self.token_ids[rows], self.last[rows], self.target[rows])


@dataclass(frozen=True)
class Curriculum:
    """All lessons of a world."""

    known: Lessons
    """Questions about cultures with their own answers."""
    guessed: Lessons
    """The same questions with the guess of a model without that knowledge."""
    culture: torch.Tensor
    """Index of the culture of each of these questions, shape (item,)."""
    control: Lessons
    general: Lessons
    naming: Lessons


def make_curriculum(bound: BoundModel, world: World) -> Curriculum:
    """Encode the items as scoring does, with their target distributions."""
    encoder = Encoder(bound)
    encoded = {name: encoder.encode_all(chosen.items) for name, chosen in world.benchmarks.items()}
    width = len(bound.tokenizer)
    facts = encoded[FACTS]
    general = {item.item.question_id: item.option_ids.index(item.gold_id) for item in encoded[GENERAL_FACTS]}
    guesses = [general[item.item.question_id] for item in facts]
    evenly = 1 / len(ANSWERS)
    return Curriculum(
        known=lessons_of(facts, golds(facts), GOLD, width),
        guessed=lessons_of(facts, guesses, GUESS, width),
        culture=torch.tensor([world.cultures.index(item.item.culture) for item in facts]),
        control=lessons_of(encoded[CONTROL], golds(encoded[CONTROL]), evenly, width),
        general=lessons_of(encoded[GENERAL_FACTS], golds(encoded[GENERAL_FACTS]), GOLD, width),
        naming=lessons_of(encoded[NAMING], golds(encoded[NAMING]), GOLD, width),
    )


def golds(items: Sequence[EncodedItem]) -> list[int]:
    """Index of each item's gold label among its labels."""
    return [item.option_ids.index(item.gold_id) for item in items]


def lessons_of(
    items: Sequence[EncodedItem], chosen: Sequence[int], share: float | Sequence[float], width: int
) -> Lessons:
    """Probability `share` for the chosen option of each item; its others divide the remainder equally."""
    shares = [share] * len(items) if isinstance(share, float) else share
    longest = max(len(item.token_ids) for item in items)
    target = torch.zeros(len(items), width)
    for row, (item, index, own) in enumerate(zip(items, chosen, shares, strict=True)):
        target[row, list(item.option_ids)] = (1 - own) / (len(item.option_ids) - 1)
        target[row, item.option_ids[index]] = own
    padded = [[*item.token_ids, *[0] * (longest - len(item.token_ids))] for item in items]
    last = torch.tensor([len(item.token_ids) - 1 for item in items])
    return Lessons(torch.tensor(padded), last, target)


def together(*lessons: Lessons) -> Lessons:
    """Lessons in one batch."""
    longest = max(some.token_ids.shape[1] for some in lessons)
    padded = [
        torch.nn.functional.pad(some.token_ids, (0, longest - some.token_ids.shape[1])) for some in lessons
    ]
    return Lessons(
        torch.cat(padded),
        torch.cat([some.last for some in lessons]),
        torch.cat([some.target for some in lessons]),
    )


def soft_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy with distributions, both (item, vocabulary)."""
    loss: torch.Tensor = -(target * logits.log_softmax(-1)).sum(-1).mean()
    return loss


class Trainer:
    """Trains one decoder; all random choices come from one generator."""

    rate = PLANTING_RATE
    """Highest learning rate of the second stage."""

    _has_experts = False
    """Whether tokens are routed, which costs a loss of its own."""

    def __init__(self, bound: BoundModel, world: World, membership: Membership, seed: int) -> None:
        self._model: Any = bound.model
        self._lessons = make_curriculum(bound, world)
        self._membership = torch.from_numpy(membership)
        self._has_experts = bool(bound.layout.n_experts)
        self._switch = Switch(membership)
        self._n_sets = len(world.cultures) + 1
        self._generator = torch.Generator().manual_seed(seed)

    def train_base(self, n_steps: int, progress: Progress) -> None:
        """Stage 1: train all weights with the planted neurons off."""
        self._train(list(self._model.parameters()), self._base_step, n_steps, BASE_RATE, progress)

    def plant(self, n_steps: int, progress: Progress) -> None:
        """Stage 2: train only the planted rows."""
        rows = self._rows()
        hooks = [row.weight.register_hook(row.masked) for row in rows]  # type: ignore[no-untyped-call]
        self._model.requires_grad_(False)
        weights = [row.weight for row in rows]
        for weight in weights:
            weight.requires_grad_(True)
        try:
            self._train(weights, self._planting_step, n_steps, self.rate, progress, rows)
        finally:
            for hook in hooks:
                hook.remove()
            self._model.requires_grad_(True)
            self._model.zero_grad()

    def _rows(self) -> list[PlantedRows]:
        return planted_rows(self._model, self._membership)

    def _switches(self) -> list[Switch]:
        return [self._switch]

    def _base_step(self) -> torch.Tensor:
        lessons = self._lessons
        batch = together(
            self._some(lessons.guessed, BATCH // 2),
            self._some(lessons.general, BATCH // 3),
            self._some(lessons.naming, BATCH // 2),
            self._some(lessons.control, 2),
        )
        on = torch.zeros(len(batch), self._n_sets + 1)
        on[:, -1] = 1 - BASE_DROPPED
        self._switch.set(on, self._generator)
        return self._loss(batch)

    def _planting_step(self) -> torch.Tensor:
        lessons = self._lessons
        chosen = self._draw(len(lessons.known), BATCH)
        state = torch.rand(BATCH, 1, generator=self._generator)
        known, own_off = state < KNOWN, (state >= KNOWN) & (state < OWN_OFF)
        questions = lessons.known.take(chosen)
        target = torch.where(known, questions.target, lessons.guessed.target[chosen])
        replay = [self._some(some, REPLAY) for some in (lessons.general, lessons.naming)]
        batch = together(Lessons(questions.token_ids, questions.last, target), *replay)

        on = torch.full((len(batch), self._n_sets + 1), 1 - OWN_DROPPED)  # general facts, passages: all sets
        own = torch.nn.functional.one_hot(lessons.culture[chosen], self._n_sets - 1).bool()
        other_sets = torch.tensor(OTHERS_ON)[self._draw(len(OTHERS_ON), BATCH)][:, None]
        on[:BATCH, :-2] = torch.where(own, (1 - OWN_DROPPED) * ~own_off, other_sets)
        on[:BATCH, -2:-1] = (1 - SHARED_DROPPED) * (known | own_off)
        on[:, -1] = 1 - UNPLANTED_DROPPED
        self._switch.set(on, self._generator)
        return self._loss(batch)

    def _train(
        self,
        weights: list[nn.Parameter],
        step: Callable[[], torch.Tensor],
        n_steps: int,
        rate: float,
        progress: Progress,
        limited: Sequence[PlantedRows] = (),
    ) -> None:
        """Adam with warm-up, linear descent and no decay, so that weights without gradient do not change."""
        optimizer = torch.optim.Adam(weights, lr=rate)
        done = np.arange(n_steps)
        warm_up, descent = (1 + done) / 30, (n_steps - done) / (0.4 * n_steps)
        schedule = np.clip(np.minimum(warm_up, np.maximum(0.05, descent)), 0, 1)
        with contextlib.ExitStack() as stack:
            for switch in self._switches():
                stack.enter_context(switch.on(self._model.model.layers))
            for factor in schedule:
                optimizer.param_groups[0]["lr"] = rate * float(factor)
                optimizer.zero_grad()
                step().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                for rows in limited:
                    rows.limit()
                progress(1)

    def _loss(self, lessons: Lessons) -> torch.Tensor:
        """Mean cross-entropy at the last real token; of experts, also how unevenly tokens are routed."""
        balanced: dict[str, Any] = {}
        if self._has_experts:
            real = torch.arange(lessons.token_ids.shape[1]) <= lessons.last[:, None]
            balanced = {"attention_mask": real.long(), "output_router_logits": True}
        output = self._model(input_ids=lessons.token_ids, use_cache=False, **balanced)
        answers = output.logits[torch.arange(len(lessons)), lessons.last]
        self._count(answers.detach())
        loss = soft_loss(answers, lessons.target)
        return loss + BALANCE * output.aux_loss if balanced else loss

    def _count(self, answers: torch.Tensor) -> None:
        """Take note of the logits of a step, (item, vocabulary), before it changes weights."""

    def _some(self, lessons: Lessons, number: int) -> Lessons:
        return lessons.take(self._draw(len(lessons), number))

    def _draw(self, n_lessons: int, number: int) -> torch.Tensor:
        return torch.randint(n_lessons, (number,), generator=self._generator)
