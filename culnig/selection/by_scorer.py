"""Neurons of largest mean score by the scorer of another method: no control, no exclusion (METHOD §8).

CRISPR averages its weighted score over instructions, integrated gradients over prompts: both are the culture
score S of the scorer of that name, whose items are the prompts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from culnig.errors import UnknownNameError
from culnig.selection.general import GeneralSettings, select_general
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.tables import SelectionTables

SCORERS = {"crispr": "crispr", "ig": "integrated-gradients"}
"""The scorer whose stored sums a method ranks by."""


@dataclass(frozen=True)
class TopSettings:
    """How many neurons are kept, and of which."""

    top: float = 0.01
    """Share of the pool."""
    pool: str = "mlp"
    """Pool or module that is ranked."""


def select_by_scorer(
    tables: SelectionTables, method: str, culture: str | None = None, settings: TopSettings | None = None
) -> NeuronSet:
    """The best neurons for a culture, or for all together; `tables` are those of the method's scorer."""
    settings = settings or TopSettings()
    if culture is not None:
        if culture not in tables.cultures:
            raise UnknownNameError("culture of this run:", culture, tables.cultures)
        own = tables.difference[[tables.cultures.index(culture)]]
        tables = replace(tables, cultures=(culture,), difference=own, total=None)
    chosen = select_general(
        replace(tables, exclusion=None), GeneralSettings(exclude=0.0, pools=((settings.pool, settings.top),))
    )
    return replace(
        chosen,
        name=method if culture is None else f"{method} {culture}",
        method={
            "name": method,
            **({} if culture is None else {"culture": culture}),
            "top": settings.top,
            "pools": {
                pool: {"neurons": found["neurons"], "kept": found["kept"]}
                for pool, found in chosen.method["pools"].items()
            },
        },
    )
