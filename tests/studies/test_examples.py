"""The small study that comes with the program, with a tiny model in place of the embedded one."""

from __future__ import annotations

import pytest

import culnig
from tests.studies.tiny_studies import write_study


@pytest.mark.slow
def test_the_small_study_runs_to_its_end(tmp_path):
    """The file as it is printed; only the model is another, of which larger shares are selected."""
    text = culnig.study_example("small")
    for old, new in (
        ("model: embedded", "model: one"),
        ("{method: general}", "{method: general, top_mlp: 0.1, top_attention: 0.1}"),
        ("{method: specific,", "{method: specific, top: 0.4, z: 0.0,"),
        ("plan: {budget: 0.1}", "plan: {budget: 0.3}"),
    ):
        assert old in text
        text = text.replace(old, new)
    result = culnig.study(write_study(tmp_path, text), tmp_path / "out")
    assert result.complete, [(step.step, step.reason) for step in result.steps if step.reason]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for section in ("where", "depth", "masking", "matrix", "instances", "training", "models"):
        assert f'<section id="{section}"' in page
