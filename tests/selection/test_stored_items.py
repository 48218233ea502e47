"""Permutation tests on a stored run: which items and neurons they are about. The tests themselves are held
against scipy in `test_permutation.py`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from culnig.errors import SelectionError
from culnig.selection import stored_items
from culnig.selection.permutation import exchange_p_values, paired_p_values
from culnig.selection.significance import culture_contrast, general_contrast
from culnig.selection.stored_items import group_of, groups_of_run, items_of_run, permuted_p_values
from culnig.selection.tables import choose_roles
from tests.answered import answers
from tests.reanalysis.test_small_reduce import ASKED, P_GOLD, SCORES, run_of

FLAT = np.array([0, 4, 5, 9])
TARGET = SCORES["t"] * P_GOLD[:, None]
CONTROL = np.where(SCORES["c"] > 0, SCORES["c"] * P_GOLD[:, None], 0.0)
QUESTIONS = [item.question_id for item in ASKED]
CULTURES = [item.culture for item in ASKED]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("stored") / "run")


def test_items_have_their_weighted_scores_and_those_of_a_control_are_clamped(run):
    items = items_of_run(run, choose_roles(run))
    for name, table in (("t", items.target), ("c", items.control), ("x", items.exclusion)):
        expected = CONTROL if name == "c" else SCORES[name] * P_GOLD[:, None]
        np.testing.assert_array_equal(table.scores(slice(2, 7)), expected[:, 2:7])
        assert (table.culture.tolist(), table.unit.tolist()) == (CULTURES, QUESTIONS)
    roles = choose_roles(run)
    other = run_of_scorer(run)
    with pytest.raises(SelectionError, match="of gradient × activation only, not of relp"):
        items_of_run(other, roles)


def run_of_scorer(run):
    other = type(run).__new__(type(run))
    other.__dict__.update(run.__dict__)
    other.scorer = "relp"
    return other


@pytest.mark.parametrize("cells", [1, 6, 18, 24, 1 << 20])
def test_chosen_neurons_are_tested_whatever_the_blocks(run, monkeypatch, cells):
    monkeypatch.setattr(stored_items, "_CELLS", cells)
    roles, options = choose_roles(run), {"permutations": 199, "seed": 3}
    t, c = TARGET[:, FLAT], CONTROL[:, FLAT]

    def found(contrast, culture=None, roles=roles):
        return permuted_p_values(run, roles, contrast, FLAT, 199, 3, culture)

    everywhere = paired_p_values(t, c, QUESTIONS, **options)
    np.testing.assert_array_equal(found(general_contrast(roles)), everywhere)
    own = slice(3, 6)
    in_iran = paired_p_values(t[own], c[own], QUESTIONS[own], **options)
    np.testing.assert_array_equal(found(culture_contrast(roles, "Iran", "control"), "Iran"), in_iran)
    against_others = exchange_p_values(t - c, CULTURES, "Iran", QUESTIONS, **options)
    np.testing.assert_array_equal(found(culture_contrast(roles, "Iran", "others"), "Iran"), against_others)
    alone = replace(roles, control=None)
    contrast = culture_contrast(alone, "China", "others")
    np.testing.assert_array_equal(
        found(contrast, "China", alone), exchange_p_values(t, CULTURES, "China", QUESTIONS, **options)
    )
    with pytest.raises(SelectionError, match="a test against the control needs a control"):
        found(general_contrast(alone), roles=alone)


def test_the_wording_is_the_end_of_an_id_unless_that_is_the_culture():
    several = answers(4, 4, 1.0, per_question=2)
    several.id[:] = ["q0/w1", "q0/w2", "q1/w1", "q1/w2"]
    assert group_of(several, "wording").tolist() == ["w1", "w2", "w1", "w2"]
    assert group_of(several, "question").tolist() == ["q0", "q0", "q1", "q1"]
    several.topic[:] = list("aabb")
    assert group_of(several, "topic").tolist() == list("aabb")
    for ids in (["a/China", "b/China", "c/x", "d/x"], ["a", "b", "c", "d"]):
        several.id[:] = ids
        assert set(group_of(several, "wording")) == {"the only wording"}


def test_groups_are_of_the_first_kind_that_has_several(run):
    roles = choose_roles(run)
    kind, groups = groups_of_run(run, roles)
    assert kind == "topic"  # one wording, the topics Food and Sport
    assert groups["target"].tolist() == groups["control"].tolist() == [item.topic for item in ASKED]
    kind, groups = groups_of_run(run, replace(roles, control=None), "question")
    assert (kind, groups["target"].tolist(), list(groups)) == ("question", QUESTIONS, ["target"])
