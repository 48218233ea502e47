"""A whole scoring run: every benchmark into one run folder, resumable."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from culnig.bound import BoundModel
from culnig.extraction.memory import peak_bytes
from culnig.extraction.scoring import BenchmarkScores, ScoreSettings, score_benchmark
from culnig.items import ChosenItems
from culnig.store import schema
from culnig.store.files import write_json
from culnig.store.run import Run, read_run_record
from culnig.store.writer import RunWriter

_RECORDED_PACKAGES = ("culnig-engine", "torch", "transformers", "numpy", "h5py")


Progress = Callable[[str, int], None]
"""Called with a benchmark's name and the number of items that were just finished."""


def score_run(
    bound: BoundModel,
    benchmarks: Mapping[str, ChosenItems],
    settings: ScoreSettings,
    folder: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    gradient_checkpointing: bool = False,
    skipped: Mapping[str, int] | None = None,
    planned_memory: Mapping[str, Any] | None = None,
    progress: Progress = lambda benchmark, n_items: None,
) -> Run:
    """Score all benchmarks into the run folder `folder` and return the finished run.

    An interrupted run is finished by the same call with `resume`, to the same bits. `skipped` counts the
    items of each benchmark that were left out as too long, `planned_memory` is what a plan said; both are
    recorded, the latter beside the peak that was measured. OutputExistsError where the folder is in the way,
    MismatchError where the run in it was made for something else.
    """
    record = _record(bound, benchmarks, settings)
    if skipped:
        record["skipped_too_long"] = dict(skipped)
    writer = RunWriter.open(
        folder,
        record,
        bound.layout,
        resume=resume,
        overwrite=overwrite,
    )
    if not writer.finished:
        for name, chosen in benchmarks.items():
            _score_into(writer, bound, name, chosen, settings, progress, gradient_checkpointing)
        writer.finish(list(benchmarks))
        if planned_memory is not None:
            _record_memory(folder, planned_memory)
    return Run(folder)


def _score_into(
    writer: RunWriter,
    bound: BoundModel,
    name: str,
    chosen: ChosenItems,
    settings: ScoreSettings,
    progress: Progress,
    gradient_checkpointing: bool,
) -> None:
    stored = writer.read_part(name)
    so_far = None if stored is None else BenchmarkScores(*stored)
    if so_far is not None:
        progress(name, int(so_far.moments.n_items.sum()))

    def save(scores: BenchmarkScores) -> None:
        writer.save_part(
            name, chosen.role, chosen.split, scores.moments, scores.outcomes, scores.batches_done
        )

    def after_batch(scores: BenchmarkScores, n_items: int) -> None:
        if scores.complete or writer.checkpoint_due():
            save(scores)
        progress(name, n_items)

    score_benchmark(
        bound,
        chosen.items,
        chosen.role,
        settings,
        so_far=so_far,
        after_batch=after_batch,
        gradient_checkpointing=gradient_checkpointing,
    )


def _record_memory(folder: Path, planned: Mapping[str, Any]) -> None:
    """Put planned and measured memory into run.json; measured is the peak of this process, not of others."""
    memory = {"planned": dict(planned), "measured_peak": peak_bytes()}
    write_json(folder / schema.RUN_FILE, {**read_run_record(folder), "memory": memory})


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


def versions() -> dict[str, str]:
    """Versions of what computed the numbers."""
    return {"python": platform.python_version()} | {
        package: metadata.version(package) for package in _RECORDED_PACKAGES
    }


def _record(
    bound: BoundModel, benchmarks: Mapping[str, ChosenItems], settings: ScoreSettings
) -> dict[str, Any]:
    return {
        "model": describe_model(bound),
        "settings": {**asdict(settings), "level": "culture"},
        "benchmarks": {name: chosen.record() for name, chosen in benchmarks.items()},
        "versions": versions(),
        "complete": False,
    }
