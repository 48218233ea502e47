"""What the compiled CUDA module makes a device do: its instructions, read with NVIDIA's disassembler.

The programs come from PATH or from the packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


def program(name: str) -> str | None:
    """Path of `cuobjdump` or `nvdisasm`, None where there is none."""
    if path := shutil.which(name):
        return path
    try:
        files = importlib.metadata.files(f"nvidia-cuda-{name}") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((str(file.locate()) for file in files if file.name == name), None)


@dataclass(frozen=True)
class Kernel:
    """One kernel of one architecture."""

    registers: int
    instructions: tuple[str, ...]

    @property
    def spills(self) -> int:
        """Instructions that move registers to memory and back."""
        return sum(_opcode(line).split(".")[0] in ("STL", "LDL") for line in self.instructions)

    @property
    def loads_in_flight(self) -> int:
        """Most loads of activations and gradients that are issued before one of them is used.

        These are the widest loads of the kernel; others read the mask.
        """
        bits = max((_load_bits(line) for line in self.instructions), default=0)
        in_flight: dict[int, int] = {}  # register that a load fills: number of the load
        most = n_loads = 0
        for line in self.instructions:
            is_load = _load_bits(line) == bits > 0
            registers = [int(number) for number in re.findall(r"\bR(\d+)", line)]
            if in_flight.keys() & set(registers[is_load:]):
                most = max(most, len(set(in_flight.values())))
                in_flight = {}
            if is_load:
                n_loads += 1
                first = registers[0]
                in_flight |= dict.fromkeys(range(first, first + max(1, bits // 32)), n_loads)
        return most


def _opcode(line: str) -> str:
    return re.sub(r"^@!?U?P\w+ ", "", line).split()[0]


def _load_bits(line: str) -> int:
    """Bits that a load from device memory brings to each lane, 0 for anything else and for bytes."""
    opcode, *modifiers = _opcode(line).split(".")
    if opcode != "LDG" or {"U8", "S8"} & set(modifiers):
        return 0
    return 16 if "U16" in modifiers else next((int(one) for one in modifiers if one in ("64", "128")), 32)


def kernels_in(module: Path, architecture: str, folder: Path) -> dict[str, Kernel]:
    """The kernels of a compiled module for `sm_80` or the like, by mangled name; `folder` takes files."""
    cuobjdump, nvdisasm = program("cuobjdump"), program("nvdisasm")
    assert cuobjdump
    assert nvdisasm

    def output(*command: object) -> str:
        return subprocess.run(
            list(map(str, command)), cwd=folder, capture_output=True, text=True, check=True
        ).stdout

    output(cuobjdump, "-xelf", "all", module)
    used = output(cuobjdump, "-res-usage", "-arch", architecture, module)
    registers = dict(re.findall(r"Function (\w+):\s+REG:(\d+)", used))
    read: dict[str, Kernel] = {}
    for path in sorted(folder.glob(f"*.{architecture}.cubin")):
        for section in re.split(r"\n\t?\.section\s+\.text\.", output(nvdisasm, "-c", path))[1:]:
            name = section.split(",")[0]
            lines = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(.*?) ;", section, re.MULTILINE)
            read[name] = Kernel(int(registers[name]), tuple(lines))
    return read
