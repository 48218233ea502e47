"""Lists of what is registered, built in or by plugins: one row each, as `culnig-engine list` prints them.

`registry.problems()` then lists the plugins that could not be loaded.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from culnig import registry
from culnig.core.distinct import DistinctTexts
from culnig.core.items import Item, Split
from culnig.errors import EnvironmentProblem, UnknownNameError
from culnig.models.embedded import INSTALL_COMMAND, embedded_model_file
from culnig.scorers.base import GRADIENT_ACTIVATION

SHOWN_CULTURES = 3
"""Cultures of which `check_benchmark` shows the first item in each wording."""
REFUSED = ("mixtures of experts", "encoders", "encoder–decoders")
"""Kinds of models that no adapter takes."""


def list_models() -> dict[str, Any]:
    """Model adapters, kinds of models that are refused, and whether the embedded model is installed."""
    try:
        embedded = f"installed ({embedded_model_file().name})"
    except EnvironmentProblem:
        embedded = f"not installed: {INSTALL_COMMAND}"
    rows = [{"adapter": adapter.name, "binds": adapter.summary} for adapter in registry.adapters()]
    return {"adapters": rows, "refused": list(REFUSED), "embedded": embedded}


def list_benchmarks() -> list[dict[str, Any]]:
    """Benchmarks with their role, control and where their items come from."""
    return [
        {
            "benchmark": benchmark.name,
            "role": benchmark.role,
            "data": "--data-dir or hub" if benchmark.needs_data_dir else "built in",
            "control": benchmark.control,
            "summary": benchmark.summary,
        }
        for benchmark in registry.benchmarks()
    ]


def list_gallery() -> list[dict[str, Any]]:
    """Declarations of published sets that come with the program, with languages, cultures and licence."""
    rows = []
    for name in registry.gallery():
        benchmark = registry.benchmark(name)
        rows.append({"benchmark": name, "summary": benchmark.summary, **(benchmark.about or {})})
    return rows


def check_benchmark(benchmark: str | Path, data_dir: Path | str | None = None) -> dict[str, Any]:
    """Read a benchmark (a name or a file); return counts of items and questions, and some items.

    The items are the first of each of the first three cultures in each wording. `gold` counts the gold labels
    after shuffling, or where options are read as texts their numbers; `dropped` counts the rows that the
    declaration leaves out, by reason. Items are not kept, so a long file needs little memory.
    """
    chosen = registry.benchmark(str(benchmark))
    counts: Counter[tuple[str, str]] = Counter()
    gold: Counter[str] = Counter()
    questions, questions_of_split = DistinctTexts(), {split: DistinctTexts() for split in get_args(Split)}
    shown: dict[tuple[str, str], Item] = {}
    for item in chosen.read(None if data_dir is None else Path(data_dir)):
        counts[item.culture, item.split] += 1
        questions.add(item.question)
        questions_of_split[item.split].add(item.question)
        if item.options:
            gold[f"{item.options.index(item.answer) + 1}" if item.likelihood else item.answer] += 1
        key = (item.culture, item.id.rpartition("/")[2] if "/" in item.id else "")
        if key not in shown and (len({of for of, _ in shown} | {item.culture}) <= SHOWN_CULTURES):
            shown[key] = item
    cultures = [
        {"culture": culture, "identify": counts[culture, "identify"], "test": counts[culture, "test"]}
        for culture in dict.fromkeys(culture for culture, _ in counts)
    ]
    return {
        "benchmark": chosen.name,
        "role": chosen.role,
        "n": sum(counts.values()),
        "n_questions": len(questions),
        "questions_of_split": {split: len(own) for split, own in questions_of_split.items()},
        "cultures": cultures,
        "gold": dict(sorted(gold.items())),
        "dropped": dict(chosen.dropped),
        "items": [asdict(item) for item in shown.values()],
    }


def list_scorers() -> list[dict[str, Any]]:
    """Ways to score neurons, all from one forward and backward pass."""
    default = {
        "scorer": GRADIENT_ACTIVATION,
        "weight": "gold",
        "more passes for": "",
        "summary": "gradient × activation; always computed",
    }
    more = [
        {
            "scorer": scorer.name,
            "weight": scorer.weight,
            "more passes for": " ".join(scorer.targets),
            "summary": scorer.summary,
        }
        for scorer in registry.scorers()
    ]
    return [default, *more]


def list_cultures(
    region: str | None = None, language: str | None = None, benchmark: str | None = None
) -> list[dict[str, Any]]:
    """Culture records: of a region or zone (or a part of its name), with a spoken language (a BCP-47 code
    such as es), or with a name in a benchmark. UnknownNameError for a benchmark that names no cultures.
    """
    records = registry.cultures().values()
    if benchmark is not None:
        with_names = {name for record in records for name in record.names}
        if benchmark not in with_names:
            raise UnknownNameError("benchmark with names of cultures", benchmark, with_names)
    return [
        {
            "culture": record.key,
            "iso": record.iso,
            "region": record.region,
            "zone": record.zone,
            "languages": ", ".join(record.languages),
            "benchmarks": ", ".join(record.names),
            "related": ", ".join(record.related),
        }
        for record in records
        if (region is None or region.casefold() in f"{record.region}\n{record.zone}".casefold())
        and (language is None or any(_matches(spoken, language) for spoken in record.languages))
        and (benchmark is None or benchmark in record.names)
    ]


def _matches(spoken: str, language: str) -> bool:
    return f"{spoken}-".casefold().startswith(f"{language}-".casefold())


def list_plugins() -> list[dict[str, str]]:
    """Every registered entry with the package that owns it, and whether it can be loaded."""
    return registry.entries()
