"""Published numbers beside ours: the verdicts, checked by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from culnig.errors import DataFileError
from culnig.evaluation.conditions import UNMASKED, Condition
from culnig.evaluation.results import result_rows
from culnig.evaluation.stored import Evaluation
from culnig.reporting.published import Compared, compared, read_published, verdict
from culnig.reporting.sections.published import published_section
from culnig.reporting.sources import Sources
from tests.toy import answered, items

QUESTIONS = 40
CULTURES = ("China", "Iran")


def evaluation(right: int, right_masked: int, *, benchmark: str = "blend") -> Evaluation:
    """40 questions in two cultures; the first are right, unmasked and with the general neurons masked."""
    asked = items(CULTURES, QUESTIONS)
    number = [int(item.question_id[1:]) for item in asked]

    def answers(n: int):
        return answered(asked, [own < n for own in number])

    flat = np.arange(3, dtype=np.int64)
    conditions = [
        Condition(UNMASKED, 1.0, np.empty(0, dtype=np.int64)),
        Condition("general", 0.0, flat, of_set="general"),
        Condition("random 0 like general", 0.0, flat, of_set="general", like="general"),
        Condition("random 1 like general", 0.0, flat, of_set="general", like="general"),
    ]
    stored = {
        (benchmark, condition.name): answers(n)
        for condition, n in zip(conditions, (right, right_masked, right, right - 2), strict=True)
    }
    results = {
        "model": {"source": "google/Tiny-1B"},
        "neuron_sets": [{"name": "general", "method": {"name": "general"}}],
        "rows": result_rows(stored, [benchmark], conditions),
    }
    return Evaluation(Path("masks"), results, stored)


PUBLISHED = """\
title = "A paper"
[sources.table]
text = "Table 1"
[sources.notes]
text = "notes"
second_hand = true
[[rows]]
model = "tiny-1b"
condition = "unmasked"
source = "table"
accuracy = { blend = 50.0, normad = 70.0 }
[[rows]]
model = "tiny-1b"
condition = "general"
source = "notes"
neurons = 3
accuracy = { blend = 45.0 }
[[rows]]
model = "tiny-1b"
condition = "random"
source = "table"
accuracy = { blend = 90.0 }
[[rows]]
model = "another"
condition = "unmasked"
source = "table"
accuracy = { blend = 10.0 }
"""


def rows(tmp_path, text: str, *evaluations: Evaluation) -> dict[str, Compared]:
    path = tmp_path / "paper.toml"
    path.write_text(text, encoding="utf-8")
    made = compared(read_published(path), Sources(evaluations=list(evaluations)))
    return {row.quantity: row for row in made}


def test_intervals_are_over_questions_and_verdicts_follow_from_them(tmp_path):
    """20 of 40 questions right: 50 %, with t(39) · √(¼ · 40/39 / 40)."""
    found = rows(tmp_path, PUBLISHED, evaluation(20, 10))
    half = 100 * stats.t.ppf(0.975, 39) * np.sqrt(0.25 / 39)
    unmasked = found["accuracy, unmasked"]
    assert (unmasked.published, unmasked.ours, unmasked.n_questions) == (50.0, 50.0, 40)
    np.testing.assert_allclose(unmasked.interval, (50 - half, 50 + half))
    assert unmasked.verdict == f"cannot tell with 40 questions: the interval is {2 * half:.1f} wide"
    masked = found["accuracy, general"]
    assert masked.ours == 25.0
    assert masked.verdict == "differs by −20.00"
    assert masked.source == "notes (second-hand)"
    random = found["accuracy, random"]  # 20 and 18 right
    assert random.ours == pytest.approx(47.5)
    assert random.verdict == "differs by −42.50"


def test_the_change_is_compared_item_by_item(tmp_path):
    """10 of 40 questions are lost: −25 points, where the paper loses 5."""
    change = rows(tmp_path, PUBLISHED, evaluation(20, 10))["change of accuracy"]
    assert (change.published, change.ours) == (-5.0, -25.0)
    half = 100 * stats.t.ppf(0.975, 39) * np.sqrt(0.25 * 0.75 / 39)
    np.testing.assert_allclose(change.interval, (-25 - half, -25 + half))
    assert change.verdict == "differs by −20.00"


def test_only_what_both_have_is_compared(tmp_path):
    found = rows(tmp_path, PUBLISHED, evaluation(20, 10, benchmark="normad"))
    assert set(found) == {"accuracy, unmasked", "neurons"}
    assert rows(tmp_path, PUBLISHED.replace("tiny-1b", "else"), evaluation(20, 10)) == {}


@pytest.mark.parametrize(
    ("neurons", "said"), [(3, "agrees: the same number"), (9, "differs by −6"), (10_000, "differs by −9,997")]
)
def test_numbers_of_neurons(tmp_path, neurons, said):
    found = rows(tmp_path, PUBLISHED.replace("neurons = 3", f"neurons = {neurons}"), evaluation(20, 10))
    assert found["neurons"].verdict == said


@pytest.mark.parametrize(
    ("published", "ours", "interval", "said"),
    [
        (50.0, 51.0, (48.0, 54.0), "agrees within 5"),
        (50.0, 52.0, (51.0, 53.0), "agrees within 5"),  # differs, but by less than matters
        (50.0, 52.0, (48.0, 56.0), "cannot tell with 9 questions: the interval is 8.0 wide"),
        (50.0, 58.0, (54.0, 62.0), "differs by +8.00"),
        (50.0, 40.0, (30.0, 49.9), "differs by −10.00"),
        (50.0, 50.0, None, "cannot tell with 9 questions: no interval"),
    ],
)
def test_verdicts(published, ours, interval, said):
    assert verdict(published, ours, interval, 5.0, "9 questions") == said


def test_mean_ranks_are_over_models(tmp_path):
    ranks = PUBLISHED + (
        '[[ranks]]\nmasked = "Mexico"\nevaluated = "Spain"\nbenchmark = "blend"\nrank = 3.0\n'
        'source = "table"\n'
    )

    def with_matrix(model: str, rank: float) -> Evaluation:
        own = evaluation(20, 10)
        matrix = {
            "metric": "accuracy",
            "masked": ["Mexico"],
            "evaluated": ["Mexico", "Spain"],
            "rank": [[1, rank]],
        }
        return replace(own, results={**own.results, "model": {"source": model}, "matrix": [matrix]})

    name = "mean rank of Spain, Mexico's neurons masked"
    found = rows(tmp_path, ranks, with_matrix("a", 3.0), with_matrix("b", 4.0), with_matrix("c", 5.0))[name]
    half = stats.t.ppf(0.975, 2) / np.sqrt(3)
    assert (found.ours, found.model) == (4.0, "3 models")
    np.testing.assert_allclose(found.interval, (4 - half, 4 + half))
    assert found.verdict == f"cannot tell with 3 models: the interval is {2 * half:.1f} wide"
    pooled = with_matrix("a", 3.0)
    pooled.answers["normad", UNMASKED] = pooled.answers["blend", UNMASKED]
    assert name not in rows(tmp_path, ranks, pooled)  # the ranks of two benchmarks together
    general = replace(pooled, results=pooled.results | {"benchmarks": {"normad": {"cultural": False}}})
    assert name in rows(tmp_path, ranks, general)
    assert (
        rows(tmp_path, ranks, with_matrix("a", 3.0))[name].verdict == "cannot tell with 1 model: no interval"
    )


def test_the_section_counts_the_verdicts(tmp_path):
    path = tmp_path / "paper.toml"
    path.write_text(PUBLISHED, encoding="utf-8")
    section = published_section(Sources(evaluations=[evaluation(20, 10)]), read_published(path))
    table, chart = section.panels
    assert table.note == (
        "5 numbers of A paper. Agrees (within 5 points, ranks within 1, numbers of neurons within 5 %): 1. "
        "Differs: 3. Cannot tell with these questions: 1."
    )
    assert [row[8] for row in table.table.rows].count("agrees: the same number") == 1
    assert "published 45.00" in chart.chart
    assert not published_section(Sources(), None).filled


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('source = "notes"', 'source = "note"', "no source 'note'; did you mean 'notes'?"),
        ("blend = 45.0", "blend = 145.0", "less than or equal to 100"),
        ("neurons = 3", "neuron = 3", "unknown key; did you mean 'neurons'?"),
        ('condition = "random"', 'condition = "chance"', "Input should be 'unmasked', 'general' or 'random'"),
    ],
)
def test_a_file_with_a_mistake_is_refused(tmp_path, old, new, said):
    path = tmp_path / "paper.toml"
    path.write_text(PUBLISHED.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataFileError) as caught:
        read_published(path)
    assert said in str(caught.value)


def test_the_papers_numbers_have_sources_and_say_that_they_are_second_hand():
    paper = read_published("paper")
    assert all(source.second_hand for source in paper.sources.values())
    changes = {
        row.model: round(row.accuracy["blend"] - 64.22, 2) for row in paper.rows if row.condition == "general"
    }
    assert changes["gemma-3-12b-it"] == -26.29
    assert {row.model: row.neurons for row in paper.rows if row.neurons} == {
        "gemma-3-12b-it": 8087,
        "Qwen3-14B": 7340,
        "Llama-3.1-8B-Instruct": 4268,
        "Falcon3-10B-Instruct": 9282,
    }
