"""The analysis of single items: what the neurons of a set score on every item of a benchmark."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig import registry
from culnig.benchmarks.choosing import read_benchmarks
from culnig.core.items import SplitChoice
from culnig.core.progress import Progress, Say, Task, no_progress, say_nothing
from culnig.errors import InputError, argument
from culnig.evaluation.instances.file import write_instances
from culnig.evaluation.instances.scores import instance_scores
from culnig.evaluation.instances.summary import summary
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET
from culnig.inference.encoding import Encoder
from culnig.inference.products import computation_of
from culnig.inference.templates import chosen_date
from culnig.models.named import loaded_model
from culnig.provenance import describe_model, versions
from culnig.selection.neuron_set import NeuronSetOrPath, as_neuron_set
from culnig.store.output_folder import check_file, owned_file

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from culnig.models.base import BoundModel
    from culnig.models.settings import LoadOptions


def instances(
    model: str | Path | BoundModel,
    benchmarks: Sequence[str] | str,
    neurons: NeuronSetOrPath,
    out: Path | str,
    *,
    control: str | bool = True,
    data_dir: Path | str | None = None,
    split: SplitChoice = "test",
    cultures: Sequence[str] = (),
    limit: int | None = None,
    per_culture: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    token_budget: int = DEFAULT_TOKEN_BUDGET,
    prompt_date: date | str | None = None,
    overwrite: bool = False,
    progress: Progress = no_progress,
    say: Say = say_nothing,
    **loading: Unpack[LoadOptions],
) -> dict[str, Any]:
    """Score the neurons of a set on every item of one benchmark, and write the scores to the HDF5 file `out`.

    `control` names the benchmark to subtract, item by item; True takes the benchmark's own control, False
    none. `prompt_date` (YYYY-MM-DD, by default today) is the date in prompts of chat templates that write
    one. Returns the summary: shares of positive scores overall, by topic and by culture, and the topic that
    each neuron serves most (`summary`).
    """
    given = [benchmarks] if isinstance(benchmarks, str) else list(benchmarks)
    if len(given) != 1:
        raise InputError(
            f"instances are scored on one benchmark, but {len(given)} are given; give "
            f"{argument('benchmarks')} once"
        )
    path, day = Path(out), chosen_date(prompt_date)
    inputs = (model, neurons, data_dir, benchmarks)
    check_file(path, overwrite=overwrite, inputs=inputs)
    chosen_set = as_neuron_set(neurons)
    control_name = registry.benchmark(given[0]).control if control is True else control or None
    names = given + ([control_name] if control_name else [])
    chosen = read_benchmarks(
        names, data_dir, split, cultures, limit, per_culture, sample=sample, seed=seed, say=say
    )
    name, *control_names = chosen
    target = chosen[name].items
    control_items = chosen[control_names[0]].items if control_names else None
    bound = loaded_model(model, say, spreads=True, **loading)
    flat = chosen_set.flat(bound.layout)
    task = Task(progress, f"score {len(flat):,} neurons on {name}", len(target) * len(chosen))
    encoder = Encoder(bound, day)
    record = {
        "model": describe_model(bound),
        "neuron_set": {"name": chosen_set.name, "method": chosen_set.method},
        "benchmarks": {
            name: own.record(encoder.record(encoder.encode_all(own.items))) for name, own in chosen.items()
        },
        "versions": versions(computation_of(bound.model)),
    }
    writes = bound.is_first
    with owned_file(path, overwrite=overwrite, inputs=inputs) if writes else contextlib.nullcontext():
        scores = instance_scores(
            *(bound, target, flat, control_items),
            encoder=encoder,
            token_budget=token_budget,
            after_batch=task.advance,
        )
        if writes:
            write_instances(path, scores, bound.layout, record)
    return {
        "instances": str(out),
        "benchmark": name,
        "control": control_name,
        "neuron_set": chosen_set.name,
        **summary(scores, bound.layout),
    }
