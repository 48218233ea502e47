"""Small files of our own in the shape of each published set, as `--data-dir` finds them.

The questions are ours; nothing is copied from the sets.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]

EXAMS = {
    "Arabic": "Egypt",
    "Basque": "Spain",
    "Bengali": "Bangladesh",
    "Chinese": "China",
    "French": "France",
    "Greek": "Greece",
    "Hindi": "India",
    "Indonesian": "Indonesia",
    "Japanese": "Japan",
    "Korean": "South Korea",
    "Persian": "Iran",
    "Spanish": "Spain",
    "Turkish": "Türkiye",
}
MMLU_LANGUAGES = ("ar", "bn", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "pt", "sw", "yo", "zh")
ARAB_COUNTRIES = (
    *("Algeria", "Egypt", "Jordan", "KSA", "Lebanon", "Libya", "Morocco", "Palestine", "Sudan", "Syria"),
    *("Tunisia", "UAE", "Yemen"),
)
INDIAN_LANGUAGES = (
    *("Bengali", "English", "Gujarati", "Hindi", "Kannada", "Malayalam", "Marathi", "Odia", "Punjabi"),
    *("Tamil", "Telugu"),
)
PIQA_LANGUAGES = (
    *("apc_arab_jord", "apc_arab_leba", "apc_arab_pale", "apc_arab_syri", "fra_latn_cana", "fra_latn_fran"),
    *("por_latn_braz", "por_latn_port", "spa_latn_mexi"),
)
GRAINS = ("rice", "bread", "maize", "oats")
LETTERS = {f"option_{letter}": text for letter, text in zip("abcd", GRAINS, strict=True)}
NUMBERS = {f"option{number}": text for number, text in enumerate(GRAINS, start=1)}
OPINIONS = "defaultdict(<class 'list'>, {'Britain': [0.7, 0.2, 0.1], 'Nigeria': [0.3, 0.6, 0.1]})"


def exam(country: str, answer: int) -> dict[str, Any]:
    question = {"country": country, "subject": "Cooking", "question": f"What is eaten in {country}?"}
    return {**question, **LETTERS, "answer": answer}


def mmlu(sample: str, label: str, answer: str) -> dict[str, Any]:
    about = {"sample_id": sample, "subject_category": "Food", "cultural_sensitivity_label": label}
    return {**about, "question": "Which grain?", **LETTERS, "answer": answer}


def statement(index: int, question: int, option: str, answer: bool) -> dict[str, Any]:
    country = ("Spain", "Hong Kong")[question]
    about = {"data_idx": index, "question_idx": question, "country": country}
    return {**about, "prompt_question": f"Breakfast in {country}?", "prompt_option": option, "answer": answer}


def opinion(question: str | None, selections: str | None) -> dict[str, Any]:
    options = "['Yes', 'No', 'Unsure']"
    return {"question": question, "source": "ours", "options": options, "selections": selections}


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


def labelled(province: str, answer: str) -> dict[str, Any]:
    options = "['A. coffee', 'B. tea', 'C. juice']"
    question = {"context": "A guest comes.", "province": province, "topic": "Food"}
    return {**question, "options": options, "answer": answer}


def korean(name: str, passage: str, choices: list[str], answer: str) -> dict[str, Any]:
    return {"id": name, "paragraph": passage, "question": "Which?", "choices": choices, "answer": answer}


def biased() -> dict[str, Any]:
    choices = "['the first', 'the second', 'unknown']"
    question = {"sample_id": "ours-1", "context": "Two people cook.", "question": "Who is late?"}
    return {**question, "choices": choices, "answer": "unknown", "label_annotation": "NC"}


def basque(group: str) -> dict[str, Any]:
    question = {"question": "Cider?", "candidates": ["apple", "pear", "plum"], "answer": 0}
    return {**question, "category": "Food", "group": group}


def piqa(answer: int) -> dict[str, Any]:
    return {"prompt": "To cool tea,", "solution0": "wait.", "solution1": "boil it.", "label": answer}


def causal(kind: str, first: str, second: str, label: int) -> dict[str, Any]:
    return {"premise": "It rains.", "choice1": first, "choice2": second, "question": kind, "label": label}


def food() -> dict[str, Any]:
    question = {"ID": "ours-1", "Question": "When is soup served?", "Option A": "first", "Option B": "last"}
    return {**question, "Answer Key": "A", "Country": "United States", "Dimension": "Customs"}


GEOGRAPHY = (
    ("In the United States, soup is eaten <mask>.", "at noon", "food"),
    ("In Kenya, soup is eaten <mask>.", "at night, at noon", "food"),
    ("", "", ""),
    ("Chinese people write with a <mask>.", "brush", '"tools" of writing'),
    ("American people write with a <mask>.", "pen", "tools"),
)


def geography(prompt: str, answer: str, context: str) -> dict[str, Any]:
    options = "at noon, at night, at dawn" if "soup" in prompt else "pen, brush" if prompt else ""
    question = prompt.replace("<mask>", "when or with what").replace(".", "?")
    more = {"GPT-3 Pred": "", "GPT-3 Pred (T/F/I)": "", "comments": ""}
    about = {"Prompt": prompt, "Corresponding Questions": question, "Ans": answer, "Candidate Ans": options}
    return {**about, "Context": context, **more}


def translated(country: str, answer: str) -> dict[str, Any]:
    row: dict[str, Any] = {"question_idx": 7, "country": country, "answer": answer}
    for suffix in ("", "_hindi", "_chinese", "_braz_port", "_swahili", "_hebrew"):
        row[f"prompt_question{suffix}"] = f"Which grain?{suffix}"
        for letter, grain in zip("abcd", GRAINS, strict=True):
            row[f"prompt_option_{letter}{suffix}"] = f"{grain}{suffix}"
    return row


FILES: dict[str, dict[str, Rows]] = {
    "include": {
        f"include-base-44/{language}/test.jsonl": [exam(country, number % 4)]
        for number, (language, country) in enumerate(EXAMS.items())
    },
    "global-mmlu-lite": {
        f"Global-MMLU-Lite/{language}/test.jsonl": [mmlu("s1", "CS", "B"), mmlu("s2", "CA", "C")]
        for language in MMLU_LANGUAGES
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
            opinion("Is breakfast important?", OPINIONS),
            opinion(None, None),
        ]
    },
    "arab-culture": {
        f"ArabCulture/{country}/test.jsonl": [sentence(country, "B"), sentence(country, "C", "Yes")]
        for country in ARAB_COUNTRIES
    },
    "indoculture": {
        "IndoCulture/test.jsonl": [labelled("Aceh", "A"), labelled("Bali", "C"), labelled("West Java", "B")]
    },
    "click": {
        "CLIcK/train.jsonl": [
            korean("a", "", ["miso", "tteok"], "tteok"),
            korean("b", "Two soups.", ["x", "y", "z"], "x"),
        ]
    },
    "kobbq": {"kobbq/test.jsonl": [biased()]},
    "bertaqa": {"BertaQA/eu/test.jsonl": [basque("Euskal gaiak"), basque("Gai orokorrak")]},
    "global-piqa": {
        f"global-piqa-nonparallel/{name}/test.jsonl": [piqa(number % 2)]
        for number, name in enumerate(PIQA_LANGUAGES)
    },
    "copal": {
        "COPAL/id/test.jsonl": [
            causal("effect", "I take an umbrella.", "I swim.", 0),
            causal("cause", "I slept.", "A cloud came.", 1),
        ]
    },
    "milu": {
        f"MILU/{language}/test.jsonl": [
            {"question": "Which grain?", **NUMBERS, "target": "option3", "domain": "Food"}
        ]
        for language in INDIAN_LANGUAGES
    },
    "fork": {"FORK_ACL2023/test.jsonl": [food()]},
    "geomlama": {"GeoMLAMA/test.tsv": [geography(*each) for each in GEOGRAPHY]},
    "multilingual-culturalbench": {"Multilingual_CulturalBench/train.jsonl": [translated("Nepal", "C")]},
}
"""Files of each set in the gallery, below the data folder."""


def write_gallery(folder: Path, name: str) -> Path:
    """Write the files of a set; the folder is then its `--data-dir`."""
    for file, rows in FILES[name].items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        if file.endswith(".tsv"):  # as the set is: without quotation marks
            lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
        else:
            lines = [json.dumps(row) for row in rows]
        (folder / file).write_text("\n".join(lines), encoding="utf-8")
    return folder
