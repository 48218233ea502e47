"""How much a run stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from culnig.core.items import Item
from culnig.core.neurons import Layout, Segment
from culnig.store.data_parts import rows_of

Level = Literal["culture", "item", "token"]
LEVELS: tuple[Level, ...] = ("culture", "item", "token")


@dataclass(frozen=True)
class StoredTensors:
    """Which tensors level `token` stores; empty means all."""

    modules: tuple[str, ...] = ()
    """Names, or their last part (`gate_proj`)."""
    layers: tuple[int, ...] = ()
    items: tuple[str, ...] = ()
    """Ids of items; `*` matches any characters and `?` any single one."""

    def record(self) -> dict[str, Any]:
        """The settings as run.json records them."""
        return asdict(self)

    def segments(self, layout: Layout) -> list[Segment]:
        """Segments whose tensors are stored; InputError for a module or layer that does not exist."""
        return layout.chosen(self.modules, self.layers)

    def item_indices(self, items: Sequence[Item]) -> frozenset[int] | None:
        """Indices of the items whose tensors are stored; None for all."""
        if not self.items:
            return None
        return frozenset(rows_of([item.id for item in items], self.items).tolist())
