"""`verify` and `score` refuse the same models, with the same message, and leave no run folder."""

from __future__ import annotations

import re

import pytest

from culnig.cli.main import run
from tests.models.refused import REFUSED


def told(capfd, *arguments: object) -> str:
    """What a command that fails says; its exit code is that of a wrong input."""
    assert run([str(argument) for argument in arguments]) == 2
    captured = capfd.readouterr()
    assert "Traceback" not in captured.err
    return next(line for line in captured.err.splitlines() if line.startswith("error: "))


@pytest.mark.parametrize("kind", REFUSED)
def test_verify_and_score_refuse_the_same(kind, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("CULNIG_CACHE", "off")
    refused = REFUSED[kind]
    folder, out = tmp_path / "model", tmp_path / "run"
    folder.mkdir()
    model = ("--model", refused.write(folder), "--device", "cpu", *refused.options)
    verified = told(capfd, "verify", *model)
    scored = told(capfd, "score", *model, "--benchmark", "everyday", "--per-culture", 1, "-o", out)
    assert re.search(refused.words, scored)
    assert scored == verified
    assert not out.exists()
