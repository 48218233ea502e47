"""All measurements on one page: `make perf`.

    python perf/everything.py [SECTION…] [--rounds 3] [-o perf.json]

Prints one table and writes it, with the machine, as JSON. A section that cannot run here is skipped and says
why. The whole takes about an hour on two cores and 12 GB of memory; leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import Row, machine, show, write_json

SECTIONS = ("scaling", "scoring", "ways", "scorers", "evaluation", "store", "selection", "kernels")
NEEDS_DATA = ("scoring", "evaluation")

RUN = """
import json, sys
from dataclasses import asdict
from importlib import import_module
made = import_module(sys.argv[1]).rows(int(sys.argv[2]))
rows, skipped = made if isinstance(made, tuple) else (made, {})
open(sys.argv[3], "w").write(json.dumps([[asdict(row) for row in rows], skipped]))
"""


def measured(section: str, rounds: int) -> tuple[list[Row], dict[str, str]]:
    """Rows of a section, measured in a process of its own, and what it skipped and why."""
    if section in NEEDS_DATA and "CULNIG_DATA" not in os.environ:
        return [], {section: "CULNIG_DATA is not set"}
    with tempfile.NamedTemporaryFile("r", suffix=".json") as output:
        command = [sys.executable, "-c", RUN, section, str(rounds), output.name]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            return [], {section: last[0]}
        rows, skipped = json.loads(output.read())
    return [Row(**row) for row in rows], skipped


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="All measurements on one page.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all")
    parser.add_argument("--rounds", type=int, default=3, help="measurements per median")
    parser.add_argument("-o", "--output", type=Path, default=Path("perf.json"))
    asked = parser.parse_args()
    unknown = [section for section in asked.sections if section not in SECTIONS]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    about = machine()
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    for section in asked.sections or SECTIONS:
        print(f"measuring {section}", file=sys.stderr, flush=True)
        made, without = measured(section, asked.rounds)
        rows += made
        skipped |= without
        write_json(asked.output, rows, about, skipped)  # nothing is lost when it is stopped
    show(rows, f"{about['processor']}, {about['cpus']} CPUs, {about['threads']} threads")
    for name, reason in skipped.items():
        print(f"{name} was skipped: {reason}")
    print(f"written to {asked.output}")


if __name__ == "__main__":
    main()
