"""The id of a run: equal for one request, and for no other."""

from __future__ import annotations

import pytest

from culnig.store.merge import _check_of
from culnig.store.record import check_of_all, run_id
from tests.toy import record

TARGET = record()["benchmarks"]["toy-target"]


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"aggregator": "mean", "token_budget": 64}},
        {"settings": {"aggregator": "max", "token_budget": 65}},
        {"settings": {"aggregator": "max"}},
        {"settings": {"aggregator": "max", "token_budget": 64, "seed": 1}},
        {"model": {"source": "toy", "weights_hash": "1" * 64}},
        {"model": {"source": "other", "weights_hash": "0" * 64}},
        {"benchmarks": {}},
        {"benchmarks": {"toy-target": TARGET | {"items_hash": "2" * 64}}},
        {"benchmarks": {"toy-target": TARGET | {"role": "control"}}},
        {"benchmarks": {"other": TARGET}},
    ],
    ids=str,
)
def test_another_request_has_another_id(changes):
    assert run_id(record(**changes)) != run_id(record())


@pytest.mark.parametrize(
    "changes",
    [
        {"versions": {"culnig-engine": "9"}},
        {"complete": True},
        {"benchmarks": {"toy-target": TARGET | {"prompts": {"hash": "3" * 64, "date": "2026-01-01"}}}},
        {"settings": {"token_budget": 64, "aggregator": "max"}},
    ],
    ids=["versions", "progress", "prompts, which early versions did not record", "order of keys"],
)
def test_what_is_not_asked_leaves_the_id_alone(changes):
    assert run_id(record(**changes)) == run_id(record())


DONE = {"performed": True, "checks": ["batch"], "batch_dependence": 0.0}


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ([], {"checks": [], "batch_dependence": None, "performed": True}),
        ([DONE], DONE),
        ([DONE, None], DONE | {"performed": False}),
        ([None, DONE], DONE | {"performed": False}),
        ([None], {"checks": [], "batch_dependence": None, "performed": False}),
        ([DONE, DONE | {"performed": False, "checks": []}], DONE | {"performed": False, "checks": []}),
        ([DONE, DONE | {"batch_dependence": 0.5}], DONE | {"batch_dependence": 0.5}),
    ],
    ids=str,
)
def test_a_check_counts_only_if_all_parts_were_checked(checks, expected):
    assert check_of_all(checks) == expected


def test_a_merged_run_has_a_check_if_one_of_its_runs_has():
    assert _check_of([{}, {"check": DONE}]) == {"check": DONE | {"performed": False}}
    assert _check_of([{"check": DONE}, {"check": DONE}]) == {"check": DONE}
    assert _check_of([{}, {}]) == {}
