"""A model folder as a GGUF file, by the converter of llama.cpp where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from culnig.errors import EnvironmentProblem, option

CONVERTER = "convert_hf_to_gguf.py"


def find_converter() -> Path:
    """The converter among the commands of this machine; EnvironmentProblem where it is not installed."""
    path = shutil.which(CONVERTER)
    if path is None:
        raise EnvironmentProblem(
            f"{option('gguf')} needs {CONVERTER} of llama.cpp, and no folder of PATH holds it; install "
            f"llama.cpp (`brew install llama.cpp`, or clone it and add its folder to PATH), or leave "
            f"{option('gguf')} out: any converter reads the exported folder"
        )
    return Path(path)


def convert(converter: Path, folder: Path, out: Path) -> None:
    """Write the model in `folder` to the GGUF file `out`; EnvironmentProblem with what the converter said."""
    done = subprocess.run(
        [sys.executable, str(converter), str(folder), "--outfile", str(out), "--outtype", "auto"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not out.is_file():
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise EnvironmentProblem(
            f"{converter.name} could not convert the exported model: {' '.join(said) or 'no reason given'}. "
            f"Convert the folder by hand, or leave {option('gguf')} out"
        )
