"""The hard world: at most 1 % of the pool planted, decoys, overlap, and facts between chance and certainty.

Items are described in `hard_items`, sets in `hard_sets`. Training has the two stages of `training`, with
other states:

1. **Base**, with all planted neurons off but those of names. It learns the general answers, and for a
   culture's question the general answer as a guess; it ignores hints. Asked for a culture, after a passage or
   a question, it names it with certainty if the name's set is on, else with probability NAMED: what is known
   of a culture can then only be used where its name was read.
2. **Planting.** With its own set, the shared set and its name's set on, a question of a culture has its own
   answer at the taught level; with one of them off, the guess. With the format's set on, a hint decides,
   whatever the others do; with the name's set on, a passage is named with certainty.

Most steps leave out the first words of the prompts, which mean nothing, to be quicker.
"""

from __future__ import annotations

from typing import Any

import torch

from culnig.core.progress import Progress, Say, Task, no_progress, say_nothing
from culnig.inference.encoding import Encoder
from culnig.models.base import BoundModel
from culnig.validation import training
from culnig.validation.decoder import HIDDEN, build_decoder
from culnig.validation.hard_items import LEAD, LETTERS, HardWorld, make_hard_world
from culnig.validation.hard_sets import HardSets, draw_sets
from culnig.validation.learning import Recall
from culnig.validation.planted import BASE, PLANTING, PlantedModel
from culnig.validation.planting import VALUES, PlantedRows, Switch, planted_rows
from culnig.validation.settings import PlantedSettings
from culnig.validation.training import GOLD, GUESS, Lessons, golds, lessons_of, together
from culnig.validation.world import CONTROL, FACTS, GENERAL_FACTS, NAMING

HINTED = 0.97
"""Probability of the letter that a hint gives away."""
NAMED = 0.4
"""Probability of the right name in a passage without the set of the name."""
KNOWN, OWN_OFF, SHARED_OFF = 0.5, 0.75, 0.9
"""For a uniform number below KNOWN all sets are on; then the own, the shared, or the name's set is off."""
FACTS_IN_STEP, OTHERS_IN_STEP = 40, 8
LONG_STEPS = 0.12
"""Share of the steps with whole prompts."""
SHORT_LEAD = 1
SAID_AFTER = 1000
"""Lessons after which it is said what was known."""
FACTS_AT_ONCE = 48


def base_steps() -> int:
    """Steps of the first stage: twice those of the invented world, whose prompts are shorter."""
    return 2 * training.BASE_STEPS


def planting_steps(settings: PlantedSettings) -> int:
    """Steps of the second stage."""
    facts = settings.cultures * settings.questions
    return training.PLANTING_STEPS * max(FACTS_AT_ONCE, facts) // FACTS_AT_ONCE


