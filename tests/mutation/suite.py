"""The tests, run in forked processes that have everything imported; and which tests run which lines.

What is measured is kept in a file, until the project or the file of tests changes. Work of other processes
that tests start is not seen, so some lines have fewer tests than run them.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import importlib.machinery
import json
import math
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from hypothesis import Phase, settings

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
    *("statsmodels.regression.linear_model", "statsmodels.stats.multitest"),
)
FOLDERS = (
    *("core", "selection", "evaluation", "scoring", "store", "reanalysis", "benchmarks", "inference"),
    *("training", "scorers", "lemmatizers", "verification", "cli"),
)
"""Folders of tests that are asked."""
LEFT_OUT = ("cli/test_torchrun.py", "cli/test_interruption.py", "core/test_calibration.py")
"""Files that start processes or simulate for minutes."""
SLOWEST = 20.0
"""Seconds of processor time; slower tests are not asked."""
PATIENCE = 10.0
"""Seconds of processor time."""
OPTIONS = ("-q", "--tb=no", "-s", "-p", "no:cacheprovider", "-p", "no:xdist")
ALREADY_IMPORTED = ("-W", "ignore::pytest.PytestAssertRewriteWarning")


@dataclass
class Coverage:
    """What a file of tests runs."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Of processor time of each test that passes, without the fixtures that it shares with other tests."""
    shared: dict[str, float] = field(default_factory=dict)
    """The same of each shared fixture."""
    uses: dict[str, list[str]] = field(default_factory=dict)
    """Shared fixtures of each test."""
    lines: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """Tests that run a line, by file and number of the line."""


