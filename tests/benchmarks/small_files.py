"""Small files of our own in the layout of the published ones, for tests without the real data."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BLEND_TOPICS = {
    "q1": "Food",
    "q2": "Work life",
    "q3": "Sport",
    "q4": "Education",
    "q5": "Family",
    "q6": "Holidays/Celebration/Leisure",
}


def write_csv(path: Path, rows: Sequence[dict[str, Any]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def culturalbench() -> list[dict[str, Any]]:
    options = {
        f"prompt_option_{x}": text for x, text in zip("abcd", ("bread", "rice", "maize", "yam"), strict=True)
    }
    return [
        {
            "data_idx": number,
            "prompt_question": f"What is eaten first in {country}?",
            **options,
            "answer": "ABCD"[number % 4],
            "country": country,
        }
        for number, country in enumerate(("Japan", "Spain", "Turkey", "Zimbabwe", "United Kingdom"))
    ]


def normad(labels: Sequence[str] = ("yes", "no", "neutral")) -> list[dict[str, Any]]:
    return [
        {
            "ID": 3 * place + row,
            "Country": country,
            "Story": f"Kim took off her hat in house {row}.",
            "Gold Label": label,
        }
        for place, country in enumerate(("egypt", "türkiye", "united_kingdom"))
        for row, label in enumerate(labels)
    ]


def commonsenseqa() -> list[dict[str, Any]]:
    texts = ["a spoon", "a lamp", "a boot", "a river", "a cloud"]
    return [
        {
            "id": f"c{place}",
            "question": f"What would you stir soup number {place} with?",
            "question_concept": "soup",
            "choices": {"label": list("ABCDE"), "text": texts[place:] + texts[:place]},
            "answerKey": "ABCDE"[-place % 5],
        }
        for place in range(5)
    ]


def qnli() -> list[dict[str, Any]]:
    return [
        {"question": "Who made it?", "sentence": "Ada made it.", "label": 0, "idx": 0},
        {"question": "Who made it?", "sentence": "It was made on a Monday.", "label": 1, "idx": 1},
    ]


def mrpc() -> list[dict[str, Any]]:
    return [
        {"sentence1": "It rains.", "sentence2": "Rain is falling.", "label": 1, "idx": 0},
        {"sentence1": "It rains.", "sentence2": "The bus is late.", "label": 0, "idx": 1},
    ]


def blend(rows_per_question: int = 7) -> list[dict[str, Any]]:
    made = []
    for country in ("UK", "Northern_Nigeria"):
        for question in BLEND_TOPICS:
            for row in range(rows_per_question):
                choices = {letter: f"thing {letter}{row}" for letter in "ABCD"}
                lines = "\n".join(f"{letter}. {text}" for letter, text in choices.items())
                question_text = f"What of {question}? Without any explanation, choose only one."
                made.append(
                    {
                        "MCQID": f"{question}_{country}_{row}",
                        "ID": question,
                        "country": country,
                        "prompt": f"{question_text}\n\n{lines}\n\nAnswer:",
                        "choices": json.dumps(choices),
                        "answer_idx": "ABCD"[row % 4],
                    }
                )
    return made


def write_all(folder: Path) -> Path:
    """All benchmarks that read files."""
    write_csv(folder / "CulturalBench" / "CulturalBench-Easy.csv", culturalbench())
    write_csv(folder / "NormAd" / "normad.csv", normad())
    write_jsonl(folder / "CommonsenseQA" / "dev_rand_split.jsonl", commonsenseqa())
    write_jsonl(folder / "GLUE" / "qnli_validation.jsonl", qnli())
    write_jsonl(folder / "GLUE" / "mrpc_test.jsonl", mrpc())
    write_csv(folder / "BLEnD" / "mc_questions_file.csv", blend())
    topics = [{"ID": question, "Topic": topic} for question, topic in BLEND_TOPICS.items()]
    write_csv(folder / "BLEnD" / "US_questions.csv", topics)
    return folder
