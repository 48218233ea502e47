"""A whole scoring run: every benchmark into one run folder, by one process or several, resumable."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from culnig.bound import BoundModel
from culnig.extraction.keeping import ItemScoreKeeper, Keeper, TensorKeeper
from culnig.extraction.levels import Level, StoredTensors
from culnig.extraction.memory import peak_bytes
from culnig.extraction.scoring import ScoreSettings, Scoring, settled
from culnig.inference.products import processor, products_of
from culnig.items import ChosenItems
from culnig.processes import ALONE, Processes
from culnig.scorer import Scorer
from culnig.store.compression import Compression
from culnig.store.item_scores import ScoreType
from culnig.store.run import Run
from culnig.store.writer import Portion, PortionState, RunWriter

_RECORDED_PACKAGES = ("culnig-engine", "torch", "transformers", "numpy", "h5py")


Progress = Callable[[str, int], None]
"""Called with a benchmark's name and the number of items that were just finished."""


@dataclass(frozen=True)
class RunSettings:
    """How a run is made, beside what decides its numbers."""

    level: Level = "culture"
    """What is stored: sums per culture, scores per item, or tensors per token."""
    score_type: ScoreType = "float32"
    """Number format of item scores."""
    tensors: StoredTensors = field(default_factory=StoredTensors)
    """What is stored at level `token`."""
    scorers: tuple[Scorer, ...] = ()
    """Scorers beside gradient × activation."""
    halves: bool = False
    """Whether sums over one half of the questions are stored beside those over all."""
    compression: Compression = "default"
    gradient_checkpointing: bool = False


def score_run(
    bound: BoundModel,
    benchmarks: Mapping[str, ChosenItems],
    settings: ScoreSettings,
    folder: Path,
    *,
    how: RunSettings | None = None,
    resume: bool = False,
    overwrite: bool = False,
    skipped: Mapping[str, int] | None = None,
    planned_memory: Mapping[str, Any] | None = None,
    progress: Progress = lambda benchmark, n_items: None,
    say: Callable[[str], None] = lambda line: None,
) -> Run:
    """Score all benchmarks into the run folder `folder` and return the finished run.

    An interrupted run is finished by the same call with `resume`, to the same bits. `skipped` counts the
    items of each benchmark that were left out as too long, `planned_memory` is what a plan said; both are
    recorded, the latter beside the peak that was measured. `say` is told where prompts cannot share their
    prefixes. OutputExistsError where the folder is in the way, MismatchError where the run in it was made
    for something else.
    """
    score_share(
        bound,
        benchmarks,
        settings,
        folder,
        ALONE,
        how=how,
        resume=resume,
        overwrite=overwrite,
        skipped=skipped,
        planned_memory=planned_memory,
        progress=progress,
        say=say,
    )
    return Run(folder)


