"""Pools by name: those of the method, or a single module.

`mlp`, `attention` and `all` are METHOD §3 and §4; a module such as `mlp.up_proj` is a pool of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import POOLS, Layout
from culnig.errors import SelectionError, UnknownNameError


def pool_positions(layout: Layout, name: str) -> NDArray[np.int64]:
    """Flat positions of a pool or module, ascending. UnknownNameError names what there is."""
    if name in POOLS:
        return layout.pool(name)
    if name not in layout.modules:
        raise UnknownNameError("pool or module", name, [*POOLS, *layout.modules])
    segments = [segment for segment in layout.segments if segment.module == name]
    return np.concatenate([np.arange(s.start, s.start + s.width, dtype=np.int64) for s in segments])


def check_apart(layout: Layout, names: Sequence[str]) -> None:
    """SelectionError where two of the pools share a module: a neuron would be ranked twice."""
    owner: dict[str, str] = {}
    for name in names:
        pool_positions(layout, name)
        for module in POOLS.get(name, (name,)):
            if module in owner:
                raise SelectionError(
                    f"pools {owner[module]!r} and {name!r} both hold {module}; give pools that share no "
                    "module"
                )
            owner[module] = name