def import_libraries() -> Path:
    """Import what takes seconds, so that forked processes have it; the folder that stands for the user's."""
    home = Path(tempfile.mkdtemp(prefix="culnig-mutants-"))
    for name in ("HOME", "HF_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "PYTEST_DEBUG_TEMPROOT"):
        os.environ[name] = str(home)
    os.environ.update(
        MPLBACKEND="Agg", HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false"
    )
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # collections in the forked processes would copy all that memory
    return home


def forked(
    works: Mapping[Any, Callable[[], int]], jobs: int, seconds: float
) -> Iterator[tuple[Any, int | None]]:
    """Run works in processes, at most `jobs` at a time; their keys and exit codes.

    None after `seconds` of processor time, which does not depend on what else runs, or ten times as long.
    """
    waiting, running = list(works), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            key = waiting.pop(0)
            running[_start(works[key], int(seconds))] = key, time.monotonic() + 10 * seconds
        for pid, (key, until) in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended and time.monotonic() < until:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # with all that it has started
            if not ended:
                os.waitpid(pid, 0)
            del running[pid]
            code = os.waitstatus_to_exitcode(status) if ended else None
            yield key, None if code in (-signal.SIGXCPU, -signal.SIGALRM) else code
        time.sleep(0.005)


def _start(work: Callable[[], int], seconds: int) -> int:
    if pid := os.fork():
        return pid
    os.setsid()
    _end_after(seconds)
    code, error, nowhere = 70, os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        code = work()
    except BaseException:
        os.dup2(error, 2)
        traceback.print_exc()
    finally:
        os._exit(code)


def _end_after(seconds: float) -> None:
    """End this process after so much more processor time, or ten times as long."""
    until = math.ceil(time.process_time() + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_REAL, 10 * seconds)


def _processor_time() -> float:
    """Of this process and of those that it has waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def run_pytest(arguments: Sequence[str], plugin: object) -> int:
    """Exit code of pytest, in a process that has the libraries and nothing of the project."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "culnig")]:
        del sys.modules[name]
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    return int(pytest.main([*OPTIONS, *ALREADY_IMPORTED, *arguments], plugins=[plugin]))


class _Measuring:
    """A pytest plugin that says which test runs which line.

    What a shared fixture runs counts for every test that uses it, not only for the first.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.users: defaultdict[str, list[str]] = defaultdict(list)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.shared: defaultdict[str, float] = defaultdict(float)
        self.uses: dict[str, list[str]] = {}
        self.not_passed: set[str] = set()

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        import coverage

        source = [str(ROOT / "culnig")]
        self.coverage = coverage.Coverage(data_file=None, source=source, config_file=False)
        self.coverage.set_option(
            "run:disable_warnings", ["no-data-collected"]
        )  # all tests of a file are slow
        self.coverage.start()
        self.coverage.switch_context("import")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.uses[item.nodeid] = list(getattr(item, "fixturenames", ()))
        for name in self.uses[item.nodeid]:
            self.users[f"fixture {name}"].append(item.nodeid)
        self.users[item.nodeid] = [item.nodeid]
        self.context = item.nodeid
        self.coverage.switch_context(item.nodeid)
        before = _processor_time() - sum(self.shared.values())
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = _processor_time() - sum(self.shared.values()) - before

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        before, began = self.context, _processor_time()
        if fixturedef.scope != "function":
            self.context = f"fixture {fixturedef.argname}"
            self.coverage.switch_context(self.context)
        try:
            return (yield)
        finally:
            self.context = before
            self.coverage.switch_context(before)
            if fixturedef.scope != "function":
                self.shared[fixturedef.argname] += _processor_time() - began

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome != "passed":
            self.not_passed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        data = self.coverage.get_data()
        seconds = {
            test: round(own, 3)
            for test, own in self.seconds.items()
            if test not in self.not_passed and own <= SLOWEST
        }
        shared = {name: round(own, 3) for name, own in self.shared.items()}
        uses = {test: [name for name in self.uses[test] if name in shared] for test in seconds}
        result = Coverage(seconds, shared, uses)
        for file in data.measured_files():
            lines = result.lines[str(Path(file).relative_to(ROOT))] = {}
            for line, contexts in data.contexts_by_lineno(file).items():
                tests = {test for context in contexts for test in self.users.get(context, ())}
                if tests := tests & seconds.keys():
                    lines[str(line)] = sorted(tests)
        self.out.write_text(json.dumps(vars(result)))


def measured(folders: Sequence[str], kept: Path, jobs: int) -> list[Coverage]:
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
    missing = {
        file: lambda file=file, path=path: run_pytest([str(file), "-m", "not slow"], _Measuring(path))
        for file, path in paths.items()
        if not path.exists()
    }
    for number, (file, code) in enumerate(forked(missing, jobs, 600), start=1):
        problem = "" if code in (0, 5) else f", which fails without any slip ({code})"
        print(f"measured {number}/{len(missing)} {file}{problem}", file=sys.stderr, flush=True)
    return [Coverage(**json.loads(path.read_text())) for path in paths.values() if path.exists()]


def _digest(source: bytes, file: Path) -> str:
    return hashlib.sha256(source + (ROOT / file).read_bytes() + str(file).encode()).hexdigest()[:16]


class Verdict:
    """A pytest plugin that writes down which tests fail, and lets hypothesis not look for simpler cases."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def pytest_sessionstart(self) -> None:
        settings.register_profile("mutants", settings(), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            with self.out.open("a") as file:
                file.write(f"{report.nodeid}\n")


class Server(Verdict):
    """A pytest plugin that collects tests once, and hands them to `serve` instead of running them."""

    def __init__(self, out: Path, serve: Callable[[Server], None]) -> None:
        super().__init__(out)
        self._serve = serve

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        self.functions = functions_of(ROOT)
        gc.freeze()
        self._serve(self)
        return True

    def run(self, seconds: Mapping[str, float], out: Path) -> int:
        """Run tests until one fails, whose name is written to `out`; in a forked process.

        `seconds` of processor time is what each test takes as a rule. One that takes ten times as long and
        `PATIENCE` more ends the process.
        """
        self.out = out
        items = [self._items[test] for test in seconds if test in self._items]
        for item, following in zip(items, [*items[1:], None], strict=True):
            _end_after(PATIENCE + 10 * seconds[item.nodeid])
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if out.exists():
                return 1
        return 0

    def exchange(self, path: Path, source: bytes, changed: bytes) -> None:
        """Give the functions of a file the code of its changed source."""
        old, new = (list(_outer_functions(compile(text, str(path), "exec"))) for text in (source, changed))
        for before, after in zip(old, new, strict=True):
            for function in self.functions:
                if function.__code__ == before and function.__code__.co_filename == str(path):
                    function.__code__ = after


def functions_of(folder: Path) -> list[FunctionType]:
    """All functions whose code is from a file below the folder."""
    gc.unfreeze()  # frozen objects, as those that tests/conftest.py has seen, are not listed
    functions: list[FunctionType] = [each for each in gc.get_objects() if type(each) is FunctionType]
    return [each for each in functions if each.__code__.co_filename.startswith(str(folder))]


def _outer_functions(code: CodeType) -> Iterator[CodeType]:
    """Code of the functions of a module and of its classes, without those inside functions."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            is_function = bool(inner.co_flags & 0x1)  # CO_OPTIMIZED: not the body of a class
            yield from [inner] if is_function else _outer_functions(inner)


def import_changed(path: Path, changed: bytes) -> None:
    """Let the coming import of a file take its changed source."""
    loader = importlib.machinery.SourceFileLoader
    original = loader.get_code

    def get_code(self: Any, name: str) -> Any:
        is_changed = Path(self.path) == path
        return compile(changed, str(path), "exec") if is_changed else original(self, name)

    loader.get_code = get_code  # type: ignore[method-assign]
