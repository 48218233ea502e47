"""What `evaluate` and `compare` print, from numbers by hand."""

from __future__ import annotations

import pytest

from culnig.cli.evaluation_tables import print_matrix
from tests.reporting.test_summary import matrix


@pytest.mark.parametrize(
    ("dominance", "said"), [(0.3, "falls by +30.0 points more"), (-0.3, "by -30.0 points")]
)
def test_the_sign_of_dominance_is_said(capsys, dominance, said):
    print_matrix(matrix(dominance))
    assert said in " ".join(capsys.readouterr().out.split())
