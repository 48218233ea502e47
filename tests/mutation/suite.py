"""A copy of the project whose tests run in forked processes, which have the big libraries already.

Which tests run which lines is measured once and kept in a file, until the project or a file of tests changes.
Work of other processes that tests start is not seen, so some lines have fewer tests than run them.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import pytest
from hypothesis import Phase, settings

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
LIBRARIES = (
    *(
        "torch",
        "transformers",
        "transformers.models.llama.modeling_llama",
        "scipy.stats",
        "h5py",
        "hdf5plugin",
    ),
    *("pydantic", "click", "rich.console", "jinja2", "yaml", "matplotlib.figure", "ijson", "tokenizers"),
    *("statsmodels.regression.linear_model", "statsmodels.stats.multitest", "peft"),
)
FOLDERS = (
    *("core", "selection", "evaluation", "scoring", "store", "reanalysis", "benchmarks", "inference"),
    *("training", "scorers", "cli"),
)
"""Folders of tests that are asked."""
LEFT_OUT = ("cli/test_torchrun.py", "cli/test_interruption.py", "core/test_calibration.py")
"""Files that start processes or simulate for minutes."""
SLOWEST = 6.0
"""Seconds; slower tests are not asked."""


@dataclass
class Coverage:
    """What a file of tests runs."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Of each test that passes."""
    lines: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """Tests that run a line, by file and number of the line."""


class Tree:
    """A copy of the project in a temporary folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="culnig-mutants-"))
        names = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, stdout=-1, check=True
        )
        built = [str(path.relative_to(ROOT)) for path in (ROOT / "culnig").rglob("*.so")]
        for name in {*names.stdout.decode().splitlines(), *built}:
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.folder / name)
        python = [sys.executable, "-m", "compileall", "-q", "culnig"]
        subprocess.run(python, cwd=self.folder, check=True)

    def run(self, arguments: Sequence[str], plugin: object, seconds: float) -> int | None:
        """Exit code of pytest in a process of its own; None if it took longer than `seconds`."""
        if (pid := os.fork()) == 0:
            os.setsid()
            code = 70
            try:
                code = self._pytest(arguments, plugin)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                _end_group(pid)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        _end_group(pid)
        os.waitpid(pid, 0)
        return None

    def _pytest(self, arguments: Sequence[str], plugin: object) -> int:
        os.chdir(self.folder)
        sys.path.insert(0, str(self.folder))
        os.environ["PYTHONPATH"] = os.pathsep.join([*sys.path[:1], os.environ.get("PYTHONPATH", "")])
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "culnig")]:
            del sys.modules[name]
        nowhere, error = os.open(os.devnull, os.O_WRONLY), os.dup(2)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        plain = (
            "-q",
            "--tb=no",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-p",
            "no:randomly",
        )
        try:
            return int(pytest.main([*plain, *arguments], plugins=[plugin]))
        finally:
            os.dup2(error, 2)


def _end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def import_libraries() -> None:
    """Import what takes seconds, so that forked processes have it; user folders are temporary ones."""
    home = tempfile.mkdtemp(prefix="culnig-mutants-home-")
    for name in ("HOME", "HF_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        os.environ[name] = home
    os.environ.update(
        MPLBACKEND="Agg", HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false"
    )
    for name in LIBRARIES:
        importlib.import_module(name)
    shutil.rmtree(home)
    gc.freeze()  # collections in the forked processes would copy all that memory


class _Measuring:
    """A pytest plugin that says which test runs which line.

    What a shared fixture runs counts for every test that uses it, not only for the first.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.users: defaultdict[str, list[str]] = defaultdict(list)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.not_passed: dict[str, str] = {}

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        import coverage

        self.coverage = coverage.Coverage(
            data_file=None, source=[str(Path("culnig").resolve())], config_file=False
        )
        self.coverage.start()
        self.coverage.switch_context("import")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        for name in getattr(item, "fixturenames", ()):
            self.users[f"fixture {name}"].append(item.nodeid)
        self.users[item.nodeid] = [item.nodeid]
        self.context = item.nodeid
        self.coverage.switch_context(item.nodeid)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        before = self.context
        if fixturedef.scope != "function":
            self.context = f"fixture {fixturedef.argname}"
            self.coverage.switch_context(self.context)
        try:
            return (yield)
        finally:
            self.context = before
            self.coverage.switch_context(before)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.outcome != "passed":
            self.not_passed[report.nodeid] = report.outcome

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        data = self.coverage.get_data()
        result = Coverage(
            {
                test: round(own, 3)
                for test, own in self.seconds.items()
                if test not in self.not_passed and own <= SLOWEST
            }
        )
        for file in data.measured_files():
            lines = result.lines[str(Path(file).relative_to(Path.cwd()))] = {}
            for line, contexts in data.contexts_by_lineno(file).items():
                tests = {test for context in contexts for test in self.users.get(context, ())}
                if tests := tests & result.seconds.keys():
                    lines[str(line)] = sorted(tests)
        self.out.write_text(json.dumps(vars(result)))


class Workers:
    """Threads with a tree each, which run tests in processes."""

    def __init__(self, jobs: int) -> None:
        self.trees = [Tree() for _ in range(jobs)]
        self._free: SimpleQueue[Tree] = SimpleQueue()
        for tree in self.trees:
            self._free.put(tree)
        self._threads = ThreadPoolExecutor(jobs)

    def each(self, work: Callable[..., T], values: Iterable[tuple[Any, ...]]) -> Iterator[T]:
        """`work(tree, *value)` of each value, in the order in which they end."""

        def with_tree(value: tuple[Any, ...]) -> T:
            tree = self._free.get()
            try:
                return work(tree, *value)
            finally:
                self._free.put(tree)

        for future in as_completed([self._threads.submit(with_tree, value) for value in values]):
            yield future.result()

    def close(self) -> None:
        """Stop, and remove the trees."""
        self._threads.shutdown(cancel_futures=True)
        for tree in self.trees:
            shutil.rmtree(tree.folder)


def measured(workers: Workers, folders: Sequence[str], kept: Path) -> list[Coverage]:
    """What every file of tests runs, from the folder `kept` where the project and the file are the same."""
    kept.mkdir(parents=True, exist_ok=True)
    files = [
        path.relative_to(ROOT)
        for folder in folders
        for path in sorted((ROOT / "tests" / folder).rglob("test_*.py"))
        if not str(path).endswith(LEFT_OUT)
    ]
    source = b"".join(path.read_bytes() for path in sorted((ROOT / "culnig").rglob("*.py")))
    paths = {file: kept / f"{_digest(source, file)}.json" for file in files}
    missing = [(file, paths[file]) for file in files if not paths[file].exists()]
    for number, (file, code) in enumerate(workers.each(_measure, missing), start=1):
        problem = "" if code in (0, 5) else f", which fails without any slip ({code})"
        print(f"measured {number}/{len(missing)} {file}{problem}", file=sys.stderr, flush=True)
    return [Coverage(**json.loads(path.read_text())) for path in paths.values() if path.exists()]


def _measure(tree: Tree, file: Path, out: Path) -> tuple[Path, int | None]:
    return file, tree.run([str(file), "-m", "not slow"], _Measuring(out), 600)


def _digest(source: bytes, file: Path) -> str:
    return hashlib.sha256(source + (ROOT / file).read_bytes() + str(file).encode()).hexdigest()[:16]


class Verdict:
    """A pytest plugin that writes down which test failed, and lets hypothesis not look for simpler cases."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def pytest_sessionstart(self) -> None:
        settings.register_profile("mutants", settings(), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            with self.out.open("a") as file:
                file.write(f"{report.nodeid}\n")
