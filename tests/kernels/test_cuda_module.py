"""The real CUDA module: imports anywhere, and its kernels compile without a warning."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from culnig.kernels.choice import cuda_module

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(cuda_module() is None, reason="built without nvcc")
def test_the_module_imports_without_a_driver() -> None:
    code = "from culnig import _cuda; print(_cuda.device_available())"
    hidden = {"CUDA_VISIBLE_DEVICES": "", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=hidden, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


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


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
def test_item_scores_loads_sixteen_bytes_at_a_time(tmp_path: Path) -> None:
    command = [
        *("nvcc", "-std=c++17", "--fmad=false", "-arch=sm_80", "-ptx"),
        *(f"-I{ROOT / 'csrc' / folder}" for folder in ("core", "cuda")),
        *(str(ROOT / "csrc/cuda/item_scores.cu"), "-o", str(tmp_path / "kernel.ptx")),
    ]
    subprocess.run(command, check=True)
    text = (tmp_path / "kernel.ptx").read_text()
    assert "ld.global.v4.f32" in text
    assert "ld.global.v4.u32" in text
