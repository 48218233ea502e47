"""Small files of our own in the shape of each published set, as `--data-dir` finds them.

The questions are ours; nothing is copied from the sets.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]


def four(prefix: str) -> dict[str, str]:
    return dict(zip([f"{prefix}{x}" for x in "abcd"], ("rice", "bread", "maize", "oats"), strict=True))


def exam(language: str, country: str, answer: int) -> dict[str, Any]:
    fields = {
        "language": language,
        "country": country,
        "subject": "Cooking",
        "question": f"Staple of {country}?",
    }
    return {**fields, **four("option_"), "answer": answer}


def mmlu(sample: str, label: str, answer: str) -> dict[str, Any]:
    fields = {"sample_id": sample, "subject_category": "Food", "cultural_sensitivity_label": label}
    return {**fields, "question": "Which grain?", **four("option_"), "answer": answer}


def statement(index: int, question: int, option: str, answer: bool) -> dict[str, Any]:
    country = ("Spain", "Hong Kong")[question]
    return {
        "data_idx": index,
        "question_idx": question,
        "prompt_question": f"Breakfast in {country}?",
        "prompt_option": option,
        "answer": answer,
        "country": country,
    }


def sentence(country: str, letter: str, discard: str = "No") -> dict[str, Any]:
    keys = {"arabic_keys": ["أ", "ب", "ج"], "english_keys": ["A", "B", "C"]}
    return {
        "sub_topic": "Food",
        "first_statement": f"A guest comes in {country}.",
        "country": country,
        "options": {**keys, "text": ["coffee", "tea", "juice"]},
        "should_discard": discard,
        "answer_key": {"arabic_answer_key": "أ", "english_answer_key": letter},
    }


def piqa(answer: int) -> dict[str, Any]:
    return {"prompt": "To cool tea,", "solution0": "wait.", "solution1": "boil it.", "label": answer}


def indian(target: str) -> dict[str, Any]:
    options = {f"option{n}": text for n, text in enumerate(("rice", "bread", "maize", "oats"), start=1)}
    return {"question": "Which grain?", **options, "target": target, "domain": "Food"}


FILES: dict[str, dict[str, Rows]] = {
    "include": {
        f"include-base-44/{language}/test.jsonl": [exam(language, country, answer)]
        for language, country, answer in (
            *(
                ("Arabic", "Egypt", 0),
                ("Basque", "Spain", 1),
                ("Bengali", "Bangladesh", 2),
                ("Chinese", "China", 3),
            ),
            *(
                ("French", "France", 0),
                ("Greek", "Greece", 1),
                ("Hindi", "India", 2),
                ("Indonesian", "Indonesia", 3),
            ),
            *(("Japanese", "Japan", 0), ("Korean", "South Korea", 1), ("Persian", "Iran", 2)),
            *(("Spanish", "Spain", 3), ("Turkish", "Türkiye", 0)),
        )
    },
    "global-mmlu-lite": {
        f"Global-MMLU-Lite/{language}/test.jsonl": [mmlu("s1", "CS", "B"), mmlu("s2", "CA", "C")]
        for language in [
            "ar",
            "bn",
            "de",
            "en",
            "es",
            "fr",
            "hi",
            "id",
            "it",
            "ja",
            "ko",
            "pt",
            "sw",
            "yo",
            "zh",
        ]
    },
    "culturalbench-hard": {
        "CulturalBench/CulturalBench-Hard/test.jsonl": [
            statement(4 * question + n, question, option, n == question)
            for question in (0, 1)
            for n, option in enumerate(("toast", "congee", "soup", "cake"))
        ]
    },
    "global-opinion-qa": {
        "llm_global_opinions/train.jsonl": [
            {
                "question": "Is breakfast important?",
                "source": "ours",
                "options": "['Yes', 'No', 'Unsure']",
                "selections": "defaultdict(<class 'list'>, {'Britain': [0.7, 0.2, 0.1], 'Nigeria': [0.3, 0.6, 0.1]})",
            },
            {
                "question": None,
                "source": "ours",
                "options": "['Yes', 'No']",
                "selections": "{'Spain': [1, 0]}",
            },
        ]
    },
    "arab-culture": {
        f"ArabCulture/{country}/test.jsonl": [sentence(country, "B"), sentence(country, "C", "Yes")]
        for country in [
            "Algeria",
            "Egypt",
            "Jordan",
            "KSA",
            "Lebanon",
            "Libya",
            "Morocco",
            "Palestine",
            "Sudan",
            "Syria",
            "Tunisia",
            "UAE",
            "Yemen",
        ]
    },
    "indoculture": {
        "IndoCulture/test.jsonl": [
            {
                "context": "A guest comes.",
                "province": province,
                "topic": "Food",
                "answer": answer,
                "options": "['A. coffee', 'B. tea', 'C. juice']",
            }
            for province, answer in (("Aceh", "A"), ("Bali", "C"), ("West Java", "B"))
        ]
    },
    "click": {
        "CLIcK/train.jsonl": [
            {
                "id": "a",
                "paragraph": "",
                "question": "Soup?",
                "choices": ["miso", "tteok"],
                "answer": "tteok",
            },
            {
                "id": "b",
                "paragraph": "Two soups.",
                "question": "Which?",
                "choices": ["x", "y", "z"],
                "answer": "x",
            },
        ]
    },
    "kobbq": {
        "kobbq/test.jsonl": [
            {
                "sample_id": "ours-1",
                "context": "Two people cook.",
                "question": "Who is late?",
                "choices": "['the first', 'the second', 'unknown']",
                "answer": "unknown",
                "label_annotation": "NC",
            }
        ]
    },
    "bertaqa": {
        "BertaQA/eu/test.jsonl": [
            {
                "question": "Cider?",
                "candidates": ["apple", "pear", "plum"],
                "answer": 0,
                "category": "Food",
                "group": g,
            }
            for g in ("Euskal gaiak", "Gai orokorrak")
        ]
    },
    "global-piqa": {
        f"global-piqa-nonparallel/{name}/test.jsonl": [piqa(number % 2)]
        for number, name in enumerate(
            (
                *("apc_arab_jord", "apc_arab_leba", "apc_arab_pale", "apc_arab_syri", "fra_latn_cana"),
                *("fra_latn_fran", "por_latn_braz", "por_latn_port", "spa_latn_mexi"),
            )
        )
    },
    "copal": {
        "COPAL/id/test.jsonl": [
            {
                "premise": "It rains.",
                "choice1": "I take an umbrella.",
                "choice2": "I swim.",
                "question": "effect",
                "label": 0,
            },
            {
                "premise": "I am wet.",
                "choice1": "I slept.",
                "choice2": "It rained.",
                "question": "cause",
                "label": 1,
            },
        ]
    },
    "milu": {
        f"MILU/{language}/test.jsonl": [indian("option3")]
        for language in (
            *("Bengali", "English", "Gujarati", "Hindi", "Kannada", "Malayalam", "Marathi", "Odia"),
            *("Punjabi", "Tamil", "Telugu"),
        )
    },
    "fork": {
        "FORK_ACL2023/test.jsonl": [
            {
                "ID": "ours-1",
                "Question": "When is soup served?",
                "Option A": "first",
                "Option B": "last",
                "Answer Key": "A",
                "Country": "United States",
                "Dimension": "Customs",
            }
        ]
    },
}
"""Files of each set in the gallery, below the data folder."""


def write_gallery(folder: Path, name: str) -> Path:
    """Write the files of a set; the folder is then its `--data-dir`."""
    for file, rows in FILES[name].items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder
