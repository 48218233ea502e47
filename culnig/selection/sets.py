"""Combine neuron sets, compare them, and change their format: `culnig-engine neurons` in Python.

Every set may be a `NeuronSet` or the path of its file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from culnig.core.neurons import MLP_GATE, Layout
from culnig.errors import InputError, argument
from culnig.models.named import model_without_weights
from culnig.selection.algebra import Difference, Operation, combine, difference
from culnig.selection.formats import Format, read_any, write_as
from culnig.selection.neuron_set import NeuronSet, NeuronSetOrPath, as_neuron_set
from culnig.selection.select import opened
from culnig.store.output_folder import check_file
from culnig.store.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from culnig.models.base import BoundModel
    from culnig.models.settings import LoadOptions


def neurons_union(
    sets: Sequence[NeuronSetOrPath], out: Path | str | None = None, *, overwrite: bool = False
) -> NeuronSet:
    """Neurons in any of the sets; written to `out` if it is given. MismatchError for different models."""
    return _combined(sets, "union", out, overwrite)


def neurons_intersect(
    sets: Sequence[NeuronSetOrPath], out: Path | str | None = None, *, overwrite: bool = False
) -> NeuronSet:
    """Neurons in all of the sets; otherwise as `neurons_union`."""
    return _combined(sets, "intersect", out, overwrite)


def neurons_minus(
    sets: Sequence[NeuronSetOrPath], out: Path | str | None = None, *, overwrite: bool = False
) -> NeuronSet:
    """Neurons of the first set that are in none of the others; otherwise as `neurons_union`."""
    return _combined(sets, "minus", out, overwrite)


def _combined(
    sets: Sequence[NeuronSetOrPath], operation: Operation, out: Path | str | None, overwrite: bool
) -> NeuronSet:
    if out is not None:
        check_file(Path(out), overwrite=overwrite, inputs=sets)
    combined = combine(distinctly_named(sets), operation)
    if out is not None:
        combined.write(Path(out), overwrite=overwrite, inputs=sets)
    return combined


def neurons_diff(sets: Sequence[NeuronSetOrPath]) -> Difference:
    """Show what two sets share, what only one of them has, and which of their settings differ."""
    if len(sets) != 2:
        raise InputError(f"exactly two neuron sets are compared this way, but {len(sets)} are given")
    return difference(*distinctly_named(sets))


def neurons_convert(
    files: Sequence[Path | str] | Path | str,
    to: Format,
    out: Path | str,
    *,
    model: str | Path | BoundModel | None = None,
    run: Run | Path | str | None = None,
    module: str = MLP_GATE,
    group: int | None = None,
    overwrite: bool = False,
    **loading: Unpack[LoadOptions],
) -> list[NeuronSet]:
    """Convert neuron sets (culnig's files, the released code's JSON, LAPE's .pth) to the format `to`.

    Files of other programs do not record the layout of the model: give it with `run` or `model`. `module` is
    the module of a LAPE file, `group` picks one of its groups. `transformer-lens` names hooks, `nnsight`
    modules and columns, which needs the `model`; either is read again too. Returns the sets that were
    written.
    """
    paths = [files] if isinstance(files, str | Path) else files
    inputs = (*paths, model, run)
    check_file(Path(out), overwrite=overwrite, inputs=inputs)
    layout, name, bound = _layout(model, run, loading)
    sets = [chosen for path in paths for chosen in read_any(Path(path), layout, name, module, bound)]
    if group is not None:
        if not 0 <= group < len(sets):
            raise InputError(f"{argument('group')} is {group}; the {len(sets)} groups are numbered from 0")
        sets = [sets[group]]
    if to != "lape" and len(sets) > 1:
        raise InputError(
            f"{len(sets)} sets were read, but a {to} file holds one; choose one with {argument('group')}"
        )
    n_layers = None if layout is None else layout.n_layers
    write_as(
        *(sets, Path(out), to),
        n_layers=n_layers, module=module, bound=bound, overwrite=overwrite, inputs=inputs,
    )  # fmt: skip
    return sets


def _layout(
    model: str | Path | BoundModel | None, run: Run | Path | str | None, loading: LoadOptions
) -> tuple[Layout | None, str, BoundModel | None]:
    """Layout and name of the model that `run` or `model` gives, and what `model` names, without weights."""
    if model is not None and run is not None:
        raise InputError(
            f"{argument('run')} and {argument('model')} both give a layout; use only one of them"
        )
    if run is not None:
        stored = opened(run)
        return stored.layout, stored.model, None
    if model is not None:
        bound = model_without_weights(model, **loading)
        return bound.layout, bound.source, bound
    return None, "", None


def distinctly_named(sets: Sequence[NeuronSetOrPath]) -> list[NeuronSet]:
    """The sets; those that share a name are called by their files."""
    read = [as_neuron_set(chosen) for chosen in sets]
    counts = Counter(chosen.name for chosen in read)
    return [
        replace(chosen, name=f"{chosen.name} ({Path(given).name})")
        if counts[chosen.name] > 1 and not isinstance(given, NeuronSet)
        else chosen
        for chosen, given in zip(read, sets, strict=True)
    ]
