"""Merge several runs into one: the shards of one request, or finished runs over different items.

Shards hold whole portions, so merged they are the run that one process would have made, to the bit. Finished
runs are added in an order that depends only on their contents, not on the order given.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from culnig.core.neurons import Layout
from culnig.core.outcomes import Outcomes
from culnig.errors import InputError, MismatchError, StoreError, argument, option
from culnig.store import schema, tables
from culnig.store.data_parts import part_file
from culnig.store.files import copy_file, make_folder
from culnig.store.hdf5 import changed_copy
from culnig.store.output_folder import check_folder
from culnig.store.output_kind import differences
from culnig.store.prompts import (
    PROMPTS,
    as_recorded,
    date_advice,
    differing_entries,
    joined,
    prompts_of,
    reason,
)
from culnig.store.record import RECORD_SECTIONS, RUN, check_of_all, open_scores, read_run_record
from culnig.store.run import Run
from culnig.store.sums import add_benchmark
from culnig.store.writer import RunWriter

SAMPLE, ANSWERS = "sample", "answers"
"""Keys in the record of a benchmark: how its questions were drawn (`culnig.benchmarks.sampling`), and how its
options are read, if as texts."""

_PORTIONS_APART = 1000
"""Portions of the k-th run are renumbered from k times this."""


def merge(
    runs: Sequence[Run | Path | str], out: Path | str, *, allow_overlap: bool = False, overwrite: bool = False
) -> Run:
    """Merge runs, or all shards of one, into the run `out`.

    MismatchError if they do not belong together, or hold the same item without `allow_overlap` (with it,
    such items count once for each run). StoreError if a shard is missing or incomplete.
    """
    folders, target = [run.folder if isinstance(run, Run) else Path(run) for run in runs], Path(out)
    if len(folders) < 2:
        raise InputError(f"{len(folders)} run to merge; give at least two")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("a run is given twice; give each once")
    if target.resolve() in {folder.resolve() for folder in folders}:
        raise InputError(f"{target} is one of the runs; give another folder with {argument('out')}")
    check_folder(target, RUN, overwrite=overwrite, inputs=folders)
    records = [read_run_record(folder) for folder in folders]
    are_shards = [isinstance(record.get("shard"), dict) for record in records]
    if all(are_shards):
        return _merge_shards(folders, records, target, overwrite)
    if any(are_shards):
        shard = folders[are_shards.index(True)]
        raise MismatchError(
            f"{shard} is a shard, but others are finished runs; merge all shards of a run first"
        )
    return _merge_runs([Run(folder) for folder in folders], target, allow_overlap, overwrite)


def _merge_shards(
    folders: Sequence[Path], records: Sequence[dict[str, Any]], target: Path, overwrite: bool
) -> Run:
    first = records[0]
    of = int(first["shard"]["of"])
    for folder, record in zip(folders[1:], records[1:], strict=True):
        if differing := differences(record, first, RECORD_SECTIONS):
            raise MismatchError(
                f"{folder} does not belong to the same run as {folders[0]}: "
                + "; ".join(f"{name} is {own} and {other}" for name, own, other in differing)
                + _advice(record, first)
            )
    numbers = Counter(int(record["shard"]["number"]) for record in records)
    missing = [str(number + 1) for number in range(of) if number not in numbers]
    if missing or any(int(record["shard"]["of"]) != of for record in records):
        raise StoreError(f"shard {', '.join(missing) or '?'} of {of} is not among the folders; add it")
    for folder, record in zip(folders, records, strict=True):
        if not isinstance(record.get("portions"), dict):
            raise StoreError(f"{folder}: the shard is not finished; score it again with {option('resume')}")
    record = {key: value for key, value in first.items() if key not in ("shard", "portions", "memory")}
    for own in records:
        record = as_recorded(record, own)
    record |= _check_of(records)
    with RunWriter.open(target, record, _layout_of_parts(folders), overwrite=overwrite) as writer:
        for folder in folders:
            for inner in (schema.PARTS_FOLDER, schema.ITEMS_FOLDER, schema.TENSORS_FOLDER):
                for path in sorted((folder / inner).glob("*.h5")):
                    make_folder(target / inner)
                    copy_file(path, target / inner / path.name)
        writer.finish({name: int(count) for name, count in first["portions"].items()})
    return Run(target)


def _advice(record: dict[str, Any], first: dict[str, Any]) -> str:
    """What to do about shards whose prompts show different dates."""
    days = [
        own[PROMPTS]["date"]
        for name, own in first["benchmarks"].items()
        if "date" in differing_entries(prompts_of(first, name), prompts_of(record, name))
    ]
    return f". Score it again: {date_advice(days[0])}" if days else ""


def _check_of(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The entry `check` of the merged record; none if no run has one."""
    checks = [record.get("check") for record in records]
    return {"check": check_of_all(checks)} if any(checks) else {}


