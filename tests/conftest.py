"""What holds for every test: no network, no home folder, no window, the same examples every time."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from typing import Any

import pytest
from hypothesis import settings

IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
HOME = os.environ["HOME"] if IS_WORKER else tempfile.mkdtemp(prefix="culnig-tests-home-")
"""Stands in for the user's folders. Set here, not in a fixture: libraries read these at import.

Workers share it: what one of them caches, such as the embedded model, another finds.
"""

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

os.environ.pop("COLUMNS", None)  # tables that are not on a terminal are as wide as they need

settings.register_profile("culnig", deadline=None, database=None, derandomize=True)
settings.load_profile("culnig")

SLOWEST = (
    "integration/test_kills.py",
    "cli/test_embedded.py",
    "evaluation/test_planted.py",
    "training/test_embedded.py",
    "scoring/test_kill.py",
    "validation/test_validate.py",
    "cli/test_torchrun.py",
    "cli/test_plan_and_verify.py",
    "cli/test_train.py",
    "planning/test_paper_models.py",
    "planning/test_large_models.py",
    "integration/test_documentation.py",
    "models/test_families.py",
    "kernels/test_instructions.py",
    "integration/test_without_the_command_line.py",
    "cli/test_store_options.py",
    "integration/test_outputs.py",
    "planning/test_depth.py",
    "studies/test_running.py",
    "core/test_calibration.py",
    "models/test_cache.py",
    "reporting/test_browser_layout.py",
    "integration/test_fsdp.py",
    "validation/test_planted_experts.py",
    "models/test_sharding.py",
    "scoring/test_keepers.py",
)
"""Files that take twenty seconds or more, longest first: no worker is left alone with one in the end."""

TOGETHER = {
    "training/test_planted.py": "evaluation/test_planted.py",
}
"""Files that go to the worker of another, which has trained their model."""


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.freeze()  # every training collects garbage: among what all tests import there is none


def pytest_unconfigure(config: pytest.Config) -> None:
    if not IS_WORKER:
        shutil.rmtree(HOME, ignore_errors=True)


def _file(node_id: str) -> str:
    """The file of a test, below the folder of tests."""
    return node_id.partition("::")[0].removeprefix("tests/")


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """As `--dist loadfile`, a file of tests at a time; those of `TOGETHER` as if they were one."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return TOGETHER.get(_file(nodeid), _file(nodeid))

    return ByFile(config, log) if config.option.dist == "loadfile" else None


def _place(file: str) -> int:
    file = TOGETHER.get(file, file)
    return SLOWEST.index(file) if file in SLOWEST else len(SLOWEST)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files come first. Files that use `tests.tolerances` compare what a model computes."""
    items.sort(key=lambda item: _place(_file(item.nodeid)))
    for item in items:
        names = vars(item.module) if isinstance(item, pytest.Function) else {}
        if any(getattr(value, "__module__", None) == "tests.tolerances" for value in names.values()):
            item.add_marker(pytest.mark.processors)
