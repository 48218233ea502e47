"""Selection of general neurons from JSON files of nested dicts: the naive implementation.

    python perf/json_way.py FOLDER     selects from {target,control,exclusion}.json there, prints seconds

The files hold for each neuron the summed score of every culture, under `module_layer_index`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from culnig.selection.general import GeneralSettings
from culnig.store.run import Run

POOLS = {"mlp.gate_proj": "mlp"} | {f"self_attn.{one}_proj": "attention" for one in "qkv"}


def write_files(run: Run, folder: Path) -> None:
    """The three tables of a stored run as JSON, neuron by neuron."""
    names = {name: list(run.moments(name).cultures) for name in ("target", "control", "exclusion")}
    for name, cultures in names.items():
        moments = run.moments(name)
        with (folder / f"{name}.json").open("w") as file:
            file.write('{"neuron_scores": {')
            first = True
            for segment in run.layout.segments:
                block = moments.sum[:, segment.columns].T.tolist()
                rows = [json.dumps(dict(zip(cultures, row, strict=True))) for row in block]
                lines = [
                    f'"{segment.module}_{segment.layer}_{index}": {row}' for index, row in enumerate(rows)
                ]
                file.write(("" if first else ",\n") + ",\n".join(lines))
                first = False
            file.write(f'}}, "n_items": {int(moments.n_items.sum())}}}')


def select(folder: Path, settings: GeneralSettings) -> set[str]:
    """Names of the general neurons."""
    totals: dict[str, dict[str, float]] = {}
    for name in ("target", "control", "exclusion"):
        content = json.loads((folder / f"{name}.json").read_text())
        totals[name] = {
            neuron: sum(of_cultures.values()) / content["n_items"]
            for neuron, of_cultures in content["neuron_scores"].items()
        }
    chosen: set[str] = set()
    for name, fraction in (("mlp", settings.top_mlp), ("attention", settings.top_attention)):
        pool = [neuron for neuron in totals["target"] if POOLS.get(neuron.rsplit("_", 2)[0]) == name]
        difference = {neuron: totals["target"][neuron] - totals["control"][neuron] for neuron in pool}
        kept = sorted(pool, key=lambda neuron: -difference[neuron])[: int(fraction * len(pool))]
        removed = sorted(pool, key=lambda neuron: -totals["exclusion"][neuron])[
            : int(settings.exclude * len(pool))
        ]
        chosen |= set(kept) - set(removed)
    return chosen


if __name__ == "__main__":
    start = time.perf_counter()
    found = select(Path(sys.argv[1]), GeneralSettings())
    print(json.dumps({"seconds": time.perf_counter() - start, "neurons": sorted(found)}))
