from __future__ import annotations

import re

import pytest

from culnig.cli.figures import command
from culnig.reporting.figures import FIGURES
from tests.reporting.samples import write_sample


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("inputs")).paths


@pytest.mark.parametrize(("form", "begin"), [("pdf", b"%PDF-"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_named_figures_are_written_in_a_format(culnig, paths, tmp_path, form, begin):
    chosen = ("--figure", "layers", "--figure", "instances")
    done = culnig("figures", *paths, *chosen, "--format", form, "-o", tmp_path / "new", "--json")
    assert done.code == 0, done.err
    assert sorted(done.json["figures"]) == ["instances", "layers"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        f"instances.{form}",
        f"layers.{form}",
    ]
    assert (tmp_path / "new" / f"layers.{form}").read_bytes().startswith(begin)


def test_nothing_is_replaced_without_being_asked(culnig, paths, tmp_path):
    (tmp_path / "layers.pdf").write_text("mine")
    refused = culnig("figures", *paths, "-o", tmp_path)
    assert refused.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["layers.pdf"]
    assert culnig("figures", *paths, "-o", tmp_path / "layers.pdf").code == 2
    assert culnig("figures", *paths, "--figure", "layers", "-o", tmp_path, "--overwrite").code == 0
    assert (tmp_path / "layers.pdf").read_bytes().startswith(b"%PDF-")


def test_the_choices_of_the_command_are_all_figures():
    (option,) = (parameter for parameter in command.params if parameter.name == "figures")
    assert list(option.type.choices) == list(FIGURES)


def test_figures_are_as_wide_as_a_column(culnig, paths, tmp_path):
    asked = ("figures", *paths, "--figure", "instances", "--format", "pdf")
    assert culnig(*asked, "--columns", "1", "--font-size", "6", "-o", tmp_path / "one").code == 0
    assert culnig(*asked, "--width", "84mm", "--font-size", "6", "-o", tmp_path / "mm").code == 0
    first, second = ((tmp_path / name / "instances.pdf").read_bytes() for name in ("one", "mm"))
    assert first == second
    width = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", first)
    assert float(width[1]) == pytest.approx(84 / 25.4 * 72, abs=0.5)
    both = culnig(*asked, "--width", "84mm", "--columns", "1", "-o", tmp_path / "both")
    assert both.code == 2
    assert "--width and --columns both set the width" in both.err
    wrong = culnig(*asked, "--width", "wide", "-o", tmp_path / "wrong")
    assert wrong.code == 2
    assert "--width 'wide' is no width of a figure; give 20mm to 2000mm" in wrong.err
