"""Size, type and fonts of figures."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from culnig.core import plots
from culnig.core.plot_style import (
    COLUMNS,
    DIVERGING,
    LINES,
    SEQUENTIAL,
    Size,
    format_of,
    millimetres,
    save,
    sized,
    titled,
)
from culnig.errors import InputError
from culnig.reporting.charts import Line

LINE = Line("effect", [0, 1, 2], [0.1, 0.0, -0.2], [None, None, (-0.3, -0.1)])


def media_box(path: Path) -> tuple[float, float]:
    """Width and height of a PDF page, in points."""
    match = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", path.read_bytes())
    assert match is not None
    return float(match[1]), float(match[2])


@pytest.mark.parametrize(
    ("length", "mm"), [("84mm", 84), ("8.4 cm", 84), (174, 174), ("2in", 50.8), ("72pt", 25.4)]
)
def test_lengths_are_read(length, mm):
    assert millimetres(length) == pytest.approx(mm)


@pytest.mark.parametrize("length", ["", "wide", "84 miles", "0mm", "-3", "nan", "9999mm"])
def test_other_lengths_are_refused(length):
    with pytest.raises(InputError, match="is no width of a figure"):
        millimetres(length)


@pytest.mark.parametrize(("width", "font_size"), [(COLUMNS[1], 6), (COLUMNS[2], 10)])
def test_a_pdf_is_as_wide_as_asked_for_and_embeds_fonts(width, font_size, tmp_path):
    path = tmp_path / "x.pdf"
    with sized(Size(width, font_size)):
        figure = titled(plots.lines_figure([("", "factor", "points", [LINE])]), "a model: " + "words " * 20)
    save(figure, path, "pdf")
    assert media_box(path)[0] == pytest.approx(width / 25.4 * 72, abs=0.5)
    assert b"/FontFile2" in path.read_bytes()
    if shutil.which("pdffonts"):
        listed = subprocess.run(["pdffonts", path], capture_output=True, text=True, check=True).stdout
        assert all(re.search(r"yes yes yes", font) for font in listed.splitlines()[2:])


def test_the_title_fits_the_width():
    with sized(Size(84, 8)):
        figure = titled(
            plots.lines_figure([("", "factor", "points", [LINE])]), "meta-llama/Llama-3.1: " + "x " * 90
        )
    figure.canvas.draw()
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


def test_the_name_of_a_file_says_its_type(tmp_path):
    assert format_of(Path("overlap.PDF")) == "pdf"
    with pytest.raises(InputError, match=r"end it with \.pdf or \.svg or \.png"):
        format_of(Path("overlap.jpg"))


def lightness(color: str) -> float:
    """Relative luminance, what is left of a colour in grey."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(color)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_scales_are_readable_in_grey():
    assert lightness(SEQUENTIAL[0]) > lightness(SEQUENTIAL[1]) > lightness(SEQUENTIAL[2])
    assert min(lightness(DIVERGING[1]) - lightness(end) for end in (DIVERGING[0], DIVERGING[2])) > 0.5


def test_lines_are_told_apart_without_their_colours():
    assert len({(str(dash), mark) for _, dash, mark in LINES}) == len(LINES)


def test_negative_scores_have_a_mark_of_their_own():
    scores = np.array([[1.0, -1.0], [-0.001, 0.5]])
    axes = plots.scores_figure("t", ["a", "b"], ["n", "m"], scores).axes[0]
    marks = next(line for line in axes.lines if line.get_marker() == "_")
    assert list(zip(marks.get_xdata(), marks.get_ydata(), strict=True)) == [(1.5, 0.5)]


def test_no_change_does_not_look_like_one():
    flat = Line("effect", [0, 1], [0.0, 0.0001], [None, None])
    low, high = plots.lines_figure([("", "x", "y", [flat])]).axes[0].get_ylim()
    assert high - low >= 4


def test_numbers_are_left_out_of_cells_that_are_too_narrow():
    matrix, names = np.eye(16), [f"culture {n}" for n in range(16)]
    assert len(plots.similarity_matrix_figure("t", names, matrix).axes[0].texts) == 256
    with sized(Size(84, 7)):
        assert len(plots.similarity_matrix_figure("t", names, matrix).axes[0].texts) == 0


def test_names_and_numbers_have_room_in_one_column():
    """84 mm: names of methods in lines, not every layer numbered."""
    row = {"mean": 0.5, "low": 0.4, "high": 0.6, "chance": 0.1}
    methods = [{"method": "relp-log-odds + control + exclusion + z", "specific": row, "general": row}]
    with sized(Size(84.0)):
        layers = plots.layers_figure([("a set of neurons " * 4, ["mlp.gate_proj"], np.ones((1, 30)))])
        leaderboard = plots.leaderboard_figure(methods)
    numbers = [int(label.get_text()) for label in layers.axes[0].get_xticklabels()]
    assert numbers == list(range(0, 30, numbers[1]))
    assert numbers[1] > 1
    assert "\n" in layers.axes[0].get_title(loc="left")
    leaderboard.draw_without_rendering()
    drawn = leaderboard.axes[0].get_window_extent()
    (name,) = leaderboard.axes[0].get_yticklabels()
    assert drawn.width > 0.4 * leaderboard.bbox.width
    assert name.get_window_extent().x0 >= 0


def test_shares_begin_at_zero():
    line = Line("share", [0, 1, 2], [0.01, 0.0, 0.02])
    assert plots.lines_figure([("", "x", "y", [line])]).axes[0].get_ylim() == (0, 4)
