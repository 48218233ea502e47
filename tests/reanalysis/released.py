"""Score files as the released code writes them, small or large, and its selection rules in plain words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

CULTURES = ("China", "Indonesia", "Iran", "Mexico", "South Korea", "Spain", "UK", "USA")
WIDTHS = {
    "self_attn.q_proj": 40,
    "self_attn.k_proj": 10,
    "self_attn.v_proj": 10,
    "mlp.gate_proj": 100,
    "mlp.up_proj": 100,
}


def scores(seed, n_layers=2, widths=WIDTHS, cultures=CULTURES):
    random = np.random.default_rng(seed)
    return {
        f"{module}_{layer}_{index}": dict(zip(cultures, random.normal(size=len(cultures)), strict=True))
        for layer in range(n_layers)
        for module, width in widths.items()
        for index in range(width)
    }


def document(dataset, seed, n_items, **changes):
    return {
        "neuron_scores": scores(seed),
        "total_probabilities_per_country": {culture: 10.0 + len(culture) for culture in CULTURES},
        "dataset_ids": {dataset: [f"{dataset}-{number}" for number in range(n_items)]},
        **changes,
    }


def written(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4))
    return path


def large_file(path: Path, megabytes: int) -> int:
    """Write a score file of about this size, never holding it; returns the number of neurons."""
    gate = 15_360
    random = np.random.default_rng(0)
    n_neurons = 0
    with path.open("w") as file:
        file.write('{\n    "neuron_scores": {')
        layer = 0
        while file.tell() < megabytes * 1e6:
            for index, row in enumerate(random.normal(scale=1e-5, size=(gate, len(CULTURES) * 2))):
                values = ",\n".join(f'            "culture {c}": {v!r}' for c, v in enumerate(row.tolist()))
                comma = "," if n_neurons else ""
                file.write(f'{comma}\n        "mlp.gate_proj_{layer}_{index}": {{\n{values}\n        }}')
                n_neurons += 1
            layer += 1
        file.write(
            '\n    },\n    "total_probabilities_per_country": {},\n    "dataset_ids": {"blend": [1, 2]}\n}'
        )
    return n_neurons


# The rules, on dictionaries


def ranked(pool, values):
    return sorted(pool, key=lambda key: -values[key])  # stable: ties stay in the order of the file


def in_pool(content, modules):
    return [key for key in content["neuron_scores"] if key.rpartition("_")[0].rpartition("_")[0] in modules]


def n_items(content):
    (ids,) = content["dataset_ids"].values()
    return len(ids)


ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def general(target, control, exclusion, top_mlp, top_attention, exclude):
    kept = set()
    for modules, top in ((("mlp.gate_proj",), top_mlp), (ATTENTION, top_attention)):
        pool = in_pool(target, modules)
        wanted = {
            key: sum(target["neuron_scores"][key].values()) / n_items(target)
            - sum(control["neuron_scores"][key].values()) / n_items(control)
            for key in pool
        }
        unwanted = {key: sum(exclusion["neuron_scores"][key].values()) for key in pool}
        out = set(ranked(pool, unwanted)[: int(len(pool) * exclude)])
        kept |= {key for key in ranked(pool, wanted)[: int(len(pool) * top)] if key not in out}
    return kept


def specific(target, control, exclusion, culture, top, exclude, z):
    pool = in_pool(target, ("mlp.gate_proj", *ATTENTION))
    differences = {
        key: {
            name: target["neuron_scores"][key][name] / n_items(target)
            - control["neuron_scores"][key][name] / n_items(control)
            for name in CULTURES
        }
        for key in pool
    }
    unwanted = {key: exclusion["neuron_scores"][key][culture] for key in pool}
    out = set(ranked(pool, unwanted)[: int(len(pool) * exclude)])
    kept = set()
    for key in ranked(pool, {key: differences[key][culture] for key in pool})[: int(len(pool) * top)]:
        values = list(differences[key].values())
        mean = sum(values) / len(values)
        deviation = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
        if key not in out and (differences[key][culture] - mean) / deviation >= z:
            kept.add(key)
    return kept
