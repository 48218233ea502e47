"""Imported scores of a small model fill the comparison with published numbers.

The score files are those that the released code would write for the model; what the model answers, with and
without the neurons, is computed here by transformers alone.
"""

from __future__ import annotations

import copy
import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import culnig
from culnig.benchmarks.choosing import read_benchmarks
from culnig.core.items import Item
from culnig.inference.encoding import Encoder
from tests.edited_weights import scale_weights
from tests.reanalysis import released
from tests.reanalysis.released import written
from tests.tiny_models import tiny_model

CULTURES = ["China", "Indonesia", "Iran", "Mexico", "South Korea", "Spain", "UK", "USA"]
DATASETS = {"everyday": "everyday", "everyday-control": "everydaycontrol", "country-rc": "countryrc"}
"""Benchmarks, and what the released code would call them: names give the roles."""
TOP_MLP, TOP_ATTENTION, EXCLUDE = 0.3, 0.1, 0.05
PUBLISHED = """\
title = "A paper"
margin = {margin}
[sources.table]
text = "Table 1"
[[rows]]
model = "Tiny-1B"
condition = "unmasked"
source = "table"
accuracy = {{ everyday = {unmasked} }}
[[rows]]
model = "Tiny-1B"
condition = "general"
source = "table"
neurons = {neurons}
accuracy = {{ everyday = {general} }}
"""


@pytest.fixture(scope="module")
def bound() -> Any:
    """A tiny random model that answers with a label, because it cannot say anything else."""
    model = tiny_model("llama", seed=3)
    labels = [model.tokenizer.encode(label, add_special_tokens=False)[0] for label in "ABCD"]
    rows = model.model.lm_head.weight.data
    kept = rows[labels].clone()
    rows.zero_()
    rows[labels] = 100 * kept
    return model


def score_files(run: culnig.Run, folder: Path) -> tuple[list[Path], dict[str, dict[str, Any]]]:
    """A run as the released code's score files, and what they hold."""
    neurons = run.layout.neurons(np.arange(run.layout.n_neurons))
    names = [f"{neuron.module}_{neuron.layer}_{neuron.index}" for neuron in neurons]
    files, contents = [], {}
    for name, dataset in DATASETS.items():
        moments = run.moments(name)
        contents[name] = {
            "neuron_scores": {
                key: dict(zip(moments.cultures, column, strict=True))
                for key, column in zip(names, moments.sum.T.tolist(), strict=True)
            },
            "total_probabilities_per_country": dict(
                zip(moments.cultures, moments.p_gold_sum.tolist(), strict=True)
            ),
            "dataset_ids": {dataset: list(range(int(moments.n_items.sum())))},
        }
        files.append(written(folder / f"{dataset}_max_scores.json", contents[name]))
    return files, contents


def right_answers(model: Any, bound: Any, asked: list[Item]) -> float:
    """Accuracy in percent, by transformers alone: the most probable next token is the label."""
    encoder = Encoder(bound)
    right = []
    for item in asked:
        with torch.no_grad():
            logits = model(torch.tensor([encoder.prompt_ids(item)])).logits[0, -1]
        right.append(bound.tokenizer.decode([int(logits.argmax())]) == item.answer)
    return 100 * sum(right) / len(right)


def verdicts(inputs: list[Path], folder: Path, numbers: Mapping[str, float]) -> dict[str, str]:
    """What the report's table says about each quantity."""
    (folder / "paper.toml").write_text(PUBLISHED.format(**numbers), encoding="utf-8")
    culnig.report(
        inputs,
        folder / "report.html",
        published=folder / "paper.toml",
        tables=folder / "tables",
        overwrite=True,
    )
    with (folder / "tables" / "published.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["quantity"]: row for row in csv.DictReader(file)}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert all(row["verdict"] in page for row in rows.values())
    return {quantity: row["verdict"] for quantity, row in rows.items()}


def test_imported_scores_of_a_small_model_agree_differ_or_cannot_tell(bound, tmp_path):
    run = culnig.score(bound, list(DATASETS), tmp_path / "scored", cultures=CULTURES, per_culture=4)
    files, contents = score_files(run, tmp_path / "outputs" / "Tiny-1B" / "cultural_neuron")
    imported = culnig.import_scores(files, tmp_path / "imported")
    general = culnig.select_general(
        imported,
        top_mlp=TOP_MLP,
        top_attention=TOP_ATTENTION,
        exclude=EXCLUDE,
        out=tmp_path / "general.neurons.json",
    )
    expected = released.general(*contents.values(), TOP_MLP, TOP_ATTENTION, EXCLUDE)
    assert {f"{each.module}_{each.layer}_{each.index}" for each in general.neurons} == expected
    named = replace(bound, source="models/Tiny-1B")
    culnig.evaluate(named, "everyday", general, tmp_path / "masks", cultures=CULTURES, per_culture=8)
    masked = copy.deepcopy(bound.model)
    for neuron in general.neurons:
        scale_weights(masked, neuron, 0.0)
    (asked,) = read_benchmarks("everyday", split="test", cultures=CULTURES, per_culture=8).values()
    before, after = (right_answers(model, bound, list(asked.items)) for model in (bound.model, masked))
    inputs = [tmp_path / "imported", tmp_path / "general.neurons.json", tmp_path / "masks"]
    same = {"unmasked": before, "general": after, "neurons": len(expected)}
    assert set(verdicts(inputs, tmp_path, same | {"margin": 60}).values()) == {
        *("agrees within 60", "agrees: the same number"),
    }
    n_questions = len({item.question_id for item in asked.items})
    said = verdicts(inputs, tmp_path, same | {"margin": 0.5, "neurons": 2 * len(expected)})
    assert said.pop("neurons") == f"differs by −{len(expected)}"
    assert all(line.startswith(f"cannot tell with {n_questions} questions: the") for line in said.values())
    said = verdicts(inputs, tmp_path, same | {"margin": 5, "unmasked": 99.0, "general": 98.0})
    assert said["accuracy, unmasked"] == f"differs by {before - 99:+.2f}".replace("-", "−")
    assert said["accuracy, general"] == f"differs by {after - 98:+.2f}".replace("-", "−")
