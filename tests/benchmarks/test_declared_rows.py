"""Where the rows of a declared benchmark come from, and which of them count."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from culnig.benchmarks.choosing import read_benchmarks
from culnig.benchmarks.declarative import DeclaredBenchmark, declared_benchmark
from culnig.errors import DataFileError
from tests.benchmarks.hub_stand_in import HubStandIn

ROW = {"q": "Q?", "o": ["tea", "milk"], "r": "A", "c": "Spain"}
COLUMNS = {"question": "q", "options": "o", "answer": "r", "culture": "c"}
WORDINGS = [{"id": "w", "template": "{question} {options}"}]
OLD, NEW = "0" * 40, "1" * 40


def declare(folder: Path, rows: list | None = None, **fields) -> DeclaredBenchmark:
    if rows is not None:
        (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        fields["data"] = "t.jsonl"
    document = {"name": "t", "shuffle": False, "columns": COLUMNS, "wordings": WORDINGS, **fields}
    (folder / "t.yaml").write_text(json.dumps(document), encoding="utf-8")  # JSON is YAML
    return declared_benchmark(folder / "t.yaml")


def read(*args, data_dir=None, **fields):
    return list(declare(*args, **fields).read(data_dir))


def problem(*args, **fields) -> DataFileError:
    with pytest.raises(DataFileError) as caught:
        read(*args, **fields)
    return caught.value


@pytest.fixture
def hub(monkeypatch):
    stand_in = HubStandIn()
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    return stand_in


# where


def test_where_keeps_rows_and_counts_the_others(tmp_path):
    rows = [
        {**ROW, "kind": kind, "ok": ok}
        for kind, ok in (("MC", True), ("open", True), ("mc ", False), ("x", None))
    ]
    benchmark = declare(tmp_path, rows, where={"kind": ["MC", "x"], "ok": [True, None]})
    assert [item.question_id for item in benchmark.read(None)] == ["line 1", "line 4"]
    assert benchmark.dropped == {"kind is open": 1, "ok is false": 1}


@pytest.mark.parametrize(("asked", "kept"), [(1, 2), ("1", 2), (2.5, 1), ("Caf\u00e9", 1), (None, 2)])
def test_values_of_where_are_compared_without_differences_of_writing(tmp_path, asked, kept):
    rows = [{**ROW, "x": value} for value in (1, "1.0", 1.0, 2.5, "CAFE\u0301", None, "")]
    rows[1]["x"] = " 7"
    assert len(read(tmp_path, rows, where={"x": asked})) == kept


def test_a_value_of_where_that_no_row_has_is_refused(tmp_path):
    rows = [{**ROW, "kind": kind} for kind in ("MC", "open")]
    said = str(problem(tmp_path, rows, where={"kind": ["MC", "opne"]}))
    assert "t.yaml: where: 'opne' is in no row of the column 'kind'; values: mc, open" in said
    assert "no such column; did you mean 'kind'?" in str(problem(tmp_path, rows, where={"kid": "MC"}))


def test_where_not_leaves_rows_out(tmp_path):
    rows = [{**ROW, "kind": kind} for kind in ("MC", None, "open", "x")]
    benchmark = declare(tmp_path, rows, where_not={"kind": [None, "OPEN"]})
    assert [item.question_id for item in benchmark.read(None)] == ["line 1", "line 4"]
    assert benchmark.dropped == {"kind is empty": 1, "kind is open": 1}


# inside cells


def test_options_inside_a_list_of_dictionaries_or_a_text(tmp_path):
    for options, columns in (
        ([{"t": "tea"}, {"t": "milk"}], {**COLUMNS, "options": "o.t"}),
        ("['tea', 'milk']", COLUMNS),
        ({"B": "milk", "A": "tea"}, COLUMNS),
    ):
        (item,) = read(tmp_path, [{**ROW, "o": options}], columns=columns)
        assert item.prompt == "Q? A. tea\nB. milk"
    (item,) = read(tmp_path, [{**ROW, "o": "tea; milk, hot; water"}], options_split="; ")
    assert item.prompt == "Q? A. tea\nB. milk, hot\nC. water"
    error = problem(tmp_path, [{**ROW, "o": "tea"}], options_split="; ")
    assert "column 'o': expected a text with '; ' inside, got 'tea'" in str(error)
    error = problem(tmp_path, [{**ROW, "o": {"x": "tea", "y": "milk"}}])
    assert (error.line, error.column) == (1, "o")
    row = {**ROW, "o": [{"t": "tea"}, {"T": "milk"}]}
    error = problem(tmp_path, [row], columns={**COLUMNS, "options": "o.t"})
    assert "line 1, column 'o.t': no 't' inside; did you mean 'T'?" in str(error)


def test_lists_and_dictionaries_of_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    rows = [{**ROW, "o": [{"t": text, "l": "?"} for text in texts]} for texts in ("ab", "abc")]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    items = read(tmp_path, data="t.parquet", columns={**COLUMNS, "options": "o.t"})
    assert [item.options for item in items] == [("A", "B"), ("A", "B", "C")]


# one row for each culture


def test_a_dictionary_becomes_a_row_for_each_of_its_keys(tmp_path):
    """GeoMLAMA's shape: one question, an answer in each culture."""
    row = {"q": "What do brides wear?", "o": ["white", "red"], "of": {"US": "white", "China": "red"}}
    columns = {"question": "q", "options": "o", "culture": "key", "answer": "value"}
    items = read(tmp_path, [row, {**row, "q": "Second?"}], columns=columns, expand="of", answer_is="text")
    assert [(item.culture, item.answer, item.question_id, item.question) for item in items] == [
        ("USA", "A", "line 1 US", "line 1"),
        ("China", "B", "line 1 China", "line 1"),
        ("USA", "A", "line 2 US", "line 2"),
        ("China", "B", "line 2 China", "line 2"),
    ]
    assert len({item.id for item in items}) == 4
    with_id = [{**row, "of": str(row["of"]), "n": "x"}]
    items = read(tmp_path, with_id, columns={**columns, "id": "n"}, expand="of", answer_is="text")
    assert [(item.question_id, item.question) for item in items] == [("x US", "x"), ("x China", "x")]
    error = problem(tmp_path, [{**row, "of": []}], columns=columns, expand="of", answer_is="text")
    assert (error.line, error.column) == (1, "of")
    assert "expand needs a dictionary in every row" in str(error)


