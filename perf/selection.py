"""Time and memory of selections from a large stored run: as users see them, and against JSON files.

    python perf/selection.py [--rounds 5] [--neurons 2000000] [--folder DIR]

Makes a synthetic run of 16 cultures (target, control, exclusion of 8) and runs the commands on it, one whole
process each. Peak memory is the largest resident set of the process (Linux), beside one (culture, neuron)
table of float64. Then the selection itself, from opening the files on, against `json_way.py` on the same
scores. 2 million neurons take a few GB of memory to make, 1.3 GB on disk, 3 GB as JSON and 10 GB of memory to
read that; `--folder` keeps the run for the next time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import json_way
import numpy as np
from measuring import Row, show, speed_row

from culnig.core.items import Item, Role
from culnig.core.moments import CultureMoments
from culnig.core.neurons import KEY, MLP_GATE, MLP_UP, QUERY, VALUE, Layout
from culnig.core.outcomes import Outcomes
from culnig.selection.general import select_general
from culnig.selection.tables import general_totals
from culnig.store.run import Run
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
print(json.dumps({"peak": peak, "torch": "torch" in sys.modules}), file=sys.stderr)
sys.exit(code)
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


def measure(command: list[str], rounds: int) -> list[dict[str, Any]]:
    """What a process prints about itself in its last line, and its wall seconds, round by round."""
    found = []
    for measured in range(rounds + 1):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        took = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(done.stderr)
        if measured:  # the first round warms up
            found.append({"wall": took, **json.loads((done.stdout + done.stderr).splitlines()[-1])})
    return found


def command_rows(run: Path, folder: Path, rounds: int) -> list[Row]:
    """Peak memory of whole commands against one table of the run; seconds are the process's."""
    output = ["--overwrite", "-o", str(folder / "chosen.neurons.json")]
    specific = ["select", "specific", str(run), "--culture", "culture 0"]
    commands = {
        "select general": ["select", "general", str(run), *output],
        "select general --significance": ["select", "general", str(run), "--significance", *output],
        "select specific": [*specific, *output],
        "select specific --fdr 0.05": [*specific, "--fdr", "0.05", *output],
    }
    n_neurons = Run(run).layout.n_neurons
    rows = []
    for name, arguments in commands.items():
        found = measure(["-c", MEASURED, *arguments], rounds)
        rows.append(
            Row.of(
                [each["peak"] / (8 * N_CULTURES * n_neurons) for each in found],
                [each["wall"] for each in found],
                section="selection",
                what=f"{name}, {n_neurons / 1e6:g} M neurons",
                against="one table",
                unit="x its memory",
                target="<= 2.0" if name == "select general" and n_neurons >= 2_000_000 else "",
                notes={"torch imported": found[0]["torch"]},
            )
        )
    return rows


def json_row(run: Path, folder: Path, rounds: int) -> Row:
    """A selection from the stored run, from opening to neurons, against the same from JSON files."""
    opened = Run(run)
    json_way.write_files(opened, folder)
    found = measure([str(Path(__file__).with_name("json_way.py")), str(folder)], rounds)
    ours = []
    for _ in range(rounds):
        start = time.perf_counter()
        chosen = select_general(general_totals(Run(run)))
        ours.append(time.perf_counter() - start)
    names = sorted(f"{neuron.module}_{neuron.layer}_{neuron.index}" for neuron in chosen.neurons)
    if names != found[0]["neurons"]:
        raise SystemExit("the two ways select other neurons")
    n_neurons = opened.layout.n_neurons
    return speed_row(
        ours,
        [each["seconds"] for each in found],
        section="selection",
        what=f"general, {n_neurons / 1e6:g} M neurons × {N_CULTURES} cultures",
        against="JSON files and dicts",
        target=">= 100" if n_neurons >= 2_000_000 else ">= 50",
    )


def rows(rounds: int = 5, n_neurons: int = 2_000_000, folder: Path | None = None) -> list[Row]:
    """All rows for a run of that many neurons; `folder` keeps the run."""
    with tempfile.TemporaryDirectory() as scratch:
        run = (folder or Path(scratch)) / f"synthetic-{n_neurons}"
        if not (run / "scores.h5").exists():
            make_run(run, n_neurons)
        json_rounds = 1 if n_neurons >= 1_000_000 else rounds
        return [*command_rows(run, Path(scratch), rounds), json_row(run, Path(scratch), json_rounds)]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Wall time and memory of selections from a stored run.")
    parser.add_argument("--rounds", type=int, default=5, help="measurements per median")
    parser.add_argument("--neurons", type=int, default=2_000_000)
    parser.add_argument("--folder", type=Path, help="keep the synthetic run here")
    asked = parser.parse_args()
    show(rows(asked.rounds, asked.neurons, asked.folder))


if __name__ == "__main__":
    main()
