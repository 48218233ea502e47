from __future__ import annotations

import pytest

from tests.reporting.samples import write_sample


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("inputs")).paths


def test_one_command_makes_the_page_and_the_tables(culnig, paths, tmp_path):
    page, tables = tmp_path / "new" / "report.html", tmp_path / "tables"
    done = culnig("report", *paths, "-o", page, "--tables", tables, "--title", "Ours & theirs", "--json")
    assert done.code == 0, done.err
    document = done.json
    assert document["bytes"] == page.stat().st_size
    assert set(document["sections"].values()) == {True}
    assert {path.name for path in tables.iterdir()} == {
        f"{name}.{ending}" for name in document["tables"] for ending in ("csv", "tex")
    }
    assert '<h1 dir="auto">Ours &amp; theirs</h1>' in page.read_text(encoding="utf-8")


def test_the_number_of_listed_neurons_can_be_chosen(culnig, paths, tmp_path):
    done = culnig("report", *paths, "-o", tmp_path / "r.html", "--neurons-listed", 2, "--json")
    assert done.json["neurons_listed"] == 2 * 5


def test_nothing_is_replaced_without_being_asked(culnig, paths, tmp_path):
    page = tmp_path / "r.html"
    page.write_text("mine")
    refused = culnig("report", *paths, "-o", page)
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert page.read_text() == "mine"
    assert culnig("report", *paths, "-o", page, "--overwrite").code == 0
    assert culnig("report", *paths, "-o", tmp_path).code == 2


def test_a_page_and_a_folder_of_one_name_are_refused(culnig, paths, tmp_path):
    done = culnig("report", *paths, "-o", tmp_path / "x", "--tables", tmp_path / "." / "x")
    assert done.code == 2
    assert "cannot be the report and the folder of its tables" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_leaves_nothing(culnig, tmp_path):
    done = culnig("report", tmp_path / "none", "-o", tmp_path / "r.html")
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []
