"""How much a run stores, and what that takes on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from culnig.errors import InputError
from culnig.items import Item
from culnig.neurons import Layout, Segment

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
        short = {module.rpartition(".")[2]: module for module in layout.modules}
        wanted = {short.get(module, module) for module in self.modules} or set(layout.modules)
        if unknown := sorted(wanted - set(layout.modules)):
            raise InputError(f"no module {', '.join(unknown)}; this model has {', '.join(layout.modules)}")
        if unknown_layers := sorted(set(self.layers) - set(range(layout.n_layers))):
            raise InputError(
                f"no layer {', '.join(map(str, unknown_layers))}; this model has 0 to {layout.n_layers - 1}"
            )
        return [
            segment
            for segment in layout.segments
            if segment.module in wanted and (not self.layers or segment.layer in self.layers)
        ]

    def places(self, items: Sequence[Item]) -> frozenset[int] | None:
        """Places of the items whose tensors are stored; None for all."""
        if not self.items:
            return None
        return frozenset(
            place
            for place, item in enumerate(items)
            if any(fnmatchcase(item.id, pattern) for pattern in self.items)
        )


def parse_layers(text: str) -> tuple[int, ...]:
    """Layers from text such as `0-3,7`; InputError where it is none."""
    layers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InputError(f"layers {text!r}: {part!r} is no layer; numbers and ranges such as 0-3,7 are")
        layers += range(int(first), int(last if dash else first) + 1)
    return tuple(dict.fromkeys(layers))
