from __future__ import annotations

import h5py
import numpy as np
import pytest

from culnig.errors import MismatchError, OutputExistsError, StoreError
from culnig.evaluation.conditions import Condition
from culnig.evaluation.folder import prepare_evaluation_folder, read_answers, read_results, write_evaluation
from culnig.evaluation.parts import EvaluationParts
from tests.toy import answered, items

ASKED = items(["China"], questions=4)
CONDITIONS = [
    Condition("unmasked", 1.0, np.empty(0, dtype=np.int64)),
    Condition("specific Côte d'Ivoire / 한국", 0.0, np.array([3])),
]
RECORD = {"model": {"source": "toy"}, "settings": {"shares": (1.0,)}, "benchmarks": {"blend": {}}}


def begin(folder, record=RECORD, **options):
    return EvaluationParts.open(folder, record, ["blend"], CONDITIONS, **options)


def test_a_part_comes_back_to_the_bit(tmp_path):
    outcomes = answered(ASKED, [True, False, True, True], [0.1, 1 / 3, 0.7, 1e-30])
    begin(tmp_path).save("blend", CONDITIONS[1].name, outcomes)
    parts = begin(tmp_path, resume=True)
    found = parts.read("blend", CONDITIONS[1].name)
    assert found.p_gold.tobytes() == outcomes.p_gold.tobytes()
    assert found.predicted.tolist() == outcomes.predicted.tolist()
    assert parts.read("blend", "unmasked") is None


def test_without_resume_parts_are_forgotten(tmp_path):
    begin(tmp_path).save("blend", "unmasked", answered(ASKED, [True] * 4))
    assert begin(tmp_path, overwrite=True).read("blend", "unmasked") is None


def test_a_folder_of_another_request_is_not_resumed(tmp_path):
    begin(tmp_path)
    other = {**RECORD, "settings": {"shares": (0.5,)}}
    with pytest.raises(
        MismatchError, match=r"cannot be resumed.*settings\.shares is \[1.0\] there and \[0.5\] in"
    ):
        begin(tmp_path, other, resume=True)


def test_another_version_may_resume(tmp_path):
    begin(tmp_path, RECORD | {"versions": {"numpy": "1"}})
    begin(tmp_path, RECORD | {"versions": {"numpy": "2"}}, resume=True)


def test_a_damaged_part_is_named(tmp_path):
    parts = begin(tmp_path)
    parts.save("blend", "unmasked", answered(ASKED, [True] * 4))
    (path,) = (tmp_path / "parts").iterdir()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(StoreError, match="delete the file, and resume=True computes it again"):
        parts.read("blend", "unmasked")


def test_a_part_of_something_else_is_not_taken(tmp_path):
    parts = begin(tmp_path)
    parts.save("blend", "unmasked", answered(ASKED, [True] * 4))
    (path,) = (tmp_path / "parts").iterdir()
    with h5py.File(path, "a") as file:
        file.attrs["condition"] = "other"
    with pytest.raises(StoreError, match="'other'"):
        parts.read("blend", "unmasked")


def test_an_unfinished_folder_asks_for_resume(tmp_path):
    begin(tmp_path / "eval")
    with pytest.raises(
        StoreError, match="unfinished evaluation; repeat the same evaluation with resume=True"
    ):
        read_results(tmp_path / "eval")
    with pytest.raises(OutputExistsError, match="add resume=True to continue it, overwrite=True"):
        prepare_evaluation_folder(tmp_path / "eval")
    prepare_evaluation_folder(tmp_path / "eval", resume=True)
    prepare_evaluation_folder(tmp_path / "eval", overwrite=True)


def test_resume_refuses_what_is_not_an_evaluation(tmp_path):
    (tmp_path / "thesis.txt").write_text("thesis")
    with pytest.raises(OutputExistsError, match="is not an evaluation that can be resumed"):
        prepare_evaluation_folder(tmp_path, resume=True)


def test_earlier_results_stay_until_new_ones_replace_them(tmp_path):
    answers = {("blend", c.name): answered(ASKED, [True] * 4) for c in CONDITIONS}
    write_evaluation(tmp_path, RECORD, [{"accuracy": 1.0}], answers, CONDITIONS)
    parts = begin(tmp_path, overwrite=True)
    assert not parts.finished
    assert read_results(tmp_path)["rows"] == [{"accuracy": 1.0}]
    write_evaluation(tmp_path, RECORD, [{"accuracy": 0.5}], answers, CONDITIONS)
    parts.clear()
    assert parts.finished
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.h5", "results.json"]
    assert begin(tmp_path, resume=True).finished


def test_answers_come_back_from_the_folder_in_their_order(tmp_path):
    answers = {
        (benchmark, condition.name): answered(ASKED, [True] * 4, 0.1 * (1 + number))
        for number, condition in enumerate(CONDITIONS)
        for benchmark in ("b", "a")
    }
    write_evaluation(tmp_path, RECORD, [], answers, CONDITIONS)
    found = read_answers(tmp_path)
    assert list(found) == list(answers)
    for key, outcomes in found.items():
        assert outcomes.p_gold.tobytes() == answers[key].p_gold.tobytes()


def test_items_that_are_missing_or_foreign_are_refused(tmp_path):
    with pytest.raises(StoreError, match="no such file; expected the items"):
        read_answers(tmp_path)
    (tmp_path / "items.h5").write_text("thesis")
    with pytest.raises(StoreError, match="not a readable HDF5 file"):
        read_answers(tmp_path)
    with h5py.File(tmp_path / "items.h5", "w") as file:
        file.attrs["format"] = "other"
    with pytest.raises(StoreError, match="format is 'other'"):
        read_answers(tmp_path)
