from __future__ import annotations

import re

import numpy as np
import pytest
from markupsafe import Markup

from culnig.reporting.charts import Line, Mark, MarkRow, bars, intervals, lines, nice_ticks
from culnig.reporting.heat_maps import heat_map

SAID = {"title": "T", "description": "D"}


def cells(drawing: Markup, row: str) -> list[tuple[str, float]]:
    """Class and place on its scale of each cell of a row."""
    pattern = r'<rect class="(\w+)"[^>]*style="--t:([\d.]+)"><title>' + re.escape(row)
    return [(kind, float(share)) for kind, share in re.findall(pattern, drawing)]


def test_a_diverging_scale_is_centred_at_zero():
    values = np.array([[-4.0, 0.0, 2.0, np.nan]])
    drawing = heat_map(values, ["row"], list("abcd"), diverging=True, **SAID)
    assert cells(drawing, "row") == [("negative", 1.0), ("positive", 0.0), ("positive", 0.5), ("none", 0.0)]


def test_a_sequential_scale_begins_at_zero_and_has_two_halves():
    drawing = heat_map(np.array([[0.0, 1.0, 2.0, 3.0, 4.0]]), ["row"], list("abcde"), **SAID)
    assert cells(drawing, "row") == [("q0", 0.0), ("q0", 0.5), ("q1", 0.0), ("q1", 0.5), ("q1", 1.0)]


def test_a_limit_ends_the_scale_and_tooltips_keep_the_number():
    drawing = heat_map(np.array([[9.0]]), ["row"], ["a"], limit=1.0, form="{:.1f}".format, **SAID)
    assert cells(drawing, "row") == [("q1", 1.0)]
    assert "row, a: 9.0" in drawing


def test_texts_are_escaped_everywhere():
    bad = '<script>"&'
    mark = Mark("effect", 0.1, (0.0, 0.2), bad)
    for drawing in (
        heat_map(np.ones((1, 1)), [bad], [bad], title=bad, description=bad, axis=bad, form=lambda v: bad),
        intervals([MarkRow(bad, [mark], bad)], title=bad, description=bad, axis=bad, percent=True),
        lines([Line(bad, [0, 1], [0, 1])], title=bad, description=bad, x_axis=bad, y_axis=bad),
        bars([bad], [0.5], [bad], title=bad, description=bad),
    ):
        assert "<script" not in drawing
        assert "&lt;script&gt;&#34;&amp;" in drawing


def test_an_interval_matches_the_axis():
    drawing = intervals(
        [MarkRow("a", [Mark("effect", -0.1, (-0.2, 0.0), "")])], axis="", percent=True, **SAID
    )
    ticks = {text: float(x) for x, text in re.findall(r'class="tick" x="([\d.]+)"[^>]*>([^<]*)<', drawing)}
    (start, stop), (centre,) = (
        re.findall(r'<line class="effect" x1="([\d.]+)" x2="([\d.]+)"', drawing)[0],
        re.findall(r'<circle class="effect" cx="([\d.]+)"', drawing),
    )
    assert float(start) == ticks["−20"]
    assert float(stop) == ticks["0"]
    assert float(centre) == pytest.approx((ticks["−20"] + ticks["0"]) / 2, abs=0.1)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (-0.21, 0.43, [-0.4, -0.2, 0, 0.2, 0.4, 0.6]),
        (3, 3, [2.4, 2.6, 2.8, 3.0, 3.2, 3.4, 3.6]),
        (0, 3e-9, [0, 5e-10, 1e-9, 1.5e-9, 2e-9, 2.5e-9, 3e-9]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, ticks):
    assert nice_ticks(low, high) == pytest.approx(ticks)
