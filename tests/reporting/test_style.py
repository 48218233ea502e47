"""Contrast of the page's colours (WCAG 2.2), and that scales are told apart without seeing red and green."""

from __future__ import annotations

import re

import numpy as np
import pytest

from culnig.reporting.legible import text_classes
from culnig.reporting.page import TEMPLATES

STYLE = (TEMPLATES / "style.css").read_text(encoding="utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for block in re.findall(r"^:root[^{]*\{(.*?)\}", STYLE, re.DOTALL | re.MULTILINE)
)
THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])


def linear(colour: str) -> np.ndarray:
    """Linear red, green and blue of a colour."""
    parts = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    light, dark = sorted((linear(c) @ [0.2126, 0.7152, 0.0722] for c in (first, second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@THEMES
def test_texts_can_be_read(theme):
    for text, behind in (
        *(("ink", "page"), ("ink", "surface"), ("ink", "warn"), ("ink", "mark"), ("soft", "page")),
        *(("soft", "surface"), ("accent", "page"), ("page", "accent")),
    ):
        assert contrast(theme[text], theme[behind]) >= 4.5, (text, behind)


CELLS = {
    ("q0", 0.0): "seq-0",
    ("q0", 1.0): "seq-1",
    ("q1", 0.0): "seq-1",
    ("q1", 1.0): "seq-2",
    ("positive", 0.0): "mid",
    ("positive", 1.0): "pos",
    ("negative", 1.0): "neg",
}


@pytest.mark.parametrize(("cell", "name"), CELLS.items())
def test_a_number_in_a_cell_is_black_or_white_and_can_be_read(cell, name):
    classes = text_classes(*cell).split()
    for theme, colors in (("light", LIGHT), ("dark", DARK)):
        text = "#ffffff" if f"white-in-{theme}" in classes else "#000000"
        assert contrast(text, colors[name]) >= 4.5, theme


@THEMES
def test_lines_and_marks_can_be_seen(theme):
    for mark in (*(f"c{number}" for number in range(7)), "pos", "neg", "soft"):
        assert contrast(theme[mark], theme["page"]) >= 3, mark


def deuteranope(colour: str) -> np.ndarray:
    """Linear colour as seen without the green cones (Viénot, Brettel and Mollon 1999)."""
    simulated = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
    return simulated @ linear(colour)


@THEMES
def test_both_ends_of_the_diverging_scale_differ_without_green_cones(theme):
    low, middle, high = (deuteranope(theme[name]) for name in ("neg", "mid", "pos"))
    assert min(np.linalg.norm(low - high), np.linalg.norm(low - middle), np.linalg.norm(high - middle)) > 0.25