def score_share(
    bound: BoundModel,
    benchmarks: Mapping[str, ChosenItems],
    settings: ScoreSettings,
    folder: Path,
    processes: Processes,
    *,
    how: RunSettings | None = None,
    resume: bool = False,
    overwrite: bool = False,
    skipped: Mapping[str, int] | None = None,
    planned_memory: Mapping[str, Any] | None = None,
    progress: Progress = lambda benchmark, n_items: None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Do this process's share of a run; see `score_run`.

    Processes of one launch end with the finished run; a shard is left to be merged with the others
    (`culnig.store.merge`). The numbers are those of one process, to the bit.
    """
    how = how or RunSettings()
    settings, problem = settled(
        settings,
        bound,
        gradient_checkpointing=how.gradient_checkpointing,
        scorers=how.scorers,
        tensors=how.level == "token",
    )
    if problem:
        say(f"prompts are not shared: {problem}")
    record = _record(bound, benchmarks, settings, how)
    if skipped:
        record["skipped_too_long"] = dict(skipped)
    if processes.is_shard:
        record["shard"] = {"number": processes.number, "of": processes.of}
    with _writer(processes, folder, record, bound, how, resume=resume, overwrite=overwrite) as writer:
        if writer.finished:
            return
        portions: dict[str, int] = {}
        turn = 0
        for name, chosen in benchmarks.items():
            scoring = Scoring(
                bound,
                chosen.items,
                chosen.role,
                settings,
                gradient_checkpointing=how.gradient_checkpointing,
                scorers=how.scorers,
                halves=how.halves,
            )
            portions[name] = len(scoring.portions)
            for number in range(portions[name]):
                if processes.takes(turn):
                    _score_portion(writer, bound, name, chosen, scoring, number, how, progress)
                turn += 1
        if planned_memory is not None and processes.is_first:
            writer.record_more(memory={"planned": dict(planned_memory), "measured_peak": peak_bytes()})
        if processes.is_shard:
            writer.record_more(portions=portions)
            return
        processes.wait_for_all()
        if processes.is_first:
            writer.finish(portions)
        processes.wait_for_all()


def _writer(
    processes: Processes,
    folder: Path,
    record: dict[str, Any],
    bound: BoundModel,
    how: RunSettings,
    *,
    resume: bool,
    overwrite: bool,
) -> RunWriter:
    """The run folder: the first process makes or checks it, then the others join."""
    if not processes.is_first:
        processes.wait_for_all()
        return RunWriter.join(folder, record, bound.layout, compression=how.compression)
    writer = RunWriter.open(
        folder, record, bound.layout, resume=resume, overwrite=overwrite, compression=how.compression
    )
    processes.wait_for_all()
    return writer


def _score_portion(
    writer: RunWriter,
    bound: BoundModel,
    name: str,
    chosen: ChosenItems,
    scoring: Scoring,
    number: int,
    how: RunSettings,
    progress: Progress,
) -> None:
    portion = Portion(
        name,
        number,
        len(scoring.portions),
        len(scoring.portions[number]),
        scoring.half_of_portion[number],
    )
    places = scoring.places(number)
    scores = scoring.empty()
    stored = writer.read_part(portion)
    if stored is not None:
        scores.moments, scores.batches_done = stored.moments, stored.batches_done
        scores.scorers = dict(stored.scorers)
        scores.outcomes.put(stored.places, stored.outcomes)
        progress(name, int(stored.moments.n_items.sum()))
    if how.level != "culture":
        writer.discard_data(
            _KEEPERS[how.level].folder, portion, scoring.portions[number].start + scores.batches_done
        )
    keeper = _keeper(writer, bound, portion, chosen, scoring, how)

    def after_batch(batches_done: int, n_items: int) -> None:
        complete = batches_done == portion.n_batches
        if complete or (writer.checkpoint_due() and (keeper is None or keeper.between_parts)):
            if keeper:
                keeper.settle()
            state = PortionState(
                scores.moments, scores.outcomes.take(places), places, batches_done, scores.scorers
            )
            writer.save_part(portion, chosen.role, chosen.split, state)
        progress(name, n_items)

    try:
        if keeper:
            writer.require_data(portion, keeper.files(scores.batches_done))
        if stored is not None and scores.batches_done == portion.n_batches:
            return
        scoring.score(number, scores, keeper=keeper, after_batch=after_batch)
    finally:
        if keeper:
            keeper.close()


_KEEPERS: dict[str, type[Keeper]] = {"item": ItemScoreKeeper, "token": TensorKeeper}


def _keeper(
    writer: RunWriter,
    bound: BoundModel,
    portion: Portion,
    chosen: ChosenItems,
    scoring: Scoring,
    how: RunSettings,
) -> Keeper | None:
    def text_of(token: int) -> str:
        return str(bound.tokenizer.decode([token]))

    where = (writer, portion, scoring.batches, scoring.portions[portion.number], text_of)
    if how.level == "item":
        return ItemScoreKeeper(*where, bound.layout.n_neurons, how.score_type)
    if how.level == "token":
        number_format = str(bound.model.dtype).removeprefix("torch.")
        return TensorKeeper(
            *where, how.tensors.segments(bound.layout), number_format, how.tensors.places(chosen.items)
        )
    return None


def describe_model(bound: BoundModel) -> dict[str, Any]:
    """What a run or evaluation records about its model."""
    return {
        "source": bound.source,
        "adapter": bound.adapter,
        "architecture": type(bound.model).__name__,
        "dtype": str(bound.model.dtype).removeprefix("torch."),
        "attention": getattr(bound.model.config, "_attn_implementation", None),
        "n_layers": bound.layout.n_layers,
        "n_neurons": bound.layout.n_neurons,
        "layout_hash": bound.layout.hash,
        "weights_hash": bound.weights_hash,
    }


def versions(bound: BoundModel | None = None) -> dict[str, str]:
    """Versions of what computed the numbers, the processor, and what made the matrix products of a model."""
    found = {"python": platform.python_version(), "processor": processor()}
    found |= {package: metadata.version(package) for package in _RECORDED_PACKAGES}
    return found if bound is None else found | {"matrix products": products_of(bound.model)}


def _record(
    bound: BoundModel, benchmarks: Mapping[str, ChosenItems], settings: ScoreSettings, how: RunSettings
) -> dict[str, Any]:
    stored: dict[str, Any] = {"level": how.level}
    if how.scorers:
        stored["scorers"] = [scorer.name for scorer in how.scorers]
    if how.halves:
        stored["halves"] = True
    if how.level == "item":
        stored["score_type"] = how.score_type
    if how.level == "token":
        stored |= how.tensors.record()
    return {
        "model": describe_model(bound),
        "settings": {**asdict(settings), **stored},
        "benchmarks": {name: chosen.record() for name, chosen in benchmarks.items()},
        "versions": versions(bound),
        "complete": False,
    }
