"""Steps of another version are kept or done again as its number says, and either is told."""

from __future__ import annotations

import pytest

from culnig.cli.main import run
from culnig.studies import versions
from culnig.studies.running import study
from culnig.studies.versions import numbers_of


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        *(("0.1.0", "0.1"), ("0.1.12", "0.1"), ("0.2.0", "0.2"), ("0.2", "0.2")),
        *(("1.0.0", "1"), ("1.4.2", "1"), ("12.0.1", "12")),
    ],
)
def test_the_part_of_a_version_that_tells_whether_numbers_are_the_same(version, numbers):
    assert numbers_of(version) == numbers


def test_steps_of_a_version_with_the_same_numbers_are_kept_and_named(copied, monkeypatch, capsys):
    monkeypatch.setattr(versions, "own_version", lambda: "0.1.99")
    chosen = ["--only", "scores", "--only", "neurons/one/general"]
    assert run(["study", str(copied / "study.yaml"), "-o", str(copied / "out"), *chosen]) == 0
    printed = capsys.readouterr()
    assert "done before" in printed.out
    assert (
        "3 steps of culnig-engine 0.1.0 kept by 0.1.99, which has the same numbers and formats: "
        "scores/one/identify, scores/two/identify, neurons/one/general"
    ) in " ".join(printed.err.split())


def test_steps_of_a_version_with_other_numbers_are_done_again(copied, monkeypatch):
    for module in ("versions", "running"):
        monkeypatch.setattr(f"culnig.studies.{module}.own_version", lambda: "0.2.0")
    said: list[str] = []
    result = study(copied / "study.yaml", copied / "out", only=["scores/one", "neurons/two"], say=said.append)
    states = {step.step: step.state for step in result.steps if step.state != "left out"}
    assert states.pop("scores/one/identify") == "done"
    assert set(states.values()) == {"waits"}, "the run that they need is not theirs to repeat"
    (again,) = [line for line in said if line.startswith("done by")]
    assert again == (
        "done by culnig-engine 0.1.0, whose numbers or formats may differ from those of 0.2.0: it is done "
        "again (to keep it, continue with culnig-engine 0.1)"
    )
