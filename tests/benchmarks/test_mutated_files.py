"""Seeded mutations of declarations and data files: each gives the known answers, or a DataFileError.

Options are called `opt<row><column>`, so an item's prompt says of which row it is and in which order its
options stand. An item is wrong if all its options are those of one row whose text nobody changed, and its
answer is not the one that `GOLD` lists for the row. `GOLD` and the answer columns below were written by hand.
"""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from culnig.benchmarks.declarative import declared_benchmark
from culnig.errors import DataFileError

GOLD = {1: "opt1b", 2: "opt2a", 3: "opt3c", 4: "opt4b", 5: "opt5a", 6: "opt6c"}
ANSWERS = {
    "letter": ["B", "A", "C", "B", "A", "C"],
    "number": ["2", "1", "3", "2", "1", "3"],
    "zero": ["1", "0", "2", "1", "0", "2"],
    "text": ["opt1b", "opt2a", "opt3c", "opt4b", "opt5a", "opt6c"],
}
CULTURES = ["Spain", "GB", "Japan", "the United States", "Spain", "IN-AS"]
TOPICS = ["Food", "Family", "Food", "Sport", "Sport", "Family"]
HEADER = ["key", "question", "first", "second", "third", "right", "place", "subject"]
DECLARATION = """\
name: fuzz
data: {data}
shuffle: {shuffle}
columns:
  id: key
  question: question
  options: {options}
  answer: right
  culture: place
  topic: subject
answer_is: {kind}
{starts_at}identify_topics: [Food]
wordings:
  - id: w
    template: |
      {{question}} Choose {{labels}}.
      {{options}}
"""
JUNK = (
    "",
    " ",
    "nan",
    "None",
    "NaN",
    "Z",
    "7",
    "1.5",
    "true",
    '"',
    "\0",
    "\ufeff",
    "é",
    "Atlantis",
    "opt1b",
    "-1",
)


def files(kind: str, suffix: str, shuffle: bool) -> tuple[str, list[str]]:
    """Text of the declaration, and the lines of the data."""
    rows = [
        [f"k{row}", f"Question {row}?", *(f"opt{row}{letter}" for letter in "abc"), answer, culture, topic]
        for row, (answer, culture, topic) in enumerate(zip(ANSWERS[kind], CULTURES, TOPICS, strict=True), 1)
    ]
    if suffix == "jsonl":
        options = "choices"
        lines = [
            json.dumps({**dict(zip(HEADER, row, strict=True)), "choices": row[2:5]}, ensure_ascii=False)
            for row in rows
        ]
    else:
        options, separator = "[first, second, third]", "," if suffix == "csv" else "\t"
        lines = [separator.join(row) for row in [HEADER, *rows]]
    declaration = DECLARATION.format(
        data=f"t.{suffix}",
        shuffle=str(shuffle).lower(),
        options=options,
        kind="number" if kind == "zero" else kind,
        starts_at="answer_starts_at: 0\n" if kind == "zero" else "",
    )
    return declaration, lines


def changed_character(text: str, rng: random.Random) -> str:
    """One character removed, inserted or replaced; no new digit, which would state another meaning."""
    index = rng.randrange(len(text) + 1)
    new = rng.choice("xé\"',:;{}[]#&*!|>%@`\\ \t\n\r\0\u0301\u200b\ufeff-")
    return text[:index] + rng.choice(["", new, new + text[index : index + 1]]) + text[index + 1 :]


