"""Methods of a report: a paragraph for a paper, provenance, settings, licences of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from culnig import registry
from culnig.core.questions import count_questions
from culnig.core.text import counted, span
from culnig.errors import CulnigError
from culnig.evaluation.stored import Evaluation
from culnig.models.embedded import model_name
from culnig.reporting.sources import Sources
from culnig.reporting.tables import Table
from culnig.store.run import Run

CITATION = "Yamamoto et al. 2026, arXiv 2510.08284"

UNKNOWN = "unknown; see the source of the data"


def methods_text(sources: Sources) -> str:
    """A paragraph on what was computed and with which settings."""
    sentences = []
    for run in sources.runs:
        settings = run.record["settings"]
        sentences.append(
            f"We scored {run.layout.n_neurons:,} neurons of {model_name(run.model)} on "
            + ", ".join(
                f"{each.name} ({each.n_items:,} items{_of_questions(run, each.name)}, {each.role})"
                for each in run.benchmarks.values()
            )
            + f". A neuron's score on an item is the {settings.get('aggregator', 'max')} over the prompt's "
            "tokens of its activation times the gradient of the correct answer's probability, weighted by "
            f"that probability ({CITATION}); a culture's score is the sum over its items divided by the "
            f"number of items of the benchmark.{_by_likelihood(run.record, 'scores')}"
        )
    for name in dict.fromkeys(str(neurons.method.get("name", "?")) for neurons in sources.neuron_sets):
        sets = [neurons for neurons in sources.neuron_sets if str(neurons.method.get("name", "?")) == name]
        counts = [len(neurons.neurons) for neurons in sets]
        parameters = _parameters(sets[0].method)
        sentences.append(
            f"{counted(len(sets), 'neuron set')} of {span(min(counts), max(counts))} neurons "
            f"{'were' if len(sets) > 1 else 'was'} selected with the method {name}"
            + (f" ({parameters})." if parameters else ".")
        )
    for evaluation in sources.evaluations:
        settings = evaluation.results.get("settings", {})
        n_random = settings.get("random_baseline", 0)
        random = f", and {counted(n_random, 'random set')} matched by module and layer" if n_random else ""
        sentences.append(
            f"We evaluated on {', '.join(evaluation.benchmarks)}{_questions_of(evaluation)} with the "
            f"neurons' activations {_masked(settings)}{random}."
            f"{_by_likelihood(evaluation.results, 'answers')}"
        )
    if sources.evaluations:
        sentences.append(
            "The independent unit is the question: p-values come from permutation tests that flip whole "
            "questions, 95 % intervals from the t distribution and errors clustered by question; those "
            "against random sets are a prediction t over the sets. p-values are adjusted for several "
            "benchmarks by Holm's method."
        )
    for document in sources.arms:
        trained, settings = document["arms"][0], document["arms"][0]["settings"]
        sentences.append(
            f"We trained {', '.join(dict.fromkeys(arm['arm'] for arm in document['arms']))} "
            f"({trained['n_trainable']:,} parameters in {trained['arm']}) on {document['task']} for "
            f"{trained['steps']:,} steps at a learning rate of {settings['learning_rate']:g}, each from "
            f"the same start and with {counted(len(document['seeds']), 'seed')}. "
            "An arm's result on an item is the mean over its seeds; the independent unit is the question."
        )
    return " ".join(sentences)


def _by_likelihood(record: Mapping[str, Any], kind: Literal["scores", "answers"]) -> str:
    """A sentence on the benchmarks whose options were read as texts; empty where there are none."""
    of_texts = {
        name: str(about["answers"]["normalize"])
        for name, about in record.get("benchmarks", {}).items()
        if "answers" in about
    }
    if not of_texts:
        return ""
    sums = {"none": "summed over tokens", "bytes": "per byte"}
    names = ", ".join(f"{name} ({sums[normalize]})" for name, normalize in of_texts.items())
    if kind == "answers":
        return (
            f" The answer to items of {names} is the option whose text has the highest log-probability after "
            "the prompt, and P(gold) is the share of the right option in the softmax over the options."
        )
    return (
        f" On {names} the gradient is that of the log-probability of the right option's text, summed over "
        "its tokens by teacher forcing, the maximum is also over these tokens but the last, and the weight "
        "is the share of that option in the softmax over the options' log-probabilities."
    )


def _of_questions(run: Run, benchmark: str) -> str:
    n_questions = count_questions(run.outcomes(benchmark))  # imported scores come without answers
    return f" of {counted(n_questions, 'question')}" if n_questions else ""


def _questions_of(evaluation: Evaluation) -> str:
    """How many questions each benchmark has, in brackets."""
    n_questions = {row["benchmark"]: row["n_questions"] for row in evaluation.rows}
    return f" ({', '.join(f'{n:,} in {name}' for name, n in n_questions.items())})"


def _masked(settings: dict[str, Any]) -> str:
    mask = settings.get("mask", "scale")
    if mask == "scale":
        return f"scaled by {_listed(settings.get('factor', 0))}"
    prompts = (settings.get("means") or {}).get("prompts", "other")
    source = "their mean over" if mask == "mean" else "their values in"
    return f"replaced by {source} {prompts} prompts"


def _parameters(method: dict[str, Any]) -> str:
    plain = {key: value for key, value in method.items() if isinstance(value, int | float) and key != "name"}
    return ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in plain.items())


def _listed(value: Any) -> str:
    return ", ".join(f"{each:g}" for each in value) if isinstance(value, list) else f"{value:g}"


def provenance_table(sources: Sources) -> Table:
    """Names, models and hashes of the inputs."""
    rows: list[tuple[str, str, str, str]] = [
        ("run", run.folder.name, model_name(run.model), run.scores_hash[:16]) for run in sources.runs
    ]
    rows += [
        (
            *("neurons", neurons.name, model_name(neurons.model)),
            ", ".join(str(source.get("scores_hash", ""))[:16] for source in neurons.sources) or "–",
        )
        for neurons in sources.neuron_sets
    ]
    rows += [
        (
            *("evaluation", evaluation.folder.name, _model(evaluation.results)),
            _weights_hash(evaluation.results),
        )
        for evaluation in sources.evaluations
    ]
    rows += [
        ("instances", str(stored.record.get("neuron_set", {}).get("name", "–")), _model(stored.record), "–")
        for stored in sources.instances
    ]
    rows += [
        ("arms", str(document["task"]), _model(document), _weights_hash(document))
        for document in sources.arms
    ]
    return Table(
        "provenance",
        "Inputs of this report; hashes are of the scores (runs and sets) or of the weights",
        ("kind", "name", "model", "SHA-256 begins"),
        rows,
    )


def _model(record: dict[str, Any]) -> str:
    return model_name(str(record.get("model", {}).get("source", "–")))


def _weights_hash(record: dict[str, Any]) -> str:
    return str(record.get("model", {}).get("weights_hash", "–"))[:16]


def settings_table(sources: Sources) -> Table:
    """Settings and versions of every input."""
    settings: list[tuple[str, dict[str, Any]]] = []
    for run in sources.runs:
        settings += [
            (run.folder.name, run.record[key]) for key in ("settings", "versions") if key in run.record
        ]
    for neurons in sources.neuron_sets:
        method = {key: value for key, value in neurons.method.items() if key != "pools"}
        settings.append((neurons.name, method))
    for evaluation in sources.evaluations:
        results = evaluation.results
        settings += [(evaluation.folder.name, results.get(key, {})) for key in ("settings", "versions")]
    for document in sources.arms:
        name = f"arms on {document['task']}"
        settings += [(name, document["arms"][0]["settings"]), (name, document.get("versions", {}))]
    rows = [row for name, values in settings for row in _flattened(name, values)]
    return Table("settings", "Settings and versions", ("of", "setting", "value"), rows)


def _flattened(of: str, values: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += [(of, f"{key}.{inner}", text) for _, inner, text in _flattened(of, value)]
        elif value is not None and value != []:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows.append((of, key, text if len(text) <= 200 else text[:200] + " …"))
    return rows


def licence_text(benchmark: str, recorded: Mapping[str, Any] | None = None) -> str:
    """The licence of a benchmark's data: as recorded, else as the registered benchmark has it."""
    if not recorded:
        try:
            recorded = registry.benchmark(benchmark).licence
        except CulnigError:  # not registered here, or a broken plugin
            recorded = None
    if not recorded:
        return UNKNOWN
    terms = [str(recorded["name"]), "no training" if recorded["training"] == "forbidden" else ""]
    terms.append("non-commercial" if recorded["non_commercial"] else "")
    return "; ".join(filter(None, terms))


def data_table(sources: Sources) -> Table:
    """Benchmarks, their files and licences."""
    files: dict[str, set[str]] = {}
    licences: dict[str, str] = {}

    def note(name: str, about: Mapping[str, Any]) -> None:
        files.setdefault(name, set()).update(about.get("files", {}))
        if name not in licences or about.get("licence"):
            licences[name] = licence_text(name, about.get("licence"))

    for run in sources.runs:
        for name in run.benchmarks:
            note(name, run.record["benchmarks"].get(name, {}))
    for evaluation in sources.evaluations:
        for name in evaluation.benchmarks:
            note(name, evaluation.results.get("benchmarks", {}).get(name, {}))
    for document in sources.arms:
        asked = document.get("asked", {}).get("benchmarks", {})
        for name in dict.fromkeys(row["benchmark"] for row in document["changes"]):
            note(name, asked.get(name, {}))
    return Table(
        "data",
        "Data and licences",
        ("benchmark", "files", "licence of the data"),
        [(name, ", ".join(sorted(names)) or "–", licences[name]) for name, names in sorted(files.items())],
    )
