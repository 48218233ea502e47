"""`culnig-engine ask`: a question answered unmasked, masked, enhanced and with random neurons masked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from culnig.cli.options import PATH, ModelChoice, defaults_of, json_option, model_options, prompt_date_option
from culnig.cli.output import print_json, print_line, standard_console
from culnig.cli.progress import progress_view
from culnig.core.text import visible
from culnig.errors import InputError
from culnig.exchange.ask import MARKS, Answer, Answers, ask

_NARROWEST = 16
"""Characters of a readable column; where columns would be narrower, answers are shown below each other."""


@defaults_of(ask)
@click.command("ask")
@click.argument("asked", metavar="QUESTION...", nargs=-1)
@click.option("--questions", type=PATH, help="Text file with one question per line.")
@model_options()
@click.option("--neurons", multiple=True, help="Neuron-set file to mask; may be given several times.")
@click.option(
    "--factor",
    "factors",
    type=float,
    multiple=True,
    help="0 suppresses, 2 enhances; may be given several times.",
)
@click.option(
    "--random-baseline",
    type=click.IntRange(min=0),
    help="Number of random sets, matched by module and layer, that are masked with the first factor.",
)
@click.option(
    "--answer", "answers", multiple=True, help="Show the probability that this text is written next."
)
@click.option("--temperature", type=click.FloatRange(min=0), help="Above 0, sample tokens with --seed.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of sampled tokens and of random sets.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), help="Maximum length of an answer.")
@click.option("--system", help="System message before the question.")
@click.option("--raw", is_flag=True, help="Continue the text as it stands, without the chat template.")
@prompt_date_option()
@json_option()
def command(
    asked: tuple[str, ...], questions: Path | None, model: ModelChoice, as_json: bool, **options: Any
) -> None:
    """Ask a model a question, and see its answers with and without masks side by side.

    The first token that differs from the unmasked answer is marked.
    """
    if (questions is None) == (not asked):
        raise InputError("give either questions on the command line or a file of them with --questions")
    with progress_view(quiet=as_json) as view:
        result = ask(model.source, questions or asked, say=view.say, **options, **model.options)
    if as_json:
        print_json(result.document())
        return
    print_answers(result)


def print_answers(result: Answers) -> None:
    """A table for each question, with one column per condition, or one row where columns would be narrow."""
    console = standard_console()
    for question, answers in zip(result.questions, result.answers, strict=True):
        print_line()
        console.print(Text(visible(question), style="bold"))
        console.print(_table(console, answers))
    every = [answer for answers in result.answers for answer in answers]
    if any(answer.differs is not None for answer in every):
        print_line(f"{'…'.join(MARKS)} is the first token that differs from the unmasked answer")
    if any(answer.is_cut for answer in every):
        print_line("… ends an answer that is longer than --max-new-tokens")
    if result.sampling is not None:
        print_line(f"Sampled at temperature {result.sampling.temperature:g} with seed {result.sampling.seed}")


def _table(console: Console, answers: Sequence[Answer]) -> Table:
    if console.width // len(answers) - 4 >= _NARROWEST:
        table = Table(show_lines=True, expand=console.is_terminal)
        for answer in answers:
            table.add_column(_words(answer.condition), ratio=1, overflow="fold")
        table.add_row(*map(_marked, answers))
        for chosen in answers[0].probabilities:
            table.add_row(*(_words(_probability(answer, chosen)) for answer in answers))
        return table
    table = Table(show_header=False, show_lines=True)
    table.add_column(max_width=console.width // 4, overflow="fold")
    table.add_column(overflow="fold")
    for answer in answers:
        lines = [_probability(answer, chosen) for chosen in answer.probabilities]
        table.add_row(_words(answer.condition), Text("\n").join([_marked(answer), *map(_words, lines)]))
    return table


def _probability(answer: Answer, chosen: str) -> str:
    return f"P({chosen}) = {answer.probabilities[chosen]:.3g}"


def _words(text: str) -> Text:
    return Text(visible(text))


def _marked(answer: Answer) -> Text:
    """The answer, with its first token that differs highlighted."""
    text = Text(visible(answer.marked, lines=True))
    if answer.differs is not None:
        start = len(visible(answer.text[: answer.differs[0]], lines=True))
        length = len(visible(answer.text[slice(*answer.differs)], lines=True))
        text.stylize("bold reverse", start, start + length + 2)
    if answer.is_cut:
        text.append(" …", style="dim")
    return text
