"""score_reduce refuses what does not fit, by name and value."""

from __future__ import annotations

import builtins
import importlib
import sys
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
        "confidence": [0.5, 0.5],
        "culture_index": [0, 1],
        "sums": np.zeros((2, 4)),
    }


def test_the_unchanged_arguments_are_taken() -> None:
    given = arguments()
    kernels.score_reduce(**given)
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
        ({"token_mask": None}, "give either token_mask or lengths"),
        ({"lengths": [1, 2]}, "give either token_mask or lengths"),
        ({"token_mask": None, "lengths": [1, 4]}, r"lengths\[1\] is 4"),
        ({"token_mask": None, "lengths": [-1, 3]}, r"lengths\[0\] is -1"),
        ({"token_mask": None, "lengths": [1.0, 2.0]}, "lengths are float64"),
        ({"token_mask": None, "lengths": [1, 2], "padding": "top"}, "padding is 'top'"),
        ({"confidence": [0.5]}, r"confidence has shape \(1,\)"),
        ({"confidence": [0.5, np.nan]}, r"confidence\[1\] is nan"),
        ({"culture_index": [0]}, r"culture_index is int64 of shape \(1,\)"),
        ({"culture_index": [0, 2]}, r"culture_index\[1\] is 2; sums have 2 rows"),
        ({"culture_index": [-1, 0]}, r"culture_index\[0\] is -1"),
        ({"clamp_at_zero": [True]}, r"clamp_at_zero is bool of shape \(1,\)"),
        ({"clamp_at_zero": 1}, "clamp_at_zero is int64"),
        ({"sums": np.zeros((2, 4), dtype=np.float32)}, "sums is float32"),
        ({"sums": np.zeros((2, 5))}, r"sums is float64 of shape \(2, 5\)"),
        ({"sums": np.zeros((2, 8))[:, ::2]}, "sums has strides"),
        ({"positive_counts": np.zeros((2, 4))}, "positive_counts is float64"),
        ({"sums_of_squares": np.zeros((1, 4))}, "sums_of_squares is float64 of shape"),
        ({"item_scores": np.zeros((2, 4))}, "item_scores is float64"),
        ({"peak_tokens": np.zeros((2, 4))}, "peak_tokens is float64"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kernels.score_reduce(**(arguments() | changes))


def test_a_table_that_may_not_be_written_is_refused() -> None:
    given = arguments()
    given["sums"].flags.writeable = False
    with pytest.raises(InputError, match="writeable=False"):
        kernels.score_reduce(**given)


@pytest.mark.filterwarnings("error")
def test_a_missing_core_asks_whether_it_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    import culnig

    real_import = builtins.__import__

    def without_core(name: str, *rest: Any, **named: Any) -> Any:
        if name == "culnig" and rest[2] and "_core" in rest[2]:
            raise ModuleNotFoundError("No module named 'culnig._core'", name="culnig._core")
        return real_import(name, *rest, **named)

    monkeypatch.delitem(sys.modules, "culnig.kernels")
    monkeypatch.delitem(sys.modules, "culnig.kernels.arrays")
    monkeypatch.setattr(culnig, "kernels", kernels)  # put back what the failed import leaves
    monkeypatch.setattr(builtins, "__import__", without_core)
    with pytest.raises(ModuleNotFoundError, match=r"was the package built\? .*pip install -e"):
        importlib.import_module("culnig.kernels")
