"""`select crispr` and `select ig`: the largest means of a stored scorer, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from culnig.core.neurons import MLP_GATE, QUERY, Layout
from culnig.errors import SelectionError, UnknownNameError
from culnig.selection.by_scorer import TopSettings, select_by_scorer
from culnig.selection.tables import SelectionTables
from tests.toy import random_moments

LAYOUT = Layout.from_widths([(0, QUERY, 2), (0, MLP_GATE, 4)])


def tables_of(scores):
    """Culture scores over two query and four gate neurons."""
    cultures = tuple(f"c{row}" for row in range(len(scores)))
    source = {"scores_hash": "0" * 64, "scorer": "crispr"}
    return SelectionTables(LAYOUT, cultures, np.array(scores, dtype=float), None, "toy", source)


#          query       gate
TABLE = [[9.0, 9.0, 1.0, 5.0, 2.0, 0.0], [9.0, 9.0, 4.0, -3.0, 1.5, 0.0]]


def test_all_cultures_together_and_one_alone():
    together = select_by_scorer(tables_of(TABLE), "crispr", settings=TopSettings(top=0.5))
    assert [(n.module, n.index) for n in together.neurons] == [(MLP_GATE, 0), (MLP_GATE, 2)]
    np.testing.assert_array_equal(together.scores, [5.0, 3.5])
    assert together.name == "crispr"
    assert together.method == {"name": "crispr", "top": 0.5, "pools": {"mlp": {"neurons": 4, "kept": 2}}}
    alone = select_by_scorer(tables_of(TABLE), "ig", "c0", TopSettings(top=0.5))
    assert [n.index for n in alone.neurons] == [1, 2]
    np.testing.assert_array_equal(alone.scores, [5.0, 2.0])
    assert (alone.name, alone.method["culture"]) == ("ig c0", "c0")
    wide = select_by_scorer(tables_of(TABLE), "ig", "c1", TopSettings(top=0.5, pool="all"))
    assert [(n.module, n.index) for n in wide.neurons] == [(QUERY, 0), (QUERY, 1), (MLP_GATE, 0)]


def test_an_exclusion_benchmark_removes_nothing():
    tables = tables_of(TABLE)
    with_exclusion = SelectionTables(
        LAYOUT, tables.cultures, tables.difference, random_moments(0, 6), "toy", tables.source
    )
    settings = TopSettings(top=1.0)
    assert (
        select_by_scorer(with_exclusion, "ig", settings=settings).neurons
        == select_by_scorer(tables, "ig", settings=settings).neurons
    )


def test_impossible_selections_are_refused():
    with pytest.raises(UnknownNameError, match="c7"):
        select_by_scorer(tables_of(TABLE), "ig", "c7")
    with pytest.raises(UnknownNameError, match="pool or module"):
        select_by_scorer(tables_of(TABLE), "ig", settings=TopSettings(pool="mlp.nothing"))
    with pytest.raises(SelectionError, match=r"is -0\.1"):
        select_by_scorer(tables_of(TABLE), "ig", settings=TopSettings(top=-0.1))
