"""What holds for every test: no network, no home folder, no window, the same examples every time."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest
from hypothesis import settings

HOME = tempfile.mkdtemp(prefix="culnig-tests-home-")
"""Stands in for the user's folders. Set here, not in a fixture: libraries read these at import."""

os.environ.update(
    HOME=HOME,
    XDG_CACHE_HOME=f"{HOME}/cache",
    XDG_CONFIG_HOME=f"{HOME}/config",
    XDG_DATA_HOME=f"{HOME}/data",
    HF_HOME=f"{HOME}/huggingface",
    HF_HUB_OFFLINE="1",
    MPLCONFIGDIR=f"{HOME}/matplotlib",
    MPLBACKEND="Agg",
    TOKENIZERS_PARALLELISM="false",
)

settings.register_profile("culnig", deadline=None, database=None, derandomize=True)
settings.load_profile("culnig")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a file that takes its tolerances from `tests.tolerances` compare what a model computes."""
    for item in items:
        names = vars(item.module) if isinstance(item, pytest.Function) else {}
        if any(getattr(value, "__module__", None) == "tests.tolerances" for value in names.values()):
            item.add_marker(pytest.mark.processors)
