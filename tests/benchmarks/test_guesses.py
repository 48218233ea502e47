"""Declared benchmarks whose data or declaration can be read in two ways: right, or an error that says so."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from culnig.benchmarks.declarative import declared_benchmark
from culnig.errors import DataFileError

ROW = {"q": "Q?", "o": ["tea", "milk", "water"], "r": "B", "c": "Spain"}
JSONL = {"question": "q", "options": "o", "answer": "r", "culture": "c"}
CSV = {"question": "q", "options": ["a", "b"], "answer": "r"}
WORDING = {"id": "w", "template": "{country}: {question} {options}"}


def read(folder: Path, content: str | list, columns: dict = JSONL, **fields):
    """The items of a declaration with one wording, unshuffled; `content` is a text or JSON rows."""
    name = fields.pop("name", "t.jsonl" if columns is not CSV else "t.csv")
    if isinstance(content, list):
        content = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in content)
    (folder / name).write_bytes(content.encode())
    if columns is CSV and "culture" not in fields:
        fields["culture"] = "Spain"
    document = {
        "name": "t",
        "data": name,
        "shuffle": False,
        "columns": columns,
        "wordings": [WORDING],
        **fields,
    }
    (folder / "t.yaml").write_text(json.dumps(document), encoding="utf-8")  # JSON is YAML
    return list(declared_benchmark(folder / "t.yaml").read(None))


def problem(folder: Path, *args, **fields) -> DataFileError:
    with pytest.raises(DataFileError) as caught:
        read(folder, *args, **fields)
    return caught.value


def numbered(*answers):
    return [{**ROW, "r": answer} for answer in answers]


@pytest.mark.parametrize(
    ("answers", "starts_at", "gold"),
    [
        ((1, 2, 3), None, "ABC"),  # 3 can only be counted from 1
        ((2, 3, 1), None, "BCA"),
        ((0, 1, 2), 0, "ABC"),
        ((1, 2), 0, "BC"),
        ((1, 2), 1, "AB"),
        ((1.0, "2.0", "３", " 2 "), None, "ABCB"),
    ],
)
def test_numbers_count_from_what_is_declared_or_shown(tmp_path, answers, starts_at, gold):
    fields = {} if starts_at is None else {"answer_starts_at": starts_at}
    items = read(tmp_path, numbered(*answers), answer_is="number", **fields)
    assert "".join(item.answer for item in items) == gold


def test_numbers_that_may_count_from_0_or_1_are_refused(tmp_path):
    error = problem(tmp_path, numbered(1, 2, 1), answer_is="number")
    assert error.path.name == "t.yaml"
    assert "no answer is 0 or the number of the last option" in str(error)
    assert "declare `answer_starts_at: 0` or `answer_starts_at: 1`" in str(error)
    error = problem(tmp_path, numbered(1, 0, 2), answer_is="number")
    assert (error.line, error.column) == (2, "r")
    assert "declare `answer_starts_at: 0`" in str(error)
    error = problem(tmp_path, numbered(3, 0), answer_is="number")
    assert error.line == 2, "3 counts from 1, 0 from 0"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"answer_starts_at": 2}, "answer_starts_at: Input should be less than or equal to 1"),
        ({"answer_starts_at": True}, "answer_starts_at: Input should be a valid integer"),
        ({"answer_starts_at": 0, "answer_is": "text"}, "answer_starts_at needs `answer_is: number`"),
        (
            {"country_names": {"Nigeria": "Nigeria"}, "columns": dict(CSV)},
            "country_names needs culture or columns",
        ),
        ({"columns": {**CSV, "options": ["a", "a"]}}, "columns: options names a column twice: a, a"),
        ({"columns": {**CSV, "options": ["a"]}}, "columns: options names 1 columns"),
        ({"columns": {**CSV, "options": ["q", "b"]}}, "columns.question and columns.options name the same"),
        ({"columns": {**CSV, "options": ["a", "r"]}}, "columns.answer and columns.options name the same"),
        ({"data": "t\0.csv"}, "data: String should match pattern"),
        ({"columns": dict(CSV)}, "a wording with {country} needs culture or columns.culture"),
    ],
)
def test_declarations_that_contradict_themselves_are_refused(tmp_path, fields, said):
    error = problem(tmp_path, [ROW], **{"answer_is": "number", **fields})
    assert said in str(error)
    assert (error.path.name, error.line) == ("t.yaml", 1)


@pytest.mark.parametrize("mark", ["nan", "NaN", "None", "NA", "<NA>"])
def test_marks_of_missing_values_in_text_files(tmp_path, mark):
    text = f"q,a,b,r\nQ?,tea,{mark},A\n"
    error = problem(tmp_path, text, CSV)
    assert (error.line, error.column) == (2, "b")
    assert f"'{mark}' marks a missing value" in str(error)
    (item,) = read(tmp_path, text, CSV, missing=[])
    assert (item.answer, item.prompt) == ("A", f"Spain: Q? A. tea\nB. {mark}")


def test_nan_is_a_bread_where_the_file_can_say_null(tmp_path):
    row = {**ROW, "o": ["tortilla", "nan"], "r": "nan"}
    (item,) = read(tmp_path, [row], answer_is="text")
    assert item.answer == "B"
    error = problem(tmp_path, [{**row, "r": "tortilla"}], answer_is="text", missing=["nan"])
    assert "column 'o': option 2: 'nan' marks a missing value" in str(error)
    error = problem(tmp_path, [{**row, "q": "nan"}], answer_is="text")
    assert (error.line, error.column) == (1, "q")
    for value in ("NaN", "null", '""', "true", '"\\ud83d"', '["x"]', "{}"):
        line = json.dumps({**row, "o": ["tortilla", "VALUE"], "r": "tortilla"}).replace('"VALUE"', value)
        error = problem(tmp_path, [line], answer_is="text")
        assert (error.line, error.column) == (1, "o"), value
        assert "option 2: " in str(error)


@pytest.mark.parametrize("column", ["q", "r", "c"])
@pytest.mark.parametrize("value", ["NaN", "null", '""', "true", '"\\ud83d"', '"x\\u0000"', '["x"]'])
def test_a_cell_without_text_is_refused_in_every_column(tmp_path, column, value):
    line = json.dumps({**ROW, column: "VALUE"}).replace('"VALUE"', value)
    error = problem(tmp_path, [ROW, line])
    assert (error.path.name, error.line, error.column) == ("t.jsonl", 2, column)


def test_a_pair_of_escaped_surrogates_is_a_character(tmp_path):
    (item,) = read(tmp_path, [json.dumps({**ROW, "q": "\U0001f375?"}, ensure_ascii=True)])
    assert "\U0001f375?" in item.prompt


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_options_and_answers_are_compared_after_folding(tmp_path, form):
    options = ["caf\u00e9", "ＴＥＡ", "milk"]
    for answer, gold in (("CAF\u00c9", "A"), ("tea", "B"), (" Milk", "C")):
        row = {**ROW, "o": options, "r": unicodedata.normalize(form, answer)}
        assert read(tmp_path, [row], answer_is="text")[0].answer == gold
    error = problem(tmp_path, [{**ROW, "o": ["caf\u00e9", "milk", unicodedata.normalize(form, "Caf\u00e9")]}])
    assert (error.line, error.column) == (1, "o")
    assert "options 1 and 3 are the same" in str(error)


def test_options_that_become_equal_with_the_country_are_refused(tmp_path):
    assert "are the same" in str(problem(tmp_path, [{**ROW, "o": ["{country} tea", "Spain tea"]}]))
    row = {**ROW, "o": ["tea of {country}", "milk"], "r": "tea of {country}"}
    assert read(tmp_path, [row], answer_is="text")[0].answer == "A"
    assert read(tmp_path, [{**row, "r": "tea of Spain"}], answer_is="text")[0].answer == "A"


def test_a_letter_nobody_declared_is_refused_if_it_is_the_text_of_another_option(tmp_path):
    row = {**ROW, "o": ["B", "A", "C"], "r": "A"}
    assert (problem(tmp_path, [row]).column, problem(tmp_path, [row]).line) == ("r", 1)
    assert read(tmp_path, [row], answer_is="letter")[0].answer == "A"
    assert read(tmp_path, [row], answer_is="text")[0].answer == "B"


def test_the_right_answer_may_be_a_column_of_the_options(tmp_path):
    columns = {**CSV, "answer": "b"}
    (item,) = read(tmp_path, "q,a,b\nQ?,tea,milk\n", columns, culture="Spain", answer_is="text", name="t.csv")
    assert item.answer == "B"


def test_a_column_or_key_that_appears_twice_is_refused(tmp_path):
    error = problem(tmp_path, "q,a,b,r,r\nQ?,tea,milk,A,B\n", CSV)
    assert (error.line, error.column) == (1, "r")
    assert "2 columns have this name" in str(error)
    error = problem(tmp_path, [ROW, json.dumps(ROW)[:-1] + ', "r": "C"}'])
    assert error.line == 2
    assert "the key 'r' appears twice" in str(error)
    assert len(read(tmp_path, "q,a,b,r,n,n\nQ?,tea,milk,A,,\n", CSV)) == 1, "a column that nobody reads"


def test_a_row_with_too_few_values_is_refused(tmp_path):
    error = problem(tmp_path, "q,a,b,r,note\nQ? tea,milk,A,B\n", CSV)  # a comma is missing
    assert error.line == 2
    assert "4 values, fewer values than the 5 columns" in str(error)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_errors_name_the_line_where_their_row_begins(tmp_path, mark, end):
    rows = ["q,a,b,r", '"Q', "", '?",tea,milk,A', "", "", 'Q,tea,"mi', 'lk",Z', "Q,tea,milk,A"]
    error = problem(tmp_path, mark + end.join(rows), CSV)
    assert (error.line, error.column) == (7, "r")
    rows[7] = 'lk",B'
    items = read(tmp_path, mark + end.join(rows), CSV)
    assert [item.answer for item in items] == ["A", "B", "A"]
    assert [item.question_id for item in items] == ["line 4", "line 8", "line 9"], "ids are those of before"
    rows[6] = 'Q,tea,"mi'
    rows[7] = "lk,B"
    error = problem(tmp_path, mark + end.join(rows), CSV)
    assert (error.line, "not CSV" in str(error)) == (7, True)


def test_topics_are_compared_after_folding_and_must_occur(tmp_path):
    columns = {**JSONL, "topic": "t"}
    rows = [{**ROW, "t": topic} for topic in ("Food", "Caf\u00e9", "Sport")]
    items = read(tmp_path, rows, columns, identify_topics=["food", "Cafe\u0301"])
    assert [item.split for item in items] == ["identify", "identify", "test"]
    error = problem(tmp_path, rows, columns, identify_topics=["Food", "Sports"])
    assert error.path.name == "t.yaml"
    assert "identify_topics: 'Sports' is the topic of no row; topics: Food, Caf\u00e9, Sport" in str(error)


def test_a_split_is_compared_after_folding(tmp_path):
    columns = {**JSONL, "split": "s"}
    rows = [{**ROW, "s": split} for split in ("test", " Identify")]
    assert [item.split for item in read(tmp_path, rows, columns)] == ["test", "identify"]
    error = problem(tmp_path, [{**ROW, "s": "train"}], columns)
    assert "column 's': unknown split 'train'; allowed: identify, test" in str(error)


@pytest.mark.parametrize("same", [("1", 1), ("q1", "q1 "), ("\u00e9", "e\u0301")])
def test_ids_that_look_alike_are_refused(tmp_path, same):
    rows = [{**ROW, "i": value} for value in same]
    error = problem(tmp_path, rows, {**JSONL, "id": "i"})
    assert (error.line, error.column) == (2, "i")
    assert "appears twice" in str(error)


def test_data_paths_may_be_absolute_or_begin_at_home(tmp_path, monkeypatch):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    (tmp_path / "study").mkdir()
    (tmp_path / "data.jsonl").write_text(json.dumps(ROW), encoding="utf-8")
    for path in (
        "../data.jsonl",
        r"..\data.jsonl",
        "~/data.jsonl",
        r"~\data.jsonl",
        str(tmp_path / "data.jsonl"),
    ):
        (item,) = read(tmp_path / "study", [], data=path)
        assert item.answer == "B"
    error = problem(tmp_path / "study", [], data="gone/data.jsonl")
    assert error.path == tmp_path / "study" / "gone" / "data.jsonl"
    assert "no such file; correct `data: gone/data.jsonl` in " in str(error)


@pytest.mark.parametrize(
    ("spelling", "key", "country"),
    [
        ("ES", "Spain", "Spain"),
        ("GB", "UK", "the United Kingdom"),
        ("United States", "USA", "the United States"),
        ("Northern Nigeria", "Nigeria", "northern Nigeria"),
    ],
)
def test_cultures_by_code_and_by_name(tmp_path, spelling, key, country):
    for fields in ({"culture": spelling}, {}):
        columns = {name: column for name, column in JSONL.items() if not fields or name != "culture"}
        (item,) = read(tmp_path, [{**ROW, "c": spelling}], columns, **fields)
        assert (item.culture, item.prompt.partition(":")[0]) == (key, country)


def test_a_record_that_may_mean_less_than_the_data_needs_a_declared_name(tmp_path):
    rows = [ROW, {**ROW, "c": "Nigeria"}]
    error = problem(tmp_path, rows)
    assert (error.path.name, error.line, error.column) == ("t.jsonl", 2, "c")
    assert "country_names: `{Nigeria: northern Nigeria}` or `{Nigeria: Nigeria}`" in str(error)
    for name in ("Nigeria", "northern Nigeria"):
        items = read(tmp_path, rows, country_names={"NG": name})
        assert [item.prompt.partition(":")[0] for item in items] == ["Spain", name]
        assert items[1].culture == "Nigeria"
    assert "country_names: unknown culture 'Nigria'" in str(
        problem(tmp_path, rows, country_names={"Nigria": "x"})
    )
    without = [{"id": "w", "template": "{question} {options}"}]
    assert read(tmp_path, rows, wordings=without)[1].culture == "Nigeria", "no prompt names it"


def test_a_country_without_a_culture_is_refused(tmp_path):
    columns = {name: column for name, column in JSONL.items() if name != "culture"}
    without = [{"id": "w", "template": "{question} {options}"}]
    assert len(read(tmp_path, [ROW], columns, wordings=without)) == 1
    error = problem(tmp_path, [{**ROW, "q": "Tea in {country}?"}], columns, wordings=without)
    assert (error.line, error.column) == (1, "q")
    assert "{country} needs a culture" in str(error)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"q": }', "not JSON: Expecting value at character 7"),
        ("[" * 100_000, "not JSON that can be read"),
        ('{"r": ' + "1" * 5000 + "}", "not JSON that can be read"),
    ],
)
def test_lines_that_are_not_json_are_refused(tmp_path, line, said):
    error = problem(tmp_path, [ROW, "", line])
    assert error.line == 3
    assert said in str(error)
    assert str(error).count("line ") == 1, "one line number"


def test_a_value_that_yaml_cannot_make_is_refused(tmp_path):
    (tmp_path / "t.yaml").write_text("name: 2024-99-99\n", encoding="utf-8")
    with pytest.raises(DataFileError, match=r"t\.yaml: not valid YAML"):
        declared_benchmark(tmp_path / "t.yaml")
