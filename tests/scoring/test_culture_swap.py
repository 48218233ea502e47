"""Activations counted from the other cultures of a question: which prompts line up, and the scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.core.items import Item
from culnig.errors import EnvironmentProblem, InputError
from culnig.inference.encoding import EncodedItem, Encoder
from culnig.scoring.capture import Capture
from culnig.scoring.culture_swap import aligned_questions, question_batches, without_others
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings, Scoring, score_benchmark
from tests.tiny_models import tiny_model
from tests.tolerances import assert_scores_equal

CULTURES = ("Spain", "China", "Kenya")
SWAP = RunSettings(baseline="other-cultures", scorers=(registry.scorer("log-odds"),))


def asked(question="q0", prompt="What do people in {} eat?", cultures=CULTURES, answer="A"):
    return [
        Item(f"{own}/{question}", question, own, "identify", prompt.format(own), ("A", "B"), answer)
        for own in cultures
    ]


ITEMS = [*asked(), *asked("q1", "Who works longest in {}, do you think?", CULTURES[:2], "B")]


def encoded(rows, questions=None, cultures=None):
    return [
        EncodedItem(Item(str(n), q, c, "identify", "", ("A", "B"), "A"), tuple(ids), 0, (0, 1))
        for n, (ids, q, c) in enumerate(zip(rows, questions or "q" * 9, cultures or "abcdef", strict=False))
    ]


def test_the_others_of_a_question_are_subtracted_token_by_token():
    activation = torch.tensor([[[1.0, 5.0]], [[2.0, 0.0]], [[6.0, 1.0]], [[10.0, 0.0]], [[4.0, 0.0]]])
    found = without_others(activation, (0, 0, 0, 1, 1))
    #  less (2 + 6) / 2 and (0 + 1) / 2, (1 + 6) / 2 and 3, (1 + 2) / 2 and 5 / 2; then each less the other
    expected = [[-3.0, 4.5], [-1.5, -3.0], [4.5, -1.5], [6.0, 0.0], [-6.0, 0.0]]
    assert found[:, 0].tolist() == expected


def by_hand(bound, items, target):
    """Weighted scores per item, from the pairs of one item at a time."""
    pairs = []
    for item in items:
        (own,) = Encoder(bound).encode_all([item])
        kept = {}
        with Capture(bound, lambda segment, *pair, kept=kept: kept.setdefault(segment, pair)):
            logits = bound.model(torch.tensor([own.token_ids])).logits[0, -1].double()
            p = logits.softmax(-1)
            wrong = [label for label in own.option_ids if label != own.gold_id]
            value = p[own.gold_id] if target == "p" else p[own.gold_id].log() - p[wrong].sum().log()
            value.backward()
        pairs.append((float(p[own.gold_id].detach()), kept))
    scores = np.zeros((len(items), bound.layout.n_neurons))
    for row, item in enumerate(items):
        others = [n for n, other in enumerate(items) if other.question_id == item.question_id and n != row]
        for segment, (activation, gradient) in pairs[row][1].items():
            mean = sum(pairs[n][1][segment][0] for n in others) / len(others)
            own = ((activation - mean) * gradient)[0].detach().amax(0)
            scores[row, segment.columns] = pairs[row][0] * own.double().numpy()
    return scores


def test_scores_are_those_of_single_prompts_less_the_other_cultures():
    bound = tiny_model()
    found = score_benchmark(
        bound, ITEMS, "target", ScoreSettings(), scorers=SWAP.scorers, baseline="other-cultures"
    )
    for moments, target in ((found.moments, "p"), (found.scorers["log-odds"], "odds")):
        scores = by_hand(bound, ITEMS, target)
        for culture, row in zip(moments.cultures, moments.sum, strict=True):
            own = [number for number, item in enumerate(ITEMS) if item.culture == culture]
            assert_scores_equal(row, scores[own].sum(axis=0))


def test_the_exclusion_is_scored_as_it_is_and_the_run_says_what_it_did(tmp_path):
    bound, passages = tiny_model(), asked("passage", "A long day in {}.", ("Spain",))
    benchmarks = {
        "target": ChosenItems("target", "identify", ITEMS),
        "passages": ChosenItems("exclusion", "identify", passages),
    }
    run = score_run(bound, benchmarks, ScoreSettings(), tmp_path / "run", run_settings=SWAP)
    assert run.record["settings"]["baseline"] == "other-cultures"
    plain = score_benchmark(bound, passages, "exclusion", ScoreSettings())
    np.testing.assert_array_equal(run.moments("passages").sum, plain.moments.sum)
    swapped = score_benchmark(bound, ITEMS, "target", ScoreSettings(), baseline="other-cultures")
    np.testing.assert_array_equal(run.moments("target").sum, swapped.moments.sum)


@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_questions_stay_whole_in_batches(budget):
    rows = [[1, 2, 3, 4], [5, 6, 7, 8, 9], [1, 2, 9, 4], [5, 6, 7, 8, 0]]
    batches = question_batches(encoded(rows, "abab", "xxyy"), budget)
    assert [batch.numbers for batch in batches] == ([(1, 3), (0, 2)] if budget == 1 else [(1, 3, 0, 2)])
    if budget > 1:
        first, second = batches[0].halves()
        assert (first.numbers, second.numbers) == ((1, 3), (0, 2))
        batches = [first.renumbered([7, 8, 9, 6])]
        assert batches[0].numbers == (8, 6)
    with pytest.raises(EnvironmentProblem, match="out of memory with the 2 cultures of the question"):
        batches[0].halves()


@pytest.mark.parametrize(
    ("rows", "cultures", "reason"),
    [
        ([[1, 2, 3, 4], [1, 2, 3]], "ab", "items 0 and 1 have 4 and 3 tokens"),
        ([[1, 2, 3, 4], [1, 9, 9, 4]], "ab", "items 0 and 1 differ in 2 of 4 tokens"),
        ([[1, 2, 3, 4]], "a", "only a has item 0"),
        ([[1, 2, 3, 4], [1, 2, 3, 4]], "aa", "only a has item 0"),
    ],
)
def test_prompts_that_do_not_line_up_are_refused_with_the_reason(rows, cultures, reason):
    with pytest.raises(InputError, match=f"baseline='other-cultures' .* of question 'q' {reason}"):
        aligned_questions(encoded(rows, None, cultures))


def test_several_items_of_a_question_are_matched_in_their_order():
    assert aligned_questions(encoded([[1, 2, 3, 4]] * 4, "qqqq", "aabb")) == [[0, 2], [1, 3]]


def test_what_cannot_be_swapped_is_refused_before_anything_is_written(tmp_path):
    benchmarks = {"target": ChosenItems("target", "identify", [ITEMS[0]])}
    with pytest.raises(InputError, match="only Spain has item Spain/q0"):
        score_run(tiny_model(), benchmarks, ScoreSettings(), tmp_path / "run", run_settings=SWAP)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="level='token' stores activations as they are"):
        replace(SWAP, level="token")
    with pytest.raises(InputError, match="unknown baseline 'mean'"):
        RunSettings(baseline="mean")


def test_without_a_baseline_batches_are_cut_as_before():
    scoring = Scoring(tiny_model(), Encoder(tiny_model()).encode_all(ITEMS), "target", ScoreSettings())
    assert {type(batch).__name__ for batch in scoring.batches} == {"Batch"}