def changed_declaration(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    index = rng.randrange(len(lines) - 1)
    change = rng.randrange(6)
    if change == 0:
        del lines[index]
    elif change == 1:
        lines.insert(index, lines[index])
    elif change == 2:
        key, colon, _ = lines[index].partition(":")
        lines[index] = f"{key}{colon} {rng.choice(JUNK)}"
    else:
        return changed_character(text, rng)
    return "\n".join(lines)


def contradicting(lines: list[str], rng: random.Random) -> list[str]:
    """Every row with a second answer, which is wrong for most."""
    if lines[-1].startswith("{"):
        return [f'{line[:-1]}, "right": "{rng.choice(["A", "1", "2", "opt1b"])}"}}' for line in lines]
    separator = "\t" if "\t" in lines[0] else ","
    seconds = [line.split(separator)[5:6] for line in lines]
    seconds[1:] = rng.sample(seconds[1:], len(seconds) - 1)
    return [separator.join([line, *second]) for line, second in zip(lines, seconds, strict=True)]


def changed_data(lines: list[str], rng: random.Random) -> list[str]:
    lines, index, change = lines.copy(), rng.randrange(len(lines)), rng.randrange(10)
    if change == 0:
        del lines[index]
    elif change == 1:
        lines.insert(index, "")
    elif change == 2:
        lines.insert(index, lines[index])
    elif change == 3:
        rng.shuffle(lines)
    elif change == 4:
        cells = re.split(r"([,\t])", lines[index])
        cells[2 * rng.randrange(len(cells) // 2 + 1)] = rng.choice(JUNK)
        lines[index] = "".join(cells)
    elif change == 5:
        lines[index] = lines[index].upper()
    elif change == 6:  # also the rows that show where numbers begin
        lines = [line for line in lines if line.startswith("key") or rng.random() < 0.4] or lines
    elif change == 7:
        values = ["NaN", "null", "true", "1.0", "[]", "{}", '"\\ud83d"', '"\\u0000"', "1e999", "0"]
        lines[index] = re.sub(
            r'"\w+"(?=[,}\]])', lambda _: rng.choice(values), lines[index], count=rng.randrange(1, 9)
        )
    else:
        lines[index] = changed_character(lines[index], rng)
    return lines


def wrong_answers(items, lines: list[str]) -> list[str]:
    """Items whose answer is not that of their row, among the rows that are as they were."""
    wrong = []
    for item in items:
        shown = re.findall(r"opt(\d)([abc])\b", item.prompt)
        rows = {int(row) for row, _ in shown}
        if len(rows) != 1 or {letter for _, letter in shown} != set("abc") or len(shown) != len(item.options):
            continue  # made from changed text
        (row,) = rows
        if any(f"opt{row}a" in line for line in lines):  # the row's line, unchanged
            number, letter = shown[item.options.index(item.answer)]
            if f"opt{number}{letter}" != GOLD[row]:
                wrong.append(f"{item.id}: {number}{letter}, {item.prompt!r}")
    return wrong


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("kind", ["letter", "number", "zero", "text"])
def test_mutated_files_give_the_known_answers_or_an_error(tmp_path, suffix, kind):
    outcomes: Counter[str] = Counter()
    path, data = tmp_path / "t.yaml", tmp_path / f"t.{suffix}"
    for seed in range(60):
        rng = random.Random(f"{suffix} {kind} {seed}")
        declaration, lines = files(kind, suffix, shuffle=seed % 2 == 0)
        if seed % 5 == 0:
            declaration = declaration.replace("answer_starts_at: 0\n", "")
        kept = lines
        for _ in range(rng.choice([1, 1, 2])):
            if rng.random() < 0.4:
                declaration = changed_declaration(declaration, rng)
            else:
                lines = changed_data(lines, rng)
                kept = [line for line in kept if line in lines]
        if rng.random() < 0.1:
            lines = contradicting(lines, rng)
        text = rng.choice(["", "\ufeff"]) + rng.choice(["\n", "\r\n"]).join(lines)
        if rng.random() < 0.1:
            text = unicodedata.normalize("NFD", text)
        path.write_bytes(declaration.encode("utf-8", "surrogatepass"))
        data.write_bytes(text.encode("utf-8", "surrogatepass"))
        outcomes[outcome(path, kept, f"seed {seed}\n{declaration}\n{text}")] += 1
    assert min(outcomes["error"], outcomes["items"]) >= 6, outcomes


def outcome(path: Path, kept: list[str], files: str) -> str:
    try:
        items = list(declared_benchmark(path).read(None))
    except DataFileError:
        return "error"
    wrong = wrong_answers(items, kept)
    assert not wrong, f"{wrong}\n{files}"
    return "items"


def test_the_answers_of_the_unchanged_files(tmp_path):
    for kind in ANSWERS:
        for suffix in ("csv", "tsv", "jsonl"):
            declaration, lines = files(kind, suffix, shuffle=kind == "text")
            (tmp_path / "t.yaml").write_text(declaration, encoding="utf-8")
            (tmp_path / f"t.{suffix}").write_text("\n".join(lines), encoding="utf-8")
            items = list(declared_benchmark(tmp_path / "t.yaml").read(None))
            assert len(items) == 6
            assert wrong_answers(items, lines) == []
            moved = [line.replace("opt", "OPT").replace("B", "A") for line in lines]
            assert wrong_answers(items, moved) == [], "a changed row is not judged"
