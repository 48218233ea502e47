"""How much a run stores, and what that takes on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from culnig.core.items import Item
from culnig.core.neurons import Layout, Segment

Level = Literal["culture", "item", "token"]
LEVELS: tuple[Level, ...] = ("culture", "item", "token")


@dataclass(frozen=True)
class StoredTensors:
    """Which tensors level `token` stores; empty stands for all."""

    modules: tuple[str, ...] = ()
    """Names, or their last part (`gate_proj`)."""
    layers: tuple[int, ...] = ()
    items: tuple[str, ...] = ()
    """Ids of items; `*` and `?` stand for any characters."""

    def record(self) -> dict[str, Any]:
        """What decides the stored tensors, for run.json."""
        return asdict(self)

    def segments(self, layout: Layout) -> list[Segment]:
        """Segments whose tensors are stored; InputError for a module or layer that is not there."""
        return layout.chosen(self.modules, self.layers)

    def places(self, items: Sequence[Item]) -> frozenset[int] | None:
        """Places of the items whose tensors are stored; None for all."""
        if not self.items:
            return None
        patterns = [pattern.replace("[", "[[]") for pattern in self.items]
        return frozenset(
            place
            for place, item in enumerate(items)
            if any(fnmatchcase(item.id, pattern) for pattern in patterns)
        )
