"""What a progress view shows, with a clock that the test sets."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from culnig.cli import main
from culnig.cli.progress import ProgressView


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def view_of(clock: Clock, *, terminal: bool) -> tuple[ProgressView, io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=100, color_system=None)
    return ProgressView(console, clock), output


def states(view: ProgressView) -> list[str]:
    return [f"{task.description}: {task.fields['state']}" for task in view.bars.tasks]


def test_a_terminal_says_at_once_what_happens(clock):
    view, _ = view_of(clock, terminal=True)
    assert states(view) == ["starting: "]
    view.say("loading embedded")
    assert states(view) == ["loading embedded: "]
    view.progress("score a", 0, 10)
    assert states(view) == ["score a: 0/10"]


def test_a_task_that_waits_counts_no_time(clock):
    view, _ = view_of(clock, terminal=True)
    view.progress("a", 0, 10)
    view.progress("b", 0, 4)
    assert states(view) == ["a: 0/10", "b: 0/4, waits"] or states(view)[1] == "b: "
    clock.now = 10
    view.progress("a", 5, 10)
    assert states(view)[0] == "a: 5/10, 0.500 a second, 10 s left"
    clock.now = 20
    view.progress("a", 10, 10)
    assert states(view)[0] == "a: 10/10, 0.500 a second"
    clock.now = 21
    view.progress("b", 2, 4)
    assert states(view)[1] == "b: 2/4, 2.00 a second, 1.0 s left"


def test_steps_of_an_earlier_command_are_no_speed(clock):
    view, _ = view_of(clock, terminal=True)
    view.progress("a", 0, 100)
    view.progress("a", 80, 100)
    assert states(view) == ["a: 80/100"]
    clock.now = 5
    view.progress("a", 90, 100)
    assert states(view) == ["a: 90/100, 2.00 a second, 5.0 s left"]


def test_elsewhere_lines_are_rare_and_say_the_same(clock):
    view, output = view_of(clock, terminal=False)
    view.progress("a", 0, 100)
    for done in range(10, 101, 10):
        clock.now += 5
        view.progress("a", done, 100)
    assert output.getvalue().splitlines() == [
        "a: 30/100, 2.00 a second, 35 s left",
        "a: 60/100, 2.00 a second, 20 s left",
        "a: 90/100, 2.00 a second, 5.0 s left",
        "a: 100/100, 2.00 a second",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["score", "--model", "a b", "-o", "run", "--overwrite"],
            "; continue with: culnig-engine score --model 'a b' -o run --resume",
        ),
        (["evaluate", "-o", "e", "--resume"], "; continue with: culnig-engine evaluate -o e --resume"),
        (["report", "run", "-o", "r.html"], ""),
        ([], ""),
    ],
)
def test_an_interruption_says_how_to_continue(arguments, said, monkeypatch, capsys):
    def interrupted(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(main.cli, "main", interrupted)
    assert main.run(arguments) == 130
    assert capsys.readouterr().err == f"interrupted; finished parts are kept{said}\n"
