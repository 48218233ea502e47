"""Targets of `make perf`: some are lowest values, some highest."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "perf" / "measuring.py"


@pytest.fixture(scope="module")
def row():
    spec = importlib.util.spec_from_file_location("measuring", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["measuring"] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    yield module.Row
    del sys.modules["measuring"]


@pytest.mark.parametrize(
    ("target", "ratio", "met"),
    [
        ("<= 1.05", 1.0, True),
        ("<= 1.05", 1.05, True),
        ("<= 1.05", 1.06, False),
        (">= 2.5", 2.6, True),
        (">= 2.5", 2.5, True),
        (">= 2.5", 2.4, False),
        ("", 1.0, None),
    ],
)
def test_a_target_is_at_most_or_at_least(row, target, ratio, met):
    made = row.of([ratio], section="s", what="w", against="a", unit="x", target=target)
    assert made.met is met


def test_a_row_is_the_median_of_its_rounds(row):
    made = row.of([1.5, 1.0, 4.0], [3.0, 1.0, 2.0], section="s", what="w", against="a", unit="x")
    assert (made.ratio, made.lowest, made.highest, made.seconds) == (1.5, 1.0, 4.0, 2.0)
