from __future__ import annotations

import pytest

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
