"""Logs as lm-evaluation-harness 0.4.13 writes them; `test_harness.py` imports real ones where it can."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TIME = "2026-01-31T12-00-00.000000"
CHOICES = ("tea", "cola", "milk")


def choice_line(number: int, logs: Sequence[float], gold: int, written: int | None = None) -> dict[str, Any]:
    """An item with three choices; `written` is the one that the model would have written."""
    answers = [[str(own), str(index == written)] for index, own in enumerate(logs)]
    best = max(range(len(logs)), key=logs.__getitem__)
    return {
        "doc_id": number,
        "doc": {
            "question": f"Drink {number}?",
            "country": ("Iran", "Spain")[number % 2],
            "question_id": number // 2,
        },
        "target": str(gold),
        "arguments": {
            f"gen_args_{index}": {"arg_0": f"Drink {number}?", "arg_1": f" {text}"}
            for index, text in enumerate(CHOICES)
        },
        "resps": [[own] for own in answers],
        "filtered_resps": answers,
        "filter": "none",
        "metrics": ["acc"],
        "doc_hash": f"d{number}",
        "prompt_hash": f"p{number}",
        "target_hash": f"t{number}",
        "acc": float(best == gold),
    }


def free_line(number: int, text: str, gold: str, *, right: bool) -> dict[str, Any]:
    """An item that is answered in free text."""
    return {
        "doc_id": number,
        "doc": {"question": f"Drink {number}?"},
        "target": gold,
        "arguments": {"gen_args_0": {"arg_0": f"Drink {number}?", "arg_1": {"until": ["\n"]}}},
        "resps": [[text]],
        "filtered_resps": [text],
        "filter": "none",
        "metrics": ["exact_match"],
        "doc_hash": f"d{number}",
        "prompt_hash": f"p{number}",
        "target_hash": f"t{number}",
        "exact_match": float(right),
    }


def masked(condition: str, like: str | None = None, factor: float = 0.0) -> dict[str, Any]:
    """What the plugin records about a mask."""
    return {
        "source": "tiny",
        "layout_hash": "abc",
        "condition": condition,
        "factor": factor,
        "n_neurons": 60,
        "set": "general",
        "like": like,
        "culture": None,
    }


def write_log(
    folder: Path, tasks: Mapping[str, Sequence[Mapping[str, Any]]], mask: Mapping[str, Any] | None = None
) -> Path:
    """One run of the harness."""
    folder.mkdir(parents=True)
    config = {
        "model": "hf",
        "model_args": {"pretrained": "tiny"},
        **({} if mask is None else {"culnig": mask}),
    }
    results = {
        "results": {task: {"alias": task} for task in tasks},
        "config": config,
        "lm_eval_version": "0.4.13",
        "model_name": "tiny",
    }
    (folder / f"results_{TIME}.json").write_text(json.dumps(results), encoding="utf-8")
    for task, lines in tasks.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"samples_{task}_{TIME}.jsonl").write_text(text, encoding="utf-8")
    return folder


def probabilities(*values: float) -> list[float]:
    return [math.log(value) for value in values]
