from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import culnig
from culnig import registry
from culnig.core.data_files import own_data, read_toml
from culnig.errors import OutputExistsError, StoreError
from culnig.models.embedded import INSTALL_COMMAND, PACKAGE
from culnig.reporting.cite import Used, _bibtex, cite, licence_of_model
from culnig.reporting.methods import licence_text
from culnig.store.files import read_json, write_json
from tests.reporting.samples import write_sample

FIRST = Path(__file__).parents[1] / "fixtures" / "first-edition"
REFERENCES = read_toml(own_data("references.toml"))
ENTRY = re.compile(r"@(\w+)\{([\w-]+),\n((?:  \w+ = \{.*\},\n)+)\}\n")


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("inputs"))


def keys(citation) -> list[str]:
    return list(citation.entries)


def renamed(run: Path, folder: Path, **model: str) -> Path:
    """A copy of a run with another model."""
    shutil.copytree(run, folder)
    record = read_json(folder / "run.json", "a run")
    record["model"] |= model
    write_json(folder / "run.json", record)
    return folder


# The publications


def test_every_built_in_benchmark_and_method_has_its_publications():
    ours = {
        entry["name"]
        for entry in registry.entries()
        if entry["group"] == registry.BENCHMARKS and entry["package"] == "culnig-engine"
    }
    assert set(REFERENCES["benchmarks"]) == ours
    scorers = {"crispr", "integrated-gradients", "relp", "relp-log-odds", "released-code"}
    selections = {"general", "specific", "lape", "cape", "crispr", "ig", "knowledge-neurons", "released code"}
    assert set(REFERENCES["methods"]) == scorers | selections


def test_every_publication_is_used_and_whole():
    works = REFERENCES["works"]
    used = {
        key
        for kind in ("methods", "benchmarks", "models", "software")
        for own in REFERENCES[kind].values()
        for key in own
    }
    assert used == set(works)
    for key, work in works.items():
        assert {"kind", "author", "title", "year"} <= set(work), key
        assert "booktitle" in work or "eprint" in work, key
        assert str(work["year"]) in key
        assert re.fullmatch(r"\d{4}\.\d{4,5}", work.get("eprint", "0000.0000")), key
        assert work["author"].split(",")[0].split()[0].lower() in key or key == "jafari2025relp"


def test_our_own_data_cites_the_program():
    uncited = {name for name, cited in REFERENCES["benchmarks"].items() if not cited}
    assert "everyday" in uncited
    for name in REFERENCES["benchmarks"]:
        assert ("ours" in licence_text(name)) == (name in uncited), name


# What a study used


def test_a_study_cites_its_program_methods_data_model_and_libraries(tmp_path):
    run = renamed(FIRST / "runs" / "culture", tmp_path / "run", source="embedded")
    citation = cite([run, FIRST / "sets" / "crispr-Iran.neurons.json"])
    assert keys(citation) == [
        *("culnig_engine", "yamamoto2026culnig", "yang2024crispr", "cities", "meals", "meals-control"),
        *("allal2025smollm2", "model", "paszke2019pytorch", "wolf2020transformers"),
    ]
    assert citation.incomplete == ["cities", "meals", "meals-control", "model"]
    assert citation.methods.startswith("We scored 96 neurons of SmolLM2-135M-Instruct on cities (12 items")
    kinds = [each.kind for each in citation.used]
    assert kinds == ["program"] + ["library"] * 4 + ["model"] * 2 + ["data"] * 3
    assert Used("program", "culnig-engine 0.1.0", "MIT") in citation.used
    assert Used("model", "SmolLM2-135M-Instruct", "Apache-2.0") in citation.used
    (torch,) = [each for each in citation.used if each.name.startswith("torch")]
    assert torch.name == "torch 2.13.0+cpu"
    assert "BSD" in torch.licence


def test_a_model_of_the_hub_and_a_declared_set_say_what_to_complete(tmp_path):
    run = renamed(FIRST / "runs" / "culture", tmp_path / "run", source="google/gemma_3")
    citation = cite(run)
    assert citation.entries["google-gemma_3"] == {
        "kind": "misc",
        "title": "The model google/gemma_3",
        "howpublished": "https://huggingface.co/google/gemma_3",
        "note": "see the model's card; complete this entry",
    }
    assert r"title = {{The model google/gemma\_3}}," in citation.bibtex
    assert Used("model", "google/gemma_3", "not recorded; see the model's card") in citation.used


def test_a_set_of_the_gallery_names_the_paper_of_its_declaration():
    from culnig.reporting.cite import _unlisted

    entry = _unlisted("benchmarks", "include")["include"]
    assert entry["note"] == "Romanou et al. 2024, arXiv 2411.19799; complete this entry"
    assert (entry["year"], entry["eprint"]) == ("2024", "2411.19799")


def test_the_folder_of_a_study_stands_for_what_is_in_it(sample, tmp_path):
    study = tmp_path / "study"
    (study / "evaluations" / "model").mkdir(parents=True)
    shutil.copytree(sample.run, study / "run")
    shutil.copytree(sample.evaluation, study / "evaluations" / "model" / "zero")
    (study / "notes.txt").write_text("mine")
    whole, listed = cite(study), cite([sample.run, sample.evaluation])
    assert (whole.methods, whole.used) == (listed.methods, listed.used)
    assert whole.entries == listed.entries
    with pytest.raises(StoreError, match="nor a folder that holds any"):
        cite(made(tmp_path / "empty"))


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_every_kind_of_input_is_cited(sample):
    citation = cite(sample.paths)
    assert {"toy-target", "culnig_engine", "yamamoto2026culnig"} <= set(keys(citation))
    assert len(ENTRY.findall(citation.bibtex)) == len(citation.entries)


# Texts


def test_hostile_names_stay_text(tmp_path):
    name = 'a|b}<img src=x>\n%"$\\x'
    run = renamed(FIRST / "runs" / "culture", tmp_path / "run", source=name)
    citation = cite(run)
    assert len(ENTRY.findall(citation.bibtex)) == len(citation.entries)
    assert r"\}" in citation.bibtex
    (row,) = [line for line in citation.licences.splitlines() if line.startswith("| model |")]
    assert "<img" not in row
    assert row.replace("\\|", "").count("|") == 4


def test_an_entry_is_bibtex():
    entry = {
        "kind": "misc",
        "title": "A & B",
        "author": "{The developers}",
        "year": "2026",
        "eprint": "2510.1",
    }
    assert _bibtex("k", entry) == (
        "@misc{k,\n  title = {{A \\& B}},\n  author = {{The developers}},\n  year = {2026},\n"
        "  eprint = {2510.1},\n  archiveprefix = {arXiv},\n}\n"
    )


def test_three_files_are_written_once(sample, tmp_path):
    citation = cite(sample.run, tmp_path / "cited")
    files = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "cited").iterdir()}
    assert files == {
        "methods.txt": citation.methods + "\n",
        "references.bib": citation.bibtex,
        "LICENCES.md": citation.licences,
    }
    with pytest.raises(OutputExistsError):
        culnig.cite(sample.run, tmp_path / "cited")
    culnig.cite(sample.run, tmp_path / "cited", overwrite=True)


# The embedded model


def test_the_licence_of_the_embedded_model_is_that_of_its_package():
    from importlib import metadata

    assert metadata.metadata(PACKAGE)["License"] == licence_of_model("embedded")
    assert PACKAGE in INSTALL_COMMAND
