"""Reductions against scoring anew, and against plain numpy on the stored arrays."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest

from culnig import registry
from culnig.core.neurons import MLP_GATE, MLP_UP
from culnig.errors import InputError, OutputExistsError, PluginError, StoreError, UnknownNameError
from culnig.kernels.arguments import AGGREGATORS
from culnig.reanalysis import offline, reduce
from culnig.reanalysis.choice import ItemChoice
from culnig.reanalysis.reduce import Reducer, Reduction
from culnig.reanalysis.sources import StoredScores, merged_columns
from culnig.scorers.builtin import MeanActivation
from culnig.store.run import Run
from tests.stored_runs import assert_same_scores, score_tiny
from tests.toy import toy_layout

NAME = "toy-target"


def reduced(run, folder, memory=1 << 30, **options):
    return Reducer(run, Reduction(**options), memory).write(folder)


def weighted(run, name=NAME):
    """Confidence × item score, item by item in file order, with the control's clamp."""
    values = run.item_scores(name).astype(float) * run.outcomes(name).p_gold[:, None]
    return np.maximum(values, 0) if run.benchmarks[name].role == "control" else values


def sums_by_culture(run, values, counts, name=NAME):
    answers = run.outcomes(name)
    cultures = dict.fromkeys(answers.culture[counts > 0].tolist())
    return np.stack([(values * counts[:, None])[answers.culture == culture].sum(0) for culture in cultures])


@pytest.mark.parametrize("level", ["item", "token"])
def test_with_its_own_settings_it_is_the_scored_run_to_the_bit(runs, tmp_path, level):
    assert_same_scores(reduced(runs[level], tmp_path / "run"), runs["culture"])


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_another_aggregator_is_what_scoring_with_it_gives(runs, tmp_path, aggregator):
    scored = score_tiny(tmp_path / "scored", aggregator=aggregator)
    assert_same_scores(reduced(runs["token"], tmp_path / "run", aggregator=aggregator), scored)


def test_item_scores_come_out_of_tensors_as_they_were_scored(runs, tmp_path):
    made = reduced(runs["token"], tmp_path / "run", level="item")
    for name in made.benchmarks:
        np.testing.assert_array_equal(made.item_scores(name), runs["item"].item_scores(name))
    assert_same_scores(reduced(made, tmp_path / "again"), runs["culture"])


