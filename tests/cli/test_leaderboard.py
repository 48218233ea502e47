"""`culnig-engine leaderboard`."""

from __future__ import annotations

import json

from tests.validation.test_leaderboard import FIRST, SECOND


def test_validations_become_a_table(culnig, tmp_path):
    folders = []
    for number, document in enumerate((FIRST, SECOND)):
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        (folders[-1] / "results.json").write_text(json.dumps(document))
    told = culnig("leaderboard", *folders, "--json")
    assert told.code == 0
    assert [row["method"] for row in told.json["rows"]] == ["log-odds + z", "log-odds"]
    printed = culnig("leaderboard", *folders)
    assert "World hard, 2 seeds" in printed.out
    assert "0.700, 0.600 to 0.800 (0.0500)" in printed.out
    assert "flattered" in printed.out


def test_a_folder_without_a_validation_is_refused(culnig, tmp_path):
    told = culnig("leaderboard", tmp_path)
    assert told.code == 2
    assert "no finished validation" in told.err
