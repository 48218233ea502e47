"""Layout of tables in a width, by hand."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from culnig.cli.tables import Layout, laid_out, tab_separated, wrapped

HEADINGS = ("condition", "against", "change", "95 % interval", "p")
ROWS = [
    ("general", "unmasked", "-1.20", "-2.40 … +0.10", "0.0312"),
    ("general × 0.5", "unmasked", "+0.40", "-0.10 … +0.90", "< 0.0001"),
]


def shown(layout: Layout) -> str:
    lines = [*filter(None, [layout.above]), *layout.headings, *layout.body, *filter(None, [layout.below])]
    return "\n".join(lines)


def test_numbers_are_aligned_right_and_texts_left():
    assert shown(laid_out(HEADINGS, ROWS, None)) == (
        "condition      against   change  95 % interval         p\n"
        "─────────────  ────────  ──────  ─────────────  ────────\n"
        "general        unmasked   -1.20  -2.40 … +0.10    0.0312\n"
        "general × 0.5  unmasked   +0.40  -0.10 … +0.90  < 0.0001"
    )


def test_what_every_row_says_moves_above_before_anything_is_left_out():
    assert shown(laid_out(HEADINGS, ROWS, 50, optional=("p",))) == (
        "In every row: against unmasked\n"
        "condition      change  95 % interval         p\n"
        "─────────────  ──────  ─────────────  ────────\n"
        "general         -1.20  -2.40 … +0.10    0.0312\n"
        "general × 0.5   +0.40  -0.10 … +0.90  < 0.0001"
    )


def test_optional_columns_are_left_out_and_named():
    text = shown(laid_out(HEADINGS, ROWS, 40, optional=("p",)))
    assert text.endswith("Not in this width: p; --plain prints all.")
    assert "0.0312" not in text
    assert max(map(cell_len, text.splitlines()[:-1])) <= 40


def test_a_table_that_does_not_fit_becomes_records_with_every_value():
    rows = [("general", "some words about it", "0.5"), ("specific", "other words", "0.25")]
    assert shown(laid_out(("set", "what it is", "score"), rows, 24)).splitlines()[:4] == [
        "set general",
        "  what it is  some words",
        "              about it",
        "  score       0.5",
    ]


def test_a_wide_table_of_numbers_goes_on_below():
    rows = [("row 1", "-1.00", "+2.00", "4"), ("row 2", "-1.50", "+3.00", "6")]
    assert shown(laid_out(("masked", "culture 1", "culture 2", "culture 3"), rows, 24)) == (
        "        culture  culture\n"
        "masked        1        2\n"
        "──────  ───────  ───────\n"
        "row 1     -1.00    +2.00\n"
        "row 2     -1.50    +3.00\n"
        "\n"
        "        culture\n"
        "masked        3\n"
        "──────  ───────\n"
        "row 1         4\n"
        "row 2         6"
    )


def test_long_texts_are_broken_between_words():
    rows = [("a", "word " * 20), ("b", "x")]
    layout = laid_out(("name", "summary"), rows, 40)
    assert all(cell_len(line) <= 40 for line in layout.body)
    assert " ".join(" ".join(layout.body).replace("─", "").split()).count("word") == 20


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("a b c", 3, ["a b", "c"]),
        ("abcdef g", 4, ["abcd", "ef g"]),
        ("日本語", 4, ["日本", "語"]),
        ("1:\xa02 3:\xa04", 5, ["1: 2", "3: 4"]),
        ("general × 0.5", 10, ["general", "× 0.5"]),
        ("", 5, [""]),
    ],
)
def test_texts_are_wrapped(text, width, lines):
    assert wrapped(text, width) == lines


@pytest.mark.parametrize("width", range(14, 90, 4))
def test_nothing_is_ever_cut(width):
    """Every letter of every cell is there in any width, and no line is wider."""
    layout = laid_out(HEADINGS, ROWS, width)
    assert all(cell_len(line) <= width for line in [*layout.headings, *layout.body])
    letters = "".join(shown(layout).split()).replace("─", "")
    for cell in ("general", "0.0312", "+0.40", "unmasked", "-2.40") if width > 26 else ():  # words are whole
        assert cell in letters


def test_tabs_separate_plain_cells():
    assert tab_separated("T", ("a", "b"), [("1", "2")]) == ["# T", "a\tb", "1\t2", ""]


def test_an_empty_table_has_only_headings():
    assert shown(laid_out(("a", "b"), [], 80)) == "a  b\n─  ─"