def test_item_scores_hold_what_was_summed(runs):
    for name in runs["item"].benchmarks:
        expected = runs["culture"].moments(name)
        ones = np.ones(runs["item"].benchmarks[name].n_items)
        found = sums_by_culture(runs["item"], weighted(runs["item"], name), ones, name)
        np.testing.assert_allclose(found, expected.sum, rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("level", ["item", "token"])
def test_little_memory_changes_no_bit(runs, tmp_path, monkeypatch, level):
    monkeypatch.setattr(reduce, "_LEAST_BLOCK", 1)
    made = reduced(runs[level], tmp_path / "run", memory=1 << 12)
    assert_same_scores(made, runs["culture"])


def second_largest(contributions):
    return np.sort(contributions, axis=0)[-2]


def register(monkeypatch, name, target):
    entry = metadata.EntryPoint(name, f"tests.reanalysis.test_reduce:{target}", registry.AGGREGATORS)
    real = registry._entries
    monkeypatch.setattr(
        registry, "_entries", lambda group: {name: entry} if group == registry.AGGREGATORS else real(group)
    )


def test_an_aggregator_of_a_plugin_is_used(runs, tmp_path, monkeypatch):
    register(monkeypatch, "second", "second_largest")
    made = reduced(runs["token"], tmp_path / "run", aggregator="second", level="item")
    run = runs["token"]
    expected = np.zeros((run.benchmarks[NAME].n_items, run.layout.n_neurons), dtype=np.float32)
    for part in run.tensor_parts(NAME):
        with run.open_tensors(part) as stored:
            for segment in stored.segments:
                activation, gradient = stored.pair(segment)
                for row, place in enumerate(part.prompts.item):
                    tokens = slice(part.prompts.offsets[row], part.prompts.offsets[row + 1])
                    products = np.sort(activation[tokens] * gradient[tokens], axis=0)
                    expected[place, segment.columns] = products[-2]
    np.testing.assert_array_equal(made.item_scores(NAME), expected)
    assert made.record["settings"]["aggregator"] == "second"


def failing(contributions):
    raise RuntimeError("no idea")


def too_short(contributions):
    return contributions[0, :-1]


@pytest.mark.parametrize(
    ("target", "message"), [("failing", "no idea"), ("too_short", r"\(neuron,\) is needed")]
)
def test_a_broken_aggregator_is_named_and_leaves_no_run(runs, tmp_path, monkeypatch, target, message):
    register(monkeypatch, "broken", target)
    with pytest.raises(PluginError, match=message):
        reduced(runs["token"], tmp_path / "run", aggregator="broken")
    assert not (tmp_path / "run" / "scores.h5").exists()


def test_confidence_can_be_left_out(runs, tmp_path):
    made = reduced(runs["item"], tmp_path / "run", confidence=False)
    plain = runs["item"].item_scores(NAME).astype(float)
    expected = sums_by_culture(runs["item"], plain, np.ones(len(plain)))
    np.testing.assert_allclose(made.moments(NAME).sum, expected, rtol=1e-12)


def test_padding_as_a_zero_floors_every_item_at_zero(runs, tmp_path, monkeypatch):
    stored = StoredScores.scores

    def lower(self, part, segments):  # a maximum over many tokens is hardly ever negative by itself
        scores, peaks = stored(self, part, segments)
        return scores - np.float32(1e-5), peaks

    monkeypatch.setattr(StoredScores, "scores", lower)
    answers = runs["item"].outcomes(NAME)
    values = (runs["item"].item_scores(NAME) - np.float32(1e-5)).astype(float)
    assert (values < 0).any()
    for padding, expected in (("exclude", values), ("zero", np.maximum(values, 0))):
        made = reduced(runs["item"], tmp_path / padding, padding=padding, benchmarks=(NAME,))
        sums = sums_by_culture(runs["item"], expected * answers.p_gold[:, None], np.ones(len(values)))
        np.testing.assert_allclose(made.moments(NAME).sum, sums, rtol=1e-10, atol=1e-18)


@pytest.mark.parametrize("level", ["item", "token"])
def test_modules_and_layers_are_columns_of_the_whole(runs, tmp_path, level):
    made = reduced(runs[level], tmp_path / "run", modules=("gate_proj", "self_attn.v_proj"), layers=(0, 2))
    whole = runs["culture"]
    assert [(s.layer, s.module) for s in made.layout.segments] == [
        *((0, "self_attn.v_proj"), (0, "mlp.gate_proj"), (2, "self_attn.v_proj"), (2, "mlp.gate_proj"))
    ]
    for segment in made.layout.segments:
        old = whole.layout.segment(segment.module, segment.layer)
        np.testing.assert_array_equal(
            made.moments(NAME).sum[:, segment.columns], whole.moments(NAME).sum[:, old.columns]
        )


@pytest.mark.parametrize("level", ["item", "token"])
@pytest.mark.parametrize(
    "choice",
    [
        {"cultures": ("China",)},
        {"without_cultures": ("Iran",)},
        {"without_items": ("item-0",)},
        {"half": 1, "seed": 4},
        {"bootstrap": True, "seed": 5},
    ],
    ids=str,
)
def test_a_choice_of_items_is_their_weighted_sum(runs, tmp_path, level, choice):
    run = runs["item"]
    made = reduced(runs[level], tmp_path / "run", items=ItemChoice(**choice))
    for name in run.benchmarks:
        counts = ItemChoice(**choice).counts(run.outcomes(name))
        moments = made.moments(name)
        np.testing.assert_allclose(
            moments.sum, sums_by_culture(run, weighted(run, name), counts, name), rtol=1e-10, atol=1e-18
        )
        np.testing.assert_allclose(
            moments.sum_of_squares,
            sums_by_culture(run, weighted(run, name) ** 2, counts, name),
            rtol=1e-10,
            atol=1e-25,
        )
        assert moments.n_items.sum() == counts.sum() == len(made.outcomes(name).id)


def test_the_record_says_what_was_done_and_from_what(runs, tmp_path):
    made = reduced(runs["item"], tmp_path / "run", items=ItemChoice(half=1, seed=9))
    assert made.record["settings"]["reduced"]["items"]["half"] == 1
    assert made.record["settings"]["reduced"]["items"]["drawn"] == "whole questions"
    assert made.record["sources"][0]["scores_hash"] == runs["item"].scores_hash
    assert made.run_id != runs["item"].run_id


def test_tables_that_only_scoring_gives_are_not_recorded(tmp_path):
    scored = score_tiny(tmp_path / "scored", "item", scorers=(MeanActivation(),), halves=True)
    made = reduced(scored, tmp_path / "run")
    with pytest.raises(UnknownNameError, match="mean-activation"):
        Run(made.folder, "mean-activation")
    with pytest.raises(StoreError, match="halves"):
        made.first_half(NAME)


@pytest.mark.parametrize(
    ("level", "options", "error", "message"),
    [
        ("culture", {}, StoreError, "keeps sums only; score it again"),
        ("item", {"aggregator": "mean"}, StoreError, "made with aggregator 'max'; for 'mean'"),
        ("token", {"aggregator": "middle"}, UnknownNameError, "unknown aggregator 'middle'"),
        ("token", {"aggregator": "mean", "padding": "zero"}, InputError, "only with aggregator max"),
        ("token", {"padding": "one"}, InputError, "padding is 'one'"),
        ("token", {"modules": ("gate",)}, InputError, "no module gate; this model has"),
        ("token", {"layers": (7,)}, InputError, "no layer 7; this model has layers 0 to 2"),
        ("token", {"benchmarks": ("other",)}, UnknownNameError, "unknown benchmark"),
        ("token", {"items": ItemChoice(cultures=("Peru",))}, InputError, "no stored item"),
        ("item", {"items": ItemChoice(bootstrap=True), "level": "item"}, InputError, "several times"),
        ("item", {"level": "token"}, InputError, "level is 'token'"),
    ],
)
def test_impossible_reductions_are_refused(runs, tmp_path, level, options, error, message):
    with pytest.raises(error, match=message):
        reduced(runs[level], tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_the_reduced_run_is_never_its_own_source(runs, tmp_path):
    with pytest.raises(InputError, match="is the run to reduce"):
        reduced(runs["item"], runs["item"].folder)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with pytest.raises(OutputExistsError):
        reduced(runs["item"], tmp_path / "run")


def test_only_stored_items_and_modules_are_reduced(tmp_path, runs):
    from culnig.scoring.levels import StoredTensors

    some = StoredTensors(modules=("gate_proj",), layers=(1,), items=("item-1*",))
    run = score_tiny(tmp_path / "some", "token", tensors=some)
    assert_same_scores(run, runs["culture"])
    made = reduced(run, tmp_path / "run", benchmarks=(NAME,))
    assert made.layout.modules == ("mlp.gate_proj",)
    assert all(name.startswith("item-1") for name in made.outcomes(NAME).id)
    counts = ItemChoice(items=("item-1*",)).counts(runs["item"].outcomes(NAME))
    columns = run.layout.segment("mlp.gate_proj", 1).columns
    expected = sums_by_culture(runs["item"], weighted(runs["item"]), counts)[:, columns]
    np.testing.assert_allclose(made.moments(NAME).sum, expected, rtol=1e-10, atol=1e-18)


LARGE = """
import sys
from pathlib import Path
from culnig.reanalysis.reduce import Reducer, Reduction
from culnig.store.run import Run
Reducer(Run(sys.argv[1]), Reduction(aggregator="mean"), 128 << 20).write(Path(sys.argv[2]))
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_below_the_limit_for_a_store_five_times_larger(tmp_path):
    from tests.reanalysis.large_store import write_large_store

    folder = write_large_store(tmp_path / "large", 640 << 20)
    assert sum(path.stat().st_size for path in folder.rglob("*.h5")) > 5 * (128 << 20)
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(folder), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=True,
    )
    base = subprocess.run(
        [
            sys.executable,
            "-c",
            LARGE.replace("Reducer(Run", "(Reducer, Run").replace(
                ', Reduction(aggregator="mean"), 128 << 20).write(Path(sys.argv[2]))', ")"
            ),
            str(folder),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (int(done.stdout) - int(base.stdout)) << 10 < 128 << 20
    assert Run(tmp_path / "run").moments("large").n_items.sum() > 0


@pytest.mark.parametrize("role", ["target", "control", "exclusion"])
def test_only_the_items_of_a_control_are_clamped(runs, tmp_path, role):
    run = Run(runs["token"].folder)
    run.benchmarks[NAME] = replace(run.benchmarks[NAME], role=role)
    made = reduced(run, tmp_path / "run", aggregator="sum", level="item", benchmarks=(NAME,))
    values = made.item_scores(NAME).astype(float) * made.outcomes(NAME).p_gold[:, None]
    assert (values < 0).any()
    expected = np.where(values < 0, 0, values) if role == "control" else values
    sums = sums_by_culture(made, expected, np.ones(len(values)))
    np.testing.assert_allclose(made.moments(NAME).sum, sums, rtol=1e-10, atol=1e-18)


def test_columns_that_touch_are_read_at_once():
    layout = toy_layout(2, {MLP_GATE: 3, MLP_UP: 2})  # columns 0-2, 3-4, 5-7 and 8-9
    first, second, third, last = layout.segments
    assert merged_columns([]) == []
    assert merged_columns([first, second, third]) == [slice(0, 8)]
    assert merged_columns([first, third, last]) == [slice(0, 3), slice(5, 10)]
    assert merged_columns([last, first]) == [slice(8, 10), slice(0, 3)]


def test_what_is_not_asked_changes_nothing(runs, tmp_path):
    plain = offline.reduce(runs["item"].folder, tmp_path / "plain")
    assert_same_scores(plain, runs["item"])
    drawn = offline.reduce(runs["item"].folder, tmp_path / "drawn", bootstrap=True)
    counts = ItemChoice(bootstrap=True, seed=0).counts(runs["item"].outcomes(NAME))
    sums = sums_by_culture(runs["item"], weighted(runs["item"]), counts)
    np.testing.assert_allclose(drawn.moments(NAME).sum, sums, rtol=1e-10, atol=1e-18)