def test_where_may_ask_for_keys_and_leaves_rows_out_before_they_are_expanded(tmp_path):
    row = {"q": "What?", "o": ["white", "red"], "of": {"US": "white", "China": "red"}, "n": 1}
    columns = {"question": "q", "options": "o", "culture": "key", "answer": "value"}
    fields = {"columns": columns, "expand": "of", "answer_is": "text", "where": {"key": "US", "n": [1, 3]}}
    benchmark = declare(tmp_path, [row, {**row, "n": 2, "of": None}, {**row, "n": 3}], **fields)
    assert [item.culture for item in benchmark.read(None)] == ["USA", "USA"]
    assert benchmark.dropped == {"key is china": 2, "n is 2": 1}


def test_columns_become_a_row_each(tmp_path):
    row = {"q": "What do brides wear?", "o": ["white", "red"], "US": "white", "China": "red"}
    columns = {"question": "q", "options": "o", "culture": "key", "answer": "value"}
    items = read(tmp_path, [row], columns=columns, expand=["US", "China"], answer_is="text")
    assert [(item.culture, item.answer) for item in items] == [("USA", "A"), ("China", "B")]


# the hub


def test_a_set_on_the_hub_is_read_and_its_commit_recorded(tmp_path, hub):
    hub.publish("a/tea", OLD, test=[ROW], train=[])
    declare(tmp_path, hub={"id": "a/tea"})
    (chosen,) = read_benchmarks(tmp_path / "t.yaml").values()
    assert [item.prompt for item in chosen.items] == ["Q? A. tea\nB. milk"]
    assert chosen.files["hub/a/tea"] == OLD
    hub.publish("a/tea", NEW, test=[{**ROW, "r": "B"}])
    (again,) = read_benchmarks(tmp_path / "t.yaml").values()
    assert again.files["hub/a/tea"] == NEW
    assert again.record()["items_hash"] != chosen.record()["items_hash"]
    declare(tmp_path, hub={"id": "a/tea", "revision": OLD})
    (pinned,) = read_benchmarks(tmp_path / "t.yaml").values()
    assert pinned.items == chosen.items


