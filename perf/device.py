"""The kernels and `score` on one GPU: the check to run wherever a device can be had.

    python perf/device.py --out DIR [SECTION …] [--dry]

Needs no network, no weights and at most 8 minutes; sections for which no time is left are skipped.
DIR/device.json is written whole after every section, so a kill loses only the section that runs. A section
that fails has the error as its result, and the next one follows. `--dry` runs everything on the CPU with tiny
shapes.

- `build` installs the checkout, compiled for this device only, unless what is installed runs here. It
  needs nvcc, cmake, ninja, pybind11, scikit-build-core and setuptools.
- `bits` compares every kernel with eager torch: formats, odd shapes, misaligned, another stream, NaN. It
  runs a small case under compute-sanitizer where that is on PATH.
- `bandwidth` compares the kernels' GB/s with those of a device copy.
- `scoring` times a random Llama of 8 B shape, in turns: bare passes, `score_run`, eager torch, captum. It
  counts host synchronisations and compares peak memory with the plan.
- `repeat` tells whether two equal runs have the same bits.
- `command` interrupts `score`, resumes it, and compares it with a run without interruption.

On a bare machine with torch and transformers, carry the checkout and the wheels that it lacks. Download them
beforehand, for the machine's Python (here 3.12):

    pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \\
        --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 -d wheels \\
        hdf5plugin pydantic pydantic-core annotated-types typing-inspection ijson gguf captum

The whole there is one command:

    python3 -m pip install -q --no-index --no-deps --target /tmp/site wheels/*.whl &&
    PYTHONPATH=/tmp/site:$PWD timeout 540 python3 perf/device.py --out results
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the checkout need not be installed

KEYS: dict[str, tuple[str, ...]] = {
    "build": ("built", "modules", "compiler", "architecture"),
    "bits": ("cases", "different", "non_finite", "compute_sanitizer"),
    "bandwidth": ("copy", "kernels"),
    "scoring": ("model", "prompts", "rounds", "ways", "host", "memory", "matmul_tflops"),
    "repeat": ("same_bits", "largest_relative_difference"),
    "command": ("interrupted", "exit_codes", "same_bits", "parts_when_interrupted"),
}
"""The sections, and what each writes."""

MODULES = {
    "bits": "device_kernels",
    "bandwidth": "device_kernels",
    "scoring": "device_scoring",
    "repeat": "device_scoring",
    "command": "device_command",
}
"""Where the sections are; `build` is here, because the others need what it makes."""

MINUTES = 8.0


def device_name(dry: bool) -> str:
    """`cuda`, or `cpu` with `--dry`; SystemExit where there is no device."""
    import torch

    if dry:
        return "cpu"
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device is here; --dry runs the check with tiny shapes on the CPU")
    return "cuda"


def build(dry: bool) -> dict[str, Any]:
    """Install the checkout for this device only, unless it is installed and its kernels run here."""
    import torch

    architecture = "" if dry else "".join(map(str, torch.cuda.get_device_capability()))
    begun = time.perf_counter()
    missing = not _is_installed(dry)
    if missing and dry:
        raise RuntimeError("culnig-engine is not installed; see CONTRIBUTING.md")
    if missing:
        options = f"-DCULNIG_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES={architecture}"
        install = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps")
        _output(*install, "--no-build-isolation", "--editable", str(ROOT), CMAKE_ARGS=options)
        if not _is_installed(dry):
            raise RuntimeError("culnig-engine was installed, but its kernels do not run on this device")
    try:
        compiler = _output("nvcc", "--version").splitlines()[-1]
    except (OSError, RuntimeError):
        compiler = "none"
    seconds = round(time.perf_counter() - begun, 1) if missing else None
    modules = sorted(path.name for path in (ROOT / "culnig").glob("_c*.so"))
    return {"built": seconds, "modules": modules, "compiler": compiler, "architecture": architecture}


def _is_installed(dry: bool) -> bool:
    """Whether plugins are found and, unless dry, the kernels run here: asked in a process of its own."""
    code = "from culnig import registry; registry.benchmark('everyday'); from culnig import _core"
    code += "" if dry else "; from culnig import _cuda; assert _cuda.runs_on(0)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).returncode == 0


def _output(*command: str, **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} …: {(done.stderr or done.stdout).strip()[-1500:]}")
    return done.stdout.strip()


def about_device(dry: bool) -> dict[str, Any]:
    """The machine and, unless dry, its GPU."""
    import torch
    from measuring import machine

    found = machine()
    if not dry:
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "device": properties.name,
            "device_memory": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
        }
    return found


def section_of(name: str) -> Callable[[bool, Path], dict[str, Any]]:
    """The function of a section, imported when it is needed."""
    if name == "build":
        return lambda dry, folder: build(dry)
    section: Callable[[bool, Path], dict[str, Any]] = getattr(importlib.import_module(MODULES[name]), name)
    return section


def write(path: Path, document: dict[str, Any]) -> None:
    """Write the whole document, or nothing."""
    temporary = path.with_suffix(".unfinished")
    temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def run(name: str, dry: bool, folder: Path) -> dict[str, Any]:
    """The results of a section, or its error."""
    begun = time.perf_counter()
    try:
        results = section_of(name)(dry, folder)
        assert set(results) == set(KEYS[name]), f"{name} has {sorted(results)}"
    except Exception as error:
        results = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()[-3000:]}
    for left in ("run", "model", "whole", "stopped"):  # runs take gigabytes
        shutil.rmtree(folder / left, ignore_errors=True)
    return results | {"seconds": round(time.perf_counter() - begun, 1)}


def main() -> int:
    """Run the sections; 1 if one failed or found a difference."""
    parser = argparse.ArgumentParser(description="The kernels and `score` on one GPU.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(KEYS)}; all")
    parser.add_argument("--out", type=Path, required=True, help="folder of device.json")
    parser.add_argument("--dry", action="store_true", help="tiny shapes, on the CPU")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="no section begins later than this")
    asked = parser.parse_args()
    unknown = [name for name in asked.sections if name not in KEYS]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(KEYS)}")
    begun = time.perf_counter()
    device_name(asked.dry)
    asked.out.mkdir(parents=True, exist_ok=True)
    sections: dict[str, Any] = {}
    document: dict[str, Any] = {"dry": asked.dry, "machine": {}, "sections": sections}
    for name in asked.sections or KEYS:
        if time.perf_counter() - begun > 60 * asked.minutes:
            sections[name] = {"error": f"not begun: {asked.minutes} minutes were over"}
        else:
            print(f"{name} …", file=sys.stderr, flush=True)
            sections[name] = run(name, asked.dry, asked.out)
        if not document["machine"] and "error" not in sections.get("build", {}):
            document["machine"] = about_device(asked.dry)
        write(asked.out / "device.json", document)
    print(json.dumps(document, indent=1))
    return int(any(failed(results) for results in sections.values()))


def failed(results: dict[str, Any]) -> bool:
    """Whether a section has an error or found a difference."""
    return bool("error" in results or results.get("different") or results.get("same_bits") is False)


if __name__ == "__main__":
    sys.exit(main())
