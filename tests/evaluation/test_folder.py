from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from culnig.errors import EnvironmentProblem, OutputExistsError, StoreError
from culnig.evaluation.conditions import Condition
from culnig.evaluation.folder import (
    prepare_evaluation_folder,
    read_results,
    with_todays_names,
    write_evaluation,
)
from culnig.store import files, tables
from culnig.store.heap import HEAPS
from tests.stored import document_of
from tests.toy import answered, items

ASKED = items(["China"], questions=4, split="test")
CONDITIONS = [
    Condition("unmasked", 1.0, np.empty(0, dtype=np.int64)),
    Condition("specific Côte d'Ivoire / 한국", 0.0, np.array([3])),
]
ANSWERS = {
    (benchmark, condition.name): answered(ASKED, np.arange(4) >= number, 0.1 + number / 10)
    for benchmark in ("blend", "country-rc")
    for number, condition in enumerate(CONDITIONS)
}
ROWS = [{"benchmark": "blend", "condition": "unmasked", "accuracy": 1 / 3, "p_value": None}]


def write(folder, rows=ROWS):
    write_evaluation(folder, {"model": {"source": "toy"}}, rows, ANSWERS, CONDITIONS)
    return folder


def test_rows_and_record_come_back(tmp_path):
    document = read_results(write(tmp_path / "deep" / "eval"))
    assert document["rows"] == ROWS
    assert document["model"] == {"source": "toy"}
    assert (document["format"], document["format_version"]) == ("culnig-evaluation", 1)


def test_every_item_under_every_condition_comes_back_to_the_bit(tmp_path):
    folder = write(tmp_path / "eval")
    found = {}
    with h5py.File(folder / "items.h5") as file:
        assert {name: file.attrs[name] for name in file.attrs if name != HEAPS} == {
            "format": "culnig-evaluation",
            "format_version": 1,
        }
        for benchmark, groups in file["benchmarks"].items():
            for group in groups.values():
                assert group.attrs["factor"] == (1.0 if group.attrs["condition"] == "unmasked" else 0.0)
                found[benchmark, group.attrs["condition"]] = tables.read_outcomes(group)
    assert set(found) == set(ANSWERS)
    for key, outcomes in found.items():
        assert outcomes.p_gold.tobytes() == ANSWERS[key].p_gold.tobytes()
        assert outcomes.correct.tolist() == ANSWERS[key].correct.tolist()
        assert outcomes.units.tolist() == ANSWERS[key].units.tolist()


def test_the_same_evaluation_gives_the_same_bytes(tmp_path):
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    for name in ("results.json", "items.h5"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert sorted(path.name for path in first.iterdir()) == ["items.h5", "results.json"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_new_or_empty_folder_is_free(tmp_path, overwrite):
    prepare_evaluation_folder(tmp_path / "new", overwrite=overwrite)
    prepare_evaluation_folder(tmp_path, overwrite=overwrite)
    assert list(tmp_path.glob("*/*")) == []


def test_an_evaluation_is_never_replaced_unasked(tmp_path):
    folder = write(tmp_path / "eval")
    with pytest.raises(OutputExistsError, match="add overwrite=True"):
        prepare_evaluation_folder(folder)


def test_overwrite_replaces_an_evaluation_and_keeps_it_until_then(tmp_path):
    folder = write(tmp_path / "eval")
    prepare_evaluation_folder(folder, overwrite=True)
    assert read_results(folder)["rows"] == ROWS
    assert read_results(write(folder, rows=[]))["rows"] == []


@pytest.mark.parametrize("content", ["{}", "thesis", '{"format": "culnig-run", "format_version": 1}'])
def test_overwrite_refuses_what_is_not_an_evaluation(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(
        OutputExistsError, match="not an evaluation of culnig, so overwrite=True leaves it alone"
    ):
        prepare_evaluation_folder(tmp_path, overwrite=True)
    assert (tmp_path / "results.json").read_text() == content


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_place_of_the_folder_is_left_alone(tmp_path, overwrite):
    (tmp_path / "eval").write_text("thesis")
    with pytest.raises(OutputExistsError, match="eval"):
        prepare_evaluation_folder(tmp_path / "eval", overwrite=overwrite)


def test_overwrite_replaces_what_a_kill_left_of_the_items(tmp_path):
    folder = write(tmp_path / "eval")
    (folder / "results.json").unlink()
    prepare_evaluation_folder(folder, overwrite=True)
    assert read_results(write(folder))["rows"] == ROWS


def test_overwrite_refuses_items_that_are_not_ours(tmp_path):
    with h5py.File(tmp_path / "items.h5", "w") as file:
        file["measurements"] = np.arange(3)
    with pytest.raises(OutputExistsError, match="not an evaluation of culnig"):
        prepare_evaluation_folder(tmp_path, overwrite=True)


def test_a_full_disk_keeps_the_old_results(tmp_path, monkeypatch):
    folder = write(tmp_path / "eval")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(EnvironmentProblem, match="No space left on device"):
        write(folder, rows=[])
    assert read_results(folder)["rows"] == ROWS
    assert sorted(path.name for path in folder.iterdir()) == ["items.h5", "results.json"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "culnig-run"}, "format is 'culnig-run', expected 'culnig-evaluation'"),
        ({"format_version": 7}, "format version 7, this culnig reads 1"),
    ],
)
def test_results_of_something_else_are_refused(tmp_path, changes, message):
    folder = write(tmp_path / "eval")
    document = document_of(folder / "results.json")
    (folder / "results.json").write_text(json.dumps(document | changes))
    with pytest.raises(StoreError, match=message):
        read_results(folder)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(
        StoreError, match=r"results\.json: no such file; expected the results of an evaluation"
    ):
        read_results(tmp_path)


def test_names_of_the_first_edition_become_todays_at_every_depth():
    first = {
        "confidence": 0.5,
        "rows": [{"condition": "none", "metric": "confidence", "change": {"confidence": {"effect": 1}}}],
        "condition": "random 0 like none",
        "metric": "accuracy",
        "other": [1, None, "none", "confidence"],
    }
    assert with_todays_names(first) == {
        "p_gold": 0.5,
        "rows": [{"condition": "unmasked", "metric": "p_gold", "change": {"p_gold": {"effect": 1}}}],
        "condition": "random 0 like none",
        "metric": "accuracy",
        "other": [1, None, "none", "confidence"],
    }
