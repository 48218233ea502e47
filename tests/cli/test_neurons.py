"""`neurons` on files, as a user types it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from culnig.selection.neuron_set import read_neuron_set
from tests.selection.test_formats import LAPE, RELEASED, saved, written
from tests.toy import neuron_set, toy_layout, write_toy_run

LAYOUT = toy_layout()


@pytest.fixture
def files(tmp_path):
    pools = {"all": {"neurons": 54}}
    made = {}
    for name, flat in {"a": [8, 9, 10, 0], "b": [9, 10, 11], "c": [40, 41]}.items():
        made[name] = tmp_path / f"{name}.neurons.json"
        replace(neuron_set(LAYOUT, flat, name), method={"name": "specific", "pools": pools}).write(made[name])
    return made


@pytest.mark.parametrize(
    ("operation", "expected"), [("union", [8, 9, 10, 0, 11]), ("intersect", [9, 10]), ("minus", [8, 0])]
)
def test_two_files_become_one(culnig, files, tmp_path, operation, expected):
    result = culnig("neurons", operation, files["a"], files["b"], "-o", tmp_path / "x.json", "--json")
    assert result.code == 0, result.err
    assert result.json["n_neurons"] == len(expected)
    assert read_neuron_set(tmp_path / "x.json").flat(LAYOUT).tolist() == expected
    assert culnig("inspect", tmp_path / "x.json").code == 0


def test_overlap_in_words_and_as_json(culnig, files, tmp_path):
    told = culnig("neurons", "overlap", *files.values())
    assert told.code == 0, told.err
    assert "similarity 0.400" in told.out
    assert "└──" in told.out
    found = culnig("neurons", "overlap", *files.values(), "--measure", "overlap", "--json").json
    assert found["pairs"][0]["shared"] == 2
    assert found["pairs"][0]["expected_shared"] == pytest.approx(4 * 3 / 54)
    assert found["matrix"][0] == [1, pytest.approx(2 / 3), 0]
    assert found["tree"]["branches"]
    run = write_toy_run(tmp_path / "run")
    layered = culnig("neurons", "overlap", files["a"], files["b"], "--run", run.folder, "--json").json
    assert layered["pairs"][0]["expected_shared"] == pytest.approx(3 * 3 / 10)


def test_overlap_as_a_picture(culnig, files, tmp_path):
    drawn = tmp_path / "x.png"
    assert culnig("neurons", "overlap", *files.values(), "--figure", drawn).code == 0
    assert drawn.read_bytes().startswith(b"\x89PNG")
    again = culnig("neurons", "overlap", *files.values(), "--figure", drawn)
    assert again.code == 2
    assert "add --overwrite" in again.err


def test_sets_that_share_a_name_are_told_apart_by_file(culnig, tmp_path):
    for name, flat in (("one", [8]), ("two", [9])):
        neuron_set(LAYOUT, flat, "general").write(tmp_path / f"{name}.json")
    found = culnig("neurons", "overlap", tmp_path / "one.json", tmp_path / "two.json", "--json").json
    assert [those["name"] for those in found["sets"]] == ["general (one.json)", "general (two.json)"]
    told = culnig("neurons", "overlap", tmp_path / "one.json", tmp_path / "two.json")
    assert "By chance: unknown" in told.out


def test_diff_shows_what_other_settings_change(culnig, tmp_path):
    run = write_toy_run(tmp_path / "run")
    for name, exclude in (("default", "0.01"), ("strict", "0.3")):
        asked = ("--top-mlp", "0.5", "--exclude", exclude, "-o", tmp_path / f"{name}.json")
        assert culnig("select", "general", run.folder, *asked).code == 0
    found = culnig("neurons", "diff", tmp_path / "default.json", tmp_path / "strict.json", "--json").json
    assert found["settings"]["exclude"] == [0.01, 0.3]
    assert len(found["only_first"]) > 0
    assert found["only_second"] == []
    told = culnig("neurons", "diff", tmp_path / "default.json", tmp_path / "strict.json")
    assert "Settings that differ" in told.out


@pytest.mark.parametrize("operation", ["union", "intersect", "minus", "overlap", "diff"])
def test_sets_of_different_models_are_refused(culnig, files, tmp_path, operation):
    other = tmp_path / "other.json"
    neuron_set(toy_layout(2), [3], "other").write(other)
    output = [] if operation in ("overlap", "diff") else ["-o", tmp_path / "x.json"]
    result = culnig("neurons", operation, files["a"], other, *output)
    assert result.code == 2
    assert "neurons of different models cannot be compared" in result.err
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["union", "a"], "1 neuron sets given; give at least 2"),
        (["diff", "a", "b", "c"], "exactly two neuron sets are compared this way, but 3 are given"),
        (["overlap", "a", "nowhere"], "no such file"),
        (["convert", "a", "b", "--to", "csv"], "2 sets were read, but a csv file holds one"),
        (["convert", "a", "--to", "lape"], "name a run of the model with --run or the model with --model"),
        (["convert", "a", "--to", "xml"], "'xml' is not one of"),
        (["convert", "a", "--to", "csv", "--group", "3"], "--group is 3; the 1 groups are numbered from 0"),
    ],
)
def test_mistakes(culnig, files, tmp_path, arguments, message):
    named = [str(files.get(argument, argument)) for argument in arguments]
    output = ["-o", tmp_path / "x"] if arguments[0] in ("union", "convert") else []
    result = culnig("neurons", *named, *output)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "x").exists()


def test_convert_there_and_back(culnig, tmp_path):
    run = write_toy_run(tmp_path / "run")
    released = written(tmp_path / "all_neurons_blend_max.json", RELEASED)
    ours, back = tmp_path / "ours.neurons.json", tmp_path / "back.json"
    refused = culnig("neurons", "convert", released, "--to", "culnig", "-o", ours)
    assert refused.code == 2
    assert "does not record the layout of its model" in refused.err
    asked = ("neurons", "convert", released, "--to", "culnig", "--run", run.folder, "-o", ours)
    assert culnig(*asked).code == 0
    assert culnig("neurons", "convert", ours, "--to", "paper-json", "-o", back).code == 0
    assert json.loads(back.read_text()) == RELEASED
    assert culnig("neurons", "convert", ours, "--to", "csv", "-o", tmp_path / "x.csv").code == 0


def test_convert_lape_groups(culnig, tmp_path):
    run = write_toy_run(tmp_path / "run")
    file = saved(tmp_path / "toy.neuron.pth", LAPE)
    asked = ("neurons", "convert", file, "--run", run.folder)
    several = culnig(*asked, "--to", "culnig", "-o", tmp_path / "x.json")
    assert several.code == 2
    assert "choose one with --group" in several.err
    one = culnig(*asked, "--to", "culnig", "--group", "1", "-o", tmp_path / "x.json", "--json")
    assert one.json["sets"] == [{"name": "group 1", "n_neurons": 1}]
    assert culnig(*asked, "--to", "lape", "-o", tmp_path / "back.pth").code == 0


def test_the_layout_can_come_from_a_models_configuration(culnig, model_folder, tmp_path):
    entry = {"module_name": "mlp.gate_proj", "layer_idx": 0, "neuron_idx": 3, "attribute_score": 1.0}
    file = written(tmp_path / "x.json", {**RELEASED, "top_neurons": [entry]})
    asked = ("neurons", "convert", file, "--to", "culnig", "-o", tmp_path / "y.json")
    result = culnig(*asked, "--model", model_folder)
    assert result.code == 0, result.err
    both = culnig(*asked, "--overwrite", "--model", model_folder, "--run", tmp_path)
    assert both.code == 2
    assert "--run and --model both give a layout" in both.err
