"""A finished study of two tiny models, which tests copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A folder with `study.yaml`, its models, and what came out in `out`."""
    from culnig.studies.running import study
    from tests.studies.tiny_studies import write_study

    folder = tmp_path_factory.mktemp("study")
    result = study(write_study(folder), folder / "out")
    assert result.complete, [(step.step, step.reason) for step in result.steps]
    return folder


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of it, with the times of files."""
    return Path(shutil.copytree(finished, tmp_path / "copy", copy_function=shutil.copy2))
