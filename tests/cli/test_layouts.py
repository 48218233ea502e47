"""Tables of commands as they look at 80 and at 200 columns, in a pipe, and with --plain.

The stored ones are in `layouts/`. `CULNIG_NEW_LAYOUTS=1 pytest tests/cli/test_layouts.py` writes them anew;
read them before you keep them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import click
import pytest
from rich.cells import cell_len

from culnig.cli import inspect as inspect_command
from culnig.cli import plan as plan_command
from culnig.cli.compare import print_comparisons
from culnig.cli.evaluation_tables import print_results
from culnig.cli.list import _print_rows
from culnig.cli.output import PLAIN
from culnig.cli.selected import print_sets
from culnig.evaluation.compare import compare
from culnig.evaluation.stored import open_evaluation
from culnig.reporting.inspect import inspect
from culnig.selection.neuron_set import read_neuron_set
from culnig.store.files import read_json
from tests.reporting.samples import write_sample

LAYOUTS = Path(__file__).parent / "layouts"
LISTED = [
    {
        "culture": "Basque Country",
        "iso": "ES-PV",
        "region": "Europe",
        "languages": "eu, es",
        "related": "Spain, France, and cultures whose names take more room than a line of a terminal has",
    },
    {"culture": "日本", "iso": "JP", "region": "Asia", "languages": "ja", "related": ""},
]
SET = Path("general.json")
COMMANDS = {
    "evaluate": lambda: print_results(open_evaluation(Path("evaluation")).results),
    "compare": lambda: print_comparisons(compare(Path("evaluation"))),
    "select": lambda: print_sets(
        [read_neuron_set(Path("general.json"))], [Path("general.json")], None, False
    ),
    "list": lambda: _print_rows("Cultures", LISTED, False),
    "inspect": lambda: inspect_command._print_run(Path("run"), inspect(Path("run"))),
    "plan": lambda: plan_command._print(read_json(LAYOUTS / "plan.json", "a plan")),
}
TERMINAL = {"FORCE_COLOR": "1", "TERM": "xterm", "NO_COLOR": "1"}
OUTPUTS = {
    "80": {**TERMINAL, "COLUMNS": "80"},
    "200": {**TERMINAL, "COLUMNS": "200"},
    "piped": {},
    "plain": {},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("inputs")
    write_sample(path)
    return path


def printed(command: str, output: str, folder: Path, monkeypatch, capsys) -> str:
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in OUTPUTS[output].items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    with click.Context(click.Command(command)) as context:
        context.meta[PLAIN] = output == "plain"
        COMMANDS[command]()
    return capsys.readouterr().out


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_tables_look_like_the_stored_ones(command, output, folder, monkeypatch, capsys):
    text = printed(command, output, folder, monkeypatch, capsys)
    stored = LAYOUTS / f"{command}-{output}.txt"
    if os.environ.get("CULNIG_NEW_LAYOUTS"):
        stored.write_text(text, encoding="utf-8")
    assert text == stored.read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert "0.…" not in text
    if output in ("80", "200"):
        table = [line for line in text.splitlines() if line.startswith(("─", " "))]
        assert all(cell_len(line) <= int(output) for line in table)


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_only_bold_text_tells_a_terminal_from_one_without_colour(command, folder, monkeypatch, capsys):
    monkeypatch.setitem(OUTPUTS, "80", {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"})
    text = printed(command, "80", folder, monkeypatch, capsys)
    assert set(re.findall(r"\x1b\[[^m]*m", text)) == {"\x1b[1m", "\x1b[0m"}
    plain = re.sub(r"\x1b\[[^m]*m", "", text)
    assert plain == (LAYOUTS / f"{command}-80.txt").read_text(encoding="utf-8")
