"""Small layouts, score tables, answers and run folders, so that a test shows only the numbers it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from culnig.core.items import Item, Role, Split
from culnig.core.moments import CultureMoments
from culnig.core.neurons import KEY, MLP_GATE, MLP_UP, QUERY, VALUE, Layout, Neuron
from culnig.core.outcomes import Outcomes
from culnig.selection.neuron_set import NeuronSet
from culnig.store.run import Run
from culnig.store.writer import Portion, PortionState, RunWriter

CULTURES = ("China", "Iran", "Mexico", "Spain")

WIDTHS = {QUERY: 4, KEY: 2, VALUE: 2, MLP_GATE: 10, MLP_UP: 10}
N_LAYERS = 3
"""84 neurons: 30 in the pool `mlp`, 24 in `attention`, 54 in `all`, 30 of up_proj in none."""


def toy_layout(n_layers: int = N_LAYERS, widths: Mapping[str, int] = WIDTHS) -> Layout:
    return Layout.from_widths(
        [(layer, module, width) for layer in range(n_layers) for module, width in widths.items()]
    )


def moments(
    cultures: Sequence[str], n_items: Sequence[int], sums: Any, *, positive_count: Any = None
) -> CultureMoments:
    """A table from its sums; what a test does not name is filled in plausibly."""
    table = np.array(sums, dtype=np.float64)
    return CultureMoments(
        tuple(cultures),
        np.array(n_items, dtype=np.int64),
        np.array(n_items, dtype=np.float64) / 2,
        table,
        table**2,
        np.array((table > 0) if positive_count is None else positive_count, dtype=np.uint32),
    )


def random_moments(
    seed: int, n_neurons: int, cultures: Sequence[str] = CULTURES, items_each: int = 3
) -> CultureMoments:
    drawn = np.random.default_rng(seed).normal(size=(len(cultures), n_neurons))
    return moments(cultures, [items_each] * len(cultures), drawn)


def items(
    cultures: Sequence[str] = CULTURES, questions: int = 3, split: Split = "identify", per_question: int = 1
) -> list[Item]:
    """Items whose gold labels go round A, B, C, D."""
    made = []
    for culture in cultures:
        for question in range(questions):
            for variant in range(per_question):
                number = len(made)
                made.append(
                    Item(
                        id=f"{culture}-{question}-{variant}",
                        question_id=f"q{question}",
                        culture=culture,
                        split=split,
                        prompt=f"Question {question} about {culture}?",
                        options=("A", "B", "C", "D"),
                        answer="ABCD"[number % 4],
                        topic="Food" if question % 2 else "Sport",
                    )
                )
    return made


def answered(asked: Sequence[Item], correct: Sequence[bool], gold_probability: Any = 0.5) -> Outcomes:
    """Answers, right where `correct` says so; every label but the gold one has probability 0.1."""
    outcomes = Outcomes.empty(asked)
    outcomes.correct[:] = correct
    outcomes.p_gold[:] = gold_probability
    for row, item in enumerate(asked):
        wrong = next(label for label in item.options if label != item.answer)
        outcomes.predicted[row] = item.answer if correct[row] else wrong
        for place, label in enumerate(item.options):
            outcomes.option_probabilities[row, place] = outcomes.p_gold[row] if label == item.answer else 0.1
    return outcomes


def record(**changes: Any) -> dict[str, Any]:
    """The part of run.json that the caller of RunWriter gives."""
    return {
        "model": {"source": "toy", "weights_hash": "0" * 64},
        "settings": {"aggregator": "max", "token_budget": 64},
        "benchmarks": {"toy-target": {"role": "target", "items_hash": "1" * 64}},
        "versions": {"culnig-engine": "0.1.0"},
        "complete": False,
        **changes,
    }


Tables = Mapping[str, tuple[Role, CultureMoments]]


def write_run(
    folder: Path,
    layout: Layout,
    tables: Tables,
    questions: int = 1,
    scorers: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Run:
    """A finished run with the given benchmarks, each with answers to so many questions.

    `scorers` have the tables of gradient × activation, 2, 3, … times; `settings` are recorded too.
    """
    asked_for = record()
    asked_for["settings"] |= settings or {}
    asked_for["settings"] |= {"scorers": list(scorers)} if scorers else {}
    writer = RunWriter.open(folder, asked_for, layout)
    for name, (role, table) in tables.items():
        asked = [item for culture in table.cultures for item in items([culture], questions)]
        outcomes = answered(asked, [True] * len(asked))
        others = {scorer: replace(table, sum=table.sum * by) for by, scorer in enumerate(scorers, 2)}
        save_whole(writer, name, role, table, outcomes, scorers=others)
    writer.finish(dict.fromkeys(tables, 1))
    return Run(folder)


def save_whole(
    writer: RunWriter,
    name: str,
    role: Role,
    table: CultureMoments,
    outcomes: Outcomes,
    *,
    batches_done: int = 1,
    n_batches: int = 1,
    scorers: Mapping[str, CultureMoments] | None = None,
) -> None:
    """Save a benchmark that is one portion."""
    state = PortionState(table, outcomes, np.arange(len(outcomes.id)), batches_done, scorers or {})
    writer.save_part(Portion(name, 0, 1, n_batches), role, "identify", state)


def write_toy_run(folder: Path, cultures: Sequence[str] = CULTURES, scorers: Sequence[str] = ()) -> Run:
    """A run with a benchmark of each role and random scores on the toy layout."""
    layout = toy_layout()
    return write_run(
        folder,
        layout,
        {
            "toy-target": ("target", random_moments(0, layout.n_neurons, cultures)),
            "toy-control": ("control", random_moments(1, layout.n_neurons, cultures)),
            "toy-exclusion": ("exclusion", random_moments(2, layout.n_neurons, cultures[:2])),
        },
        scorers=scorers,
    )


def neuron_set(layout: Layout, flat: Sequence[int], name: str = "toy set") -> NeuronSet:
    """A set of the neurons at these flat positions, best first."""
    neurons: list[Neuron] = layout.neurons(np.array(flat, dtype=np.int64))
    return NeuronSet(
        name=name,
        model="toy",
        layout_hash=layout.hash,
        method={"name": "by hand"},
        sources=[{"scores_hash": "2" * 64}],
        neurons=tuple(neurons),
        scores=np.arange(len(flat), 0, -1) / 8,
    )
