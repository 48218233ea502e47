"""Neuron sets combined and converted, from files and from memory."""

from __future__ import annotations

import csv

import pytest
import torch

from culnig.core.neurons import MLP_GATE, Neuron
from culnig.errors import InputError, OutputExistsError
from culnig.selection.neuron_set import as_neuron_set
from culnig.selection.sets import (
    distinctly_named,
    neurons_convert,
    neurons_diff,
    neurons_intersect,
    neurons_minus,
    neurons_union,
)
from tests.toy import neuron_set, toy_layout, write_toy_run

LAYOUT = toy_layout()
FIRST, SECOND = neuron_set(LAYOUT, [1, 2, 3], "a"), neuron_set(LAYOUT, [3, 4], "b")


def flat(chosen):
    return sorted(chosen.flat(LAYOUT).tolist())


def test_sets_are_combined_and_written(tmp_path):
    assert flat(neurons_union([FIRST, SECOND])) == [1, 2, 3, 4]
    assert flat(neurons_intersect([FIRST, SECOND])) == [3]
    combined = neurons_minus([FIRST, SECOND], tmp_path / "minus.json")
    assert flat(combined) == flat(as_neuron_set(tmp_path / "minus.json")) == [1, 2]
    with pytest.raises(OutputExistsError, match=r"minus\.json exists"):
        neurons_union([FIRST, SECOND], tmp_path / "minus.json")
    neurons_union([FIRST, SECOND], tmp_path / "minus.json", overwrite=True)
    assert flat(as_neuron_set(tmp_path / "minus.json")) == [1, 2, 3, 4]


def test_two_sets_are_held_against_each_other():
    found = neurons_diff([FIRST, SECOND])
    assert found == neurons_diff((FIRST, SECOND))
    for wrong in ([FIRST], [FIRST, SECOND, FIRST]):
        with pytest.raises(InputError, match=f"exactly two neuron sets .* {len(wrong)} are given"):
            neurons_diff(wrong)


def test_sets_of_one_name_are_called_by_their_files(tmp_path):
    for file in ("x.json", "y.json"):
        FIRST.write(tmp_path / file)
    named = distinctly_named([tmp_path / "x.json", tmp_path / "y.json", SECOND, FIRST])
    assert [one.name for one in named] == ["a (x.json)", "a (y.json)", "b", "a"]
    assert [one.name for one in distinctly_named([tmp_path / "x.json", SECOND])] == ["a", "b"]


@pytest.fixture
def lape(tmp_path):
    """LAPE's lists of two groups, of three layers each."""
    nobody = torch.tensor([], dtype=torch.long)
    torch.save(
        [[torch.tensor([0, 4]), nobody, nobody], [nobody, torch.tensor([7]), nobody]], tmp_path / "x.pth"
    )
    return tmp_path / "x.pth"


@pytest.mark.parametrize(("group", "neuron"), [(0, Neuron(MLP_GATE, 0, 0)), (1, Neuron(MLP_GATE, 1, 7))])
def test_one_group_of_a_file_is_converted(lape, tmp_path, group, neuron):
    run = write_toy_run(tmp_path / "run")
    (chosen,) = neurons_convert(lape, "csv", tmp_path / "x.csv", run=run, group=group)
    assert chosen.neurons[0] == neuron
    with (tmp_path / "x.csv").open() as file:
        assert len(list(csv.reader(file))) == 1 + len(chosen.neurons)


def test_what_cannot_be_converted_is_refused(lape, tmp_path):
    run, out = write_toy_run(tmp_path / "run").folder, tmp_path / "x.csv"
    for group in (-1, 2):
        with pytest.raises(InputError, match=f"group is {group}; the 2 groups are numbered from 0"):
            neurons_convert(lape, "csv", out, run=run, group=group)
    with pytest.raises(InputError, match="2 sets were read, but a csv file holds one; choose one with group"):
        neurons_convert([lape], "csv", out, run=run)
    with pytest.raises(InputError, match="run and model both give a layout"):
        neurons_convert(lape, "csv", out, run=run, model="x")
    assert not out.exists()
    both = neurons_convert(lape, "lape", tmp_path / "back.pth", run=run)
    assert [len(one.neurons) for one in both] == [2, 1]
