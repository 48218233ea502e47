"""The real CUDA module: imports anywhere, its kernels compile without a warning, their code loads ahead."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from machine_code import Kernel, kernels_in, program

from culnig.kernels import AGGREGATORS, DTYPES
from culnig.kernels.choice import cuda_module

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(cuda_module() is None, reason="built without nvcc")
def test_the_module_imports_without_a_driver() -> None:
    code = "from culnig import _cuda; print(_cuda.device_available(), _cuda.runs_on(0))"
    hidden = {"CUDA_VISIBLE_DEVICES": "", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=hidden, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False False"


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
@pytest.mark.parametrize("source", sorted((ROOT / "csrc/cuda").glob("*.cu")), ids=lambda p: p.stem)
def test_nvcc_takes_the_file_that_the_emulation_ran(source: Path, tmp_path: Path) -> None:
    """One architecture and no optimisation keep this short; the build itself makes all of them."""
    command = [
        *("nvcc", "-std=c++17", "--fmad=false", "-arch=sm_80", "-ptx", "--Werror=all-warnings"),
        *(f"-I{ROOT / 'csrc' / folder}" for folder in ("core", "cuda")),
        *(str(source), "-o", str(tmp_path / "kernel.ptx")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "kernel.ptx").read_text()
    assert "fma." not in text
    assert "red.global.add.f" not in text
    assert "atom.global.add.f" not in text


# Machine code


@pytest.fixture(scope="module", params=["sm_80", "sm_90"])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kernel]:
    """The kernels that read activations and gradients, by `max bfloat16`, `token_sums float32` …

    Those for arrays that are not aligned have `unaligned` after it.
    """
    module = cuda_module()
    if module is None:
        pytest.skip("built without nvcc")
    if program("cuobjdump") is None or program("nvdisasm") is None:
        pytest.skip("no disassembler; pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm")
    assert module.__file__
    kernels = kernels_in(Path(module.__file__), request.param, tmp_path_factory.mktemp("code"))
    return {label: kernel for name, kernel in kernels.items() if (label := label_of(name))}


def label_of(mangled: str) -> str | None:
    """`max bfloat16 unaligned` of …item_scores_kernelINS_8BFloat16ELNS_10AggregatorE0ELb0E…"""
    parts = re.search(
        r"(item_scores|token_sums)_kernelINS_\d+(B?Float\d+)E(?:LNS_\d+AggregatorE(\d)E)?Lb([01])E", mangled
    )
    if parts is None:
        return None
    kernel = parts[1] if parts[3] is None else AGGREGATORS[int(parts[3])]
    return f"{kernel} {parts[2].lower()}{'' if parts[4] == '1' else ' unaligned'}"


def test_all_loads_of_a_step_are_issued_before_the_first_is_used(compiled: dict[str, Kernel]) -> None:
    """4 tokens of 16 bytes from two arrays, or 16 tokens of 4 bytes where the order of the tokens counts."""
    in_order = ("sum", "mean", "token_sums")
    expected = {
        f"{kernel} {dtype}": 2 * (16 if kernel in in_order else 4)
        for kernel in (*AGGREGATORS, "token_sums")
        for dtype in DTYPES
    }
    assert {label: compiled[label].loads_in_flight for label in expected} == expected


def test_no_register_is_spilled(compiled: dict[str, Kernel]) -> None:
    """Spills would also come from states that are indexed at run time and so live in memory."""
    assert {label: kernel.spills for label, kernel in compiled.items() if kernel.spills} == {}
    assert len(compiled) == len(DTYPES) * 2 * (len(AGGREGATORS) + 1) - 3  # float32 in order is always aligned


def test_registers_leave_room_for_twenty_warps(compiled: dict[str, Kernel]) -> None:
    """A multiprocessor has 65,536 registers; a warp takes them for 32 lanes."""
    most = {label: kernel.registers for label, kernel in compiled.items() if "unaligned" not in label}
    assert max(most.values()) <= 65_536 // (20 * 32), most


def test_serial_loads_and_spills_are_seen() -> None:
    serial = (
        "@P0 LDG.E.128 R4, desc[UR6][R2.64]",
        "PRMT R9, R5, 0x7610, R9",
        "LDG.E.128 R4, desc[UR6][R2.64]",
    )
    assert Kernel(9, (*serial, "FMUL R1, R4, R4")).loads_in_flight == 1
    together = (
        "LDG.E.U8 R1, desc[UR6][R2.64]",
        "LDG.E.128 R4, desc[UR6][R2.64]",
        "LDG.E.128 R8, desc[UR6][R2.64]",
    )
    assert Kernel(9, (*together, "FMUL R1, R4, R8")).loads_in_flight == 2
    assert Kernel(9, ("STL [R1], R3", "LDL.LU R3, [R1]", "STG.E desc[UR6][R2.64], R3")).spills == 2
