"""A guard against slow kernels, independent of clocks and of the machine's load: instructions per value.

valgrind counts them in a program built from the kernels' own sources, with AVX2 (it supports nothing wider).
The bounds are the counts with g++ 12 plus a third; a loop that is not vectorised needs about eight times
as many.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    shutil.which("valgrind") is None or platform.machine() != "x86_64",
    reason="counting instructions needs valgrind on x86-64; install valgrind",
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("instructions") / "counted"
    command = [
        os.environ.get("CXX", "c++"),
        *("-std=c++17", "-O3", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
        *(f"-I{ROOT / 'csrc' / folder}" for folder in ("core", "cpu")),
        str(ROOT / "tests/kernels/instructions/counted.cpp"),
        *map(str, sorted((ROOT / "csrc/cpu").glob("*.cpp"))),
        *("-pthread", "-o", str(made)),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return made


def instructions(program: Path, kernel: str, n: int, calls: int) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(program)]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        [*command, kernel, str(n), str(calls)], capture_output=True, text=True, check=True, env=environment
    )
    counted = re.search(r"Collected : (\d+)", done.stderr)
    assert counted, done.stderr
    return int(counted[1])


@pytest.mark.parametrize(
    ("kernel", "n", "values_each", "most"),
    [
        ("score_reduce float32", 32, 4 * 2048, 1.15),
        ("score_reduce bfloat16", 32, 4 * 2048, 1.95),
        ("token_sums float32", 32, 4 * 2048, 4.6),
        ("top_k", 200_000, 1, 11.9),
    ],
)
def test_instructions_per_value(program: Path, kernel: str, n: int, values_each: int, most: float) -> None:
    one, two = (instructions(program, kernel, n, calls) for calls in (1, 2))
    per_value = (two - one) / (n * values_each)
    assert 0.1 < per_value < most
