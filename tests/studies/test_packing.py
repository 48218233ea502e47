"""A pack holds what is worth sharing, is checked when it is read, and has the same bytes every time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import culnig
from culnig.errors import InputError, OutputExistsError, StoreError
from culnig.studies.packing import pack_study, packed_names, unpack_study


@pytest.fixture(scope="module")
def pack(finished, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("packs") / "tiny.culnig.zip"
    pack_study(finished / "out", path)
    return path


def test_a_pack_has_sets_tables_and_provenance_but_no_scores(finished):
    names = packed_names(finished / "out")
    assert {"study.yaml", "report.html", "neurons/one/general.neurons.json"} <= set(names)
    assert {"scores/one/identify/run.json", "evaluations/one/general/items.h5"} <= set(names)
    assert {"trainings/one/arms/arms.json", "audits/one/iran.json", "steps/report.json"} <= set(names)
    assert not [name for name in names if name.endswith(("scores.h5", ".safetensors", "hashes.json"))]


def test_unpacking_gives_the_files_back(finished, pack, tmp_path):
    document = unpack_study(pack, tmp_path / "study", verify=True)
    names = packed_names(finished / "out")
    assert list(document["files"]) == sorted(names)
    for name in names:
        assert (tmp_path / "study" / name).read_bytes() == (finished / "out" / name).read_bytes()


def test_equal_folders_give_equal_packs(finished, pack, tmp_path):
    shutil.copytree(finished / "out", tmp_path / "elsewhere")
    pack_study(tmp_path / "elsewhere", tmp_path / "other.culnig.zip")
    assert (tmp_path / "other.culnig.zip").read_bytes() == pack.read_bytes()


def test_wrong_folders_and_names_are_told(finished, pack, tmp_path):
    with pytest.raises(StoreError, match="no study"):
        pack_study(tmp_path, tmp_path / "x.culnig.zip")
    with pytest.raises(InputError, match=r"ends in \.culnig\.zip"):
        pack_study(finished / "out", tmp_path / "x.zip")
    with pytest.raises(OutputExistsError):
        pack_study(finished / "out", pack)
    with pytest.raises(InputError, match="give a folder"):
        unpack_study(pack)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="holds other files than the pack"):
        unpack_study(pack, tmp_path)


def test_a_report_reads_a_pack(pack, tmp_path):
    page = culnig.report([pack], tmp_path / "report.html")
    assert len(page.sources.neuron_sets) == 12
    assert [evaluation.folder.name for evaluation in page.sources.evaluations] == [
        "general",
        "specific",
        "general",
    ]
    assert len(page.sources.instances) == len(page.sources.arms) == len(page.sources.comparisons) == 1
    filled = {section.key for section in page.sections if section.filled}
    assert {"where", "masking", "matrix", "instances", "training", "models"} <= filled
