from __future__ import annotations

import sys
from pathlib import Path

import pytest

from culnig.benchmarks.choosing import read_benchmarks
from culnig.benchmarks.source import Source, hub_rows
from culnig.errors import DataFileError, EnvironmentProblem
from tests.benchmarks.hub_stand_in import HubStandIn
from tests.benchmarks.small_files import BLEND_TOPICS, blend, culturalbench

OLD, NEW = "0" * 40, "1" * 40


def write(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content, encoding="utf-8")


SOURCE = Source("Folder", ("best.csv", "rest*.csv"), ("id",), hub="someone/some-data", hub_split="train")


def test_the_first_name_that_exists_is_read(tmp_path):
    (tmp_path / "Folder").mkdir()
    write(tmp_path / "Folder", "rest_b.csv", "id\n1\n")
    assert SOURCE.path(tmp_path).name == "rest_b.csv"
    write(tmp_path / "Folder", "best.csv", "id\n2\n")
    assert [row.text("id") for row in SOURCE.rows(tmp_path)] == ["2"]
    assert [path.name for path in SOURCE.files(tmp_path)] == ["best.csv"]
    assert SOURCE.files(None) == []


def test_a_missing_data_file_says_where_it_belongs(tmp_path):
    with pytest.raises(DataFileError, match=r"best\.csv: no such file; put the data of someone/some-data"):
        SOURCE.path(tmp_path)


@pytest.fixture
def hub(monkeypatch):
    stand_in = HubStandIn()
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    monkeypatch.delenv("CULNIG_DATA", raising=False)
    return stand_in


def test_without_a_folder_the_hub_is_read(hub):
    hub.publish("someone/some-data", OLD, train=[{"id": 1}, {"id": 2}])
    assert [(row.line, row.text("id")) for row in SOURCE.rows(None)] == [(1, "1"), (2, "2")]


def test_without_its_package_the_hub_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EnvironmentProblem, match=r"culnig-engine\[hub\].*data_dir"):
        list(SOURCE.rows(None))


def test_a_set_is_downloaded_once_and_then_read_offline(hub):
    hub.publish("a/b", OLD, test=[{"id": 1}])
    commits: dict[str, str] = {}
    for online in (True, True, False):
        hub.online = online
        assert [row.text("id") for row in hub_rows("a/b", None, "test", ["id"], commits=commits)] == ["1"]
    assert hub.downloads == [f"a/b@{OLD}"]
    assert commits == {"hub/a/b": OLD}


def test_offline_without_a_cache_says_how_to_get_the_set(hub):
    hub.online = False
    with pytest.raises(EnvironmentProblem) as caught:
        list(hub_rows("a/b", "spanish", "test", ["id"], revision=OLD))
    said = str(caught.value)
    assert "cannot read a/b from the hub: Couldn't reach 'a/b'" in said
    assert f"run `datasets.load_dataset('a/b', 'spanish', revision='{OLD}')` where there is one" in said
    assert "name the folder of the data with data_dir" in said


def test_a_gated_set_is_named_as_such(hub):
    hub.gated.add("a/b")
    with pytest.raises(
        EnvironmentProblem, match=r"a/b is a gated data set: accept its terms on https://hugg"
    ):
        list(hub_rows("a/b", None, "test", ["id"]))


def test_a_changed_revision_is_noticed(hub):
    hub.publish("a/b", OLD, test=[{"id": 1}])
    hub.publish("a/b", NEW, test=[{"id": 2}])
    commits: dict[str, str] = {}
    assert [row.text("id") for row in hub_rows("a/b", None, "test", ["id"], commits=commits)] == ["2"]
    assert commits == {"hub/a/b": NEW}
    read = hub_rows("a/b", None, "test", ["id"], revision=OLD, commits=commits)
    assert [row.text("id") for row in read] == ["1"]
    assert commits == {"hub/a/b": OLD}
    hub.online = False
    with pytest.raises(EnvironmentProblem, match=f"the cache holds the commit {OLD}, but the revision {NEW}"):
        list(hub_rows("a/b", None, "test", ["id"], revision=NEW))


def test_what_a_set_lacks_is_named_with_the_nearest(hub):
    hub.publish("a/b", OLD, test=[{"question": 1, "choices": []}])
    with pytest.raises(DataFileError, match=r"'choice': no such column; did you mean 'choices'\?; columns"):
        list(hub_rows("a/b", None, "test", ["choice"]))
    with pytest.raises(DataFileError, match=r"Unknown split .train."):
        list(hub_rows("a/b", None, "train", ["question"]))
    with pytest.raises(DataFileError, match="BuilderConfig 'x' not found"):
        list(hub_rows("a/b", "x", "test", ["question"]))


def test_published_benchmarks_record_the_commits_that_they_read(hub):
    easy = {("CulturalBench-Easy", "test"): culturalbench()}
    hub.publish_configs("kellycyy/CulturalBench", NEW, easy)
    chosen = read_benchmarks("culturalbench", limit=1)
    assert chosen["culturalbench"].files["hub/kellycyy/CulturalBench"] == NEW
    topics = [{"ID": question, "Topic": topic} for question, topic in BLEND_TOPICS.items()]
    hub.publish_configs(
        "nayeon212/BLEnD",
        OLD,
        {("multiple-choice-questions", "test"): blend(), ("short-answer-questions", "US"): topics},
    )
    for name in ("blend", "blend-control"):
        assert read_benchmarks(name, limit=1)[name].files == {"hub/nayeon212/BLEnD": OLD}
