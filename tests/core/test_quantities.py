from __future__ import annotations

import pytest

from culnig.core.quantities import (
    change_in_words,
    metric_change,
    metric_interval,
    metric_value,
    number,
    p_text,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((None, "–"), (0.0, "0"), (0.5, "0.500"), (12.345, "12.3"), (100.0, "100"), (999.6, "1,000")),
        *((12345.6, "12,300"), (0.00012345, "0.000123"), (0.00001234, "1.23e-05"), (-3.14159, "-3.14")),
        (float("nan"), "nan"),
    ],
)
def test_a_number_has_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.5, "0.500"), (0.04567, "0.0457"), (0.0001, "0.000100"), (0.00009, "< 0.0001"), (1.0, "1.00")],
)
def test_a_small_p_is_a_bound(p, text):
    assert p_text(p) == text


def test_shares_are_percent_and_their_changes_points():
    assert metric_value("accuracy", 0.3456) == "34.6 %"
    assert metric_value("p_gold", 0.00321) == "0.321 %"
    assert metric_value("alignment", 0.5) == "0.500"
    assert metric_change("p_gold", -0.0123) == "-1.23"
    assert metric_change("alignment", 0.25) == "+0.250"
    assert metric_interval("accuracy", [-0.02, 0.1]) == "-2.00 … +10.0"
    assert metric_interval("accuracy", [None, 0.1]) == "–"
    assert change_in_words("accuracy", -0.0123) == "−1.23 points"
    assert change_in_words("accuracy", -0.0123, signed=False) == "1.23 points"
    assert change_in_words("log_probability", 0.5) == "+0.500"
