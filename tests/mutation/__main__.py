"""Put small slips into the code, one at a time, and see whether a test fails: `python -m tests.mutation`.

A sample is drawn, as many from each folder, by the hash of the seed and the change, so that it stays the same
while the rest of the code changes. For each slip the tests that run its line are asked, first those of the
file's own test file, then the quickest; then the others of the own file, which may share what is computed
once. Slips that `equivalent.toml` explains are not counted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.mutation.changes import Change, changes_of
from tests.mutation.suite import (
    FOLDERS,
    ROOT,
    Coverage,
    Server,
    Verdict,
    forked,
    import_changed,
    import_libraries,
    measured,
    run_pytest,
)

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[no-redef]

TARGETS = {
    **{
        name: (name,)
        for name in ("core", "selection", "evaluation", "scoring", "store", "reanalysis", "benchmarks")
    },
    "inference": ("inference/answers.py", "inference/readout.py"),
    "training": ("training/ranking.py", "training/arms_table.py"),
}
"""Files and folders of the package that decide numbers or keep data, by the name under which they count."""
DRAWINGS = ("core/plots.py", "core/plot_style.py", "core/progress.py", "core/notebook.py")
"""Left out: what only draws or shows."""
EQUIVALENT = Path(__file__).parent / "equivalent.toml"
LEAST = {"all": 0.9, "folder": 0.85}
"""Share of slips that tests must notice."""
LONGER = 10
"""Times as long as the tests of a slip take without it, after which it counts as noticed: it never ends."""


@dataclass(frozen=True)
class Result:
    """What became of a slip."""

    change: Change
    by: str
    """The test that failed; empty if none did."""
    n_tests: int
    n_left: int
    """Tests that were not asked for want of time."""


class Tests:
    """Which tests to ask about a line."""

    def __init__(self, coverage: Sequence[Coverage]) -> None:
        self._seconds: dict[str, float] = {}
        self._shared: dict[str, dict[tuple[str, str], float]] = {}
        """Seconds of the shared fixtures of each test, by the file and the name of the fixture."""
        self._by_line: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        self._by_file: defaultdict[str, set[str]] = defaultdict(set)
        self._of_file: defaultdict[str, set[str]] = defaultdict(set)
        for own in coverage:
            self._seconds |= own.seconds
            for test in own.seconds:
                self._of_file[_file(test)].add(test)
                self._shared[test] = {(_file(test), name): own.shared[name] for name in own.uses[test]}
            for file, lines in own.lines.items():
                for line, tests in lines.items():
                    self._by_line[file, int(line)].update(tests)
                    self._by_file[file].update(tests)

    def of(self, change: Change, most_seconds: float) -> tuple[dict[str, float], int]:
        """Tests in the order in which they are asked, with the seconds of each, and how many that run the
        line are left out for want of time.
        """
        folder, _, name = change.file.removeprefix("culnig/").rpartition("/")
        mirrored = f"tests/{folder}/test_{name}"
        running = self._by_line[change.file, change.line] or self._by_file[change.file]
        if not running:  # a line that runs only when it is imported
            running = {test for test in self._seconds if test.startswith(f"tests/{folder}/")}
        chosen: dict[str, float] = {}
        ready: dict[tuple[str, str], float] = {}
        for test in sorted(
            running | self._of_file[mirrored],
            key=lambda test: (test not in running, _file(test) != mirrored, self._alone(test)),
        ):
            new = {key: own for key, own in self._shared[test].items() if key not in ready}
            seconds = self._seconds[test] + sum(new.values())
            if sum(chosen.values()) + seconds <= most_seconds:
                chosen[test] = seconds
                ready |= new
        return chosen, len(running - chosen.keys())

    def _alone(self, test: str) -> float:
        """Seconds of a test with all its fixtures."""
        return self._seconds[test] + sum(self._shared[test].values())


_OUTCOMES = {0: "NOT NOTICED", 1: "noticed", None: "hangs"}


def _file(test: str) -> str:
    return test.partition("::")[0]


def sample(folders: Sequence[str], number: int, seed: int, explained: Iterable[str]) -> list[Change]:
    """As many changes of each folder, without those that are explained."""
    chosen = []
    for folder in folders:
        paths = [ROOT / "culnig" / part for part in TARGETS[folder]]
        files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
        names = [str(file.relative_to(ROOT)) for file in files if not str(file).endswith(DRAWINGS)]
        found = [change for name in names for change in changes_of(name, (ROOT / name).read_bytes())]
        found = [change for change in found if change.name not in explained]
        found.sort(key=lambda change: hashlib.sha256(f"{seed} {change.name}".encode()).digest())
        chosen += found[: -(-number // len(folders))]
    return chosen


def judged(
    changes: Sequence[Change], asked: Mapping[str, dict[str, float]], jobs: int, folder: Path, seconds: float
) -> dict[str, str]:
    """What noticed each change, by its name; empty where nothing did.

    Changes inside functions are put into a process that has collected the tests; for the others the tests are
    collected anew.
    """
    out = {change.name: folder / f"{number}.txt" for number, change in enumerate(changes)}
    inside = [change for change in changes if change.in_function]
    codes: dict[str, int | None] = {}
    terminal = os.dup(2)

    def serve(server: Server) -> None:
        works = {change.name: partial(_inside, server, change, asked, out[change.name]) for change in inside}
        with (folder / "codes.jsonl").open("w") as file:
            for number, (name, code) in enumerate(forked(works, jobs, LONGER * seconds), start=1):
                file.write(f"{json.dumps([name, code])}\n")
                file.flush()
                os.write(terminal, f"{number}/{len(works)} {name}: {_OUTCOMES.get(code, code)}\n".encode())

    tests = sorted({_file(test) for change in inside for test in asked[change.name]})
    work = partial(run_pytest, tests, Server(folder / "none.txt", serve))
    for _ in forked({"server": work}, 1, 24 * 3_600) if tests else ():
        codes |= dict(json.loads(line) for line in (folder / "codes.jsonl").read_text().splitlines())
    works = {change.name: partial(_anew, change, asked, out[change.name]) for change in changes}
    works = {name: work for name, work in works.items() if codes.get(name, 70) == 70}
    codes |= dict(forked(works, jobs, LONGER * seconds))
    return {name: _noticed(out[name], code) for name, code in codes.items()}


def _noticed(out: Path, code: int | None) -> str:
    failed = out.read_text().splitlines() if out.exists() else []
    if failed or code == 0:
        return next(iter(failed), "")
    return f"({'hangs' if code is None else f'pytest ends with {code}'})"


def _inside(server: Server, change: Change, asked: Mapping[str, dict[str, float]], out: Path) -> int:
    source = (ROOT / change.file).read_bytes()
    server.exchange(ROOT / change.file, source, change.applied(source))
    return server.run(asked[change.name], out)


def _anew(change: Change, asked: Mapping[str, dict[str, float]], out: Path) -> int:
    import_changed(ROOT / change.file, change.applied((ROOT / change.file).read_bytes()))
    return run_pytest(["-x", *asked[change.name]], Verdict(out)) if asked[change.name] else 0


def false_alarms(noticed: Iterable[str], folder: Path) -> list[str]:
    """Tests that noticed a slip but also fail without any."""
    tests, out = sorted({test for test in noticed if "::" in test}), folder / "without.txt"
    for _ in forked({"all": partial(run_pytest, tests, Verdict(out))}, 1, 1_200) if tests else ():
        pass
    return out.read_text().splitlines() if out.exists() else []


def show(results: Sequence[Result]) -> bool:
    """Print every survivor and the shares; whether they are high enough."""
    for result in sorted(results, key=lambda result: result.change.name):
        if not result.by:
            change = result.change
            left = f", {result.n_left} slower ones not asked" if result.n_left else ""
            print(f"{change.file}:{change.line}: {change.what}  ({result.n_tests} tests pass{left})")
            print(f"    {change.name.partition(': ')[2]}")
    noticed, all_slips = Counter[str](), Counter[str]()
    for result in results:
        for name in (_folder(result.change.file), "all"):
            all_slips[name] += 1
            noticed[name] += bool(result.by)
    enough = True
    for name, n in all_slips.items():
        share, least = noticed[name] / n, LEAST["all" if name == "all" else "folder"]
        enough &= share >= least
        print(f"{name:12} {noticed[name]:4} of {n:4}, {share:4.0%}{'' if share >= least else ' (too few)'}")
    return enough


def _folder(file: str) -> str:
    return file.split("/")[1]


def main() -> int:
    """Exit code: 1 if too few slips are noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--folders", default=",".join(TARGETS), help="comma-separated, of %(default)s")
    parser.add_argument("--number", type=int, default=360, help="slips, over all folders (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tests", default=",".join(FOLDERS), help="folders of tests to ask, of %(default)s")
    parser.add_argument("--jobs", type=int, default=1, help="slips at a time")
    parser.add_argument(
        "--seconds", type=float, default=30, help="of tests for a slip, at most (%(default)s)"
    )
    parser.add_argument("--again", action="store_true", help="only the survivors of the last time")
    parser.add_argument(
        "--kept", type=Path, default=ROOT / "build" / "mutants", help="folder of what is measured"
    )
    given = parser.parse_args()
    explained = tomllib.loads(EQUIVALENT.read_text())
    chosen = sample(given.folders.split(","), given.number, given.seed, explained)
    last = given.kept / "survivors.json"
    if given.again:
        names = json.loads(last.read_text())
        chosen = [change for change in chosen if change.name in names]
    folder = import_libraries()
    began = time.monotonic()
    try:
        tests = Tests(measured(given.tests.split(","), given.kept, given.jobs))
        asked = {change.name: tests.of(change, given.seconds) for change in chosen}
        noticed = judged(
            chosen, {name: own for name, (own, _) in asked.items()}, given.jobs, folder, given.seconds
        )
        wrong = false_alarms(noticed.values(), folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    results = [
        Result(change, noticed[change.name], len(asked[change.name][0]), asked[change.name][1])
        for change in chosen
    ]
    last.write_text(json.dumps([result.change.name for result in results if not result.by], indent=1))
    enough = show(results)
    print(
        f"{len(explained)} explained in {EQUIVALENT.name} are not counted; {time.monotonic() - began:.0f} s"
    )
    for test in wrong:
        print(f"{test} fails without any slip: what it noticed does not count")
    return int(not enough or bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
