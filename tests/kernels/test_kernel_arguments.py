"""score_reduce refuses wrong arguments, with name and value."""

from __future__ import annotations

import builtins
import importlib
import sys
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from culnig import kernels
from culnig.errors import InputError


def arguments() -> dict[str, Any]:
    return {
        "activation": np.ones((2, 3, 4), dtype=np.float32),
        "gradient": np.ones((2, 3, 4), dtype=np.float32),
        "token_mask": np.ones((2, 3), dtype=bool),
        "weight": [0.5, 0.5],
        "culture_index": [0, 1],
        "sums": np.zeros((2, 4)),
    }


def score_reduce(**given: Any) -> None:
    batch, tables = (
        kind(**{field.name: given.pop(field.name) for field in fields(kind) if field.name in given})
        for kind in (kernels.ScoreBatch, kernels.ScoreTables)
    )
    kernels.score_reduce(batch=batch, tables=tables, **given)


def test_the_unchanged_arguments_are_accepted() -> None:
    given = arguments()
    score_reduce(**given)
    np.testing.assert_array_equal(given["sums"], np.full((2, 4), 0.5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": np.ones((2, 3))}, r"activation has shape \(2, 3\)"),
        ({"gradient": np.ones((2, 3, 5), dtype=np.float32)}, r"gradient has shape \(2, 3, 5\)"),
        ({"gradient": np.ones((2, 3, 4), dtype=np.float16)}, "gradient is float16"),
        ({"dtype": "bfloat16"}, "activation is float32 with dtype='bfloat16'"),
        ({"dtype": "int8"}, "dtype is 'int8'; allowed are float32, float16, bfloat16"),
        ({"aggregator": "median"}, "aggregator is 'median'; allowed are max, absmax"),
        ({"token_mask": np.ones((2, 3))}, r"token_mask is float64 of shape \(2, 3\)"),
        ({"token_mask": np.ones((2, 4), dtype=bool)}, r"token_mask is bool of shape \(2, 4\)"),
        ({"token_mask": None}, r"token_mask is missing; give bool of shape \(2, 3\)"),
        ({"weight": [0.5]}, r"weight is float64 of shape \(1,\)"),
        ({"weight": [0.5, np.nan]}, r"weight\[1\] is nan"),
        ({"weight": None}, r"weight is missing; give finite numbers of shape \(2,\)"),
        ({"culture_index": None}, r"culture_index is missing; give whole numbers of shape \(2,\)"),
        ({"culture_index": [0]}, r"culture_index is int64 of shape \(1,\)"),
        ({"culture_index": [0, 2]}, r"culture_index\[1\] is 2; sums have 2 rows"),
        ({"culture_index": [-1, 0]}, r"culture_index\[0\] is -1"),
        ({"clamp_at_zero": [True]}, r"clamp_at_zero is bool of shape \(1,\)"),
        ({"clamp_at_zero": 1}, "clamp_at_zero is int64"),
        ({"sums": np.zeros((2, 4), dtype=np.float32)}, "sums is float32"),
        ({"sums": np.zeros((2, 5))}, r"sums is float64 of shape \(2, 5\)"),
        ({"sums": np.zeros((2, 8))[:, ::2]}, "sums has strides"),
        ({"sums": None, "sums_of_squares": np.zeros((2, 4))}, "are given without sums"),
        ({"sums": None, "positive_counts": np.zeros((2, 4), np.uint32)}, "are given without sums"),
        ({"positive_counts": np.zeros((2, 4))}, "positive_counts is float64"),
        ({"sums_of_squares": np.zeros((1, 4))}, "sums_of_squares is float64 of shape"),
        ({"item_scores": np.zeros((2, 4))}, "item_scores is float64"),
        ({"peak_tokens": np.zeros((2, 4))}, "peak_tokens is float64"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        score_reduce(**(arguments() | changes))


def test_a_table_that_may_not_be_written_is_refused() -> None:
    given = arguments()
    given["sums"].flags.writeable = False
    with pytest.raises(InputError, match="writeable=False"):
        score_reduce(**given)


def test_added_scores_are_checked_too() -> None:
    batch = kernels.ScoreBatch(weight=[1.0], culture_index=[0])
    with pytest.raises(InputError, match=r"item_scores is float64 of shape \(1, 3\)"):
        kernels.add_scores(np.zeros((1, 3)), batch, kernels.ScoreTables(np.zeros((1, 3))))
    with pytest.raises(InputError, match="sums are missing"):
        kernels.add_scores(np.zeros((1, 3), np.float32), batch, kernels.ScoreTables())


@pytest.mark.filterwarnings("error")
def test_a_missing_core_asks_whether_it_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    import culnig

    real_import = builtins.__import__

    def without_core(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "culnig" and arguments[2] and "_core" in arguments[2]:
            raise ModuleNotFoundError("No module named 'culnig._core'", name="culnig._core")
        return real_import(name, *arguments, **named)

    for name in ("culnig.kernels", "culnig.kernels.cpu"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(culnig, "kernels", kernels)  # put back what the failed import leaves
    monkeypatch.setattr(builtins, "__import__", without_core)
    with pytest.raises(ModuleNotFoundError, match=r"was the package built\? .*pip install -e"):
        importlib.import_module("culnig.kernels")