def _layout_of_parts(folders: Sequence[Path]) -> Layout:
    for folder in folders:
        for path in sorted((folder / schema.PARTS_FOLDER).glob("*.h5")):
            with open_scores(path) as file:
                return tables.read_layout(file)
    raise StoreError(f"{folders[0]}: no parts; score the shard again with {option('resume')}")


def _merge_runs(runs: list[Run], target: Path, allow_overlap: bool, overwrite: bool) -> Run:
    runs = sorted(runs, key=lambda run: (run.scores_hash, run.run_id))
    _check_together(runs)
    names = sorted({name for run in runs for name in run.benchmarks})
    answers = {name: [(run, run.outcomes(name)) for run in runs if name in run.benchmarks] for name in names}
    if not allow_overlap:
        for name, answered in answers.items():
            _check_no_overlap(name, answered)
    settings = {**runs[0].record["settings"], "merged": [run.run_id for run in runs]}
    settings.pop("halves", None)  # each run halved its own questions: together they would not be halves
    record = {
        "model": runs[0].record["model"],
        "settings": settings,
        "benchmarks": {
            name: {
                "role": answered[0][0].benchmarks[name].role,
                "n_items": sum(len(o.id) for _, o in answered),
                **_prompts([run for run, _ in answered], name),
                **_sample(answered[0][0], name),
                **_answers(answered[0][0], name),
            }
            for name, answered in answers.items()
        },
        "versions": runs[0].record.get("versions", {}),
        "sources": [{"run_id": run.run_id, "scores_hash": run.scores_hash} for run in runs],
        "complete": False,
        **_check_of([run.record for run in runs]),
    }
    with RunWriter.open(target, record, runs[0].layout, overwrite=overwrite) as writer:
        for name, answered in answers.items():
            _copy_data(writer, name, answered, runs)
        with writer.new_scores() as benchmarks:
            for name, answered in answers.items():
                _add_runs(benchmarks.create_group(name), name, answered, runs[0].layout.n_neurons)
        writer.complete()
    return Run(target)


def _sample(run: Run, name: str) -> dict[str, Any]:
    """How the questions of a benchmark were drawn, if they were."""
    own = run.record["benchmarks"].get(name, {})
    return {SAMPLE: own[SAMPLE]} if own.get(SAMPLE) else {}


def _answers(run: Run, name: str) -> dict[str, Any]:
    """How options are read, if as texts."""
    own = run.record["benchmarks"].get(name, {})
    return {ANSWERS: own[ANSWERS]} if ANSWERS in own else {}


def _prompts(runs: Sequence[Run], name: str) -> dict[str, Any]:
    """The prompts of a benchmark, where all runs recorded theirs."""
    prompts = joined([prompts_of(run.record, name) for run in runs])
    return {} if prompts is None else {PROMPTS: prompts}


_MAY_DIFFER = ("benchmarks.", "settings.token_budget", "settings.prefix_sharing")
"""The settings change scores only by the float noise of the model."""


