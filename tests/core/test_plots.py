"""Figures beside stored ones, and as files that a publisher takes.

`CULNIG_NEW_REFERENCES=1 pytest tests/core/test_plots.py` draws the stored ones anew; look at them before you
keep them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.testing.compare import compare_images

from culnig.core import plots
from culnig.reporting.charts import Line
from tests.reporting.test_summary import compared, row, unmasked

REFERENCES = Path(__file__).parent / "references"
TOLERANCE = 4.0
"""Root mean square of pixel differences, of 255: lets hinting differ, not a bar or a label."""
TABLE = np.add.outer(np.arange(3.0), np.arange(8.0)) % 5
CHANGE = np.array([[-0.2, 0.05, np.nan], [0.0, -0.1, 0.1]])
BASELINE = row("random 0 like general", like="general", against_random=None)
ROWS = [unmasked(), row(change={"accuracy": compared(-0.1, 0.01, -0.15, -0.02)}), BASELINE]
ROWS[1]["against_random"] = {"accuracy": compared(-0.06, 0.02, -0.12, 0.01)}

ARMS = [
    {
        "arm": arm,
        "benchmark": name,
        "kind": kind,
        "by_seed": seeds,
        "change": {"effect": at, "interval": ends},
    }
    for arm, name, kind, at, ends, seeds in (
        ("top", "qnli", "task", 0.12, [0.08, 0.17], [0.1, 0.14]),
        ("bottom", "qnli", "task", 0.11, [0.05, 0.16], [0.1, 0.12]),
        ("top", "blend", "culture", -0.2, [-0.25, -0.16], [-0.22, -0.18]),
        ("bottom", "blend", "culture", -0.01, [None, None], [-0.02, 0.0]),
        ("top", "mrpc", "other", 0.01, [-0.02, 0.04], [0.01, 0.01]),
    )
]

DOSES = [
    Line("effect", [0, 1, 2], [0.1, 0.0, 0.02], [(0.05, 0.15), None, (-0.01, 0.05)]),
    Line("damage", [0, 1, 2], [0.02, 0.0, 0.3]),
]
FIGURES = {
    "layers": lambda: plots.layers_figure([("set $x", ["a", "b", "c"], TABLE), ("set y", ["d"], TABLE[:1])]),
    "matrix": lambda: plots.matrix_figure("change", ["China", "Iran"], ["China", "Iran", "UK"], CHANGE),
    "masking": lambda: plots.masking_figure(ROWS, "accuracy"),
    "training": lambda: plots.training_figure(ARMS, "accuracy"),
    "lines": lambda: plots.lines_figure([("", "factor", "accuracy, points", DOSES)]),
    "scores": lambda: plots.scores_figure("scores", ["China", "Iran"], ["a", "b", "c"], CHANGE),
    "finding": lambda: plots.finding_figure(
        "masked $x",
        [("general", 0.98, 0.2, [0.9, 0.95, 0.97]), ("China", 1.0, 0.5, [0.9, 1.0])],
        [("paper", ["China", "Iran"], ["China", "Iran"], CHANGE[:, :2])],
    ),
    "instances": lambda: plots.shares_figure([("by topic", ["Food", "Sport"], [0.25, 1.0])]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_look_like_the_stored_ones(name, tmp_path):
    made = tmp_path / f"{name}.png"
    plots.save(FIGURES[name](), made, "png")
    if os.environ.get("CULNIG_NEW_REFERENCES"):
        shutil.copy(made, REFERENCES)
    assert compare_images(str(REFERENCES / made.name), str(made), TOLERANCE) is None


def test_the_comparison_sees_a_changed_cell(tmp_path):
    made, other = tmp_path / "matrix.png", CHANGE.copy()
    other[1, 1] = 0.1
    plots.save(plots.matrix_figure("change", ["China", "Iran"], ["China", "Iran", "UK"], other), made, "png")
    assert compare_images(str(REFERENCES / made.name), str(made), TOLERANCE) is not None


@pytest.mark.parametrize("form", plots.FORMATS)
@pytest.mark.parametrize("name", FIGURES)
def test_equal_tables_give_equal_files(name, form, tmp_path):
    for number in (1, 2):
        plots.save(FIGURES[name](), tmp_path / f"{number}", form)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("name", FIGURES)
def test_a_pdf_is_vector_and_embeds_its_fonts(name, tmp_path):
    path = tmp_path / "x.pdf"
    plots.save(FIGURES[name](), path, "pdf")
    content = path.read_bytes()
    assert re.search(rb"/Subtype\s*/Type3", content) is None
    assert len(re.findall(rb"/FontFile2\b", content)) == len(re.findall(rb"/CIDFontType2\b", content)) >= 1
    assert b"/Type3" not in content
    if shutil.which("pdffonts"):
        listed = subprocess.run(["pdffonts", path], capture_output=True, text=True, check=True).stdout
        fonts = listed.splitlines()[2:]
        assert fonts
        assert all(re.search(r"TrueType\s+Identity-H\s+yes yes yes", font) for font in fonts)


def test_an_svg_contains_no_raster_image_and_needs_no_font(tmp_path):
    plots.save(FIGURES["matrix"](), tmp_path / "x.svg", "svg")
    text = (tmp_path / "x.svg").read_text(encoding="utf-8")
    heat_map = text.partition('id="QuadMesh_1"')[2].partition("</g>")[0]
    assert heat_map.count("<path") == CHANGE.size
    assert "<image" not in text
    assert "font-family" not in text
    assert "<text" not in text


def test_the_users_own_style_is_left_alone(tmp_path):
    before = dict(mpl.rcParams)
    for draw in FIGURES.values():
        plots.save(draw(), tmp_path / "x.png", "png")
    assert dict(mpl.rcParams) == before


def test_the_matrix_is_centred_at_zero():
    mesh = FIGURES["matrix"]().axes[0].collections[0]
    assert mesh.get_clim() == (-20, 20)
    np.testing.assert_allclose(mesh.get_array().filled(np.nan), 100 * CHANGE)


def test_the_masks_are_drawn_where_their_numbers_are():
    lines = {line.get_label(): line for line in FIGURES["masking"]().axes[0].lines}
    assert lines["against unmasked"].get_xdata() == [-10]
    assert lines["against random"].get_xdata() == [-6]
    assert lines["random against unmasked"].get_xdata() == [-10]
    intervals = [list(line.get_xdata()) for line in lines.values() if len(line.get_xdata()) == 2]
    assert [-15, -2] in intervals or [-12, 1] in intervals
