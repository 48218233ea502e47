"""Make a new run from the item scores or tensors of a stored run, without the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from culnig.core.neurons import parse_layers
from culnig.core.progress import Progress, Task, no_progress
from culnig.core.sizes import parse_size
from culnig.cultures.spellings import culture_keys
from culnig.reanalysis.choice import ItemChoice
from culnig.reanalysis.reduce import Reducer, Reduction
from culnig.store.compression import Compression
from culnig.store.run import Run


def reduce(
    run: Run | Path | str,
    out: Path | str,
    *,
    aggregator: str | None = None,
    confidence: bool = True,
    padding: str = "exclude",
    benchmarks: Sequence[str] = (),
    modules: Sequence[str] = (),
    layers: str | Sequence[int] | None = None,
    cultures: Sequence[str] = (),
    without_cultures: Sequence[str] = (),
    items: Sequence[str] = (),
    without_items: Sequence[str] = (),
    half: int | None = None,
    bootstrap: bool = False,
    seed: int = 0,
    level: str = "culture",
    memory: int | str = "1G",
    compression: Compression = "default",
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Run:
    """Make a new run from the items stored in `run` (levels item and token).

    The fields of `Reduction` and `ItemChoice` explain each choice; an empty choice takes everything, and
    with the settings of `run` the new run is the same bit for bit. `layers` may be text such as "0-3,7".
    `memory` limits the arrays, in bytes or text such as "500M".

    InputError if `run` stores too little or a choice is impossible, OutputExistsError if `out` is in use.
    """
    stored = run if isinstance(run, Run) else Run(Path(run))
    in_run = list(dict.fromkeys(name for own in stored.benchmarks.values() for name in own.cultures))
    reduction = Reduction(
        aggregator=aggregator,
        confidence=confidence,
        padding=padding,
        modules=tuple(modules),
        layers=parse_layers(layers) if isinstance(layers, str) else tuple(layers or ()),
        benchmarks=tuple(benchmarks),
        items=ItemChoice(
            *(culture_keys(cultures, in_run), culture_keys(without_cultures, in_run)),
            *(tuple(items), tuple(without_items)),
            half=half,
            bootstrap=bootstrap,
            seed=seed,
        ),
        level=level,
    )
    reducer = Reducer(stored, reduction, parse_size(memory, base=1024))
    task = Task(progress, "reduce", reducer.n_steps)
    return reducer.write(Path(out), overwrite=overwrite, compression=compression, progress=task.advance)
