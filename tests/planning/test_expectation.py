"""The least time of a run is said before its first batch, from the plan's arithmetic and a measured speed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from culnig.core.processes import ALONE, Processes
from culnig.planning import expectation
from culnig.planning.expectation import announce_time, product_speed
from culnig.planning.work import BenchmarkSize, run_flops
from tests.planning.test_tracing import skeleton
from tests.tiny_models import tiny_model

SIZES = [BenchmarkSize(3, [20, 50]), BenchmarkSize(1, [10])]


@pytest.fixture
def said(monkeypatch):
    """The lines for a model of which a tenth of the run's operations are computed in a second."""
    bound = replace(tiny_model(), skeleton=skeleton("llama"))
    flops = run_flops(bound.skeleton, SIZES)
    monkeypatch.setattr(expectation, "_SMALL", 0)
    monkeypatch.setattr(expectation, "product_speed", lambda bound, n_tokens: flops / 10)

    def lines(processes=ALONE, **changes):
        said: list[str] = []
        announce_time(said.append, replace(bound, **changes), SIZES, 64, processes)
        return said

    return lines


def test_the_least_time_of_a_run_is_its_operations_at_the_speed_of_products(said):
    (line,) = said()
    assert line.startswith("3 items, 80 tokens: at least 10 s, the time of the matrix products alone at ")


def test_processes_share_the_time_and_short_times_are_not_said(said):
    (line,) = said(Processes(0, 2))
    assert "at least 5.0 s" in line
    assert said(Processes(0, 3)) == []


def test_nothing_is_said_of_a_model_without_a_skeleton(said):
    assert said(skeleton=None) == []


def test_the_speed_is_that_of_the_largest_matrix(monkeypatch):
    bound = tiny_model()
    largest = max(own.linear.weight.numel() for own in bound.linears)
    monkeypatch.setattr(expectation, "_seconds", lambda linear, inputs: 0.5)
    assert product_speed(bound, 8) == 2 * 8 * largest / 0.5
