"""What is right in a declared row: one option, several, or what most people chose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from culnig.benchmarks.declarative import declared_benchmark
from culnig.errors import DataFileError

ROW = {"q": "Q?", "o": ["tea", "milk", "water"], "c": "Spain"}
COLUMNS = {"question": "q", "options": "o", "culture": "c"}
ANSWER, SHARES = {**COLUMNS, "answer": "r"}, {**COLUMNS, "distribution": "d"}


def benchmark(folder: Path, rows: list[dict], columns: dict, **fields):
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    wording = {"id": "w", "template": "{question} {options}"}
    document = {"name": "t", "data": "t.jsonl", "columns": columns, "wordings": [wording], **fields}
    (folder / "t.yaml").write_text(json.dumps({"shuffle": False, **document}), encoding="utf-8")
    return declared_benchmark(folder / "t.yaml")


def read(*args, **fields):
    return list(benchmark(*args, **fields).read(None))


def problem(*args, **fields) -> str:
    with pytest.raises(DataFileError) as caught:
        read(*args, **fields)
    return str(caught.value)


# several right options


@pytest.mark.parametrize(
    ("answer", "kind", "right"),
    [
        (["A", "C"], "letter", ("A", "C")),
        ("['C', 'A']", "letter", ("C", "A")),
        ([0, 2], "number", ("A", "C")),
        (["milk", "tea"], "text", ("B", "A")),
        ("B", "letter", ("B",)),
    ],
)
def test_a_list_of_answers_is_right_as_a_whole(tmp_path, answer, kind, right):
    fields = {"answer_starts_at": 0} if kind == "number" else {}
    (item,) = read(tmp_path, [{**ROW, "r": answer}], ANSWER, answer_is=kind, **fields)
    assert item.right == right


def test_several_columns_of_answers_and_rows_with_fewer(tmp_path):
    columns = {**COLUMNS, "answer": ["r", "s"]}
    rows = [{**ROW, "r": "A", "s": "C"}, {**ROW, "r": "B", "s": None}]
    assert [item.right for item in read(tmp_path, rows, columns)] == [("A", "C"), ("B",)]
    assert "line 1, column 'r': no value" in problem(tmp_path, [{**ROW, "r": None, "s": "A"}], columns)


def test_right_options_follow_the_shuffle(tmp_path):
    rows = [{**ROW, "q": f"Q{n}?", "r": ["milk", "water"]} for n in range(9)]
    items = read(tmp_path, rows, ANSWER, answer_is="text", shuffle=True)
    assert len({item.right for item in items}) > 2
    for item in items:
        lines = dict(line.rpartition("? ")[2].split(". ") for line in item.prompt.splitlines())
        assert [lines[label] for label in item.right] == ["milk", "water"]


def test_answers_that_are_right_twice_or_leave_no_wrong_option_are_refused(tmp_path):
    assert "column 'r': 'A' is right twice" in problem(tmp_path, [{**ROW, "r": ["A", "A"]}], ANSWER)
    said = problem(tmp_path, [{**ROW, "r": ["A", "B", "C"]}], ANSWER)
    assert "line 1, column 'r': all 3 options are right; some must be wrong" in said


# true and false, and rows together


def test_rows_that_are_right_or_wrong_together(tmp_path):
    """CulturalBench-Hard's shape: four rows of one question, each true or false."""
    rows = [{"q": f"Is it {n}?", "r": n == 2, "c": "Spain", "of": f"q{k}"} for k in (1, 2) for n in range(4)]
    rows[0]["r"] = "FALSE"
    columns = {"question": "q", "answer": "r", "culture": "c", "together": "of"}
    fields = {"answer_is": "boolean", "options_are": ["True", "False"]}
    items = read(tmp_path, rows, columns, **fields)
    assert [item.answer for item in items] == ["B", "B", "A", "B"] * 2
    assert items[0].prompt == "Is it 0? A. True\nB. False"
    assert [item.together for item in items] == ["q1 Spain/w"] * 4 + ["q2 Spain/w"] * 4
    assert [item.question for item in items] == ["q1"] * 4 + ["q2"] * 4
    assert "'maybe' is neither true nor false; allowed: true, false" in problem(
        tmp_path, [{**rows[0], "r": "maybe"}], columns, **fields
    )


