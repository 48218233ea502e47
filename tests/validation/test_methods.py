"""The rows of the comparison."""

from __future__ import annotations

from culnig.validation.methods import METHODS


def test_every_row_has_its_own_name():
    names = [method.name for method in METHODS]
    assert len(set(names)) == len(names)
    assert "gradient-activation + control + exclusion + z" in names
    assert "relp-log-odds from other-cultures + control + shrunken-z 0.5" in names
