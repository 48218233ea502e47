"""Runs that earlier versions wrote stay readable.

`fixtures/version-1` was written by the first release's code, from `tests.toy.write_toy_run`. A change that
raises the format version adds a fixture of the version before, and store/run.py goes on reading it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from culnig.store.run import Run
from tests.toy import CULTURES, random_moments, toy_layout

FIRST = Path(__file__).parent / "fixtures" / "version-1"


def test_every_table_of_version_1_is_read():
    run = Run(FIRST)
    assert run.layout.hash == toy_layout().hash
    for seed, (name, cultures) in enumerate(
        [("toy-target", CULTURES), ("toy-control", CULTURES), ("toy-exclusion", CULTURES[:2])]
    ):
        expected, found = random_moments(seed, 84, cultures), run.moments(name)
        assert found.cultures == tuple(cultures)
        for table in ("sum", "sum_of_squares", "positive_count", "n_items"):
            np.testing.assert_array_equal(getattr(found, table), getattr(expected, table))
        assert run.outcomes(name).correct.all()
    assert run.level == "culture"
    assert len(run.scores_hash) == 64


@pytest.mark.parametrize("package", ["pandas"])
def test_tables_as_data_frames(package):
    pytest.importorskip(package)
    frame = Run(FIRST).to_pandas("toy-target")
    assert frame["culture"].unique().tolist() == list(CULTURES)
    assert frame["p_gold"].tolist() == [0.5] * 4
