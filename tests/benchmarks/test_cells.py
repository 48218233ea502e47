from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from culnig.benchmarks.cells import MISSING, CellError, answer_index, cell_text, check_options, position


@pytest.mark.parametrize(
    ("value", "text"),
    [("tea", "tea"), (3, "3"), (1.5, "1.5"), (Decimal("2.50"), "2.50"), (date(2024, 5, 1), "2024-05-01")],
)
def test_texts_numbers_and_dates_are_text(value, text):
    assert cell_text(value) == text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "no value (None)"),
        ("", "no value ('')"),
        (" \t", "no value"),
        (float("nan"), "no value (nan)"),
        (Decimal("nan"), "no value"),
        (Decimal("snan"), "no value"),
        (float("inf"), "a finite number, got inf"),
        (True, "expected text, got True"),
        (["tea"], "expected text, got ['tea']"),
        ({"a": 1}, "expected text"),
        (b"tea", "expected text, got b'tea'"),
        ("tea\ud83d", "half of a character"),
        ("te\0a", "holds a NUL"),
    ],
)
def test_other_cells_are_refused(value, said):
    with pytest.raises(CellError) as caught:
        cell_text(value)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", MISSING)
def test_marks_of_missing_values_are_refused_where_they_are_not_text(text):
    assert cell_text(text) == text
    with pytest.raises(CellError, match=r"marks a missing value; .* `missing: \[\]`"):
        cell_text(f" {text} ", MISSING)


def test_a_text_is_matched_exactly_before_it_is_folded():
    assert position("tea", ["Tea", "tea"]) == 1
    assert position("TEA", ["Tea", "milk"]) == 0
    assert position("TEA", ["Tea", "tea"]) is None
    assert position("water", ["Tea", "tea"]) is None
    assert position("cafe\u0301", ["cafe", "caf\u00e9"]) == 1


@pytest.mark.parametrize(
    "same", [("Tea", "tea"), ("caf\u00e9", "cafe\u0301"), ("ＡＢＣ", "abc"), ("a  b", "a b")]
)
def test_options_that_readers_cannot_tell_apart_are_refused(same):
    with pytest.raises(CellError, match="options 1 and 3 are the same"):
        check_options([same[0], "milk", same[1]])
    check_options([same[0], "milk"])


def test_more_options_than_letters_are_refused():
    check_options([f"option {number}" for number in range(26)])
    with pytest.raises(CellError, match="27 options; at most 26 have a letter"):
        check_options([f"option {number}" for number in range(27)])


OPTIONS = ["tea", "milk", "water"]


@pytest.mark.parametrize(
    ("cell", "kind", "starts_at", "index"),
    [
        ("B", "letter", 1, 1),
        (" b ", None, 1, 1),
        ("Ｃ", "letter", 1, 2),
        ("1", "number", 1, 0),
        ("1", "number", 0, 1),
        ("0", "number", 0, 0),
        ("2.0", "number", 1, 1),
        ("2.000", "number", 0, 2),
        ("02", "number", 1, 1),
        ("３", "number", 1, 2),
        ("milk", "text", 1, 1),
        (" MILK", "text", 1, 1),
    ],
)
def test_the_index_of_an_answer(cell, kind, starts_at, index):
    assert answer_index(cell, OPTIONS, kind, starts_at=starts_at) == index


@pytest.mark.parametrize(
    ("cell", "kind", "starts_at", "said"),
    [
        ("D", "letter", 1, "unknown answer letter 'D'; allowed: A, B, C"),
        ("B.", "letter", 1, "unknown answer letter 'B.'"),
        ("milk", None, 1, "it is the text of option 2: if answers are texts, declare `answer_is: text`"),
        ("2", None, 1, "if answers are numbers, declare `answer_is: number`"),
        (
            "0",
            "number",
            1,
            "allowed: 1, 2, 3; if the first option is number 0, declare `answer_starts_at: 0`",
        ),
        (
            "3",
            "number",
            0,
            "allowed: 0, 1, 2; if the first option is number 1, declare `answer_starts_at: 1`",
        ),
        ("4", "number", 1, "unknown answer number '4'; allowed: 1, 2, 3"),
        ("-1", "number", 0, "unknown answer number '-1'"),
        ("1.5", "number", 1, "unknown answer number '1.5'"),
        ("1e0", "number", 1, "unknown answer number '1e0'"),
        ("1" * 5000, "number", 1, "unknown answer number"),
        ("coffee", "text", 1, "'coffee' must be exactly one of the options tea, milk, water"),
    ],
)
def test_an_answer_that_is_no_option_is_refused(cell, kind, starts_at, said):
    with pytest.raises(CellError) as caught:
        answer_index(cell, OPTIONS, kind, starts_at=starts_at)
    assert said in str(caught.value)


def test_a_letter_that_is_also_the_text_of_another_option():
    options = ["B", "A", "C"]
    assert answer_index("A", options, "letter") == 0
    assert answer_index("A", options, "text") == 1
    assert answer_index("C", options, None) == 2, "letter and text agree"
    with pytest.raises(CellError, match="'A' is the letter of option 1 and the text of option 2; declare"):
        answer_index("A", options, None)
    assert answer_index("2", ["2", "1"], "number") == 1
    assert answer_index("2", ["2", "1"], "text") == 0
