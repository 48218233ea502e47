"""Several runs as one: the shards of one request, or finished runs over different items.

Shards hold whole portions, so merged they are the run that one process would have made, to the bit. Finished
runs are added in an order that depends on their contents and not on how they are given.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from culnig.core.neurons import Layout
from culnig.core.outcomes import Outcomes
from culnig.errors import InputError, MismatchError, StoreError
from culnig.store import schema, tables
from culnig.store.data_parts import part_file
from culnig.store.files import whole_file
from culnig.store.run import Run, open_scores, read_run_record
from culnig.store.writer import RunWriter, request_differences

_CELLS = 1 << 20
"""Cells of a table that are added at once."""
_PORTIONS_APART = 1000
"""Portions of the k-th run are renumbered from k times this."""


def merge(
    runs: Sequence[Run | Path | str], out: Path | str, *, allow_overlap: bool = False, overwrite: bool = False
) -> Run:
    """Merge runs, or all shards of one, into the run `out`.

    MismatchError where they do not belong together, or hold the same item and `allow_overlap` is not set
    (then such items count as often as they are there). StoreError where a shard is missing or not complete.
    """
    folders, target = [run.folder if isinstance(run, Run) else Path(run) for run in runs], Path(out)
    if len(folders) < 2:
        raise InputError(f"{len(folders)} run to merge; give at least two")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("a run is given twice; give each once")
    if target.resolve() in {folder.resolve() for folder in folders}:
        raise InputError(f"{target} is one of the runs; give another folder with -o")
    records = [read_run_record(folder) for folder in folders]
    are_shards = [isinstance(record.get("shard"), dict) for record in records]
    if all(are_shards):
        return _merge_shards(folders, records, target, overwrite)
    if any(are_shards):
        shard = folders[are_shards.index(True)]
        raise MismatchError(
            f"{shard} is a shard and others are finished runs; merge all shards of a run first"
        )
    return _merge_runs([Run(folder) for folder in folders], target, allow_overlap, overwrite)


def _merge_shards(
    folders: Sequence[Path], records: Sequence[dict[str, Any]], target: Path, overwrite: bool
) -> Run:
    first = records[0]
    of = int(first["shard"]["of"])
    for folder, record in zip(folders[1:], records[1:], strict=True):
        if differences := request_differences(record, first):
            raise MismatchError(f"{folder} is not of the same run as {folders[0]}: {'; '.join(differences)}")
    numbers = Counter(int(record["shard"]["number"]) for record in records)
    missing = [str(number + 1) for number in range(of) if number not in numbers]
    if missing or any(int(record["shard"]["of"]) != of for record in records):
        raise StoreError(f"shard {', '.join(missing) or '?'} of {of} is not among the folders; add it")
    for folder, record in zip(folders, records, strict=True):
        if not isinstance(record.get("portions"), dict):
            raise StoreError(f"{folder}: the shard is not finished; run its `score` command with --resume")
    record = {key: value for key, value in first.items() if key not in ("shard", "portions", "memory")}
    with RunWriter.open(target, record, _layout_of_parts(folders), overwrite=overwrite) as writer:
        for folder in folders:
            for inner in (schema.PARTS_FOLDER, schema.ITEMS_FOLDER, schema.TENSORS_FOLDER):
                for path in sorted((folder / inner).glob("*.h5")):
                    (target / inner).mkdir(exist_ok=True)
                    _copy(path, target / inner / path.name)
        writer.finish({name: int(count) for name, count in first["portions"].items()})
    return Run(target)


def _layout_of_parts(folders: Sequence[Path]) -> Layout:
    for folder in folders:
        for path in sorted((folder / schema.PARTS_FOLDER).glob("*.h5")):
            with open_scores(path) as file:
                return tables.read_layout(file)
    raise StoreError(f"{folders[0]}: no parts; run the `score` command of the shard again with --resume")


def _copy(source: Path, target: Path) -> None:
    """The same file under another name where the file system can, else a copy."""
    target.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    with whole_file(target) as temporary:
        shutil.copyfile(source, temporary)


def _merge_runs(runs: list[Run], target: Path, allow_overlap: bool, overwrite: bool) -> Run:
    runs = sorted(runs, key=lambda run: (run.scores_hash, run.run_id))
    _check_together(runs)
    names = sorted({name for run in runs for name in run.benchmarks})
    answers = {name: [(run, run.outcomes(name)) for run in runs if name in run.benchmarks] for name in names}
    if not allow_overlap:
        for name, those in answers.items():
            _check_no_overlap(name, those)
    settings = {**runs[0].record["settings"], "merged": [run.run_id for run in runs]}
    settings.pop("halves", None)  # each run halved its own questions: together they would not be halves
    record = {
        "model": runs[0].record["model"],
        "settings": settings,
        "benchmarks": {
            name: {"role": those[0][0].benchmarks[name].role, "n_items": sum(len(o.id) for _, o in those)}
            for name, those in answers.items()
        },
        "versions": runs[0].record.get("versions", {}),
        "sources": [{"run_id": run.run_id, "scores_hash": run.scores_hash} for run in runs],
        "complete": False,
    }
    with RunWriter.open(target, record, runs[0].layout, overwrite=overwrite) as writer:
        for name, those in answers.items():
            _copy_data(writer, name, those, runs)
        with writer.new_scores() as benchmarks:
            for name, those in answers.items():
                _add_runs(benchmarks.create_group(name), name, those, runs[0].layout.n_neurons)
        writer.complete()
    return Run(target)


_MAY_DIFFER = ("benchmarks.", "settings.token_budget", "settings.prefix_sharing")
"""The settings change scores only by the float noise of the model."""


def _check_together(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        differences = [
            difference
            for difference in request_differences(run.record, first.record)
            if not difference.startswith(_MAY_DIFFER)
        ]
        if run.layout != first.layout:
            differences.append("other modules or layers")
        if differences:
            raise MismatchError(f"{run.folder} does not fit {first.folder}: {'; '.join(differences)}")
        for name in run.benchmarks.keys() & first.benchmarks.keys():
            roles = run.benchmarks[name].role, first.benchmarks[name].role
            if roles[0] != roles[1]:
                raise MismatchError(
                    f"benchmark {name!r} is {roles[0]} in {run.folder} and {roles[1]} in {first.folder}"
                )


def _check_no_overlap(name: str, those: Sequence[tuple[Run, Outcomes]]) -> None:
    seen: dict[str, Run] = {}
    for run, answers in those:
        for item in answers.id.tolist():
            if item in seen:
                raise MismatchError(
                    f"item {item!r} of {name!r} is in {seen[item].folder} and in {run.folder}; it would "
                    "count twice. Merge runs over different items, or allow it with --allow-overlap"
                )
            seen[item] = run


def _add_runs(group: h5py.Group, name: str, those: Sequence[tuple[Run, Outcomes]], n_neurons: int) -> None:
    stored = those[0][0].benchmarks[name]
    splits = {run.benchmarks[name].split for run, _ in those}
    group.attrs[schema.ROLE] = stored.role
    group.attrs[schema.SPLIT] = splits.pop() if len(splits) == 1 else "all"
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open_scores(run.scores_file)) for run, _ in those]
        sources = [tables.group_at(tables.group_at(file, schema.BENCHMARKS), name) for file in files]
        _add_sums(group, sources, n_neurons)
        for scorer in tables.scorer_names(sources[0]):
            theirs = [tables.group_at(tables.group_at(source, schema.SCORERS), scorer) for source in sources]
            _add_sums(group.create_group(f"{schema.SCORERS}/{scorer}"), theirs, n_neurons)
    offset, parts = 0, []
    for _, answers in those:
        parts.append((np.arange(offset, offset + len(answers.id)), answers))
        offset += len(answers.id)
    tables.write_outcomes(group, Outcomes.joined(parts))


def _add_sums(target: h5py.Group, sources: Sequence[h5py.Group], n_neurons: int) -> None:
    """Write a scorer's tables as the sum of those of runs, whose cultures may differ."""
    cultures = list(dict.fromkeys(itertools.chain.from_iterable(tables.read_cultures(s)[0] for s in sources)))
    rows = {culture: row for row, culture in enumerate(cultures)}
    n_items, p_gold = np.zeros(len(cultures), np.int64), np.zeros(len(cultures))
    places = []
    for source in sources:
        own, counts = tables.read_cultures(source)
        places.append(np.array([rows[culture] for culture in own], dtype=np.int64))
        n_items[places[-1]] += counts
        p_gold[places[-1]] += tables.read_p_gold_sum(source)
    tables.write_counts(target, cultures, n_items, p_gold)
    for table in schema.TABLES:
        inputs = [
            tables.table_at(source, table, (len(place), n_neurons))
            for source, place in zip(sources, places, strict=True)
        ]
        dataset = tables.create_table(target, table, (len(cultures), n_neurons), inputs[0].dtype)
        over_cultures = np.zeros(n_neurons)
        for row in range(len(cultures)):
            for start in range(0, n_neurons, _CELLS):
                columns = slice(start, start + _CELLS)
                total = sum(
                    tables.read_cells(cells, int(np.flatnonzero(place == row)[0]), columns)
                    for cells, place in zip(inputs, places, strict=True)
                    if row in place
                )
                dataset[row, columns] = total
                over_cultures[columns] += total
        if table == schema.SUM:
            tables.write_total(target, over_cultures, "default")


def _copy_data(
    writer: RunWriter, name: str, those: Sequence[tuple[Run, Outcomes]], runs: Sequence[Run]
) -> None:
    """Item scores and tensors, with the items' new places."""
    offset = 0
    for run, answers in those:
        folder = {"item": schema.ITEMS_FOLDER, "token": schema.TENSORS_FOLDER}.get(run.level)
        parts = []
        if folder is not None:
            parts = run.item_parts(name) if run.level == "item" else run.tensor_parts(name)
        for part in parts:
            portion = part.name.portion + _PORTIONS_APART * runs.index(run)
            moved = replace(part.name, portion=portion, run_id=writer.run_id)
            place = writer.folder / str(folder)
            place.mkdir(exist_ok=True)
            with whole_file(place / part_file(name, portion, moved.first_batch)) as temporary:
                shutil.copyfile(part.path, temporary)
                with h5py.File(temporary, "r+") as file:
                    file.attrs[schema.RUN_ID], file.attrs[schema.PORTION] = moved.run_id, portion
                    file[schema.ITEM][...] = part.prompts.item + offset
        offset += len(answers.id)