def test_configurations_are_parts_with_a_column_of_their_own(tmp_path, hub):
    table = {("es", "test"): [ROW], ("ko", "test"): [{**ROW, "c": "South Korea"}]}
    hub.publish_configs("a/tea", OLD, table)
    columns = {**COLUMNS, "topic": "config"}
    items = read(tmp_path, hub={"id": "a/tea", "config": ["es", "ko"]}, columns=columns)
    assert [(item.question_id, item.topic, item.culture) for item in items] == [
        ("es line 1", "es", "Spain"),
        ("ko line 1", "ko", "South Korea"),
    ]
    assert "BuilderConfig 'xx' not found" in str(problem(tmp_path, hub={"id": "a/tea", "config": "xx"}))


def test_a_folder_with_the_set_is_read_in_place_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    for config in ("es", "ko"):
        (tmp_path / "tea" / config).mkdir(parents=True)
        (tmp_path / "tea" / config / "test-0.jsonl").write_text(json.dumps({**ROW, "q": config}))
    benchmark = declare(tmp_path, hub={"id": "a/tea", "config": ["es", "ko"]})
    assert [item.prompt[:2] for item in benchmark.read(tmp_path)] == ["es", "ko"]
    assert [path.name for path in benchmark.files(tmp_path)] == ["t.yaml", "test-0.jsonl", "test-0.jsonl"]
    assert benchmark.commits() == {}
    error = problem(tmp_path, data_dir=tmp_path, hub={"id": "a/tea", "config": ["es", "fr"]})
    assert "no file fr/test.parquet, .jsonl, .csv or .tsv of a/tea in it" in str(error)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "give either data, the path of a file, or hub"),
        ({"data": "t.csv", "hub": {"id": "a/b"}}, "give either data, the path of a file, or hub"),
        ({"hub": {"id": "a/b", "revison": "x"}}, "hub.revison: unknown key; did you mean 'revision'?"),
        ({"data": "t.csv", "columns": {**COLUMNS, "options": ["a", "b"]}, "options_split": ","}, "needs one"),
        ({"data": "t.csv", "where": {"a": []}}, "where.a"),
    ],
)
def test_sources_that_contradict_themselves_are_refused(tmp_path, fields, said):
    assert said in str(problem(tmp_path, **fields))


# several columns for each of several rows; cells without quotation marks


def test_a_row_may_hold_the_question_in_several_languages(tmp_path):
    row = {
        "en": "Tea?",
        "en1": "yes",
        "en2": "no",
        "es": "¿Té?",
        "es1": "sí",
        "es2": "no",
        "r": "A",
        "i": "7",
    }
    fields = {
        "expand": {
            "English": {"q": "en", "a": "en1", "b": "en2"},
            "Spanish": {"q": "es", "a": "es1", "b": "es2"},
        },
        "columns": {
            "question": "value.q",
            "options": ["value.a", "value.b"],
            "answer": "r",
            "id": "i",
            "language": "key",
        },
        "wordings": [],
        "languages": {
            "English": [{"id": "w", "template": "{question}\n{options}\nAnswer:"}],
            "Spanish": [{"id": "w", "template": "{question}\n{options}\nRespuesta:"}],
        },
    }
    english, spanish = read(tmp_path, [row], **fields)
    assert english.prompt == "Tea?\nA. yes\nB. no\nAnswer:"
    assert spanish.prompt == "¿Té?\nA. sí\nB. no\nRespuesta:"
    assert english.question == spanish.question == "7"
    (tmp_path / "t.csv").write_text("en,en1,en2,es,es1,r,i\nTea?,yes,no,¿Té?,sí,A,7\n", encoding="utf-8")
    said = str(problem(tmp_path, data="t.csv", **fields))
    assert "column 'es2': no such column; did you mean 'es' or 'es1'" in said


@pytest.mark.parametrize(("suffix", "mark"), [("tsv", "\t"), ("csv", ",")])
def test_quotation_marks_may_be_part_of_cells(tmp_path, suffix, mark):
    cells = ["q", "a", "b", "r"], ['"Chi" or li?', "chi", '"li"', "B"]
    (tmp_path / f"t.{suffix}").write_text("\n".join(mark.join(each) for each in cells), encoding="utf-8")
    fields = {"data": f"t.{suffix}", "columns": {"question": "q", "options": ["a", "b"], "answer": "r"}}
    (item,) = read(tmp_path, quoted=False, **fields)
    assert item.prompt == '"Chi" or li? A. chi\nB. "li"'
    assert "line 2: not CSV" in str(problem(tmp_path, **fields))
