"""Runs of a tiny model at every level, for tests of what is done with stored scores and tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from culnig.benchmarks.base import ChosenItems
from culnig.core.processes import ALONE, Processes
from culnig.scoring.run import RunSettings, score_share
from culnig.scoring.scoring import ScoreSettings
from culnig.store import schema
from culnig.store.run import Run
from tests.tiny_models import tiny_items, tiny_model

BUDGET = 200
N_TARGET, N_CONTROL = 34, 7


def score_tiny(
    folder: Path,
    level: Any = "culture",
    *,
    aggregator: str = "max",
    items: slice = slice(None),
    processes: Processes = ALONE,
    **options: Any,
) -> Run | None:
    """A run of the tiny Llama over a target in several portions and a control."""
    benchmarks = {
        "toy-target": ChosenItems("target", "identify", tiny_items(N_TARGET)[items]),
        "toy-control": ChosenItems("control", "identify", tiny_items(N_CONTROL)[items]),
    }
    how = RunSettings(level=level, **options)
    settings = ScoreSettings(aggregator, BUDGET, prefix_sharing=False)
    score_share(tiny_model(), benchmarks, settings, folder, processes, how=how)
    return None if processes.is_shard else Run(folder)


def assert_same_scores(found: Run, expected: Run) -> None:
    """The same benchmarks, tables and answers, to the bit."""
    assert list(found.benchmarks) == list(expected.benchmarks)
    for name in expected.benchmarks:
        one, other = found.moments(name), expected.moments(name)
        assert one.cultures == other.cultures
        for table in (*schema.TABLES, schema.N_ITEMS, "p_gold_sum"):
            np.testing.assert_array_equal(
                getattr(one, table), getattr(other, table), err_msg=f"{name} {table}"
            )
        answers, others = found.outcomes(name), expected.outcomes(name)
        assert answers.id.tolist() == others.id.tolist()
        assert answers.predicted.tolist() == others.predicted.tolist()
        np.testing.assert_array_equal(answers.p_gold, others.p_gold)