# any number of options


def test_rows_may_have_any_number_of_options(tmp_path):
    rows = [{**ROW, "o": ["x", *["y", "z", "w"][:n]], "r": "A"} for n in (1, 2, 3)]
    assert [len(item.options) for item in read(tmp_path, rows, ANSWER)] == [2, 3, 4]
    columns = {**ANSWER, "options": ["a", "b", "d"]}
    row = {**ROW, "a": "x", "b": "y", "d": "", "r": "B"}
    assert "line 1, column 'd': no value" in problem(tmp_path, [row], columns)
    items = read(tmp_path, [row, {**row, "d": "z"}], columns, fewer_options=True)
    assert [item.options for item in items] == [("A", "B"), ("A", "B", "C")]
    said = problem(tmp_path, [{**row, "b": "", "d": "z"}], columns, fewer_options=True)
    assert "column 'b': no value" in said, "only the last options may be empty"
    assert "unknown answer letter 'C'" in problem(tmp_path, [{**row, "r": "C"}], columns, fewer_options=True)


# answers and options of other forms


def test_the_answer_may_be_the_name_of_an_options_column(tmp_path):
    """MILU's shape."""
    columns = {**ANSWER, "options": ["option1", "option2", "option3"]}
    row = {**ROW, "option1": "x", "option2": "y", "option3": "z", "r": "option3"}
    assert read(tmp_path, [row], columns, answer_is="column")[0].answer == "C"
    said = problem(tmp_path, [{**row, "r": "option4"}], columns, answer_is="column")
    assert "column 'r': 'option4' is no column of an option; allowed: option1, option2, option3" in said
    assert "answer_is: column needs one column per option" in problem(
        tmp_path, [ROW], ANSWER, answer_is="column"
    )


@pytest.mark.parametrize("labels", ["A. B. C.", "1) 2) 3)", "0: 1: 2:", "(a) (b) (c)"])
def test_labels_of_options_are_removed(tmp_path, labels):
    """IndoCulture's shape."""
    options = [f"{label} {text}" for label, text in zip(labels.split(), ROW["o"], strict=True)]
    (item,) = read(tmp_path, [{**ROW, "o": options, "r": "B"}], ANSWER, options_labelled=True)
    assert item.prompt == "Q? A. tea\nB. milk\nC. water"
    said = problem(tmp_path, [{**ROW, "o": options[::-1], "r": "B"}], ANSWER, options_labelled=True)
    assert "does not begin with its label, such as A.; correct it, or remove `options_labelled`" in said


# distributions


@pytest.mark.parametrize(
    ("values", "kind", "shares"),
    [
        ([0.25, 0.5, 0.25], "shares", (0.25, 0.5, 0.25)),
        ("[0.25, 0.5, 0.25]", "shares", (0.25, 0.5, 0.25)),
        ([25, 50.0, 25], "percent", (0.25, 0.5, 0.25)),
        ([1, 2, 1], "counts", (0.25, 0.5, 0.25)),
        ({"water": 1, "MILK": 3}, "counts", (0, 0.75, 0.25)),
        ([0.245, 0.5, 0.245], "shares", (0.245 / 0.99, 0.5 / 0.99, 0.245 / 0.99)),  # rounded
    ],
)
def test_the_most_common_option_is_the_answer(tmp_path, values, kind, shares):
    (item,) = read(tmp_path, [{**ROW, "d": values}], SHARES, distribution_in=kind)
    assert item.answer == "B"
    assert item.distribution == pytest.approx(shares)


def test_options_that_are_equally_common_are_all_right(tmp_path):
    rows = [{**ROW, "d": [0.4, 0.2, 0.4]}, {**ROW, "d": [1 / 3, 1 / 3, 1 / 3]}]
    made = benchmark(tmp_path, rows, SHARES)
    (item,) = made.read(None)
    assert item.right == ("A", "C")
    assert made.dropped == {"no option is the most common": 1}


