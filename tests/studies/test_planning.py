"""The figures of `--dry-run`, against a calculation by hand for a published model that is not here.

By hand: a forward pass takes two operations for each parameter of the linear modules and token, and a
backward pass to the activations as many. Attention and the head add little to prompts of a hundred tokens.
Without a tokenizer, 3.5 characters count as a token, and a chat template as 16.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import culnig
from culnig.benchmarks.choosing import read_benchmarks

CULTURES = ("China", "Iran", "Mexico", "Spain")
STUDY = """\
models:
  llama: {model: meta-llama/Llama-3.1-8B-Instruct, dtype: bfloat16}
scoring:
  identify:
    benchmarks: [everyday, everyday-control]
    cultures: [China, Iran, Mexico, Spain]
    per_culture: 5
    halves: true
selections:
  general: {method: general, exclusion: false}
  specific: {method: specific, exclusion: false, cultures: [China, Iran]}
evaluations:
  general: {benchmarks: [everyday], neuron_sets: [general], cultures: [China, Iran], random_baseline: 19}
  specific: {benchmarks: [everyday], neuron_sets: [specific], cultures: [China, Iran], matrix: true}
audits:
  general: {benchmarks: [everyday], neurons: general, cultures: [Mexico], per_culture: 3, top: 10}
"""
HIDDEN, MLP, LAYERS, QUERIES, KEYS = 4096, 14_336, 32, 4096, 1024
PARAMETERS = LAYERS * HIDDEN * (2 * QUERIES + 2 * KEYS + 3 * MLP)
NEURONS = LAYERS * (2 * MLP + QUERIES + 2 * KEYS)


def tokens(*names: str, cultures: Sequence[str], split: str = "test", per_culture: int | None = None) -> int:
    """Tokens of the prompts of benchmarks, as estimated without a tokenizer."""
    chosen = read_benchmarks(names, split=split, cultures=cultures, per_culture=per_culture)
    return sum(int(len(item.prompt) / 3.5) + 16 for own in chosen.values() for item in own.items)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """The plan for eight GPUs of 80 GB."""
    folder = tmp_path_factory.mktemp("planned")
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    return culnig.plan_study(folder / "study.yaml", folder / "out", device_memory="80G", gpus=8, tflops=400)


def test_arithmetic_is_that_of_a_calculation_by_hand(planned):
    scored = tokens("everyday", "everyday-control", cultures=CULTURES, split="identify", per_culture=5)
    evaluated = tokens("everyday", cultures=("China", "Iran"))
    audited = tokens("everyday", cultures=("Mexico",), split="identify", per_culture=3)
    forward = 2 * PARAMETERS
    by_hand = {
        "scores/llama/identify": 2 * forward * scored,
        "evaluations/llama/general": forward * evaluated * (1 + 1 + 19),
        "evaluations/llama/specific": forward * evaluated * (1 + 2),
        "audits/llama/general": forward * audited * (2 + 10 + 10),
    }
    rows = {row["step"]: row for row in planned["steps"]}
    for name, expected in by_hand.items():
        assert rows[name]["flops"] == pytest.approx(expected, rel=0.03), name
        assert rows[name]["seconds"] == pytest.approx(rows[name]["flops"] / 400e12)
    assert all(row["flops"] == 0 for name, row in rows.items() if name not in by_hand)


def test_eight_gpus_need_at_least_the_longest_chain_of_steps(planned):
    seconds = {row["step"]: row["seconds"] or 0 for row in planned["steps"]}
    longest = seconds["scores/llama/identify"] + max(
        seconds[name] for name in seconds if name.startswith(("evaluations", "audits"))
    )
    total = planned["total"]
    assert total["seconds"] == pytest.approx(sum(seconds.values()))
    assert total["seconds_side_by_side"] == pytest.approx(max(longest, sum(seconds.values()) / 8))


def test_disk_is_that_of_a_calculation_by_hand(planned):
    """Of a benchmark: two float64 sums for every neuron and culture, one over cultures; halves double it."""
    rows = {row["step"]: row for row in planned["steps"]}
    sums = 2 * NEURONS * (4 * 16 + 8)
    assert rows["scores/llama/identify"]["disk"] == pytest.approx(2 * sums, rel=0.02)
    assert rows["scores/llama/identify"]["parts"] <= 12 * sums
    answers = sum(rows[f"evaluations/llama/{name}"]["disk"] for name in ("general", "specific"))
    assert planned["total"]["disk"] == rows["scores/llama/identify"]["disk"] + answers


def test_a_model_that_is_not_here_is_planned_by_its_published_sizes_and_does_not_run(planned, tmp_path):
    assert planned["total"]["n_unknown"] == 0
    first, *_ = planned["total"]["assumptions"]
    assert first == (
        "meta-llama/Llama-3.1-8B-Instruct: The configuration of meta-llama/Llama-3.1-8B-Instruct cannot be "
        "read here: the plan uses the sizes that come with culnig-engine."
    )
    memory = next(row["memory"] for row in planned["steps"] if row["step"].startswith("scores"))
    weights = 2 * (PARAMETERS + 2 * 128_256 * HIDDEN)
    assert weights < memory < 80e9
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    said: list[str] = []
    result = culnig.study(tmp_path / "study.yaml", tmp_path / "out", only=["scores"], say=said.append)
    assert [step.step for step in result.failed] == ["scores/llama/identify"]
    assert any(line.startswith("scores/llama/identify cannot run: cannot load model") for line in said)
