"""An oracle's scores in the engine's layout: fused projections are cut by hand, family by family."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from culnig.models.base import BoundModel

QUERY, KEY, VALUE = "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"


def oracle_row(bound: BoundModel, sums: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Scores of one culture, one per neuron, from those of whole linear modules by their full name."""
    row = np.full(bound.layout.n_neurons, np.nan)
    for name, values in sums.items():
        match = re.search(r"\.(\d+)\.(.+)$", name)
        assert match is not None
        layer, linear = int(match[1]), match[2]
        for module, part in _parts(bound, layer, linear, values).items():
            row[bound.layout.segment(module, layer).columns] = part
    assert not np.isnan(row).any()
    return row


def _parts(
    bound: BoundModel, layer: int, linear: str, values: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    if linear == "mlp.gate_up_proj":
        gate, up = np.split(values, 2)
        return {"mlp.gate_proj": gate, "mlp.up_proj": up}
    if linear in ("self_attn.qkv_proj", "attn.c_attn"):
        query, key = (bound.layout.segment(module, layer).width for module in (QUERY, KEY))
        return dict(zip((QUERY, KEY, VALUE), np.split(values, [query, query + key]), strict=True))
    if linear == "attention.query_key_value":
        heads = bound.model.config.num_attention_heads
        per_head = values.reshape(heads, 3, -1)  # head, then query, key, value
        return {module: per_head[:, place].ravel() for place, module in enumerate((QUERY, KEY, VALUE))}
    return {{"mlp.c_fc": "mlp.fc_in", "mlp.dense_h_to_4h": "mlp.fc_in"}.get(linear, linear): values}
