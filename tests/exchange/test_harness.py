"""The plugin of lm-evaluation-harness, in the harness itself, where it is installed."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import culnig
from culnig.models.base import BoundModel
from culnig.models.intervention import intervene
from tests.exchange.exported import save
from tests.tiny_models import tiny_model
from tests.training.chosen import random_set

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-evaluation-harness is not installed (pip install culnig-engine[lm-eval])",
)

ROWS = [
    {"question": f"What is drunk with meal {n}?", "choices": ["tea", "cola", "milk"], "answer": n % 3,
     "country": ("Iran", "Spain")[n % 2], "question_id": f"q{n // 2}"}
    for n in range(8)
]  # fmt: skip
TASK = """
task: drinks
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}} Answer:"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - metric: acc
metadata:
  version: 1.0
"""


SEVERAL = """
import json, runpy, sys
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["lm_eval", *arguments]
    runpy.run_module("culnig.exchange.harness", run_name="__main__")
"""
"""Runs of the harness's command line in one process: it takes long to import."""


def harness(folder: Path, runs: dict[str, dict[str, Any]]) -> None:
    """Run the harness on a local task with some model_args each, by the folder of the logs."""
    runs_arguments = [
        [
            *("run", "--model", "culnig", "--tasks", "drinks", "--include_path", str(folder / "tasks")),
            *("--model_args", ",".join(f"{name}={value}" for name, value in given.items())),
            *("--output_path", str(folder / out), "--log_samples", "--batch_size", "4", "--device", "cpu"),
        ]
        for out, given in runs.items()
    ]
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL, json.dumps(runs_arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]


def log_probability(bound: BoundModel, prompt: str, text: str) -> float:
    ids = bound.tokenizer(prompt)["input_ids"]
    written = bound.tokenizer(prompt + text)["input_ids"]
    with torch.no_grad():
        logits = bound.model(input_ids=torch.tensor([written])).logits[0].double().log_softmax(-1)
    return sum(float(logits[at - 1, written[at]]) for at in range(len(ids), len(written)))


def test_a_local_task_is_run_masked_imported_compared_and_reported(tmp_path):
    bound = tiny_model()
    chosen = random_set(bound, n=60)
    save(bound, tmp_path / "model")
    chosen.write(tmp_path / "set.json")
    (tmp_path / "tasks").mkdir()
    data = tmp_path / "drinks.jsonl"
    data.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    (tmp_path / "tasks" / "drinks.yaml").write_text(TASK.format(data=data), encoding="utf-8")
    model, neurons = tmp_path / "model", tmp_path / "set.json"
    masked = {"pretrained": model, "neurons": neurons, "factor": 0}
    runs = {"plain": {"pretrained": model}, "masked": masked, "random": masked | {"random": 5}}
    harness(tmp_path, runs)
    evaluation = culnig.import_evaluation([tmp_path / name for name in runs], tmp_path / "evaluation")
    assert evaluation.conditions == ["unmasked", "by hand", "random 5 like by hand"]
    assert evaluation.baselines("by hand") == ["random 5 like by hand"]
    for condition, mask in (("unmasked", None), ("by hand", chosen)):
        outcomes = evaluation.answers["drinks", condition]
        assert outcomes.culture.tolist() == ["Iran", "Spain"] * 4
        for row, own in enumerate(ROWS):
            gold = " " + own["choices"][own["answer"]]
            with intervene(bound, mask or torch.empty(0, dtype=torch.long).numpy()):
                expected = log_probability(bound, f"{own['question']} Answer:", gold)
            assert math.log(outcomes.p_gold[row]) == pytest.approx(expected, abs=1e-3)
    (row,) = culnig.compare(evaluation)
    assert row["against_random"] is not None
    culnig.report([evaluation], tmp_path / "report.html")
    assert "drinks" in (tmp_path / "report.html").read_text()
