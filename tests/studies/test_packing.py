"""A pack holds what is worth sharing, is checked when it is read, and has the same bytes every time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import escape

import culnig
from culnig.errors import InputError, OutputExistsError, StoreError
from culnig.evaluation.instances.file import read_instances
from culnig.reporting.tables import latex_text
from culnig.studies.local_paths import names_of_local_models, write_without_paths
from culnig.studies.packing import pack_study, packed_names, unpack_study
from culnig.training.plan_file import read_plan


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
    same = [
        name
        for name in names
        if (tmp_path / "study" / name).read_bytes() == (finished / "out" / name).read_bytes()
    ]
    assert {"study.yaml", "evaluations/one/general/items.h5", "trainings/one/arms/arms.csv"} <= set(same)
    for name in set(names) - set(same):
        assert str(finished).encode() in (finished / "out" / name).read_bytes()


def test_a_pack_does_not_tell_where_models_are(finished, pack, tmp_path):
    """Only the name of a model's folder stays, beside the hash of its weights; files can still be read."""
    unpack_study(pack, tmp_path / "study")
    for path in (path for path in (tmp_path / "study").rglob("*") if path.is_file()):
        assert str(finished).encode() not in path.read_bytes(), path
    own, shared = (
        culnig.open_evaluation(folder / "evaluations/one/general")
        for folder in (finished / "out", tmp_path / "study")
    )
    assert own.results["model"]["source"] == str(finished / "one")
    assert shared.results["model"] == {**own.results["model"], "source": "one"}
    own_scores, shared_scores = (
        read_instances(folder / "instances/one/general.h5")
        for folder in (finished / "out", tmp_path / "study")
    )
    assert shared_scores.record["model"]["source"] == "one"
    assert (shared_scores.raw == own_scores.raw).all()
    assert (shared_scores.question == own_scores.question).all()
    assert read_plan(tmp_path / "study/plans/one/arms.yaml").model == "one"


def test_names_of_models_that_are_alike_are_numbered(tmp_path):
    sources = ["/home/me/a/model", "/home/me/a/model/part", "C:\\models\\model", "owner/name", "embedded"]
    files = [tmp_path / f"{number}.json" for number in range(len(sources))]
    for file, source in zip(files, sources, strict=True):
        file.write_text(json.dumps({"model": source}), encoding="utf-8")
    names = names_of_local_models(files)
    assert names == {
        "/home/me/a/model": "model",
        "/home/me/a/model/part": "part",
        "C:\\models\\model": "model-2",
    }
    page = tmp_path / "report.html"
    page.write_text("<p>/home/me/a/model and /home/me/a/model/part, not /home/me/a/model-b</p>", "utf-8")
    assert write_without_paths(page, tmp_path / "copy.html", names)
    assert (tmp_path / "copy.html").read_text() == "<p>model and part, not /home/me/a/model-b</p>"


def test_a_path_is_found_however_it_is_written(tmp_path):
    """In text, in a LaTeX table, and in the script of a page that holds tables as CSV and LaTeX."""
    path = "/home/m_e & co/a'b/my_model"
    script = htmlsafe_json_dumps({"csv": f"model\n{path},1", "tex": f"\n{latex_text(path)} & 1"})
    page = tmp_path / "report.html"
    page.write_text(f"{escape(path)} {path} {latex_text(path)} {json.dumps(path)} {script}", "utf-8")
    assert write_without_paths(page, tmp_path / "copy.html", {path: "my_model"})
    copied = (tmp_path / "copy.html").read_text()
    assert "home" not in copied
    assert copied.count("my_model") == 5 + 1


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
