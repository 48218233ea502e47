"""How the figures were made: a paragraph for a paper, settings, provenance, licences of the data."""

from __future__ import annotations

from typing import Any

from culnig.report.sources import Sources
from culnig.report.summary import counted, span
from culnig.report.tables import Table

CITATION = "Yamamoto et al. 2026, arXiv 2510.08284"

LICENCES = {
    "everyday": "ours, MIT",
    "everyday-control": "ours, MIT",
    "country-rc": "ours, MIT",
    "country-rc-all": "ours, MIT",
    "blend": "CC BY-SA 4.0",
    "blend-control": "CC BY-SA 4.0",
    "blend-short": "CC BY-SA 4.0",
    "culturalbench": "CC BY 4.0",
    "normad": "CC BY 4.0",
    "commonsenseqa": "MIT",
    "qnli": "questions from SQuAD, CC BY-SA 4.0",
    "mrpc": "Microsoft's research licence",
}
"""Licences of the built-in benchmarks' data, as their files say."""
UNKNOWN = "not known here; see the source of the data"


def methods_text(sources: Sources) -> str:
    """A paragraph on what was computed, with the settings that were used."""
    said = []
    for run in sources.runs:
        settings = run.record["settings"]
        said.append(
            f"We scored {run.layout.n_neurons:,} neurons of {run.model} on "
            + ", ".join(f"{one.name} ({one.n_items:,} items, {one.role})" for one in run.benchmarks.values())
            + f". The score of a neuron on an item is the {settings.get('aggregator', 'max')} over the "
            "prompt's "
            "tokens of gradient × activation of the probability of the right answer, weighted with that "
            f"probability ({CITATION}); a culture's score is the sum over its items divided by the number of "
            "items of the benchmark."
        )
    for name in dict.fromkeys(str(those.method.get("name", "?")) for those in sources.neuron_sets):
        sets = [those for those in sources.neuron_sets if those.method.get("name") == name]
        counts = [len(those.neurons) for those in sets]
        size = span(min(counts), max(counts))
        parameters = _parameters(sets[0].method)
        said.append(
            f"{len(sets)} neuron set{'s' if len(sets) > 1 else ''} of {size} neurons "
            f"{'were' if len(sets) > 1 else 'was'} selected by method {name}"
            + (f" ({parameters})" if parameters else "")
            + "."
        )
    for evaluation in sources.evaluations:
        settings = evaluation.results.get("settings", {})
        said.append(
            f"We evaluated on {', '.join(evaluation.benchmarks)} with activations of the neurons "
            f"{_masked(settings)} and {settings.get('random_baseline', 0)} random baselines "
            "matched by module and layer. The independent unit is the question: p-values are of permutation "
            "tests that flip whole questions, intervals of a bootstrap over questions (95 %), p is "
            "adjusted over "
            "benchmarks by Holm's method."
        )
    for document in sources.arms:
        trained, settings = document["arms"][0], document["arms"][0]["settings"]
        said.append(
            f"We trained {', '.join(dict.fromkeys(arm['arm'] for arm in document['arms']))} "
            f"({trained['n_trainable']:,} parameters in {trained['arm']}) on {document['task']} for "
            f"{trained['steps']:,} steps with a learning rate of {settings['learning_rate']:g}, each from "
            f"the same start and with {counted(len(document['seeds']), 'seed')}. "
            "An arm's value is the mean over its seeds, item by item; the independent unit is the question."
        )
    return " ".join(said)


def _masked(settings: dict[str, Any]) -> str:
    mask = settings.get("mask", "scale")
    if mask == "scale":
        return f"scaled by {_listed(settings.get('factor', 0))}"
    prompts = (settings.get("means") or {}).get("prompts", "other")
    source = "their mean over" if mask == "mean" else "values they had in"
    return f"replaced by {source} {prompts} prompts"


