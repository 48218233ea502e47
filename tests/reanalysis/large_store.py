"""A synthetic run at level `token` of any size, written by the engine's own writers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from culnig.core.items import Item
from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout
from culnig.core.outcomes import Outcomes
from culnig.store import schema
from culnig.store.data_parts import PartName, Prompts
from culnig.store.tensors import TensorsWriter
from culnig.store.writer import Portion, PortionState, RunWriter

_TOKENS = 100
_WIDTH = 1500
_PART_ITEMS = 8


def write_large_store(folder: Path, n_bytes: int, n_segments: int = 20) -> Path:
    """A run whose tensors have about `n_bytes`; its own sums are left at zero."""
    layout = Layout.from_widths([(layer, "mlp.gate_proj", _WIDTH) for layer in range(n_segments)])
    item_bytes = _TOKENS * _WIDTH * n_segments * 2 * 4
    n_items = _PART_ITEMS * max(1, n_bytes // item_bytes // _PART_ITEMS + 1)
    asked = [Item(f"item-{n}", f"q{n}", "Spain", "identify", "?", ("A", "B"), "A") for n in range(n_items)]
    record = {
        "model": {"source": "synthetic"},
        "settings": {"aggregator": "max", "level": "token"},
        "benchmarks": {"large": {"role": "target"}},
    }
    values = np.random.default_rng(0).normal(size=(2, _PART_ITEMS * _TOKENS, _WIDTH)).astype(np.float32)
    writer = RunWriter.open(folder, record, layout)
    portion = Portion("large", 0, 1, n_items // _PART_ITEMS)
    for number in range(portion.n_batches):
        prompts = Prompts.of(
            range(number * _PART_ITEMS, (number + 1) * _PART_ITEMS), [[1] * _TOKENS] * _PART_ITEMS
        )
        path = writer.data_file(schema.TENSORS_FOLDER, portion, number)
        part = TensorsWriter(
            path, PartName(writer.run_id, "large", 0, number), prompts, layout.segments, "float32"
        )
        for segment in layout.segments:
            for token in range(0, len(values[0]), _TOKENS):
                part.write(segment, token, *values[:, None, token : token + _TOKENS])
        part.close()
    outcomes = Outcomes.empty(asked)
    outcomes.p_gold[:] = 0.5
    moments = CultureMoments.zeros(["Spain"], layout.n_neurons)
    moments.n_items[:], moments.p_gold_sum[:] = n_items, n_items / 2
    state = PortionState(moments, outcomes, np.arange(n_items), portion.n_batches)
    writer.save_part(portion, "target", "identify", state)
    writer.finish({"large": 1})
    return folder
