"""Turns logs of lm-evaluation-harness into an evaluation, for paired tests, baselines and reports.

`lm_eval --output_path FOLDER --log_samples` writes `results_TIME.json` and, for every task,
`samples_TASK_TIME.jsonl`, with one line per item. One run of the harness is one condition; runs over the same
items make an evaluation.

For a multiple-choice item, the harness logs the log-likelihood of each choice, and whether the model would
have written it. So P(gold) is the probability of the right choice's text, `accuracy` counts items whose right
choice the model would have written, and `option_accuracy` is the harness's own `acc`. A free answer has no
probabilities; the task's metric says whether it is right.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from culnig.core.items import NO_CULTURE
from culnig.core.outcomes import Outcomes
from culnig.core.text import file_name
from culnig.errors import DataFileError, InputError, MismatchError
from culnig.evaluation.conditions import UNMASKED, Condition
from culnig.evaluation.folder import EVALUATION, REQUEST_FILE, document_of, write_evaluation
from culnig.evaluation.results import result_rows
from culnig.evaluation.stored import Evaluation, open_evaluation
from culnig.exchange.harness_items import LoggedItem, means_indices
from culnig.provenance import versions
from culnig.store.files import remove
from culnig.store.output_folder import OutputFolder, check_folder


def is_harness_log(path: Path) -> bool:
    """Whether a path is a folder of logs, or the results of one run."""
    return path.is_dir() or (path.name.startswith("results_") and path.suffix == ".json")


@dataclass(frozen=True)
class _Log:
    """One run of the harness."""

    path: Path
    """Its results."""
    condition: Condition
    model: str
    layout_hash: str | None
    tasks: dict[str, list[dict[str, Any]]]
    """Lines of each task."""
    version: str


def import_evaluation(
    logs: Sequence[Path | str] | Path | str, out: Path | str, *, overwrite: bool = False
) -> Evaluation:
    """Make an evaluation folder from logs of lm-evaluation-harness, one condition per run, and open it.

    `logs` are `results_….json` files, or folders that hold some. One of the runs must be unmasked.
    DataFileError for damaged logs, MismatchError if the runs are of different models or items.
    """
    paths = [Path(log) for log in ([logs] if isinstance(logs, str | Path) else logs)]
    folder = Path(out)
    check_folder(folder, EVALUATION, overwrite=overwrite, inputs=paths)
    read = [_read_log(path) for path in _results(paths)]
    read.sort(key=lambda log: log.condition.name != UNMASKED)
    _check_conditions(read)
    benchmarks = _benchmarks(read)
    answers = {
        (name, log.condition.name): outcomes
        for name, task in benchmarks.items()
        for log, outcomes in zip(read, _outcomes(read, task), strict=True)
    }
    conditions = [log.condition for log in read]
    record = _record(read, benchmarks, answers)
    rows = result_rows(answers, list(benchmarks), conditions)
    output = OutputFolder.open(folder, EVALUATION, document_of(record), overwrite=overwrite)
    try:
        write_evaluation(folder, {**record, "rows": rows}, rows, answers, conditions)
        remove(folder / REQUEST_FILE)
    finally:
        output.close()
    return open_evaluation(folder)


def _results(paths: Sequence[Path]) -> list[Path]:
    results: dict[Path, None] = {}
    for path in paths:
        inner = sorted(path.rglob("results_*.json")) if path.is_dir() else [path]
        if not inner or not all(file.is_file() for file in inner):
            raise DataFileError(
                path, "no results_….json; run the harness with --output_path FOLDER --log_samples"
            )
        results |= dict.fromkeys(inner)
    return list(results)


def _read_log(path: Path) -> _Log:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        config = document["config"]
        time = path.stem.removeprefix("results_")
        samples = {task: path.with_name(f"samples_{task}_{time}.jsonl") for task in document["results"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFileError(
            path, f"these are no results of lm-evaluation-harness ({type(error).__name__} {error})"
        ) from None
    read = {task: _read_samples(file) for task, file in samples.items() if file.is_file()}
    if not read:
        raise DataFileError(path, "no samples_….jsonl beside it; run the harness with --log_samples")
    masked = config.get("culnig") if isinstance(config, dict) else None
    masked = masked if isinstance(masked, dict) else {}
    model = masked.get("source") or document.get("model_name") or config.get("model") or "?"
    return _Log(
        path,
        _condition(path, masked),
        str(model),
        masked.get("layout_hash"),
        read,
        str(document.get("lm_eval_version", "?")),
    )


def _condition(path: Path, masked: Mapping[str, Any]) -> Condition:
    """The condition as the plugin recorded it; a run without a record is unmasked."""
    if not masked:
        return Condition(UNMASKED, 1.0, np.empty(0, dtype=np.int64))
    try:
        return Condition(
            str(masked["condition"]),
            float(masked["factor"]),
            np.arange(int(masked["n_neurons"])),  # which ones is not recorded; how many is shown
            like=masked.get("like"),
            of_set=masked.get("set"),
            culture=masked.get("culture"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataFileError(path, f"`config.culnig` is damaged: {type(error).__name__} {error}") from None


def _read_samples(path: Path) -> list[dict[str, Any]]:
    """The lines of one task, of its first filter, by item."""
    lines = []
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            try:
                line = json.loads(text)
                line |= {"doc_id": int(line["doc_id"]), "filtered_resps": list(line["filtered_resps"])}
                line["doc"] = dict(line["doc"])
            except (ValueError, KeyError, TypeError) as error:
                raise DataFileError(
                    path, f"no item of lm-evaluation-harness ({type(error).__name__} {error})", line=number
                ) from None
            lines.append(line)
    first = next((line.get("filter") for line in lines), None)
    return sorted((line for line in lines if line.get("filter") == first), key=lambda line: line["doc_id"])


def _check_conditions(logs: Sequence[_Log]) -> None:
    names = [log.condition.name for log in logs]
    for log in logs:
        if names.count(log.condition.name) > 1:
            other = next(
                second for second in logs if second.condition.name == log.condition.name and second is not log
            )
            raise InputError(f"{log.path} and {other.path} are both {log.condition.name!r}; give each once")
    if names[0] != UNMASKED:
        raise InputError(
            f"the logs are of {', '.join(names)}; for the comparison, also give those of the unmasked model "
            "(run the harness without neurons=…)"
        )
    hashes = {log.layout_hash for log in logs if log.layout_hash is not None}
    if len(hashes) > 1:
        raise MismatchError("the logs are of models with different layouts; give logs of one model")


def _benchmarks(logs: Sequence[_Log]) -> dict[str, str]:
    """Tasks of all runs by the name of their benchmark; MismatchError where their items differ."""
    shared = [task for task in logs[0].tasks if all(task in log.tasks for log in logs)]
    if not shared:
        raise MismatchError(f"no task is in all of the {len(logs)} runs; run the same tasks in each")
    for task in shared:
        asked = [_asked(log.tasks[task]) for log in logs]
        for log, items in zip(logs, asked, strict=True):
            if items != asked[0]:
                raise MismatchError(
                    f"{log.path} and {logs[0].path} did not ask the same in {task!r} ({len(items)} and "
                    f"{len(asked[0])} items); use the same --limit, --num_fewshot, chat template and seeds"
                )
    return {file_name(task): task for task in shared}


def _asked(lines: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return [(line["doc_id"], line.get("doc_hash"), line.get("prompt_hash")) for line in lines]


def _outcomes(logs: Sequence[_Log], task: str) -> list[Outcomes]:
    """The answers to a task in each of the runs."""
    lines = [line for log in logs for line in log.tasks[task]]
    by_index = means_indices(logs[0].path, task, lines)
    return [
        _outcomes_of(
            [LoggedItem.read(log.path, task, line, by_index=by_index) for line in log.tasks[task]], task
        )
        for log in logs
    ]


def _outcomes_of(read: Sequence[LoggedItem], task: str) -> Outcomes:
    outcomes = Outcomes.empty([own.item(task) for own in read])
    widest = max((len(own.options) for own in read), default=0)
    outcomes.option_probabilities = np.full((len(read), widest), np.nan)
    for row, item in enumerate(read):
        outcomes.correct[row] = item.is_right
        outcomes.predicted[row] = item.predicted
        if item.options:
            outcomes.option_probabilities[row, : len(item.options)] = item.probabilities
            outcomes.p_gold[row] = item.probabilities[item.options.index(item.gold)]
    return outcomes


def _record(
    logs: Sequence[_Log], benchmarks: Mapping[str, str], answers: Mapping[tuple[str, str], Outcomes]
) -> dict[str, Any]:
    first = logs[0]
    model = {"source": first.model}
    layout_hash = next((log.layout_hash for log in logs if log.layout_hash is not None), None)
    if layout_hash is not None:
        model["layout_hash"] = layout_hash
    baselines = Counter(log.condition.like for log in logs if log.condition.like)
    return {
        "model": model,
        "neuron_sets": [
            {"name": name} for name in dict.fromkeys(log.condition.of_set for log in logs) if name is not None
        ],
        "settings": {
            "factor": sorted({log.condition.factor for log in logs if log.condition.of_set}),
            "mask": "scale",
            "random_baseline": max(baselines.values(), default=0),
            "imported_from": f"lm-evaluation-harness {first.version}",
            "files": [log.path.name for log in logs],
        },
        "benchmarks": {
            name: {
                "role": "target",
                "split": "test",
                "n_items": len(answers[name, UNMASKED].id),
                "cultural": any(answers[name, UNMASKED].culture != NO_CULTURE),
                "task": task,
            }
            for name, task in benchmarks.items()
        },
        "versions": versions(),
    }
