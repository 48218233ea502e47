"""The model card of an exported model: what was masked, where it comes from, how to load it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from culnig.core.text import visible
from culnig.selection.neuron_set import NeuronSet

_LICENSE = re.compile(r"^license(?:_name|_link)?: *\S.*$", re.MULTILINE)


def model_card(
    base: str, record: Mapping[str, Any], sets: Sequence[NeuronSet], source_card: str | None
) -> str:
    """README.md of an exported model. `source_card` is that of the original, for its licence."""
    head = ["library_name: transformers", "pipeline_tag: text-generation", "tags:", "- culnig"]
    if base.count("/") == 1:  # a name on the hub
        head += [f"base_model: {base}"]
    front = re.match(r"---\n(.*?)\n---", source_card or "", re.DOTALL)
    head += _LICENSE.findall(front[1]) if front else []
    lines = [
        "---",
        *head,
        "---",
        "",
        f"# {visible(base)} with {record['n_neurons']:,} neurons {_verb(record)}",
        "",
        f"The weights of {visible(base)}, with a mask written into them by culnig-engine "
        f"{record['versions']['culnig-engine']}: {_done(record)} All other weights are unchanged.",
        "",
        "| neuron set | neurons | selected by |",
        "|---|---|---|",
        *(
            f"| {_cell(entry.name)} | {len(entry.neurons):,} | {_cell(str(entry.method.get('name', '?')))} |"
            for entry in sets
        ),
        "",
        "| module | layers | neurons |",
        "|---|---|---|",
        *_modules(sets),
        "",
        "```python",
        "from transformers import pipeline",
        "",
        'pipeline("text-generation", model="FOLDER")("The capital of Spain is")',
        "```",
        "",
        "`export.json` holds the method and the sources of every set, the layout that the neurons belong "
        "to, and the versions of all packages.",
    ]
    if rounding := record["largest_rounding"]:
        lines += [
            "",
            f"Products were rounded to the weights' number format, by {100 * rounding:.2g} % at most.",
        ]
    return "\n".join(lines) + "\n"


def _verb(record: Mapping[str, Any]) -> str:
    if record["mask"] == "mean":
        return "at their means"
    return "suppressed" if record["factor"] == 0 else f"scaled by {record['factor']:g}"


def _done(record: Mapping[str, Any]) -> str:
    if record["mask"] == "mean":
        return "the rows of these neurons are zero, and their biases their mean activations."
    return f"the rows and biases that compute these neurons are multiplied by {record['factor']:g}."


def _cell(text: str) -> str:
    return visible(text).replace("|", "\\|")


def _modules(sets: Sequence[NeuronSet]) -> list[str]:
    layers: dict[str, set[int]] = {}
    neurons: dict[str, set[tuple[int, int]]] = {}
    for chosen in sets:
        for neuron in chosen.neurons:
            layers.setdefault(neuron.module, set()).add(neuron.layer)
            neurons.setdefault(neuron.module, set()).add((neuron.layer, neuron.index))
    return [
        f"| {_cell(module)} | {_span(used)} | {len(neurons[module]):,} |"
        for module, used in sorted(layers.items())
    ]


def _span(layers: set[int]) -> str:
    return f"{min(layers)}–{max(layers)}" if len(layers) > 1 else f"{min(layers)}"


def card_beside(folder: Path) -> str | None:
    """The model card in a folder, if there is one that can be read."""
    try:
        return (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
