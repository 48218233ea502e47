"""The CUDA module compiled for the CPU: the unchanged .cu files with a stand-in for the CUDA runtime."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pybind11
import pytest
import torch

from culnig import _core
from culnig.kernels.cuda import CudaBackend

ROOT = Path(__file__).parents[2]
EMULATION = Path(__file__).parent / "emulation"

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")


if overlay := os.environ.get(
    "CULNIG_SANITIZE"
):  # set by csrc/sanitize.sh: the sanitized module must be the one under test
    assert Path(_core.__file__).is_relative_to(overlay), _core.__file__


def build_emulated_module() -> Path:
    """Path of the compiled module; built again only when a source has changed."""
    options = SANITIZERS if os.environ.get("CULNIG_SANITIZE") else ()
    units = [*sorted((ROOT / "csrc/cuda").glob("*.cu")), ROOT / "csrc/bindings/cuda_module.cpp"]
    includes = [EMULATION, ROOT / "csrc/core", ROOT / "csrc/cuda"]
    read = [*units, *(header for folder in includes for header in sorted(folder.glob("*.h")))]
    digest = hashlib.sha256(pybind11.__version__.encode())
    digest.update(f"{sysconfig.get_config_var('EXT_SUFFIX')} {options}".encode())
    for path in [*read, Path(__file__)]:
        digest.update(path.read_bytes())
    module = ROOT / "build" / "emulated" / digest.hexdigest()[:16] / "_cuda.so"
    if module.exists():
        return module
    module.parent.mkdir(parents=True, exist_ok=True)
    unfinished = module.with_suffix(f".{os.getpid()}")
    folders = [*includes, pybind11.get_include(), sysconfig.get_path("include")]
    command = [
        os.environ.get("CXX", "c++"),
        *("-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-fvisibility=hidden"),
        *("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
        *options,
        *(f"-I{folder}" for folder in folders),
        *("-x", "c++", *map(str, units), "-o", str(unfinished)),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    unfinished.rename(module)
    return module


def load_emulated_module(path: Path) -> ModuleType:
    """The compiled module of `build_emulated_module`."""
    spec = importlib.util.spec_from_file_location("_cuda", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def emulated_module() -> ModuleType:
    return load_emulated_module(build_emulated_module())


class EmulatedCudaBackend(CudaBackend):
    """The CUDA backend on CPU tensors: there is no device to switch to and no stream."""

    @contextlib.contextmanager
    def _on(self, device: torch.device) -> Iterator[int]:
        yield 0


@pytest.fixture(scope="session")
def emulated_cuda(emulated_module: ModuleType) -> EmulatedCudaBackend:
    return EmulatedCudaBackend(emulated_module)
