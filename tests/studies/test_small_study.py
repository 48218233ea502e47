"""The study of `study --init small`, on the real embedded model: every step, and what the report shows."""

from __future__ import annotations

import pytest

import culnig
from culnig.reporting.sources import read_sources
from tests.embedded import lend_to_commands

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_model_for_all_steps(monkeypatch):
    lend_to_commands(monkeypatch)


def test_the_small_study_is_done_and_then_left_alone(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(culnig.study_example("small"), encoding="utf-8")
    said: list[str] = []
    result = culnig.study(file, tmp_path / "out", say=said.append)
    assert result.complete, [(step.step, step.reason) for step in result.steps if step.reason]
    assert any(line.startswith("scores/smollm2/identify: up to") for line in said)
    folder = tmp_path / "out"
    sources = read_sources(
        [folder / step.step for step in result.steps if step.step.startswith("evaluations/")]
    )
    assert [evaluation.folder.name for evaluation in sources.evaluations] == ["general", "specific"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "A small study of SmolLM2-135M-Instruct" in page
    for section in ("where", "depth", "masking", "matrix", "instances", "training"):
        assert f'<section id="{section}"' in page
    again = culnig.study(file, folder)
    assert {step.state for step in again.steps} == {"done before"}
