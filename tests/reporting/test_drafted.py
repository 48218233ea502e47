from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from culnig.cli.benchmarks import command
from culnig.errors import InputError, OutputExistsError
from culnig.reporting.drafted import benchmarks_new
from culnig.reporting.registered import check_benchmark

CSV = "question,a,b,answer\nTea?,yes,no,B\n"


def csv(folder: Path, text: str = CSV) -> Path:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "tea.csv").write_text(text, encoding="utf-8")
    return folder / "data" / "tea.csv"


def test_a_declaration_is_written_beside_its_data_or_elsewhere(tmp_path):
    text = benchmarks_new(csv(tmp_path), tmp_path / "tea.yaml", culture="Spain")
    assert "data: data/tea.csv" in text
    assert check_benchmark(tmp_path / "tea.yaml")["cultures"] == [
        {"culture": "Spain", "identify": 0, "test": 1}
    ]
    with pytest.raises(OutputExistsError):
        benchmarks_new(csv(tmp_path), tmp_path / "tea.yaml")
    benchmarks_new(csv(tmp_path), tmp_path / "tea.yaml", overwrite=True)


def test_what_is_missing_is_said_and_nothing_written(tmp_path):
    path = csv(tmp_path, CSV.replace("question", "text").replace("B", "1"))
    with pytest.raises(InputError, match=r"cannot see question \(no column has such a name\); give them"):
        benchmarks_new(path, tmp_path / "tea.yaml")
    assert not (tmp_path / "tea.yaml").exists()
    with pytest.raises(InputError, match=r"a declaration ends in \.yaml"):
        benchmarks_new(path, tmp_path / "tea.csv")


def test_what_is_missing_is_asked_for(tmp_path):
    path = csv(tmp_path, CSV.replace("question", "text").replace("B", "1"))
    asked = []

    def ask(name, why, columns):
        asked.append((name, tuple(columns)))
        return {"question": "text", "answer_starts_at": 0}[name]

    benchmarks_new(path, tmp_path / "tea.yaml", ask=ask)
    assert [name for name, _ in asked] == ["question", "answer_starts_at"]
    assert asked[0][1] == ("text", "a", "b", "answer")
    (item,) = check_benchmark(tmp_path / "tea.yaml")["items"]
    assert f"{item['answer']}. no" in item["prompt"]


def test_the_command_writes_and_shows_it(tmp_path):
    out = tmp_path / "tea.yaml"
    result = CliRunner().invoke(command, ["new", "--from", str(csv(tmp_path)), "-o", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"declaration": str(out), "text": out.read_text(encoding="utf-8")}
