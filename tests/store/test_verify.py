from __future__ import annotations

import re
import shutil

import h5py
import pytest

from culnig.store.verify import verify_run
from tests.stored_runs import score_tiny


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return score_tiny(tmp_path_factory.mktemp("sound") / "run", "item").folder


def problems(folder):
    return {state.file: state.problem for state in verify_run(folder) if state.problem}


def test_a_sound_run_has_no_problems(sound):
    assert problems(sound) == {}
    assert {state.file for state in verify_run(sound)} > {"run.json", "scores.h5"}


def flip(path, where):
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_a_flipped_bit_of_the_scores_is_found(sound, tmp_path, where):
    folder = shutil.copytree(sound, tmp_path / "run")
    flip(folder / "scores.h5", where)
    assert "not the file that the run was finished with" in problems(folder)["scores.h5"]


def test_a_flipped_bit_of_item_scores_is_found(sound, tmp_path):
    folder = shutil.copytree(sound, tmp_path / "run")
    part = max((folder / "items").glob("*.h5"), key=lambda path: path.stat().st_size)
    flip(part, 0.6)
    assert f"items/{part.name}" in problems(folder)


def test_a_flipped_bit_of_a_tensor_is_found_and_nothing_else_is_blamed(tmp_path):
    folder = score_tiny(tmp_path / "run", "token", items=slice(0, 3)).folder
    assert problems(folder) == {}
    part = next((folder / "tensors").glob("part-toy-target-*.h5"))
    with h5py.File(part) as file:
        place = file["layers/1/mlp.gate_proj/gradient"].id.get_offset()
    data = bytearray(part.read_bytes())
    data[place + 5] ^= 4
    part.write_bytes(data)
    found = problems(folder)
    assert list(found) == [f"tensors/{part.name}"]
    assert "/layers/1/mlp.gate_proj/gradient is damaged at item" in found[f"tensors/{part.name}"]


def cut_off(file):
    del file["layers/1/mlp.gate_proj"]


def add_unnamed(file):
    file["layers/1/mlp.other/activation"] = [[1.0]]


def lead_elsewhere(file):
    del file["layers/1"]
    file["layers/1"] = h5py.ExternalLink("elsewhere.h5", "/")


def flatten(file):
    del file["layers/1/mlp.gate_proj/activation"]
    file["layers/1/mlp.gate_proj/activation"] = [1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut_off, "/modules names other modules than /layers holds"),
        (add_unnamed, "/modules names other modules than /layers holds"),
        (lead_elsewhere, "/layers/1 is a link"),
        (flatten, r"gate_proj/activation has shape \(1,\), expected \("),
    ],
)
def test_tensors_that_are_not_as_they_were_written_are_found(tmp_path, change, message):
    folder = score_tiny(tmp_path / "run", "token", items=slice(0, 2)).folder
    part = next((folder / "tensors").glob("part-toy-target-*.h5"))
    with h5py.File(part, "a") as file:
        change(file)
    assert re.search(message, problems(folder)[f"tensors/{part.name}"])


def test_a_part_that_is_gone_is_found(sound, tmp_path):
    folder = shutil.copytree(sound, tmp_path / "run")
    part = next((folder / "items").glob("part-toy-target-*.h5"))
    part.unlink()
    found = problems(folder)
    assert found[f"items/{part.name}"] == "is missing"
    assert "is missing" in found["items of toy-target"]
