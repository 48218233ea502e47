"""Training and test rows of our own, in the layout of GLUE and of a declared benchmark."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.small_files import write_jsonl

WHO = ("The baker", "A teacher", "My neighbour", "The gardener", "An old sailor", "The pianist")
DID = ("sold", "found", "painted", "repaired", "borrowed")
WHAT = ("a bicycle", "two lamps", "the garden gate", "a wooden boat")
WHEN = ("in March", "last winter", "before noon", "on Sunday")


def qnli_rows(n: int, first: int = 0) -> list[dict[str, Any]]:
    """Questions with a sentence that answers them (label 0) or is about something else (label 1)."""
    scenes = list(product(WHO, DID, WHAT, WHEN))
    rows = []
    for number in range(first, first + n):
        who, did, what, when = scenes[(37 * number) % len(scenes)]
        other = WHAT[(WHAT.index(what) + 1) % len(WHAT)]
        answers = number % 2 == 0
        sentence = f"{who} {did} {what} {when}." if answers else f"The weather {when} was mild, near {other}."
        rows.append(
            {
                "question": f"When was it that {who.lower()} {did} {what}?",
                "sentence": sentence,
                "label": int(not answers),
                "idx": number,
            }
        )
    return rows


def mrpc_rows(n: int) -> list[dict[str, Any]]:
    """Pairs of sentences that say the same (label 1) or not (label 0)."""
    scenes = list(product(WHO, DID, WHAT, WHEN))
    rows = []
    for number in range(n):
        who, did, what, when = scenes[(53 * number) % len(scenes)]
        same = number % 2 == 0
        again = f"{when.capitalize()}, {who.lower()} {did} {what}."
        rows.append(
            {
                "sentence1": f"{who} {did} {what} {when}.",
                "sentence2": again if same else f"Nobody {did} {what} {when}.",
                "label": int(same),
                "idx": number,
            }
        )
    return rows


def glue_folder(folder: Path, n_train: int = 64, n_test: int = 16) -> Path:
    """A data folder with training and test files of both tasks."""
    write_jsonl(folder / "GLUE" / "qnli_train.jsonl", qnli_rows(n_train))
    write_jsonl(folder / "GLUE" / "qnli_validation.jsonl", qnli_rows(n_test, first=n_train))
    write_jsonl(folder / "GLUE" / "mrpc_train.jsonl", mrpc_rows(n_train))
    write_jsonl(folder / "GLUE" / "mrpc_test.jsonl", mrpc_rows(n_test))
    return folder


def declared_task(folder: Path, n_train: int = 24, n_test: int = 8) -> Path:
    """A YAML task whose rows say which split they are of."""
    colours = ("red", "green", "blue", "grey")
    rows = [
        {
            "id": f"r{number}",
            "question": f"Box {number} is {colours[number % 4]}. Which colour is it?",
            "options": list(colours),
            "answer": "ABCD"[number % 4],
            "split": "identify" if number < n_train else "test",
        }
        for number in range(n_train + n_test)
    ]
    write_jsonl(folder / "boxes.jsonl", rows)
    declaration = {
        "name": "boxes",
        "data": "boxes.jsonl",
        "shuffle": False,
        "columns": {
            "id": "id",
            "question": "question",
            "options": "options",
            "answer": "answer",
            "split": "split",
        },
        "wordings": [
            {"id": "w1", "template": "{question}\n{options}\nAnswer:"},
            {"id": "w2", "template": "Look: {question}\n{options}\nLetter:"},
        ],
    }
    path = folder / "boxes.yaml"
    path.write_text(yaml.safe_dump(declaration), encoding="utf-8")
    return path
