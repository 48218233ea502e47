"""Wordings of options that are read as texts, and what does not go with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from culnig.benchmarks.declarative import declared_benchmark
from culnig.errors import DataFileError
from culnig.reporting.registered import check_benchmark

ROWS = [
    {"q": "In {country} people drink", "o": ["coffee", " tea "], "r": "B", "c": "Iran", "s": "identify"},
    {"q": "In {country} people drink", "o": ["wine", "coffee"], "r": "A", "c": "Spain", "s": "test"},
]
COLUMNS = {"question": "q", "options": "o", "answer": "r", "culture": "c", "split": "s"}
WORDING = {"id": "w", "template": "{question}"}


def benchmark(folder: Path, *, of_control: bool = False, **fields):
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    document = {"name": "t", "data": "t.jsonl", "columns": COLUMNS, "wordings": [WORDING]}
    document |= {"answer_by": "likelihood", "control": True, **fields}
    (folder / "t.yaml").write_text(json.dumps(document), encoding="utf-8")
    return declared_benchmark(folder / "t.yaml", control=of_control)


def test_options_follow_the_question_in_the_order_of_the_file(tmp_path):
    iran, spain = benchmark(tmp_path, normalize="bytes").read(None)
    assert (iran.prompt, iran.options, iran.answer) == ("In Iran people drink", ("coffee", "tea"), "tea")
    assert (spain.options, spain.answer) == (("wine", "coffee"), "wine")
    assert {(item.likelihood, item.answer_prefix) for item in (iran, spain)} == {("bytes", " ")}
    (first, _) = benchmark(tmp_path, delimiter="").read(None)
    assert (first.likelihood, first.answer_prefix) == ("none", "")


def test_the_control_is_the_wording_without_the_question(tmp_path):
    controls = list(benchmark(tmp_path, of_control=True).read(None))
    assert [(item.prompt, item.options) for item in controls] == [
        ("", ("coffee", "tea")),
        ("", ("wine", "coffee")),
    ]
    own = {**WORDING, "template": "{question}, usually", "control": "People drink, usually"}
    assert {item.prompt for item in benchmark(tmp_path, of_control=True, wordings=[own]).read(None)} == {
        "People drink, usually"
    }


def test_worked_examples_show_the_text_of_their_answer(tmp_path):
    rows = [{**ROWS[0], "c": culture} for culture in ("Iran", "China")] + [ROWS[1]]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "t.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    document = {
        "name": "t",
        "data": "t.jsonl",
        "columns": {**COLUMNS, "question_id": "c"},
        "wordings": [WORDING],
        "answer_by": "likelihood",
        "few_shot": {"n": 1},
    }
    (tmp_path / "more" / "t.yaml").write_text(json.dumps(document), encoding="utf-8")
    asked = list(declared_benchmark(tmp_path / "more" / "t.yaml").read(None))[2]
    example, _, question = asked.prompt.partition("\n\n")
    assert example in ("In Iran people drink tea", "In China people drink tea")
    assert question == "In Spain people drink"


def test_a_check_counts_gold_options_by_their_number(tmp_path):
    benchmark(tmp_path)
    document = check_benchmark(tmp_path / "t.yaml")
    assert document["gold"] == {"1": 1, "2": 1}
    assert [item["likelihood"] for item in document["items"]] == ["none", "none"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"wordings": [{**WORDING, "template": "{question}\n{options}"}]},
            "wording 'w': template has {options}, but",
        ),
        ({"wordings": [{**WORDING, "control": "{labels}"}]}, "wording 'w': control has {labels}, but with"),
        ({"wordings": [{**WORDING, "labels": "digits"}]}, "labels is for options that are listed"),
        ({"shuffle": True}, "shuffle and seed are for options that are shown"),
        ({"answer_by": "label", "delimiter": ""}, "delimiter needs `answer_by: likelihood`"),
        ({"answer_by": "label", "normalize": "bytes"}, "normalize needs `answer_by: likelihood`"),
        ({"answer_by": "label"}, "wording 'w': template lacks the placeholder {options}"),
        ({"answer_by": "text"}, "answer_by: Input should be 'label' or 'likelihood'"),
        ({"normalize": "words"}, "normalize: Input should be 'none' or 'bytes'"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, fields, said):
    with pytest.raises(DataFileError) as caught:
        benchmark(tmp_path, **fields)
    assert said in str(caught.value)
