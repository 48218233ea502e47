"""Options that are read as texts, from a declaration to a report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import culnig
from culnig.benchmarks.choosing import read_benchmarks
from culnig.errors import InputError, MismatchError
from culnig.inference.likelihoods import LOGIT_BYTES
from culnig.planning.plan import benchmark_sizes
from tests.texts import base_model

CULTURES = ("Iran", "Spain", "China", "Mexico")
DISHES = (
    ("rice with saffron", "bread"),
    ("tortilla", "soup of lentils"),
    ("dumplings", "cheese"),
    ("maize", "tea"),
)
DECLARATION = {
    "name": "dishes",
    "data": "dishes.jsonl",
    "columns": {"question": "q", "options": "o", "answer": "r", "culture": "c"},
    "answer_by": "likelihood",
    "normalize": "bytes",
    "control": True,
    "split": "identify",
    "wordings": [{"id": "w", "template": "{question}", "control": "People eat"}],
}
ASKED = {"split": "all", "check": False}


@pytest.fixture(scope="module")
def declared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dishes")
    rows = [
        {
            "q": f"On day {day} in {{country}} people eat",
            "o": DISHES[(day + at) % 4],
            "r": "AB"[(day + at) % 2],
            "c": c,
        }
        for day in range(6)
        for at, c in enumerate(CULTURES)
    ]
    (folder / "dishes.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "dishes.yaml").write_text(json.dumps(DECLARATION), encoding="utf-8")
    return str(folder / "dishes.yaml")


def test_score_select_evaluate_and_report(declared, tmp_path):
    bound = base_model()
    run = culnig.score(bound, [declared, f"{declared}#control"], tmp_path / "run", level="item", **ASKED)
    answers = run.record["benchmarks"]["dishes"]["answers"]
    assert (answers["by"], answers["normalize"]) == ("likelihood", "bytes")
    assert answers["target"] == "log-probability of the gold option's text, summed over its tokens"
    assert run.record["settings"]["prefix_sharing"] is False
    stored = run.outcomes("dishes")
    assert stored.log_probabilities.shape == (24, 2)
    assert (stored.log_probabilities < 0).all()
    np.testing.assert_allclose(stored.option_probabilities.sum(1), 1)
    chosen = culnig.select_general(run, exclusion=False, top_mlp=0.05)
    evaluation = culnig.evaluate(
        *(bound, [declared], [chosen], tmp_path / "evaluation"), random_baseline=2, per_culture=4, **ASKED
    )
    unmasked, masked, *_ = evaluation.results["rows"]
    for row in (unmasked, masked):
        assert row["accuracy"] == row["option_accuracy"]
        assert row["option_mass"] is None
        assert row["loss"] is None
        assert row["log_probability"] < row["log_probability_per_byte"] < 0
    assert masked["change"]["log_probability"]["effect"] != 0
    again = culnig.open_evaluation(tmp_path / "evaluation").answers["dishes", "unmasked"]
    np.testing.assert_allclose(again.log_probabilities, stored.log_probabilities[:16], atol=2e-4)
    culnig.report([run, evaluation], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (
        "On dishes (per byte), dishes-control (per byte) the gradient is that of the log-probability" in page
    )
    assert "The answer to items of dishes (per byte) is the option whose text has the highest" in page


def test_a_scorer_for_labels_is_refused_before_anything_is_written(declared, tmp_path):
    with pytest.raises(InputError, match="scorer 'log-odds' is only for labels"):
        culnig.score(base_model(), declared, tmp_path / "run", scorers=["log-odds"], **ASKED)
    assert not (tmp_path / "run").exists()


def test_a_plan_counts_the_texts_that_are_only_read(declared):
    bound = base_model()
    chosen = read_benchmarks(declared)
    size = benchmark_sizes(bound, chosen)["dishes"]
    assert (len(size.lengths), len(size.text_lengths)) == (24, 24)
    texts = [text for item in chosen["dishes"].items for text in item.options]
    assert size.n_targets == sum(map(len, texts)), "a token is a byte here"
    assert LOGIT_BYTES == 24


def test_runs_are_merged_with_those_of_their_kind(declared, tmp_path):
    bound = base_model()
    parts = [
        culnig.score(bound, declared, tmp_path / name, cultures=[name], **ASKED) for name in ("Iran", "Spain")
    ]
    merged = culnig.merge([part.folder for part in parts], tmp_path / "merged")
    assert (
        merged.record["benchmarks"]["dishes"]["answers"] == parts[0].record["benchmarks"]["dishes"]["answers"]
    )
    stored = dict(zip(merged.outcomes("dishes").id, merged.outcomes("dishes").log_probabilities, strict=True))
    for part in parts:
        own = part.outcomes("dishes")
        assert all(
            (stored[name] == row).all() for name, row in zip(own.id, own.log_probabilities, strict=True)
        )
    labels = {key: value for key, value in DECLARATION.items() if key not in ("answer_by", "normalize")}
    labels["wordings"] = [{"id": "w", "template": "{question}\n{options}"}]
    labels["data"] = str(Path(declared).with_name("dishes.jsonl"))
    (tmp_path / "labels.yaml").write_text(json.dumps(labels), encoding="utf-8")
    asked = {**ASKED, "cultures": ["China"]}
    other = culnig.score(bound, str(tmp_path / "labels.yaml"), tmp_path / "labels", **asked)
    with pytest.raises(MismatchError, match="the options of 'dishes' are read differently"):
        culnig.merge([parts[0].folder, other.folder], tmp_path / "mixed")