def test_shares_follow_the_shuffle(tmp_path):
    rows = [{**ROW, "q": f"Q{n}?", "d": [0.1, 0.2, 0.7]} for n in range(9)]
    items = read(tmp_path, rows, SHARES, shuffle=True)
    assert len({item.distribution for item in items}) > 2
    for item in items:
        lines = [line.rpartition("? ")[2].partition(". ")[2] for line in item.prompt.splitlines()]
        shares = dict(zip(lines, item.distribution, strict=True))
        assert shares == pytest.approx({"tea": 0.1, "milk": 0.2, "water": 0.7})


def test_global_opinions_are_a_row_for_each_country(tmp_path):
    """GlobalOpinionQA's shape: lists and dictionaries as Python writes them, countries as keys."""
    row = {
        "q": "Is tea good?",
        "o": "['Yes', 'No', \"Don't know\"]",
        "s": "defaultdict(<class 'list'>, {'Spain': [0.2, 0.7, 0.1], 'Japan': [0.5, 0.3, 0.2]})",
    }
    columns = {"question": "q", "options": "o", "culture": "key", "distribution": "value"}
    items = read(tmp_path, [row], columns, expand="s")
    assert [(item.culture, item.answer, item.distribution) for item in items] == [
        ("Spain", "B", pytest.approx((0.2, 0.7, 0.1))),
        ("Japan", "A", pytest.approx((0.5, 0.3, 0.2))),
    ]
    assert len({item.question for item in items}) == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            [0.5, 0.2, 0.2],
            "the shares sum to 0.9, not 1; declare `distribution_in: shares` (sum 1), `per",
        ),
        ([50, 25, 25], "the shares sum to 100, not 1"),
        ([0.5, 0.5], "2 shares for 3 options"),
        ([0.5, -0.5, 1], "a share must be a number from 0, got -0.5"),
        ([0.5, None, 0.5], "a share must be a number from 0, got None"),
        ({"coffee": 1}, "'coffee' is no option; options: tea, milk, water"),
        ({"tea": 0.5, "Tea": 0.5}, "two keys are the same option"),
        ("many", "expected a list or dictionary of numbers, got 'many'"),
    ],
)
def test_malformed_distributions_are_refused_with_line_and_column(tmp_path, values, said):
    text = problem(tmp_path, [{**ROW, "d": [0.2, 0.2, 0.6]}, {**ROW, "d": values}], SHARES)
    assert "line 2, column 'd'" in text
    assert said in text


@pytest.mark.parametrize(
    ("columns", "fields", "said"),
    [
        (COLUMNS, {}, "columns: give either answer, the right option, or distribution"),
        (
            {**ANSWER, "distribution": "d"},
            {},
            "columns: give either answer, the right option, or distribution",
        ),
        (ANSWER, {"options_are": ["a", "b"]}, "give either columns.options or options_are"),
        (ANSWER, {"answer_is": "boolean"}, "answer_is: boolean needs `options_are` with two options"),
        (ANSWER, {"fewer_options": True}, "fewer_options needs one column per option"),
        (ANSWER, {"distribution_in": "counts"}, "distribution_in needs columns.distribution"),
        (SHARES, {"answer_is": "text"}, "answer_is needs columns.answer"),
    ],
)
def test_declarations_that_contradict_themselves_are_refused(tmp_path, columns, fields, said):
    assert said in problem(tmp_path, [ROW], columns, **fields)


def test_several_right_answers_may_be_one_text(tmp_path):
    rows = [{**ROW, "r": "milk, tea"}, {**ROW, "r": "water"}]
    fields = {"answer_is": "text", "answer_split": ", "}
    both, single = read(tmp_path, rows, ANSWER, **fields)
    assert (both.right, single.right) == (("B", "A"), ("C",))
    said = problem(tmp_path, [{**ROW, "r": "milk, mead"}], ANSWER, **fields)
    assert "'mead' must be exactly one of the options" in said
