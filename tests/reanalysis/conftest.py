from __future__ import annotations

import pytest

from culnig.store.run import Run
from tests.stored_runs import score_tiny


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> dict[str, Run]:
    """The same scoring at every level."""
    folder = tmp_path_factory.mktemp("levels")
    return {level: score_tiny(folder / level, level) for level in ("culture", "item", "token")}