def _parameters(method: dict[str, Any]) -> str:
    plain = {key: value for key, value in method.items() if isinstance(value, int | float) and key != "name"}
    return ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in plain.items())


def _listed(value: Any) -> str:
    return ", ".join(f"{one:g}" for one in value) if isinstance(value, list) else f"{value:g}"


def provenance_table(sources: Sources) -> Table:
    """Which files, of which model, with which hashes."""
    rows: list[tuple[str, str, str, str]] = [
        ("run", run.folder.name, run.model, run.scores_hash[:16]) for run in sources.runs
    ]
    rows += [
        (
            *("neurons", those.name, those.model),
            ", ".join(str(source.get("scores_hash", ""))[:16] for source in those.sources) or "–",
        )
        for those in sources.neuron_sets
    ]
    rows += [
        (
            *("evaluation", evaluation.folder.name),
            str(evaluation.results.get("model", {}).get("source", "–")),
            str(evaluation.results.get("model", {}).get("weights_hash", "–"))[:16],
        )
        for evaluation in sources.evaluations
    ]
    rows += [
        ("instances", str(stored.record.get("neuron_set", {}).get("name", "–")), _model(stored.record), "–")
        for stored in sources.instances
    ]
    rows += [
        (
            *("arms", str(document["task"]), _model(document)),
            str(document["model"].get("weights_hash", "–"))[:16],
        )
        for document in sources.arms
    ]
    return Table(
        "provenance",
        "What this report was made from; hashes are of the scores (runs and sets) or of the weights",
        ("kind", "name", "model", "SHA-256 begins"),
        rows,
    )


def _model(record: dict[str, Any]) -> str:
    return str(record.get("model", {}).get("source", "–"))


def settings_table(sources: Sources) -> Table:
    """Settings and versions of every input."""
    rows: list[tuple[str, str, str]] = []
    for run in sources.runs:
        rows += _flattened(run.folder.name, run.record["settings"])
        rows += _flattened(run.folder.name, run.record.get("versions", {}))
    for those in sources.neuron_sets:
        rows += _flattened(those.name, {key: value for key, value in those.method.items() if key != "pools"})
    for evaluation in sources.evaluations:
        rows += _flattened(evaluation.folder.name, evaluation.results.get("settings", {}))
        rows += _flattened(evaluation.folder.name, evaluation.results.get("versions", {}))
    for document in sources.arms:
        rows += _flattened(f"arms on {document['task']}", document["arms"][0]["settings"])
        rows += _flattened(f"arms on {document['task']}", document.get("versions", {}))
    return Table("settings", "Settings and versions", ("of", "setting", "value"), rows)


def _flattened(of: str, values: dict[str, Any]) -> list[tuple[str, str, str]]:
    found = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += [(of, f"{key}.{inner}", text) for _, inner, text in _flattened(of, value)]
        elif value is not None and value != []:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            found.append((of, key, text if len(text) <= 200 else text[:200] + " …"))
    return found


def data_table(sources: Sources) -> Table:
    """Benchmarks, their files and licences."""
    files: dict[str, set[str]] = {}
    for run in sources.runs:
        for name in run.benchmarks:
            files.setdefault(name, set()).update(run.record["benchmarks"].get(name, {}).get("files", {}))
    for evaluation in sources.evaluations:
        for name in evaluation.benchmarks:
            about = evaluation.results.get("benchmarks", {}).get(name, {})
            files.setdefault(name, set()).update(about.get("files", {}))
    for document in sources.arms:
        asked = document.get("asked", {}).get("benchmarks", {})
        for name in dict.fromkeys(row["benchmark"] for row in document["changes"]):
            files.setdefault(name, set()).update(asked.get(name, {}).get("files", {}))
    return Table(
        "data",
        "Data and licences",
        ("benchmark", "files", "licence of the data"),
        [
            (name, ", ".join(sorted(those)) or "–", LICENCES.get(name, UNKNOWN))
            for name, those in sorted(files.items())
        ],
    )
