"""Published numbers beside ours."""

from __future__ import annotations

from collections.abc import Sequence

from culnig.core.text import counted
from culnig.reporting.charts import Mark, MarkRow, intervals
from culnig.reporting.published import POINT, Compared, Published, compared
from culnig.reporting.sections.panels import Panel, Section
from culnig.reporting.sources import Sources
from culnig.reporting.tables import Table, number_text

_LEGEND = (("effect", "ours, 95 % interval over questions"), ("random", "published"))


def published_section(sources: Sources, published: Published | None) -> Section:
    """Every published number that the inputs have a counterpart for, with a verdict."""
    rows = [] if published is None else compared(published, sources)
    panels = []
    if published is not None and rows:
        panels.append(_table_panel(published, rows))
        for model in dict.fromkeys(row.model for row in rows):
            own = [row for row in rows if row.model == model and _is_percent(row)]
            if own:
                panels.append(_model_panel(published, model, own))
    return Section(
        "published",
        "Comparison with published numbers",
        "Agrees: the whole interval is within the margin of the published number. Differs: the interval "
        "does not contain the published number. Otherwise these questions cannot tell. Intervals are those "
        "of our numbers, over questions; published numbers have none.",
        panels,
        "culnig-engine report RUN FILE EVAL --published paper -o report.html",
    )


def _is_percent(row: Compared) -> bool:
    return row.quantity.startswith(("accuracy", "change of accuracy", "share"))


def _table_panel(published: Published, rows: Sequence[Compared]) -> Panel:
    words = ("agrees", "differs", "cannot tell")
    counts = [sum(row.verdict.startswith(word) for row in rows) for word in words]
    note = (
        f"{counted(len(rows), 'number')} of {published.title}. Agrees (within {published.margin:g} points, "
        f"ranks within 1, numbers of neurons within 5 %): {counts[0]}. Differs: {counts[1]}. Cannot tell "
        f"with these questions: {counts[2]}."
    )
    return Panel(
        "row by row",
        None,
        note,
        Table(
            "published",
            f"Numbers of {published.title} beside ours, in percent where they are shares",
            (
                *("model", "quantity", "benchmark", "published", "ours", "low", "high", "questions"),
                *("verdict", "evaluation", "source"),
            ),
            [
                (
                    *(row.model, row.quantity, row.benchmark, row.published, row.ours),
                    *(row.interval or (None, None)),
                    *(row.n_questions, row.verdict, row.inputs, row.source),
                )
                for row in rows
            ],
            ("", "", "", ".2f", ".2f", ".2f", ".2f", ",", "", "", ""),
        ),
        open_table=True,
    )


def _model_panel(published: Published, model: str, rows: Sequence[Compared]) -> Panel:
    drawn = []
    for row in rows:
        interval = None if row.interval is None else (row.interval[0] * POINT, row.interval[1] * POINT)
        ours, theirs = number_text(row.ours, ".2f"), number_text(row.published, ".2f")
        label = f"{row.quantity} ({row.inputs})" if row.inputs else row.quantity
        drawn.append(
            MarkRow(
                label,
                [
                    Mark("effect", row.ours * POINT, interval, f"ours {ours}: {row.verdict}"),
                    Mark("random", row.published * POINT, None, f"published {theirs}"),
                ],
                row.benchmark,
            )
        )
    drawn.sort(key=lambda row: row.group)
    return Panel(
        model,
        intervals(
            drawn,
            title=f"{model}: ours beside {published.title}",
            description=f"{len(drawn)} numbers with 95 % intervals, next to the published ones.",
            axis="percent, changes in points",
            percent=True,
        ),
        "",
        None,
        legend=_LEGEND,
    )
