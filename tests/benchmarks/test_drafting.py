"""First declarations of data files: what columns show, and what must be asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from culnig.benchmarks.declarative import declared_benchmark
from culnig.benchmarks.drafting import draft
from culnig.errors import DataFileError, InputError

Q = {"question": "Q"}
OPTIONS = ["option_a", "option_b", "option_c"]


def data(folder: Path, rows: list[dict]) -> Path:
    path = folder / "My Tea (2).jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_the_shape_of_include(tmp_path):
    """Options in columns, numbers from 0, countries by name."""
    rows = [
        {
            "id": str(n),
            "country": c,
            "question": "Q?",
            "option_a": "w",
            "option_b": "x",
            "option_c": "y",
            "answer": n,
        }
        for n, c in enumerate(("Spain", "Iran", "Atlantis"))
    ]
    made = draft(data(tmp_path, rows))
    assert made.unknown == {}
    assert made.document["name"] == "my-tea-2"
    assert made.document["columns"] == {
        "question": "question",
        "options": ["option_a", "option_b", "option_c"],
        "answer": "answer",
        "culture": "country",
        "id": "id",
    }
    assert (made.document["answer_is"], made.document["answer_starts_at"]) == ("number", 0)


def test_what_is_drafted_can_be_read(tmp_path):
    rows = [{"question": "Q?", "choices": "['tea', 'milk']", "label": "milk", "topic": "Food"}] * 2
    path = data(tmp_path, rows)
    made = draft(path, {"culture": "ES"})
    assert made.unknown == {}
    (tmp_path / "t.yaml").write_text(made.text(), encoding="utf-8")
    items = list(declared_benchmark(tmp_path / "t.yaml").read(None))
    assert [item.culture for item in items] == ["Spain", "Spain"]
    assert {item.topic for item in items} == {"Food"}


@pytest.mark.parametrize(
    ("row", "unknown"),
    [
        ({"text": "Q?", "a": "x", "b": "y", "answer": "A"}, {"question": "no column has such a name"}),
        (
            {**Q, "prompt": "P", "a": "x", "b": "y", "answer": "A"},
            {"question": "may be question or pro"},
        ),
        ({**Q, "a": "x", "c": "y", "answer": "A"}, {"options": "no column has lists"}),
        ({**Q, "a": "x", "b": "y", "which": "A"}, {"answer": "no column has such a name"}),
        (
            {**Q, "a": "A", "b": "B", "answer": "A"},
            {"answer_is": "the first rows fit letter or text"},
        ),
        (
            {**Q, "a": "x", "b": "y", "answer": "z"},
            {"answer_is": "rows fit none of letter"},
        ),
        (
            {**Q, "a": "x", "b": "y", "answer": 1},
            {"answer_starts_at": "the first rows fit 0 and 1"},
        ),
    ],
)
def test_what_cannot_be_seen_is_asked_for(tmp_path, row, unknown):
    made = draft(data(tmp_path, [row]))
    (name,) = unknown
    assert unknown[name] in made.unknown[name]
    assert set(made.unknown) - {name} == set()


def test_what_is_said_comes_first(tmp_path):
    rows = [{"text": "Q?", "good": "tea", "bad": "milk", "which": 1, "where": "x"}]
    known = {
        "question": "text",
        "options": ("good", "bad"),
        "answer": "which",
        "answer_starts_at": 1,
        "culture": "US",
    }
    made = draft(data(tmp_path, rows), {**known, "name": "tea"})
    assert made.unknown == {}
    assert made.document["columns"] == {"question": "text", "options": ["good", "bad"], "answer": "which"}
    assert (made.document["name"], made.document["culture"]) == ("tea", "USA")
    with pytest.raises(InputError, match=r"question: My Tea .* has no column 'txt'; did you mean 'text'"):
        draft(data(tmp_path, rows), {"question": "txt"})


def test_a_file_without_rows_is_refused(tmp_path):
    with pytest.raises(DataFileError, match="no rows"):
        draft(data(tmp_path, []))
