"""Items with known scores: some neurons answer to every target item, the others are noise."""

from __future__ import annotations

import numpy as np

from culnig.selection.resampling import ItemTable, ItemTables
from tests.toy import CULTURES, toy_layout

LAYOUT = toy_layout(2, {"self_attn.q_proj": 40, "mlp.gate_proj": 200})
STRONG = LAYOUT.pool("mlp")[:10]


def table_of(culture, unit, scores):
    """Items whose scores are an array (item, neuron)."""
    culture, unit = np.array(culture, dtype=object), np.array(unit, dtype=object)
    return ItemTable(culture, unit, lambda columns: scores[:, columns])


def item_tables(seed=0, questions=12, variants=2, effect=3.0, cultures=CULTURES):
    """`variants` items of each question and culture; items of one question are alike."""
    random = np.random.default_rng(seed)
    culture = [c for c in cultures for _ in range(questions * variants)]
    unit = [f"{c}\nq{q}" for c in cultures for q in range(questions) for _ in range(variants)]

    def scores():
        of_question = random.normal(size=(len(cultures) * questions, LAYOUT.n_neurons))
        return np.repeat(of_question, variants, axis=0) + 0.1 * random.normal(
            size=(len(unit), LAYOUT.n_neurons)
        )

    target, control, exclusion = scores(), scores(), scores()
    target[:, STRONG] += effect
    return ItemTables(
        LAYOUT,
        table_of(culture, unit, target),
        table_of(culture, unit, control),
        table_of(culture, unit, exclusion),
        "toy",
    )
