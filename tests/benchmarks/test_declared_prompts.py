"""Prompts of declared benchmarks: placeholders, languages and worked examples."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from culnig.benchmarks.declarative import declared_benchmark
from culnig.errors import DataFileError

COLUMNS = {"question": "q", "options": "o", "answer": "r"}
WORDING = {"id": "w", "template": "{question}\n{options}"}
ROW = {"q": "Q?", "o": ["tea", "milk"], "r": "A"}


def benchmark(folder: Path, rows: list[dict], columns: dict = COLUMNS, *, of_control: bool = False, **fields):
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    document = {"name": "t", "data": "t.jsonl", "columns": columns, "wordings": [WORDING], **fields}
    (folder / "t.yaml").write_text(json.dumps({"shuffle": False, **document}), encoding="utf-8")
    return declared_benchmark(folder / "t.yaml", control=of_control)


def read(*args, **fields):
    return list(benchmark(*args, **fields).read(None))


def problem(*args, **fields) -> str:
    with pytest.raises(DataFileError) as caught:
        read(*args, **fields)
    return str(caught.value)


# placeholders


def test_placeholders_of_ones_own_are_filled_from_columns(tmp_path):
    wording = {
        "id": "w",
        "system": "You know {city}.",
        "template": "{passage}\n{question}\n{options}",
        "control": "{passage}\n{options}",
    }
    row = {**ROW, "p": "In {country}, {question}", "x": {"name": "Madrid"}, "c": "Spain"}
    columns = {**COLUMNS, "culture": "c"}
    fields = {"placeholders": {"passage": "p", "city": "x.name"}, "wordings": [wording], "control": True}
    (item,) = read(tmp_path, [row], columns, **fields)
    assert item.prompt == "In Spain, {question}\nQ?\nA. tea\nB. milk", "data are text, not templates"
    assert item.system == "You know Madrid."
    (control,) = read(tmp_path, [row], columns, of_control=True, **fields)
    assert control.prompt == "In Spain, {question}\nA. tea\nB. milk"
    assert control.system == item.system


def test_a_placeholder_with_a_question_mark_may_be_empty(tmp_path):
    wording = {"id": "w", "template": "{passage}\n{question}\n{options}"}
    rows = [{**ROW, "p": "Tea."}, {**ROW, "p": ""}, {**ROW, "p": None}]
    items = read(tmp_path, rows, placeholders={"passage": "p?"}, wordings=[wording])
    assert [item.prompt.partition("Q?")[0] for item in items] == ["Tea.\n", "", ""]
    said = problem(tmp_path, rows, placeholders={"passage": "p"}, wordings=[wording])
    assert "line 2, column 'p': no value" in said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"placeholders": {"question": "p"}}, "placeholders: {question} already has a meaning"),
        ({"placeholders": {"a b": "p"}}, "placeholders.a b"),
        ({"placeholders": {"passage": "gone"}}, "column 'gone': no such column"),
        ({"wordings": []}, "wordings: give at least one"),
        ({"languages": {"es": [WORDING]}}, "languages and columns.language need each other"),
        ({"columns": {**COLUMNS, "language": "l"}}, "languages and columns.language need each other"),
        (
            {
                "wordings": [{"id": "w", "template": "{pas} {question} {options}"}],
                "placeholders": {"passage": "q"},
            },
            "wording 'w': template has the placeholder {pas}; allowed: {country}, {labels}, {options}, {pass",
        ),
        ({"few_shot": {"n": 0}}, "few_shot.n: Input should be greater than or equal to 1"),
    ],
)
def test_prompts_that_cannot_be_are_refused(tmp_path, fields, said):
    assert said in problem(tmp_path, [ROW], **fields)


# languages


def test_rows_get_the_wordings_of_their_language(tmp_path):
    columns = {**COLUMNS, "language": "l"}
    rows = [{**ROW, "l": language} for language in ("Korean", "korean", "Spanish")]
    languages = {"Korean": [{"id": "w", "template": "{question}\n{options}\n정답은?"}]}
    items = read(tmp_path, rows, columns, languages=languages)
    assert [item.prompt.endswith("정답은?") for item in items] == [True, True, False]
    said = problem(tmp_path, rows, columns, languages=languages, wordings=[])
    assert "line 3, column 'l': no wordings for 'Spanish'; languages: Korean; declare them there" in said


# worked examples


def many(n: int) -> list[dict]:
    return [
        {
            "q": f"question {k}?",
            "o": [f"right {k}", "wrong"],
            "r": "A",
            "t": "Food" if k % 2 else "Work",
            "c": "Spain",
        }
        for k in range(n)
    ]


def few_shot(folder: Path, rows: list[dict], n: int = 2, seed: int = 0, **fields):
    columns = {**COLUMNS, "topic": "t", "culture": "c"}
    asked = {"n": n, "seed": seed}
    return benchmark(folder, rows, columns, few_shot=asked, identify_topics=["Food"], **fields)


def asked(prompt: str) -> list[int]:
    return [int(number) for number in re.findall(r"question (\d+)\?", prompt)]


def test_examples_are_of_the_identify_split_and_never_of_the_own_question(tmp_path):
    items = list(few_shot(tmp_path, many(12)).read(None))
    assert len(items) == 12
    for number, item in enumerate(items):
        *examples, own = asked(item.prompt)
        assert own == number
        assert len(set(examples)) == 2
        assert all(k % 2 for k in examples), "odd questions are about food, which identifies"
        assert own not in examples
    example = (
        re.escape("A. right ") + r"\d+\nB. wrong\n" + re.escape('{"answer_choice":"A"}') + r"\n\nquestion"
    )
    assert len(re.findall(example, items[0].prompt)) == 2
    assert items[0].prompt.endswith("question 0?\nA. right 0\nB. wrong")


def test_examples_depend_on_the_seed_and_not_on_the_order_of_rows(tmp_path):
    rows = [{**row, "i": f"r{number}"} for number, row in enumerate(many(12))]
    columns = {**COLUMNS, "topic": "t", "culture": "c", "id": "i"}
    fields = {"identify_topics": ["Food"]}

    def prompts(rows, seed):
        made = benchmark(tmp_path, rows, columns, few_shot={"n": 2, "seed": seed}, **fields)
        return {item.id: item.prompt for item in made.read(None)}

    first = prompts(rows, 0)
    assert prompts(rows[::-1], 0) == first
    assert prompts(rows, 1) != first


def test_one_question_about_several_cultures_is_no_example_of_itself(tmp_path):
    rows = [
        {"q": f"question {k}? In {{country}}?", "o": ["a", "b"], "r": "A", "t": "Food", "c": culture}
        for k in range(3)
        for culture in ("Spain", "Iran", "China")
    ]
    for item in few_shot(tmp_path, rows).read(None):
        *examples, own = asked(item.prompt)
        assert sorted({*examples, own}) == [0, 1, 2]


def test_too_few_questions_for_examples_are_an_error(tmp_path):
    with pytest.raises(DataFileError, match=r"few_shot: 3 examples .* identify has only 2 other"):
        list(few_shot(tmp_path, many(5), n=3).read(None))


def test_the_control_shows_the_same_examples(tmp_path):
    items = list(few_shot(tmp_path, many(12), control=True).read(None))
    controls = list(few_shot(tmp_path, many(12), control=True, of_control=True).read(None))
    for item, control in zip(items, controls, strict=True):
        assert asked(control.prompt) == asked(item.prompt)[:-1]
        assert control.prompt.endswith(item.prompt.rpartition("?\n")[2])
