from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from culnig.errors import InputError, MismatchError, UnknownNameError
from culnig.evaluation.compare import compare_between, compare_within
from culnig.evaluation.conditions import Condition
from culnig.evaluation.folder import write_evaluation
from culnig.evaluation.results import result_rows
from culnig.evaluation.stored import open_evaluation
from tests.toy import answered, items

ASKED = items(["China"], questions=8)
NONE = Condition("unmasked", 1.0, np.empty(0, dtype=np.int64))
GENERAL = Condition("general", 0.0, np.array([8, 0]), of_set="general")
RANDOM = Condition("random 0 like general", 0.0, np.array([1, 2]), like="general", of_set="general")


def evaluation(folder, right, benchmarks=("blend",), asked=ASKED, items_hash="1"):
    """An evaluation whose conditions answer the first so many items right."""
    states = [state for state in (NONE, GENERAL, RANDOM) if state.name in right]
    answers = {
        (benchmark, state.name): answered(
            asked, np.arange(len(asked)) < right[state.name], 0.1 * right[state.name] / len(asked)
        )
        for benchmark in benchmarks
        for state in states
    }
    rows = result_rows(answers, benchmarks, states)
    record = {"benchmarks": {name: {"items_hash": items_hash} for name in benchmarks}}
    write_evaluation(folder, record, rows, answers, states)
    return open_evaluation(folder)


def test_within_one_evaluation_the_numbers_are_those_of_its_rows(tmp_path):
    found = evaluation(tmp_path / "a", {"unmasked": 8, "general": 2, RANDOM.name: 7}, ("blend", "normad"))
    rows = compare_within(found)
    assert [(row["benchmark"], row["condition"], row["against"]) for row in rows] == [
        ("blend", "general", "unmasked"),
        ("normad", "general", "unmasked"),
    ]
    stored = found.results["rows"][1]
    assert stored["condition"] == "general"
    for part in ("loss", "mcnemar"):
        assert rows[0][part] == stored[part]
    for metric, change in stored["change"].items():
        assert change.items() <= rows[0]["change"][metric].items()
        assert stored["against_random"][metric].items() <= rows[0]["against_random"][metric].items()
    assert rows[0]["p_holm"] == 2 * rows[0]["p_value"] == 4 / 2**6
    assert json.dumps(rows, allow_nan=False)


def test_any_two_conditions_can_be_compared(tmp_path):
    found = evaluation(tmp_path / "a", {"unmasked": 8, "general": 2, RANDOM.name: 7})
    (row,) = compare_within(found, ["general"], RANDOM.name)
    assert row["change"]["accuracy"]["effect"] == pytest.approx(-5 / 8)
    assert row["against"] == RANDOM.name


def test_between_evaluations_the_same_conditions_are_paired(tmp_path):
    first = evaluation(tmp_path / "before", {"unmasked": 8, "general": 6})
    second = evaluation(tmp_path / "after", {"unmasked": 7, "general": 2}, ("blend", "extra"))
    rows = compare_between(first, second)
    assert [(row["condition"], row["against"]) for row in rows] == [
        ("after: unmasked", "before: unmasked"),
        ("after: general", "before: general"),
    ]
    assert [row["change"]["accuracy"]["effect"] for row in rows] == pytest.approx([-1 / 8, -4 / 8])


def test_different_items_cannot_be_paired(tmp_path):
    first = evaluation(tmp_path / "a", {"unmasked": 8})
    others = [replace(item, id=f"other {item.id}") for item in ASKED]
    with pytest.raises(MismatchError, match="8 and 8 items, 0 ids in both"):
        compare_between(first, evaluation(tmp_path / "b", {"unmasked": 8}, asked=others))


def test_items_of_one_id_and_another_text_cannot_be_paired(tmp_path):
    first, second = (evaluation(tmp_path / hashed, {"unmasked": 8}, items_hash=hashed) for hashed in "ab")
    with pytest.raises(MismatchError, match="do not hold the same items"):
        compare_between(first, second)


def test_nothing_in_common_is_an_error(tmp_path):
    first = evaluation(tmp_path / "a", {"unmasked": 8}, ("blend",))
    second = evaluation(tmp_path / "b", {"unmasked": 8}, ("normad",))
    with pytest.raises(InputError, match="no benchmark is in both"):
        compare_between(first, second)
    with pytest.raises(InputError, match=r"has only the condition .unmasked."):
        compare_within(first)
    with pytest.raises(UnknownNameError, match="'generl'"):
        compare_within(first, ["generl"])


def test_the_items_of_a_condition_are_a_data_frame(tmp_path):
    found = evaluation(tmp_path / "a", {"unmasked": 8, "general": 2})
    frame = found.to_pandas("blend", "general")
    assert frame["id"].tolist() == [item.id for item in ASKED]
    assert frame["correct"].tolist() == [True] * 2 + [False] * 6
    assert frame["p_gold"].tolist() == pytest.approx([0.1 * 2 / 8] * 8)
    assert found.to_pandas("blend")["correct"].all()
    with pytest.raises(UnknownNameError, match="did you mean 'blend'"):
        found.to_pandas("blnd")
    with pytest.raises(UnknownNameError, match="generl"):
        found.to_pandas("blend", "generl")


PROMPTS = {"template": "t", "date": "2026-01-02", "hash": "tokens"}


@pytest.mark.parametrize(
    ("layouts", "changed", "message"),
    [
        (("one", "one"), {}, None),
        (("one", "one"), {"hash": "other"}, "token ids of their prompts differ"),
        (("one", "one"), {"template": "u"}, "different chat templates"),
        (("one", "one"), {"date": "2026-01-03"}, "show the date 2026-01-02"),
        # models of other layouts have templates and tokens of their own, but one date
        (("one", "other"), {"hash": "other", "template": "u"}, None),
        (("one", None), {"hash": "other"}, None),
        ((None, None), {"hash": "other"}, None),
        ((None, "one"), {"template": "u"}, None),
        (("one", "other"), {"date": "2026-01-03"}, "show the date 2026-01-02"),
    ],
)
def test_prompts_must_be_alike_as_far_as_the_models_are(tmp_path, layouts, changed, message):
    found = []
    for name, layout, prompts in zip("ab", layouts, (PROMPTS, PROMPTS | changed), strict=True):
        own = evaluation(tmp_path / name, {"unmasked": 8})
        own.results["model"] = {"layout_hash": layout}
        own.results["benchmarks"]["blend"]["prompts"] = prompts
        found.append(own)
    if message is None:
        assert len(compare_between(*found)) == 1
    else:
        with pytest.raises(MismatchError, match=f"did not ask the same in 'blend': .*{message}"):
            compare_between(*found)


def test_items_without_a_hash_fit_and_other_hashes_do_not(tmp_path):
    first, second = (evaluation(tmp_path / name, {"unmasked": 8}, items_hash=name) for name in "ab")
    for own in (first, second):
        with pytest.raises(MismatchError, match=r"\(8 and 8 items, 8 ids in both\)"):
            compare_between(first, second)
        hashed = own.results["benchmarks"]["blend"].pop("items_hash")
        assert len(compare_between(first, second)) == 1
        own.results["benchmarks"]["blend"]["items_hash"] = hashed
