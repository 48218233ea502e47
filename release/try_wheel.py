"""Install a wheel in an empty environment without a compiler, and use it.

    python release/try_wheel.py dist/culnig_engine-….whl [--without-demo]

The environment has the wheel and nothing else. Its dependencies are those of the Python that runs this
script, found through a path file, so that torch is not downloaded again. PATH holds the environment's own
programs only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "clang++", "cl", "nvcc", "cmake", "ninja", "make")


def main() -> None:
    """Try the wheel that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--without-demo", action="store_true", help="only verify the kernels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="culnig-wheel-") as name:
        folder = Path(name)
        environment = install(options.wheel.resolve(), folder / "environment")
        program = Path(environment["PATH"]) / ("culnig-engine.exe" if os.name == "nt" else "culnig-engine")
        use(program, folder, environment, "--version")
        use(program, folder, environment, "verify", "--kernels")
        if not options.without_demo:
            use(program, folder, environment, "demo", "--quick", "--output", "demo")
            report = (folder / "demo" / "report.html").stat().st_size
            print(f"the demo's report has {report:,} bytes")


def install(wheel: Path, folder: Path) -> dict[str, str]:
    """An environment with the wheel; returns the variables to use it with."""
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--no-deps"]
    subprocess.run([*command, "--quiet", str(wheel)], check=True)
    own = Path(
        subprocess.run(
            [str(python), "-c", "import sysconfig; print(sysconfig.get_path('platlib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    dependencies = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (own / "dependencies.pth").write_text("\n".join(dependencies) + "\n", encoding="utf-8")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "PATH": str(python.parent),
        "HF_HUB_OFFLINE": "1",
    }
    for compiler in COMPILERS:
        if shutil.which(compiler, path=environment["PATH"]):
            raise SystemExit(f"{compiler} is on PATH; this was to show that none is needed")
    return environment


def use(program: Path, folder: Path, environment: dict[str, str], *arguments: str) -> None:
    """Run a command of the installed wheel; its failure ends this program with its code."""
    print("+ culnig-engine", *arguments, flush=True)
    done = subprocess.run([str(program), *arguments], cwd=folder, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    _check_origin(program, folder, environment)


def _check_origin(program: Path, folder: Path, environment: dict[str, str]) -> None:
    """The package that was used is the wheel's, and no checkout's."""
    code = "import culnig; print(culnig.__file__)"
    origin = subprocess.run(
        [str(program.with_name(program.name.replace("culnig-engine", "python"))), "-c", code],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    if not Path(origin).resolve().is_relative_to(program.parents[1].resolve()):
        raise SystemExit(f"{origin} was used, not the wheel")


if __name__ == "__main__":
    main()
