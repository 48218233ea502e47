from __future__ import annotations

import pytest

from culnig.benchmarks.cells import CellError
from culnig.benchmarks.nested import entries, plain, value_at


@pytest.mark.parametrize(
    ("values", "column", "value"),
    [
        ({"a": {"b": 1}}, "a.b", 1),
        ({"a": {"b": {"c": "x"}}}, "a.b.c", "x"),
        ({"a.b": 2, "a": {"b": 1}}, "a.b", 2),  # a column's own name comes first
        ({"a": {"b.c": 3}}, "a.b.c", 3),
        ({"a": [{"t": "x", "l": "A"}, {"t": "y", "l": "B"}]}, "a.t", ["x", "y"]),  # a list of structs
        ({"a": {"t": ["x", "y"]}}, "a.t", ["x", "y"]),  # a struct of lists
        ({"a": ["x", "y"]}, "a.1", "y"),
        ({"a": [{"t": "x"}, {"t": "y"}]}, "a.0.t", "x"),
        ({"a": '{"b": ["x"]}'}, "a.b", ["x"]),
        ({"a": "[{'t': 'x'}, {'t': 'y'}]"}, "a.t", ["x", "y"]),
        ({"a": 1}, "b", None),
    ],
)
def test_a_dot_leads_inside(values, column, value):
    assert value_at(values, column) == value


@pytest.mark.parametrize(
    ("values", "column", "said"),
    [
        ({"a": {"text": 1}}, "a.texts", "no 'texts' inside; did you mean 'text'?; inside: text"),
        ({"a": [1, 2]}, "a.2", "no entry 2 in a list of 2; the first is 0"),
        ({"a": "tea"}, "a.b", "no 'b' inside 'tea'; it is neither a list nor a dictionary"),
        ({"a": None}, "a.b", "no 'b' inside None"),
        ({"a": [{"t": "x"}, {"s": "y"}]}, "a.t", "no 't' inside; inside: s"),
    ],
)
def test_what_is_not_inside_is_named(values, column, said):
    with pytest.raises(CellError) as caught:
        value_at(values, column)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('["a", "b"]', ["a", "b"]),
        ("[\"it's\", 'b']", ["it's", "b"]),
        ("('a', 'b')", ["a", "b"]),
        ("{'Spain': [0.5, 0.5]}", {"Spain": [0.5, 0.5]}),
        (
            "defaultdict(<class 'list'>, {'Spain': [0.1, 0.9], 'Iran': [1, 0]})",
            {"Spain": [0.1, 0.9], "Iran": [1, 0]},
        ),
        ("[not a list]", "[not a list]"),
        ("[" * 60 + "]" * 60, "[" * 60 + "]" * 60),
        ("__import__('os')", "__import__('os')"),
        ("[__import__('os')]", "[__import__('os')]"),
        ("tea", "tea"),
        (7, 7),
    ],
)
def test_lists_and_dictionaries_as_text(text, value):
    assert plain(text) == value


@pytest.mark.parametrize(
    ("value", "separator", "expected"),
    [
        (["a", "b"], None, ["a", "b"]),
        ("['a', 'b']", None, ["a", "b"]),
        ({"B": "y", "A": "x"}, None, ["x", "y"]),  # labels give the order, not the file
        ({"0": "x", "1": "y"}, None, ["x", "y"]),
        ("{'1': 'x', '2': 'y', '3': 'z'}", None, ["x", "y", "z"]),
        ("tea; milk; water", "; ", ["tea", "milk", "water"]),
        ("tea", None, None),
        (5, None, None),
        (["a"], ";", None),
    ],
)
def test_entries_of_options(value, separator, expected):
    assert entries(value, separator) == expected


def test_a_dictionary_without_labels_has_no_order():
    with pytest.raises(CellError, match="a dictionary with the keys x, y; keys of options are A, B"):
        entries({"x": "tea", "y": "milk"})


def test_a_list_that_numpy_wrote_is_not_joined_to_one_text():
    assert entries("['tea' 'milk' 'water']") == ["teamilkwater"], "one entry, so `Row.texts` refuses it"
