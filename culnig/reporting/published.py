"""Published numbers beside ours, row by row, with an interval and a verdict in words.

A published number has no interval. It comes from the same questions, so it is compared with our mean and its
95 % interval over questions. The verdict says whether they agree within a margin, by default five points:
`agrees` if the whole interval is within the margin, `differs` if the interval does not contain the published
number, otherwise `cannot tell`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from culnig.core.checked_documents import Strict, read_checked
from culnig.core.data_files import own_data
from culnig.core.statistics import mean_interval, t_quantile
from culnig.core.text import counted
from culnig.errors import DataFileError, did_you_mean
from culnig.evaluation.conditions import UNMASKED
from culnig.evaluation.results import METRICS
from culnig.evaluation.stored import Evaluation
from culnig.reporting.sources import Sources

PAPER = "paper"
POINT = 0.01
NEURONS = 0.05
"""Share by which numbers of neurons may differ and still agree."""
RANK = 1.0
"""Ranks by which mean ranks may differ and still agree."""

Percent = Annotated[float, Field(ge=0, le=100)]


class PublishedSource(Strict):
    """Where published numbers come from."""

    text: str
    second_hand: bool = False
    """Whether they were not read in the publication itself."""


class PublishedRow(Strict):
    """A model under a condition."""

    model: str
    condition: Literal["unmasked", "general", "random"]
    source: str
    neurons: int | None = None
    """How many neurons are masked."""
    accuracy: dict[str, Percent] = {}
    """In percent, by benchmark."""
    alignment: dict[str, Percent] = {}


class PublishedRank(Strict):
    """How far the items of one culture fall when the neurons of another are masked."""

    masked: str
    evaluated: str
    benchmark: str
    rank: Annotated[float, Field(ge=1)]
    """Mean over models, 1 for the largest fall."""
    source: str


class PublishedShare(Strict):
    """Share of problems on which general neurons score positive."""

    benchmark: str
    share: Percent
    source: str


class Published(Strict):
    """The numbers of a publication."""

    title: str
    margin: Annotated[float, Field(gt=0)] = 5.0
    """Points by which numbers may differ and still agree."""
    sources: dict[str, PublishedSource]
    rows: list[PublishedRow] = []
    ranks: list[PublishedRank] = []
    shares: list[PublishedShare] = []


@dataclass(frozen=True)
class Compared:
    """One published number and ours."""

    model: str
    quantity: str
    benchmark: str
    published: float
    ours: float
    interval: tuple[float, float] | None
    n_questions: int | None
    verdict: str
    source: str
    inputs: str
    """Folder of the evaluation that ours comes from."""


def read_published(publication: Path | str) -> Published:
    """The numbers of the paper, or of a TOML file in the same format; DataFileError names the mistake."""
    path = own_data("paper.toml") if publication == PAPER else Path(publication)
    published, _ = read_checked(path, Published)
    named = [row.source for row in published.rows]
    named += [row.source for row in published.ranks] + [row.source for row in published.shares]
    for name in named:
        if name not in published.sources:
            near = did_you_mean(name, published.sources)
            raise DataFileError(path, f"no source {name!r}{near}; add it as [sources.{name}]")
    return published


def verdict(
    published: float, ours: float, interval: tuple[float, float] | None, margin: float, base: str
) -> str:
    """Whether two numbers agree, in words; `base` is what ours rests on: "24 questions"."""
    if interval is None:
        return f"cannot tell with {base}: no interval"
    low, high = interval
    if published - margin <= low and high <= published + margin:
        return f"agrees within {margin:g}"
    if not low <= published <= high:
        return f"differs by {ours - published:+.2f}".replace("-", "−")
    return f"cannot tell with {base}: the interval is {high - low:.1f} wide"


def compared(published: Published, sources: Sources) -> list[Compared]:
    """Every published number that the inputs have a counterpart for."""
    rows = [
        row
        for evaluation in sources.evaluations
        for entry in published.rows
        if _same_model(entry.model, _model(evaluation))
        for row in _of_row(published, entry, evaluation)
    ]
    rows += [row for entry in published.ranks for row in _of_rank(published, entry, sources.evaluations)]
    rows += [row for entry in published.shares for row in _of_share(published, entry, sources)]
    return rows


def _model(evaluation: Evaluation) -> str:
    return str(evaluation.results.get("model", {}).get("source", ""))


def _same_model(published: str, source: str) -> bool:
    return Path(source).name.casefold() == published.casefold()


def _of_row(published: Published, entry: PublishedRow, evaluation: Evaluation) -> Iterator[Compared]:
    """Levels under a condition, changes from the unmasked model, and numbers of neurons."""
    general = _general(evaluation)
    names = {
        "unmasked": [UNMASKED],
        "general": general,
        "random": [name for set_name in general for name in evaluation.baselines(set_name)],
    }[entry.condition]
    if not names:
        return
    inputs, source = evaluation.folder.name, _source(published, entry.source)
    before = next(
        (row for row in published.rows if row.model == entry.model and row.condition == "unmasked"), None
    )
    for metric, numbers in (("accuracy", entry.accuracy), ("alignment", entry.alignment)):
        for benchmark, number in numbers.items():
            values = _values(evaluation, benchmark, names, metric)
            if values is None:
                continue
            yield _row(
                published,
                entry.model,
                f"{metric}, {entry.condition}",
                benchmark,
                number,
                values,
                source,
                inputs,
            )
            first = {} if before is None else getattr(before, metric)
            if entry.condition == "general" and benchmark in first:
                unmasked = _values(evaluation, benchmark, [UNMASKED], metric)
                assert unmasked is not None
                yield _row(
                    *(published, entry.model, f"change of {metric}", benchmark, number - first[benchmark]),
                    (values[0] - unmasked[0], values[1]),
                    *(source, inputs),
                )
    if entry.neurons is not None and entry.condition == "general":
        yield from _neurons(entry, evaluation, general, source)


def _general(evaluation: Evaluation) -> list[str]:
    """Conditions in which a general set is set to zero."""
    methods = {
        chosen["name"]: chosen.get("method", {}) for chosen in evaluation.results.get("neuron_sets", ())
    }
    return [
        row["condition"]
        for row in evaluation.rows
        if row.get("like") is None
        and row["factor"] == 0
        and row.get("mask", "scale") == "scale"
        and row.get("share", 1.0) == 1.0
        and methods.get(row.get("of_set"), {}).get("name") == "general"
        and row["benchmark"] == evaluation.benchmarks[0]
    ]


def _values(
    evaluation: Evaluation, benchmark: str, names: Sequence[str], metric: str
) -> tuple[NDArray[np.float64], NDArray[np.object_]] | None:
    """Values of the items in percent, mean over conditions, and their questions; None without any."""
    outcomes = [evaluation.answers.get((benchmark, name)) for name in names]
    known = [answers for answers in outcomes if answers is not None]
    if not known or (metric == "alignment" and not known[0].is_ordinal):
        return None
    values = np.mean([np.asarray(METRICS[metric](answers), dtype=np.float64) for answers in known], axis=0)
    return (values if metric == "alignment" else values / POINT), known[0].units


def _row(
    published: Published,
    model: str,
    quantity: str,
    benchmark: str,
    number: float,
    values: tuple[NDArray[np.float64], NDArray[np.object_]],
    source: str,
    inputs: str,
) -> Compared:
    ours, interval, n_questions = _mean(*values)
    words = verdict(number, ours, interval, published.margin, counted(n_questions, "question"))
    return Compared(model, quantity, benchmark, number, ours, interval, n_questions, words, source, inputs)


def _mean(
    values: NDArray[np.float64], units: NDArray[np.object_]
) -> tuple[float, tuple[float, float] | None, int]:
    mean, interval = mean_interval(values, units)
    return mean, None if math.isnan(interval[0]) else interval, len(set(units.tolist()))


def _neurons(
    entry: PublishedRow, evaluation: Evaluation, general: Sequence[str], source: str
) -> Iterator[Compared]:
    counts = {row["condition"]: row["n_neurons"] for row in evaluation.rows}
    for name in general:
        ours, number = counts[name], entry.neurons or 0
        if ours == number:
            words = "agrees: the same number"
        elif abs(ours - number) <= NEURONS * number:
            words = f"agrees within {NEURONS:.0%}".replace("%", " %")
        else:
            words = f"differs by {ours - number:+,}".replace("-", "−")
        yield Compared(
            entry.model, "neurons", "", number, ours, None, None, words, source, evaluation.folder.name
        )


def _of_rank(
    published: Published, entry: PublishedRank, evaluations: Sequence[Evaluation]
) -> Iterator[Compared]:
    """The mean over models of a rank, with a t interval over models."""
    ranks: dict[str, float] = {}
    for evaluation in evaluations:
        for matrix in evaluation.results.get("matrix", ()):
            if matrix["metric"] == "accuracy" and _in_matrix(evaluation) == {entry.benchmark}:
                rank = _cell(matrix, entry)
                if rank is not None:
                    ranks.setdefault(_model(evaluation), rank)
    if not ranks:
        return
    values = np.array(list(ranks.values()))
    interval = None
    if len(values) > 1:
        half = t_quantile(0.975, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
        interval = (float(values.mean()) - half, float(values.mean()) + half)
    ours, base = float(values.mean()), counted(len(values), "model")
    yield Compared(
        *(
            base,
            f"mean rank of {entry.evaluated}, {entry.masked}'s neurons masked",
            entry.benchmark,
            entry.rank,
            ours,
        ),
        *(
            interval,
            None,
            verdict(entry.rank, ours, interval, RANK, base),
            _source(published, entry.source),
            "",
        ),
    )


def _in_matrix(evaluation: Evaluation) -> set[str]:
    """The benchmarks whose items a matrix pools: those with cultures."""
    recorded = evaluation.results.get("benchmarks", {})
    return {name for name in evaluation.benchmarks if recorded.get(name, {}).get("cultural", True)}


def _cell(matrix: Mapping[str, Any], entry: PublishedRank) -> float | None:
    if entry.masked not in matrix["masked"] or entry.evaluated not in matrix["evaluated"]:
        return None
    rank = matrix["rank"][matrix["masked"].index(entry.masked)][matrix["evaluated"].index(entry.evaluated)]
    return None if rank is None else float(rank)


def _of_share(published: Published, entry: PublishedShare, sources: Sources) -> Iterator[Compared]:
    for stored in sources.instances:
        method = stored.record.get("neuron_set", {}).get("method", {})
        if method.get("name") != "general" or entry.benchmark not in stored.record.get("benchmarks", {}):
            continue
        values = (stored.difference > 0).mean(axis=1) / POINT
        if stored.question is None:
            ours, interval, n_questions, base = float(values.mean()), None, None, "unknown questions"
        else:
            ours, interval, n_questions = _mean(values, stored.question)
            base = counted(n_questions, "question")
        yield Compared(
            str(stored.record.get("model", {}).get("source", "")),
            *(
                "share of positive scores of neurons and problems",
                entry.benchmark,
                entry.share,
                ours,
                interval,
            ),
            *(n_questions, verdict(entry.share, ours, interval, published.margin, base)),
            *(_source(published, entry.source), ""),
        )


def _source(published: Published, name: str) -> str:
    source = published.sources[name]
    return f"{source.text} (second-hand)" if source.second_hand else source.text
