"""Wall time and memory of selections from a large stored run, as a user meets them: one whole process each.

    python perf/selection.py [--rounds 5] [--neurons 2000000] [--folder DIR]

Makes a synthetic run of 16 cultures (target, control, exclusion of 8) and runs the commands on it. Peak
memory is the largest resident set of the command's process (Linux), beside one (culture, neuron) table of
float64. The run takes a few GB of memory to make and 1.3 GB on disk; `--folder` keeps it for the next time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from culnig.items import Item, Role
from culnig.neurons import KEY, MLP_GATE, MLP_UP, QUERY, VALUE, Layout
from culnig.outcomes import Outcomes
from culnig.scores import CultureMoments
from culnig.store.writer import Portion, PortionState, RunWriter

N_CULTURES = 16
N_LAYERS = 40
ITEMS_EACH = 100
SHARES = {QUERY: 0.1024, KEY: 0.0205, VALUE: 0.0205, MLP_GATE: 0.4283, MLP_UP: 0.4283}
"""Of a layer's neurons, about as in a model of 14 B."""

MEASURED = """
import json, re, sys
from culnig.cli.main import run
code = run(sys.argv[1:])
status = open("/proc/self/status").read()  # rusage would count the peak of the process that forked this one
peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
print(json.dumps([code, peak, "torch" in sys.modules]), file=sys.stderr)
"""


def synthetic_layout(n_neurons: int) -> Layout:
    """A gated decoder with exactly that many neurons."""
    widths = {module: int(share * n_neurons / N_LAYERS) for module, share in SHARES.items()}
    segments = [(layer, module, width) for layer in range(N_LAYERS) for module, width in widths.items()]
    rest = n_neurons - sum(width for _, _, width in segments)
    layer, module, width = segments[-1]
    return Layout.from_widths([*segments[:-1], (layer, module, width + rest)])


def synthetic_moments(seed: int, cultures: list[str], n_neurons: int) -> CultureMoments:
    """Sums as `ITEMS_EACH` items per culture with normal scores would give."""
    random = np.random.default_rng(seed)
    shape = (len(cultures), n_neurons)
    sums = random.standard_normal(shape) * ITEMS_EACH**0.5
    return CultureMoments(
        tuple(cultures),
        np.full(len(cultures), ITEMS_EACH),
        np.full(len(cultures), ITEMS_EACH / 2),
        sums,
        np.square(sums) / ITEMS_EACH + random.chisquare(ITEMS_EACH - 1, shape),
        random.integers(0, ITEMS_EACH, shape).astype(np.uint32),
    )


def make_run(folder: Path, n_neurons: int) -> None:
    """Write the synthetic run."""
    cultures = [f"culture {number}" for number in range(N_CULTURES)]
    layout = synthetic_layout(n_neurons)
    record = {
        "model": {"source": f"synthetic, {n_neurons:,} neurons"},
        "settings": {},
        "benchmarks": {},
        "versions": {},
    }
    writer = RunWriter.open(folder, record, layout)
    tables: dict[str, tuple[Role, list[str]]] = {
        "target": ("target", cultures),
        "control": ("control", cultures),
        "exclusion": ("exclusion", cultures[:8]),
    }
    for seed, (name, (role, of)) in enumerate(tables.items()):
        moments = synthetic_moments(seed, of, n_neurons)
        asked = [
            Item(
                id=culture,
                question_id="",
                culture=culture,
                split="identify",
                prompt="",
                options=("A", "B"),
                answer="A",
            )
            for culture in of
        ]
        state = PortionState(moments, Outcomes.empty(asked), np.arange(len(asked)), 1)
        writer.save_part(Portion(name, 0, 1, 1), role, "identify", state)
    writer.finish(dict.fromkeys(tables, 1))


def measure(arguments: list[str], rounds: int) -> tuple[float, float, bool]:
    """Median wall seconds of the whole process, its largest resident set (bytes), and whether torch is in."""
    seconds, peak, torch = [], 0.0, False
    for measured in range(rounds + 1):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *arguments], capture_output=True, text=True, check=True
        )
        took = time.perf_counter() - start
        code, used, torch = json.loads(done.stderr.splitlines()[-1])
        if code != 0:
            raise SystemExit(done.stderr)
        if measured:  # the first round warms up
            seconds.append(took)
        peak = max(peak, used)
    return statistics.median(seconds), peak, torch


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Wall time and memory of selections from a stored run.")
    parser.add_argument("--rounds", type=int, default=5, help="measurements per median")
    parser.add_argument("--neurons", type=int, default=2_000_000)
    parser.add_argument("--folder", type=Path, help="keep the synthetic run here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = (options.folder or Path(scratch)) / f"synthetic-{options.neurons}"
        if not (run / "scores.h5").exists():
            make_run(run, options.neurons)
        output = ["--overwrite", "-o", f"{scratch}/chosen.neurons.json"]
        specific = ["select", "specific", str(run), "--culture", "culture 0"]
        commands = {
            "select general": ["select", "general", str(run), *output],
            "select general --significance": ["select", "general", str(run), "--significance", *output],
            "select specific": [*specific, *output],
            "select specific --fdr 0.05": [*specific, "--fdr", "0.05", *output],
        }
        one_table = N_CULTURES * options.neurons * 8
        table = Table(title=f"{options.neurons:,} neurons × {N_CULTURES} cultures, {options.rounds} rounds")
        for heading in ("command", "s (median)", "peak MB", "peak / table", "torch"):
            table.add_column(heading, justify="left" if heading == "command" else "right")
        for name, arguments in commands.items():
            seconds, peak, torch = measure(arguments, options.rounds)
            table.add_row(
                name,
                f"{seconds:.2f}",
                f"{peak / 1e6:.0f}",
                f"{peak / one_table:.2f}",
                "imported" if torch else "not imported",
            )
        Console(width=120).print(table)


if __name__ == "__main__":
    main()
