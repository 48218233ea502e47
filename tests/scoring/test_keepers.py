"""What is kept of every item, against plain autograd and against the run's own sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig.benchmarks.base import ChosenItems
from culnig.core.neurons import MLP_GATE, QUERY
from culnig.errors import EnvironmentProblem
from culnig.scoring import keepers
from culnig.scoring.accumulator import Accumulator
from culnig.scoring.levels import StoredTensors
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.store.writer import RunWriter
from tests import oracle
from tests.scoring.oracle_rows import oracle_row
from tests.stored import assert_same, contents, leftovers
from tests.tiny_models import tiny_items, tiny_model
from tests.tolerances import assert_scores_equal

ITEMS = tiny_items(7)
BENCHMARKS = {
    "toy-target": ChosenItems("target", "identify", ITEMS, {}),
    "toy-control": ChosenItems("control", "identify", ITEMS[:4], {}),
}
OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def score(folder, level, bound=None, token_budget=300, resume=False, **how):
    return score_run(
        bound or tiny_model(),
        BENCHMARKS,
        ScoreSettings(token_budget=token_budget),
        folder,
        run_settings=RunSettings(level=level, **how),
        resume=resume,
    )


def tensors_of(run, name):
    """Per item in file order: segment → activation and gradient (token, neuron) as float32, and token ids."""
    found = {}
    for part in run.tensor_parts(name):
        with run.open_tensors(part) as stored:
            pairs = {segment: stored.pair(segment) for segment in stored.segments}
            formats = {segment: stored.number_format(segment) for segment in stored.segments}
        for row, place in enumerate(part.prompts.item.tolist()):
            tokens = slice(*part.prompts.offsets[row : row + 2])
            of_item = {
                segment: tuple(as_float32(values[tokens], formats[segment]) for values in pair)
                for segment, pair in pairs.items()
            }
            assert place not in found
            found[place] = (of_item, part.prompts.tokens(row).tolist())
    return [found[place] for place in sorted(found)]


def as_float32(values, number_format):
    if number_format == "bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def scores_from_tensors(run, name):
    """Max over the tokens of gradient × activation, (item, neuron), in plain numpy."""
    rows = []
    for pairs, _ in tensors_of(run, name):
        row = np.empty(run.layout.n_neurons, dtype=np.float32)
        for segment, (activation, gradient) in pairs.items():
            row[segment.columns] = (activation * gradient).max(axis=0)
        rows.append(row)
    return np.array(rows)


def sums_of(run, name, scores):
    """Σ P(gold) · score per culture, clamped for a control benchmark: METHOD, in plain numpy."""
    outcomes = run.outcomes(name)
    weighted = outcomes.p_gold[:, None] * scores.astype(np.float64)
    if run.benchmarks[name].role == "control":
        weighted = np.maximum(weighted, 0)
    return np.array(
        [weighted[outcomes.culture == culture].sum(0) for culture in run.benchmarks[name].cultures]
    )


def assert_adds_up(run, scores_from, same_batches=True):
    """What was kept of the items gives the sums of the run: every item is in them once."""
    for name in BENCHMARKS:
        found, sums = sums_of(run, name, scores_from(run, name)), run.moments(name).sum
        if same_batches:  # the same numbers, added in float64
            np.testing.assert_allclose(found, sums, rtol=1e-12, atol=1e-18)
        else:
            assert_scores_equal(found, sums)


def item_scores(run, name):
    return run.item_scores(name)


KEPT = {"item": item_scores, "token": scores_from_tensors}


@pytest.mark.parametrize("level", KEPT)
def test_what_is_kept_equals_plain_autograd_and_adds_up_to_the_sums(tmp_path, level):
    bound = tiny_model()
    run = score(tmp_path / "run", level, bound)
    assert_adds_up(run, KEPT[level])
    for row, item in zip(KEPT[level](run, "toy-target"), ITEMS, strict=True):
        _, scores = oracle.item_scores(bound.model, bound.tokenizer, item)
        expected = oracle_row(bound, scores)
        assert_scores_equal(row, expected)
    assert leftovers(run.folder) == []


@pytest.mark.parametrize("level", KEPT)
def test_keeping_changes_no_bit_of_the_sums(tmp_path, level):
    plain, kept = score(tmp_path / "culture", "culture"), score(tmp_path / level, level)
    for name in BENCHMARKS:
        assert kept.moments(name).sum.tobytes() == plain.moments(name).sum.tobytes()


@pytest.mark.parametrize("level", KEPT)
def test_the_tokens_of_every_item_are_its_prompts(tmp_path, level):
    bound = tiny_model()
    run = score(tmp_path / "run", level, bound)
    parts = run.item_parts("toy-target") if level == "item" else run.tensor_parts("toy-target")
    seen = {
        place: part.prompts.tokens(row).tolist()
        for part in parts
        for row, place in enumerate(part.prompts.item.tolist())
    }
    assert seen == {place: oracle.token_ids(bound.tokenizer, item)[0] for place, item in enumerate(ITEMS)}


def test_the_peak_is_the_token_of_the_largest_contribution(tmp_path):
    bound = tiny_model()
    by_item, by_token = score(tmp_path / "item", "item", bound), score(tmp_path / "token", "token", bound)
    tensors = tensors_of(by_token, "toy-target")
    for part in by_item.item_parts("toy-target"):
        with by_item.open_item_scores(part) as stored:
            peaks = stored.peak_tokens()
        for row, place in enumerate(part.prompts.item):
            for segment, (activation, gradient) in tensors[place][0].items():
                np.testing.assert_array_equal(
                    peaks[row, segment.columns], (activation * gradient).argmax(axis=0)
                )


def test_float16_item_scores_are_close(tmp_path):
    exact = score(tmp_path / "exact", "item").item_scores("toy-target")
    rough = score(tmp_path / "rough", "item", score_type="float16").item_scores("toy-target")
    largest = np.abs(exact).max(axis=1, keepdims=True)
    assert (np.abs(rough - exact) <= np.maximum(2.0**-11 * np.abs(exact) * 1.001, 2.0**-25 * largest)).all()


def test_a_bfloat16_models_tensors_are_its_bits(tmp_path):
    run = score(tmp_path / "run", "token", tiny_model(dtype=torch.bfloat16))
    assert_adds_up(run, scores_from_tensors)
    part = run.tensor_parts("toy-target")[0]
    with run.open_tensors(part) as stored:
        assert {stored.number_format(segment) for segment in stored.segments} == {"bfloat16"}


def test_chosen_tensors_are_those_of_the_whole_store(tmp_path):
    chosen = StoredTensors(("gate_proj", "q_proj"), (0, 2), ("item-1", "item-[46]", "item-5"))
    few = score(tmp_path / "few", "token", tensors=chosen)
    whole = tensors_of(score(tmp_path / "whole", "token"), "toy-target")
    places = sorted(place for part in few.tensor_parts("toy-target") for place in part.prompts.item.tolist())
    assert places == [1, 5]
    for place, (pairs, tokens) in zip(places, tensors_of(few, "toy-target"), strict=True):
        assert tokens == whole[place][1]
        assert {(s.layer, s.module) for s in pairs} == {(n, m) for n in (0, 2) for m in (MLP_GATE, QUERY)}
        for segment, pair in pairs.items():
            for found, expected in zip(pair, whole[place][0][segment], strict=True):
                assert found.tobytes() == expected.tobytes()


# Parts


@pytest.mark.parametrize("level", KEPT)
def test_small_parts_hold_what_one_large_part_holds(tmp_path, level, monkeypatch):
    whole = score(tmp_path / "whole", level)
    monkeypatch.setattr(keepers, "PART_BYTES", 5_000 if level == "item" else 1_000_000)
    run = score(tmp_path / "run", level)
    n_parts = len(list(tmp_path.glob("run/*s/part-toy-target-*.h5")))
    assert len(list(tmp_path.glob("whole/*s/part-toy-target-*.h5"))) == 1
    assert n_parts > 2
    for name in BENCHMARKS:
        assert KEPT[level](run, name).tobytes() == KEPT[level](whole, name).tobytes()
    assert_adds_up(run, KEPT[level])


@pytest.mark.parametrize("level", KEPT)
def test_parts_are_the_same_whatever_the_checkpoints(tmp_path, level, monkeypatch):
    monkeypatch.setattr(keepers, "PART_BYTES", 5_000 if level == "item" else 1_000_000)
    monkeypatch.setattr(RunWriter, "checkpoint_due", lambda self: False)
    never = contents(score(tmp_path / "never", level).folder)
    monkeypatch.setattr(RunWriter, "checkpoint_due", lambda self: True)
    assert_same(contents(score(tmp_path / "always", level).folder), never)


# What goes wrong


class Failing:
    """Replaces a function: calls of these numbers raise, before or after the work."""

    def __init__(self, work, calls, error, after=False):
        self.work, self.calls, self.error, self.after = work, calls, error, after
        self.count = self.failures = 0

    def __call__(self, *arguments, **options):
        self.count += 1
        fails = self.count in self.calls
        self.failures += fails
        if fails and not self.after:
            raise self.error
        done = self.work(*arguments, **options)
        if fails:
            raise self.error
        return done


def failing(monkeypatch, owner, name, calls, error, **options):
    made = Failing(getattr(owner, name), calls, error, **options)
    monkeypatch.setattr(owner, name, lambda *arguments, **more: made(*arguments, **more))
    return made


@pytest.mark.parametrize("calls", [[1], [15], [7, 12, 20]], ids=str)
@pytest.mark.parametrize("level", KEPT)
def test_memory_that_runs_out_changes_nothing_that_is_kept(tmp_path, level, calls, monkeypatch):
    expected = score(tmp_path / "expected", level, token_budget=700)
    made = failing(monkeypatch, Accumulator, "add", calls, OUT_OF_MEMORY)
    run = score(tmp_path / "run", level, token_budget=700)
    assert made.failures == len(calls)
    assert_adds_up(run, KEPT[level], same_batches=False)  # P(gold) is that of other batches
    for name in BENCHMARKS:
        found, whole = KEPT[level](run, name), KEPT[level](expected, name)
        assert_scores_equal(found, whole)
    names = [path.name for path in sorted(expected.folder.glob("*s/*.h5"))]
    assert [path.name for path in sorted(run.folder.glob("*s/*.h5"))] == names


@pytest.mark.parametrize("after", [False, True])
def test_memory_that_runs_out_while_tensors_are_copied_counts_no_score_twice(tmp_path, after, monkeypatch):
    made = failing(monkeypatch, keepers, "_real_rows", [2, 9], OUT_OF_MEMORY, after=after)
    run = score(tmp_path / "run", "token", token_budget=700)
    assert made.failures == 2
    assert_adds_up(run, scores_from_tensors, same_batches=False)
    plain = score(tmp_path / "plain", "culture", token_budget=700)
    for name in BENCHMARKS:
        assert_scores_equal(run.moments(name).sum, plain.moments(name).sum)


class Stop(Exception):
    pass


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
@pytest.mark.parametrize("level", KEPT)
def test_an_error_leaves_no_temporary_file_and_the_run_can_be_finished(tmp_path, level, error, monkeypatch):
    monkeypatch.setattr(keepers, "PART_BYTES", 5_000 if level == "item" else 1_000_000)
    monkeypatch.setattr(RunWriter, "checkpoint_due", lambda self: True)
    expected = contents(score(tmp_path / "expected", level).folder)
    with monkeypatch.context() as patch:
        failing(patch, Accumulator, "add", [40], error)
        with pytest.raises(error):
            score(tmp_path / "run", level)
    assert list((tmp_path / "run").rglob("*.tmp")) == []
    assert list((tmp_path / "run").glob("parts/*.h5"))
    assert_same(contents(score(tmp_path / "run", level, resume=True).folder), expected)


@pytest.mark.parametrize("level", KEPT)
def test_an_error_in_the_background_ends_the_run_with_that_error(tmp_path, level, monkeypatch):
    writer = keepers.ItemScoresWriter if level == "item" else keepers.TensorsWriter
    with monkeypatch.context() as patch:
        failing(patch, writer, "write", [2], EnvironmentProblem("the disk is gone"))
        with pytest.raises(EnvironmentProblem, match="the disk is gone"):
            score(tmp_path / "run", level)
    assert list((tmp_path / "run").rglob("*.tmp")) == []
    assert_adds_up(score(tmp_path / "run", level, resume=True), KEPT[level])
