from __future__ import annotations

import sys
from pathlib import Path

import pytest

from culnig.benchmarks.rows import Row, csv_rows, file_rows, jsonl_rows, unique
from culnig.errors import DataFileError, EnvironmentProblem


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def problem(rows) -> DataFileError:
    with pytest.raises(DataFileError) as caught:
        list(rows)
    return caught.value


@pytest.mark.parametrize("name", ["t.csv", "T.CSV"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_csv_with_any_line_end_and_byte_order_mark(tmp_path, name, mark, end):
    path = write(tmp_path, name, mark + end.join([b"id,text", b"1,one", b'2,"two, too"']) + end)
    rows = list(file_rows(path, ["id", "text"]))
    assert [(row.line, row.text("id"), row.text("text")) for row in rows] == [
        (2, "1", "one"),
        (3, "2", "two, too"),
    ]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_jsonl_with_any_line_end_and_byte_order_mark(tmp_path, mark, end):
    path = write(tmp_path, "t.jsonl", mark + end.join([b'{"id": 1}', b"", b'{"id": "2"}']))
    assert [(row.line, row.text("id")) for row in file_rows(path, ["id"])] == [(1, "1"), (3, "2")]


def test_tabs_separate_the_columns_of_tsv(tmp_path):
    path = write(tmp_path, "t.tsv", "id\ttext\n1\ta, b\n")
    assert [row.text("text") for row in file_rows(path, ["id"])] == ["a, b"]


def test_a_cell_may_span_lines_and_the_row_has_the_line_where_it_begins(tmp_path):
    path = write(tmp_path, "t.csv", '\ufeff\nid,text\n1,"one\ntwo"\n\n2,x\n')
    assert [(row.line, row.last_line) for row in csv_rows(path, ["id"])] == [(3, 4), (6, 6)]


def test_bytes_that_are_not_utf_8_are_refused_with_their_line(tmp_path):
    path = write(tmp_path, "t.csv", b"id,text\n1,fine\n2,caf\xe9\n")
    error = problem(csv_rows(path, ["id"]))
    assert (error.line, "not UTF-8" in str(error)) == (3, True)
    path = write(tmp_path, "t.jsonl", b'{"id": "caf\xe9"}\n')
    assert problem(jsonl_rows(path, ["id"])).line == 1


def test_a_missing_column_is_reported_with_the_existing_ones(tmp_path):
    error = problem(csv_rows(write(tmp_path, "t.csv", "id,text\n1,x\n"), ["id", "answer"]))
    assert error.column == "answer"
    assert "columns: id, text" in str(error)
    error = problem(jsonl_rows(write(tmp_path, "t.jsonl", '{"id": 1}\n{"di": 1}\n'), ["id"]))
    assert (error.line, error.column) == (2, "id")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "", "no such column; columns: none"),
        ("t.csv", "id\n1,2\n", "more values than the 1 columns"),
        ("t.csv", "id,a\n1,2\n3\n", "line 3: 1 values, fewer values than the 2 columns"),
        ("t.csv", "id,id\n1,2\n", "line 1, column 'id': 2 columns have this name"),
        ("t.jsonl", '{"id": 1, "id": 2}\n', "the key 'id' appears twice in an object"),
        ("t.csv", 'id\n"1\n', ": not CSV"),
        ("t.jsonl", "{\n", "line 1: not JSON"),
        ("t.jsonl", "[1]\n", "line 1: expected a JSON object"),
        ("t.xlsx", "", "unknown suffix '.xlsx'; known: .csv, .tsv, .jsonl, .parquet"),
    ],
)
def test_malformed_files_are_named(tmp_path, name, content, said):
    path = write(tmp_path, name, content)
    with pytest.raises(DataFileError) as caught:
        list(file_rows(path, ["id"]))
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    assert "no such file" in str(problem(csv_rows(tmp_path / "gone.csv", ["id"])))
    (tmp_path / "file").touch()
    assert "cannot be read" in str(problem(csv_rows(tmp_path / "file" / "t.csv", ["id"])))
    (tmp_path / "folder.csv").mkdir()
    assert "cannot be read" in str(problem(csv_rows(tmp_path / "folder.csv", ["id"])))


@pytest.mark.parametrize("value", [None, "", "  ", ["x"], {"a": 1}, True])
def test_a_value_that_is_not_text_is_reported_with_line_and_column(value):
    with pytest.raises(DataFileError, match="f, line 7, column 'text'"):
        Row("f", 7, {"text": value}).text("text")


def test_a_value_outside_a_list_is_refused():
    with pytest.raises(DataFileError, match="unknown letter 'E'; allowed: A, B"):
        Row("f", 7, {"answer": "E"}).one_of("answer", ("A", "B"), "letter")


def test_a_second_row_with_an_id_is_refused_with_its_line():
    rows = [Row("f", line, {"id": str(line % 5)}) for line in range(2, 9)]
    error = problem(unique(rows, "id"))
    assert (error.line, error.column) == (7, "id")


def test_many_ids_are_distinguished():
    rows = [Row("f", n, {"id": f"q{n}"}) for n in range(20_000)]
    assert len(list(unique(rows, "id"))) == 20_000
    assert problem(unique([*rows, rows[4321]], "id")).line == 4321


def test_parquet_without_its_package_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EnvironmentProblem, match=r"culnig-engine\[parquet\]"):
        list(file_rows(tmp_path / "t.parquet", ["id"]))


def test_parquet_rows_are_like_those_of_a_text_file(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"id": [1, 2], "text": ["a", "b"]}), path)
    assert [(row.line, row.text("id"), row.text("text")) for row in file_rows(path, ["id"])] == [
        (1, "1", "a"),
        (2, "2", "b"),
    ]
    parquet.write_table(pyarrow.Table.from_arrays([[1], [2]], names=["id", "id"]), path)
    assert "2 columns have this name" in str(problem(file_rows(path, ["id"])))
    parquet.write_table(pyarrow.table({"id": [1.0, float("nan"), None], "b": [b"x", b"y", b"z"]}), path)
    rows = list(file_rows(path, ["id", "b"]))
    for row, column in ((rows[1], "id"), (rows[2], "id"), (rows[0], "b")):
        with pytest.raises(DataFileError, match=rf"t\.parquet, line {row.line}, column '{column}'"):
            row.text(column)
    path.write_bytes(b"PAR0")
    assert "not Parquet" in str(problem(file_rows(path, ["id"])))
