"""Neuron sets and packs on the hub, with a stand-in for the client `huggingface_hub`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from culnig.errors import EnvironmentProblem, InputError, StoreError
from culnig.selection.neuron_set import read_neuron_set
from culnig.studies.packing import pack_study
from culnig.studies.sharing import hub_pull, hub_push
from tests.reporting.samples import Sample, write_sample
from tests.toy import neuron_set, toy_layout


class HubStandIn:
    """Stands in for `huggingface_hub.HfApi`: repositories in memory, each with its commits."""

    repositories: dict[tuple[str, str], list[dict[str, bytes]]] = {}  # noqa: RUF012 - emptied by the fixture
    private: dict[str, bool] = {}  # noqa: RUF012
    refuses = ""

    def create_repo(self, name: str, *, repo_type: str, private: bool, exist_ok: bool) -> None:
        self._check()
        assert exist_ok
        if (repo_type, name) not in self.repositories:
            self.repositories[repo_type, name] = []
            self.private[name] = private

    def repo_info(self, name: str, *, repo_type: str) -> Any:
        assert (repo_type, name) in self.repositories
        return SimpleNamespace(private=self.private[name])

    def create_commit(self, name: str, operations: Any, *, commit_message: str, repo_type: str) -> Any:
        self._check()
        commits = self.repositories[repo_type, name]
        files = dict(commits[-1]) if commits else {}
        for operation in operations:
            given = operation.path_or_fileobj
            files[operation.path_in_repo] = given if isinstance(given, bytes) else Path(given).read_bytes()
        commits.append(files)
        return SimpleNamespace(commit_url=f"https://hub/{repo_type}s/{name}/commit/{len(commits)}")

    def list_repo_files(self, name: str, *, repo_type: str, revision: str | None) -> list[str]:
        return list(self._at(name, repo_type, revision))

    def hf_hub_download(
        self, name: str, file: str, *, repo_type: str, revision: str | None, local_dir: str
    ) -> str:
        path = Path(local_dir) / file
        path.write_bytes(self._at(name, repo_type, revision)[file])
        return str(path)

    def _at(self, name: str, repo_type: str, revision: str | None) -> dict[str, bytes]:
        self._check()
        if (repo_type, name) not in self.repositories:
            raise FileNotFoundError(f"404: Repository Not Found for {name}")
        return self.repositories[repo_type, name][int(revision or 0) - 1]

    def _check(self) -> None:
        if self.refuses:
            raise ConnectionError(self.refuses)


@pytest.fixture(autouse=True)
def hub(monkeypatch) -> type[HubStandIn]:
    monkeypatch.setattr(HubStandIn, "repositories", {})
    monkeypatch.setattr(HubStandIn, "private", {})
    monkeypatch.setattr(HubStandIn, "refuses", "")
    monkeypatch.setattr(huggingface_hub, "HfApi", HubStandIn)
    return HubStandIn


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Sample:
    return write_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def chosen(tmp_path) -> Path:
    """A general set of five neurons that names the benchmarks it was selected with."""
    layout = toy_layout()
    benchmarks = {"target": "everyday", "exclusion": "country-rc"}
    general = replace(
        neuron_set(layout, [8, 0, 40, 5, 70], "general"),
        method={"name": "general", "top_mlp": 0.1},
        sources=[{"benchmarks": benchmarks}],
    )
    general.write(tmp_path / "general.neurons.json")
    return tmp_path / "general.neurons.json"


@pytest.fixture
def other(chosen) -> Path:
    """Another set beside it."""
    neuron_set(toy_layout(), [1, 2], "other").write(chosen.with_name("other.neurons.json"))
    return chosen.with_name("other.neurons.json")


@pytest.fixture
def pack(sample, tmp_path) -> Path:
    """A pack of a study with a set and an evaluation."""
    folder = tmp_path / "study"
    for source, target in (
        (sample.sets[0], "neurons/toy/general.neurons.json"),
        (sample.evaluation / "results.json", "evaluations/toy/masks/results.json"),
        (sample.evaluation / "items.h5", "evaluations/toy/masks/items.h5"),
    ):
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / target)
    (folder / "study.json").write_text("{}")
    pack_study(folder, tmp_path / "toy.culnig.zip")
    return tmp_path / "toy.culnig.zip"


def test_a_set_comes_back_with_the_same_bytes(chosen, hub, tmp_path):
    document = hub_push(chosen, "us/culture")
    assert document["url"] == "https://hub/datasets/us/culture/commit/1"
    assert hub.private == {"us/culture": True}
    out = hub_pull("us/culture", tmp_path / "pulled.neurons.json")
    assert out.read_bytes() == chosen.read_bytes()


def test_a_public_repository_is_pushed_to_only_if_that_is_said(chosen, hub):
    hub_push(chosen, "us/open", public=True)
    with pytest.raises(InputError, match=r"us/open exists and is public.*public=True"):
        hub_push(chosen, "us/open")
    assert len(hub.repositories["dataset", "us/open"]) == 1
    hub_push(chosen, "us/open", public=True)
    assert len(hub.repositories["dataset", "us/open"]) == 2


def test_the_card_says_where_a_set_comes_from_and_what_it_does_not_show(chosen, hub):
    card = hub_push(chosen, "us/culture", title="Culture")["card"]
    assert hub.repositories["dataset", "us/culture"][0]["README.md"].decode() == card
    assert card.startswith("---\ntags:\n- culnig-engine\n")
    for part in (
        *("# Culture", "- toy", "everyday: MIT, ours (target of the selection)"),
        *("country-rc: MIT, ours (exclusion of the selection)", '"top_mlp": 0.1', "5 neurons"),
        *("There is no evaluation", "The stability of general was not tested"),
    ):
        assert part in card


def test_a_shared_set_does_not_tell_where_its_model_is(chosen, hub, tmp_path):
    set_of = read_neuron_set(chosen)
    sources = [{"model": {"source": "/home/me/models/tiny", "weights_hash": "abc123"}}]
    replace(set_of, model="/home/me/models/tiny", sources=sources).write(chosen, overwrite=True)
    card = hub_push(chosen, "us/culture")["card"]
    assert "- tiny (SHA-256 of the weights: abc123)" in card
    pulled = read_neuron_set(hub_pull("us/culture", tmp_path / "pulled.neurons.json"))
    assert pulled.model == pulled.sources[0]["model"]["source"] == "tiny"
    assert pulled.neurons == set_of.neurons
    assert "/home/me" not in str(hub.repositories)
    assert read_neuron_set(chosen).model == "/home/me/models/tiny"


def test_the_card_of_a_pack_has_its_results(pack, hub, tmp_path):
    card = hub_push(pack, "us/study")["card"]
    assert "Masking general" in card
    assert "There is no evaluation" not in card
    assert "Small sample" in card
    assert "<i>" not in card  # of the set's name
    out = hub_pull("us/study", tmp_path / "back.culnig.zip")
    assert out.read_bytes() == pack.read_bytes()


def test_an_earlier_commit_can_be_pulled(chosen, tmp_path):
    first = chosen.read_bytes()
    hub_push(chosen, "us/culture")
    neuron_set(toy_layout(), [3], "general").write(chosen, overwrite=True)
    hub_push(chosen, "us/culture")
    out = hub_pull("us/culture", tmp_path / "a.neurons.json", revision="1")
    assert out.read_bytes() == first
    assert hub_pull("us/culture", out, overwrite=True).read_bytes() == chosen.read_bytes() != first


def test_a_repository_with_several_sets_needs_the_name_of_one(chosen, other, tmp_path):
    hub_push(chosen, "us/culture")
    hub_push(other, "us/culture")
    with pytest.raises(InputError, match=r"holds 2 neuron sets and packs \(general.*name one of them"):
        hub_pull("us/culture", tmp_path / "x.neurons.json")
    with pytest.raises(InputError, match="has no 'x'; neuron sets and packs there: general"):
        hub_pull("us/culture", tmp_path / "x.neurons.json", file="x")
    out = hub_pull("us/culture", tmp_path / "x.neurons.json", file=other.name)
    assert out.read_bytes() == other.read_bytes()
    with pytest.raises(InputError, match=r"name that ends in \.neurons\.json"):
        hub_pull("us/culture", tmp_path / "x.culnig.zip", file=other.name)


def test_what_the_hub_refuses_is_told(chosen, hub, tmp_path):
    with pytest.raises(EnvironmentProblem, match="cannot read us/nothing: FileNotFoundError: 404"):
        hub_pull("us/nothing", tmp_path / "x.neurons.json")
    hub.refuses = "401 Client Error"
    with pytest.raises(
        EnvironmentProblem, match=r"cannot push to us/culture: ConnectionError: 401.*hf auth login"
    ):
        hub_push(chosen, "us/culture")


def test_what_is_no_set_and_no_pack_is_not_pushed(hub, tmp_path):
    damaged = tmp_path / "a.neurons.json"
    damaged.write_text("{}")
    for path in (damaged, tmp_path / "notes.txt", tmp_path / "none.culnig.zip"):
        with pytest.raises(StoreError):
            hub_push(path, "us/culture")
    with pytest.raises(InputError, match="give owner/name"):
        hub_pull("culture", tmp_path / "x.neurons.json")
    assert hub.repositories == {}


def test_a_damaged_file_of_the_hub_is_not_written(chosen, hub, tmp_path):
    hub_push(chosen, "us/culture")
    hub.repositories["dataset", "us/culture"][0][chosen.name] = b'{"format": "culnig-neurons"}'
    with pytest.raises(StoreError):
        hub_pull("us/culture", tmp_path / "x.neurons.json")
    assert not (tmp_path / "x.neurons.json").exists()
