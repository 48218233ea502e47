"""Cultures as data spell them: what the declaration says, and what nobody knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from culnig.benchmarks.declarative import declared_benchmark
from culnig.errors import DataFileError

ROW = {"q": "Q?", "o": ["tea", "milk"], "r": "A", "c": "Spain"}
COLUMNS = {"question": "q", "options": "o", "answer": "r", "culture": "c"}
WORDING = {"id": "w", "template": "{question} {options}"}


def benchmark(folder: Path, spellings: list[str], **fields):
    rows = [{**ROW, "c": spelling} for spelling in spellings]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    document = {"name": "t", "data": "t.jsonl", "columns": COLUMNS, "wordings": [WORDING], **fields}
    (folder / "t.yaml").write_text(json.dumps(document), encoding="utf-8")
    return declared_benchmark(folder / "t.yaml")


def problem(*args, **fields) -> str:
    with pytest.raises(DataFileError) as caught:
        list(benchmark(*args, **fields).read(None))
    return str(caught.value)


def test_declared_spellings_come_first_and_null_leaves_rows_out(tmp_path):
    cultures = {
        "Germany (Current national sample)": "Germany",
        "S. Africa": "ZA",
        "Northern": None,
        "ES": "Mexico",
    }
    made = benchmark(
        tmp_path,
        ["germany (current national  sample)", "S. Africa", "Northern", "ES", "Spain"],
        cultures=cultures,
    )
    assert [item.culture for item in made.read(None)] == ["Germany", "South Africa", "Mexico", "Spain"]
    assert made.dropped == {"`cultures` leaves out Northern": 1}


def test_all_unknown_spellings_are_listed_once_with_lines_to_fill_in(tmp_path):
    spellings = ["Spain", "Britain", "Palest. ter.", "Britain", "Untied States"]
    said = problem(tmp_path, spellings)
    assert "t.jsonl, line 2, column 'c': unknown culture 'Britain'; did you mean '" in said
    assert said.count(" or '") == 2, "three names are offered"
    assert "Unknown: 3; correct them, or put these lines into t.yaml" in said
    block = yaml.safe_load(said[said.index("cultures:\n") :])["cultures"]
    assert block == {"Britain": "?", "Palest. ter.": "?", "Untied States": "?"}
    assert said.rpartition("#")[2].strip().startswith("United States, ")
    assert "cultures: Britain: unknown culture '?'" in problem(tmp_path, spellings, cultures=block)
    filled = {"Britain": "UK", "Palest. ter.": "PS", "Untied States": "US"}
    made = benchmark(tmp_path, spellings, cultures=filled).read(None)
    assert [item.culture for item in made] == ["Spain", "UK", "Palestine", "UK", "USA"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cultures": {"X": "Spian"}}, "cultures: X: unknown culture 'Spian'; did you mean 'Spain'"),
        ({"cultures": {"x": "Spain", "X": "Iran"}}, "cultures: 'X' is also written in another way"),
        (
            {"cultures": {"X": "Spain"}, "columns": {"question": "q", "options": "o", "answer": "r"}},
            "cultures needs",
        ),
    ],
)
def test_mistakes_in_the_list_of_cultures_are_named(tmp_path, fields, said):
    assert said in problem(tmp_path, ["X"], **fields)


def test_a_prompt_names_the_culture_that_is_meant(tmp_path):
    wording = {"id": "w", "template": "{country}: {question} {options}"}
    made = benchmark(tmp_path, ["Britain"], cultures={"Britain": "UK"}, wordings=[wording])
    assert next(made.read(None)).prompt.startswith("the United Kingdom: ")


def test_a_culture_may_be_mentioned_in_a_text(tmp_path):
    names = {
        "the United States": "USA",
        "United States": "USA",
        "American": "USA",
        "Iran": "Iran",
        "Oman": None,
    }
    texts = [
        "Tea in the United States?",
        "American tea?",
        "Tea in Iran?",
        "tea in united states?",
        "Tea in Oman?",
    ]
    made = benchmark(tmp_path, texts, culture_is="mentioned", cultures=names)
    items = list(made.read(None))
    assert [item.culture for item in items] == ["USA", "USA", "Iran", "USA"]
    assert [item.question for item in items] == ["Tea in …?", "… tea?", "Tea in …?", "tea in …?"]
    assert list(made.dropped.values()) == [1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Tea in Iranistan?", "'Tea in Iranistan?' mentions none of the names in `cultures`; exactly one"),
        ("Iran or Spain?", "'Iran or Spain?' mentions Iran and Spain; exactly one is needed"),
    ],
)
def test_a_text_that_mentions_no_culture_or_several_is_refused(tmp_path, text, said):
    assert said in problem(
        tmp_path, [text], culture_is="mentioned", cultures={"Iran": "Iran", "Spain": "Spain"}
    )
    assert "culture_is: mentioned needs cultures" in problem(tmp_path, [text], culture_is="mentioned")