def _check_together(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        problems = [
            f"{name} is {own} and {other}"
            for name, own, other in differences(run.record, first.record, RECORD_SECTIONS)
            if not name.startswith(_MAY_DIFFER)
        ]
        if run.layout != first.layout:
            problems.append("other modules or layers")
        if problems:
            raise MismatchError(f"{run.folder} does not fit {first.folder}: {'; '.join(problems)}")
        _check_prompts(run, first)
        _check_samples(run, first)
        for name in run.benchmarks.keys() & first.benchmarks.keys():
            roles = run.benchmarks[name].role, first.benchmarks[name].role
            if roles[0] != roles[1]:
                raise MismatchError(
                    f"benchmark {name!r} is {roles[0]} in {run.folder} and {roles[1]} in {first.folder}"
                )
            if _answers(run, name) != _answers(first, name):
                raise MismatchError(
                    f"the options of {name!r} are read differently in {run.folder} and {first.folder}, by "
                    "their labels or their texts; merge runs of one declaration"
                )


def _check_prompts(run: Run, first: Run) -> None:
    """MismatchError where the prompts of two runs show different dates or have other templates."""
    for name in run.benchmarks:
        for other in first.benchmarks:
            if problem := reason(
                prompts_of(run.record, name), prompts_of(first.record, other), same_items=False
            ):
                raise MismatchError(
                    f"{name!r} of {run.folder} does not fit {other!r} of {first.folder}: {problem}"
                )


def _check_samples(run: Run, first: Run) -> None:
    """MismatchError where questions of one benchmark, or of target and control, were drawn differently."""
    for name, own in run.benchmarks.items():
        for other, theirs in first.benchmarks.items():
            together = name == other or {own.role, theirs.role} == {"target", "control"}
            drawn = _sample(run, name), _sample(first, other)
            if together and drawn[0] != drawn[1]:
                raise MismatchError(
                    f"{name!r} of {run.folder} does not fit {other!r} of {first.folder}: one has "
                    f"{_drawn_text(drawn[0])}, the other {_drawn_text(drawn[1])}; score both with the same "
                    f"{argument('sample')} and {argument('seed')}"
                )


def _drawn_text(drawn: dict[str, Any]) -> str:
    if not drawn:
        return "questions that were not drawn"
    return f"{drawn[SAMPLE]['n_questions']} questions drawn with seed {drawn[SAMPLE]['seed']}"


def _check_no_overlap(name: str, answered: Sequence[tuple[Run, Outcomes]]) -> None:
    seen: dict[str, Run] = {}
    for run, answers in answered:
        for item in answers.id.tolist():
            if item in seen:
                raise MismatchError(
                    f"item {item!r} of {name!r} is in {seen[item].folder} and in {run.folder}; it would "
                    "count twice. Merge runs over different items, or allow it with "
                    f"{option('allow_overlap')}"
                )
            seen[item] = run


def _add_runs(group: h5py.Group, name: str, answered: Sequence[tuple[Run, Outcomes]], n_neurons: int) -> None:
    splits = {run.benchmarks[name].split for run, _ in answered}
    group.attrs[schema.ROLE] = answered[0][0].benchmarks[name].role
    group.attrs[schema.SPLIT] = splits.pop() if len(splits) == 1 else "all"
    ends = np.cumsum([len(answers.id) for _, answers in answered])
    indices = [
        np.arange(end - len(answers.id), end) for end, (_, answers) in zip(ends, answered, strict=True)
    ]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open_scores(run.scores_file)) for run, _ in answered]
        sources = [tables.group_at(tables.group_at(file, schema.BENCHMARKS), name) for file in files]
        add_benchmark(group, sources, n_neurons, "default", indices)


def _copy_data(
    writer: RunWriter, name: str, answered: Sequence[tuple[Run, Outcomes]], runs: Sequence[Run]
) -> None:
    """Copy item scores and tensors, with the items' new indices."""
    offset = 0
    for run, answers in answered:
        folder = schema.ITEMS_FOLDER if run.level == "item" else schema.TENSORS_FOLDER
        parts = []
        if run.level != "culture":
            parts = run.item_parts(name) if run.level == "item" else run.tensor_parts(name)
        for part in parts:
            portion = part.name.portion + _PORTIONS_APART * runs.index(run)
            parent = writer.folder / folder
            make_folder(parent)
            target = parent / part_file(name, portion, part.name.first_batch)
            with changed_copy(part.path, target) as file:
                file.attrs[schema.RUN_ID], file.attrs[schema.PORTION] = writer.run_id, portion
                file[schema.ITEM][...] = part.prompts.item + offset
        offset += len(answers.id)
