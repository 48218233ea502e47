"""Validations side by side."""

from __future__ import annotations

import json

import pytest

from culnig.errors import InputError, StoreError
from culnig.reporting.sections.leaderboard import leaderboard_section
from culnig.validation.leaderboard import leaderboard, leaderboard_of


def figures(ap, ap_all=0.2):
    chance = {"chance_average_precision": 0.05, "chance_average_precision_all": 0.01}
    return {"average_precision": ap, "average_precision_all": ap_all, **chance}


def method(name, general, specific, flattered=False):
    statistic = name.split(" ")[0]
    return {
        "method": name,
        "statistic": statistic,
        "general": figures(general),
        "specific": figures(specific, specific / 2),
        "flattered": flattered,
    }


def document(seed, methods, world="hard", **settings):
    cost = {"passes": 3, "seconds": 1.0 + seed, "n_timed": 64, "memory": 1000 * (1 + seed)}
    return {
        "format": "culnig-validation",
        "format_version": 2,
        "world": world,
        "settings": {"seed": seed, **settings},
        "methods": methods,
        "costs": {"log-odds": cost},
    }


FIRST = document(
    0, [method("log-odds", 0.8, 0.3), method("random", 0.1, 0.05), method("log-odds + z", 0.8, 0.5)]
)
SECOND = document(1, [method("log-odds", 0.6, 0.5, True), method("log-odds + z", 0.6, 0.7)])


def test_a_method_has_its_mean_over_seeds_with_lowest_and_highest():
    best, other = leaderboard_of([FIRST, SECOND])["rows"]
    assert (best["method"], other["method"]) == ("log-odds + z", "log-odds")  # random is not in both
    assert other["general"] == {"mean": pytest.approx(0.7), "low": 0.6, "high": 0.8, "chance": 0.05}
    assert other["specific"]["mean"] == pytest.approx(0.4)
    assert other["all_modules"] == {"mean": pytest.approx(0.2), "low": 0.15, "high": 0.25, "chance": 0.01}
    assert (other["passes"], other["seconds"], other["memory"], other["flattered"]) == (3, 1.5, 1500, 1)
    assert other["seeds"] == [0, 1]


def test_worlds_are_ranked_apart_and_a_method_without_a_scorer_costs_nothing():
    other = document(0, [method("random", 0.2, 0.1)], "invented")
    rows = leaderboard_of([FIRST, other])["rows"]
    assert [row["world"] for row in rows] == ["hard"] * 3 + ["invented"]
    assert rows[-1]["passes"] == 0


def test_what_cannot_be_averaged_is_refused():
    with pytest.raises(InputError, match="'hard' is given twice with seed 0"):
        leaderboard_of([FIRST, FIRST])
    with pytest.raises(InputError, match="differ in size"):
        leaderboard_of([FIRST, document(1, FIRST["methods"], cultures=3)])
    with pytest.raises(InputError, match="no validations given"):
        leaderboard([])


def test_folders_are_read_and_unfinished_or_old_ones_named(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(FIRST))
    assert leaderboard(tmp_path)["rows"] == leaderboard_of([FIRST])["rows"]
    (tmp_path / "request.json").write_text(json.dumps(FIRST))
    with pytest.raises(StoreError, match="no finished validation"):
        leaderboard([tmp_path])
    (tmp_path / "request.json").unlink()
    old = {key: value for key, value in FIRST.items() if key != "costs"}
    (tmp_path / "results.json").write_text(json.dumps(old))
    with pytest.raises(StoreError, match="has no 'costs'"):
        leaderboard([tmp_path])


def test_the_report_draws_a_row_for_each_method():
    section = leaderboard_section([FIRST, SECOND])
    (panel,) = section.panels
    assert panel.title == "World hard"
    assert str(panel.chart).count("log-odds") >= 2
    assert [row[0] for row in panel.table.rows] == ["log-odds + z", "log-odds"]
    assert not leaderboard_section([]).filled