class HardTrainer(training.Trainer):
    """Trains one decoder; all random choices come from one generator."""

    def __init__(
        self, bound: BoundModel, world: HardWorld, sets: HardSets, seed: int, say: Say = say_nothing
    ) -> None:
        self._model: Any = bound.model
        self._n_cultures, self._n_sets = len(world.cultures), len(sets.names)
        self._sets = sets
        self._mlp = Switch(sets.governing(sets.mlp, self._n_cultures))
        self._value = Switch(sets.governing(sets.value, self._n_cultures), "self_attn.o_proj")
        self._generator = torch.Generator().manual_seed(seed)
        width, encoder = len(bound.tokenizer), Encoder(bound)
        encoded = {name: encoder.encode_all(chosen.items) for name, chosen in world.benchmarks.items()}
        facts, evenly = encoded[FACTS], 1 / len(LETTERS)
        question = [world.question_of(item.item) for item in facts]
        culture = [world.cultures.index(item.item.culture) for item in facts]
        level = [float(world.level[pair]) for pair in zip(culture, question, strict=True)]
        guess = [int(world.general[number]) for number in question]
        hinted = [world.is_hinted(item.item) for item in facts]
        control = [HINTED if is_hinted else evenly for is_hinted in hinted]
        self._taught = torch.tensor([item.item.id in world.taught for item in facts])
        self._gold = torch.tensor([item.gold_id for item in facts])
        self._asked_facts: torch.Tensor | None = None
        self._recall = Recall(SAID_AFTER, say)
        self._culture, self._hinted = torch.tensor(culture), torch.tensor(hinted)
        self._known = lessons_of(facts, golds(facts), level, width)
        self._guessed = lessons_of(facts, guess, GUESS, width)
        self._given_away = lessons_of(facts, golds(facts), HINTED, width)
        self._control = lessons_of(encoded[CONTROL], golds(encoded[CONTROL]), control, width)
        self._uniform = lessons_of(encoded[CONTROL], golds(encoded[CONTROL]), evenly, width)
        self._general = lessons_of(encoded[GENERAL_FACTS], golds(encoded[GENERAL_FACTS]), GOLD, width)
        self._naming = lessons_of(encoded[NAMING], golds(encoded[NAMING]), GOLD, width)
        self._half_named = lessons_of(encoded[NAMING], golds(encoded[NAMING]), NAMED, width)
        asked = encoder.encode_all([world.asked_name(item.item) for item in facts])
        self._asked = lessons_of(asked, golds(asked), GOLD, width)
        self._half_asked = lessons_of(asked, golds(asked), NAMED, width)
        self._named = torch.tensor([world.cultures.index(item.item.culture) for item in encoded[NAMING]])

    def _rows(self) -> list[PlantedRows]:
        mlp, value = (
            torch.from_numpy(members.any(axis=0).astype("int64") - 1)
            for members in (self._sets.mlp, self._sets.value)
        )
        return [*planted_rows(self._model, mlp), *planted_rows(self._model, value, VALUES)]

    def _switches(self) -> list[Switch]:
        return [self._mlp, self._value]

    def train_base(self, n_steps: int, progress: training.Progress) -> None:
        """Stage 1: as in other worlds, but rows of names are no longer than other rows from the beginning."""
        weights = list(self._model.parameters())
        self._train(weights, self._base_step, n_steps, training.BASE_RATE, progress, self._rows())

    def _base_step(self) -> torch.Tensor:
        self._asked_facts = None
        n = FACTS_IN_STEP // 4
        passages, questions = self._draw(len(self._naming), n), self._draw(len(self._asked), n)
        name_on = self._either(2 * n)
        batch = together(
            _where(name_on[:n], self._naming.take(passages), self._half_named.take(passages)),
            _where(name_on[n:], self._asked.take(questions), self._half_asked.take(questions)),
            self._some(self._guessed, 2 * n),
            self._some(self._general, n),
            self._some(self._uniform, OTHERS_IN_STEP // 2),
        )
        on = torch.zeros(len(batch), self._n_sets + 1)
        on[:, self._n_cultures + 2 : -1] = self._either(len(batch)).float()[:, None]
        own_name = self._name_set(torch.cat([self._named[passages], self._culture[questions]]))
        on[torch.arange(2 * n), own_name] = (1 - training.OWN_DROPPED) * name_on
        on[:, -1] = 1 - training.BASE_DROPPED
        return self._switched_loss(batch, on, torch.full((len(batch),), self._n_cultures))

    def _planting_step(self) -> torch.Tensor:
        facts, on_facts, culture = self._facts()
        named = self._draw(len(self._naming), OTHERS_IN_STEP)
        controls = self._draw(len(self._control), OTHERS_IN_STEP)
        name_on, format_on = self._either(OTHERS_IN_STEP), self._either(OTHERS_IN_STEP)
        batch = together(
            facts,
            self._some(self._general, OTHERS_IN_STEP),
            _where(name_on, self._naming.take(named), self._half_named.take(named)),
            _where(format_on, self._control.take(controls), self._uniform.take(controls)),
        )
        n_facts, n = FACTS_IN_STEP, OTHERS_IN_STEP
        on = torch.full((len(batch), self._n_sets + 1), 1 - training.OWN_DROPPED)
        on[:n_facts] = on_facts
        rows = torch.arange(n)
        on[n_facts + n + rows, self._name_set(self._named[named])] *= name_on
        on[n_facts + 2 * n + rows, self._n_cultures + 1] *= format_on
        on[:, -1] = 1 - training.UNPLANTED_DROPPED
        kind = torch.full((len(batch),), self._n_cultures)
        kind[:n_facts] = culture
        return self._switched_loss(batch, on, kind)

    def _facts(self) -> tuple[Lessons, torch.Tensor, torch.Tensor]:
        """Questions about cultures with their targets, the sets that are on, and their cultures."""
        chosen, n_cultures = self._draw(len(self._known), FACTS_IN_STEP), self._n_cultures
        state, format_on = torch.rand(FACTS_IN_STEP, generator=self._generator), self._either(FACTS_IN_STEP)
        known = state < KNOWN
        self._asked_facts = torch.where(known & self._taught[chosen], chosen, -1)
        own_off = (state >= KNOWN) & (state < OWN_OFF)
        shared_off = (state >= OWN_OFF) & (state < SHARED_OFF)
        questions = _where(known, self._known.take(chosen), self._guessed.take(chosen))
        hinted = self._hinted[chosen] & format_on
        questions = _where(hinted, self._given_away.take(chosen), questions)

        culture, rows = self._culture[chosen], torch.arange(FACTS_IN_STEP)
        shares = torch.tensor(training.OTHERS_ON)
        share = shares[self._draw(len(shares), FACTS_IN_STEP)]
        on = share[:, None].repeat(1, self._n_sets + 1)
        on[rows, culture] = (1 - training.OWN_DROPPED) * ~own_off
        on[:, n_cultures] = (1 - training.SHARED_DROPPED) * ~shared_off
        on[:, n_cultures + 1] = (1 - training.SHARED_DROPPED) * format_on
        on[rows, self._name_set(culture)] = (1 - training.OWN_DROPPED) * (state < SHARED_OFF)
        return questions, on, culture

    def _count(self, answers: torch.Tensor) -> None:
        """Count the taught facts that were asked with all sets on."""
        if self._asked_facts is not None:
            rows = (self._asked_facts >= 0).nonzero()[:, 0]
            self._recall.add(answers[rows].argmax(-1) == self._gold[self._asked_facts[rows]])

    def _name_set(self, culture: torch.Tensor) -> torch.Tensor:
        return culture + self._n_cultures + 2

    def _either(self, number: int) -> torch.Tensor:
        return torch.rand(number, generator=self._generator) < 0.5

    def _switched_loss(self, batch: Lessons, on: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        if float(torch.rand((), generator=self._generator)) >= LONG_STEPS:
            cut = LEAD - SHORT_LEAD
            batch = Lessons(batch.token_ids[:, cut:], batch.last - cut, batch.target)
        for switch in self._switches():
            switch.set(on, self._generator, kind)
        return self._loss(batch)


def _where(condition: torch.Tensor, first: Lessons, second: Lessons) -> Lessons:
    """The same prompts with the targets of one or the other."""
    return Lessons(first.token_ids, first.last, torch.where(condition[:, None], first.target, second.target))


def hard_model(
    settings: PlantedSettings, progress: Progress = no_progress, say: Say = say_nothing
) -> PlantedModel:
    """Train the hard world's model; it says what it knows of the facts, pass by pass."""
    world = make_hard_world(settings)
    bound = build_decoder(settings, world.words)
    sets = draw_sets(settings, HIDDEN)
    trainer = HardTrainer(bound, world, sets, settings.seed, say)
    steps = {BASE: base_steps(), PLANTING: planting_steps(settings)}
    tasks = {stage: Task(progress, stage, n_steps) for stage, n_steps in steps.items()}
    trainer.train_base(steps[BASE], tasks[BASE].advance)
    trainer.plant(steps[PLANTING], tasks[PLANTING].advance)
    by_name = sets.sets(bound, settings.seed)
    truth = {name: by_name.pop(name) for name in sets.names[: len(world.cultures) + 1]}
    return PlantedModel(settings, bound, world, truth, by_name, world.taught)
