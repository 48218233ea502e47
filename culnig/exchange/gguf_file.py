"""A model folder as a GGUF file, by the converter of llama.cpp where it is installed."""

from __future__ import annotations

import math
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from culnig.errors import EnvironmentProblem, option
from culnig.models.checkpoint import stored_tensors
from culnig.store.files import remove

CONVERTER = "convert_hf_to_gguf.py"
GGUF_FILE = "model.gguf"
_TYPES = {"F64": "f32", "F32": "f32", "F16": "f16", "BF16": "bf16"}
"""The converter's names of number formats."""


def find_converter() -> Path:
    """The converter among the commands of this machine; EnvironmentProblem where it is not installed."""
    path = shutil.which(CONVERTER)
    if path is None:
        raise EnvironmentProblem(
            f"{option('gguf')} needs {CONVERTER} of llama.cpp, and no folder of PATH holds it; add the "
            "folder of llama.cpp's source to PATH (a clone, or vendor/llama.cpp in the source package of "
            f"llama-cpp-python), or leave {option('gguf')} out and convert the exported folder by hand"
        )
    return Path(path)


def convert(converter: Path, folder: Path) -> str | None:
    """Write the model in `folder` to `model.gguf` there; what the converter said if it could not."""
    out = folder / GGUF_FILE
    done = subprocess.run(
        [sys.executable, str(converter), *_arguments(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0 and out.is_file():
        return None
    remove(out)
    said = (done.stderr or done.stdout).strip().splitlines()[-3:]
    return " ".join(said) or "no reason given"


def unconverted(converter: Path, folder: Path, said: str) -> EnvironmentProblem:
    """The error for an exported folder without its GGUF file."""
    command = shlex.join(["python", str(converter), *_arguments(folder)])
    return EnvironmentProblem(
        f"{folder} is complete, but {converter.name} could not make a GGUF file of it: {said}. Once that is "
        f"mended, only the conversion has to be repeated: {command}"
    )


def _arguments(folder: Path) -> list[str]:
    return [str(folder), "--outfile", str(folder / GGUF_FILE), "--outtype", _type(folder)]


def _type(folder: Path) -> str:
    """Number format of most weights. The converter's own choice, `auto`, would round float32 to 16 bits."""
    n_numbers: Counter[str] = Counter()
    for stored in stored_tensors(folder.name, folder).values():
        n_numbers[stored.number_format] += math.prod(stored.shape)
    ((most, _),) = n_numbers.most_common(1)
    return _TYPES.get(most, "auto")
