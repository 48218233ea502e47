"""A Markdown card for files shared on the hub, written from what the files record about themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from culnig.core.text import visible
from culnig.models.embedded import model_name
from culnig.reporting.caveats import caveats
from culnig.reporting.methods import data_table, licence_text, methods_text, settings_table
from culnig.reporting.sources import Sources, read_sources
from culnig.reporting.summary import findings
from culnig.reporting.tables import Table

_FRONT = """\
---
tags:
- culnig-engine
- interpretability
- culture
---
"""


def card(source: Path, title: str) -> str:
    """The card of a neuron set or a pack: model, data and licences, settings, results and limits."""
    sources = read_sources(source)
    parts = [
        f"# {_line(title)}",
        "Made with culnig-engine. This card was written from the records in the files.",
        "## Model",
        "\n".join(_models(sources)) or "Unknown.",
        "## Data and licences",
        _data(sources),
        "## How the neurons were found",
        _line(methods_text(sources)),
        *_settings(sources),
        "## How they were tested, and what was found",
        _tested(sources),
        "## Limits",
        _bullets(caveats(sources)) or "The files show none.",
    ]
    return _FRONT + "\n" + "\n\n".join(parts) + "\n"


def _models(sources: Sources) -> Iterator[str]:
    """Every model, with the hash of its weights where one is recorded."""
    described = [run.record.get("model") for run in sources.runs]
    described += [evaluation.results.get("model") for evaluation in sources.evaluations]
    described += [source.get("model") for neurons in sources.neuron_sets for source in neurons.sources]
    hashes = {
        model.get("source"): model.get("weights_hash") for model in described if isinstance(model, Mapping)
    }
    for name in sources.models:
        known = hashes.get(name)
        yield f"- {_line(model_name(name))}" + (
            f" (SHA-256 of the weights: {_line(str(known))})" if known else ""
        )


def _data(sources: Sources) -> str:
    """Benchmarks, with licences, of evaluations and of the runs that sets were selected from."""
    lines = [
        f"- {name}: {licence_text(name)} ({role} of the selection)"
        for role, name in dict.fromkeys(_selected_from(sources))
    ]
    table = data_table(sources)
    return "\n\n".join(filter(None, ["\n".join(map(_line, lines)), markdown(table) if table.rows else ""]))


def _selected_from(sources: Sources) -> Iterator[tuple[str, str]]:
    for neurons in sources.neuron_sets:
        for source in neurons.sources:
            for role, name in source.get("benchmarks", {}).items():
                if name:
                    yield str(role), str(name)


def _settings(sources: Sources) -> Iterator[str]:
    for neurons in sources.neuron_sets:
        name = f"{neurons.name} of {model_name(neurons.model)}"
        yield f"### {_line(name)}: {len(neurons.neurons):,} neurons"
        yield f"```json\n{json.dumps(neurons.method, indent=1, ensure_ascii=False)}\n```"
    table = settings_table(sources)
    if table.rows:
        yield markdown(table)


def _tested(sources: Sources) -> str:
    tested = sources.evaluations or sources.arms
    lines = _bullets(findings(sources))
    return (
        lines
        if tested
        else f"{lines}\n\nThere is no evaluation, so nothing is known about the effect of masking."
    )


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_line(line)}" for line in lines)


def markdown(table: Table) -> str:
    """A table in Markdown."""
    rows = [
        table.headings,
        ["---"] * len(table.headings),
        *([table.text(column, cell) for column, cell in enumerate(row)] for row in table.rows),
    ]
    return "\n".join(
        "| " + " | ".join(_line(cell).replace("|", "\\|") for cell in row) + " |" for row in rows
    )


def _line(text: str) -> str:
    """Text from data on one line, with tags escaped for Markdown."""
    return visible(" ".join(text.split())).replace("<", "&lt;")
