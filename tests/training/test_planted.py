"""The paper's claim with known truth: fine-tune a model whose culture neurons are planted.

All planted neurons lie in the first of two layers, so `top` trains the MLP that holds them, `bottom` the one
that holds none, and `rows` the first one but for the neurons themselves. The task is new words for old
questions, asked in a form of its own.
"""

from __future__ import annotations

import numpy as np
import pytest

from culnig.benchmarks.base import ChosenItems
from culnig.core.items import NO_CULTURE, Item
from culnig.inference.encoding import Encoder
from culnig.selection.neuron_set import NeuronSet
from culnig.training.arms import Comparison, Watching, run_arm, run_before
from culnig.training.arms_table import change_rows, contrast_rows
from culnig.training.folder import TrainingFolder
from culnig.training.plan import PlanSettings, make_plan
from culnig.training.settings import TrainSettings
from culnig.training.tasks import Task
from culnig.validation.planted import planted_model
from culnig.validation.settings import PlantedSettings
from culnig.validation.world import ANSWER_PREFIX, ANSWERS, FACTS, FILLERS

pytestmark = pytest.mark.slow

TASK = "new-words"
ARMS = ("top", "bottom", "rows")


def new_words(world) -> list[Item]:
    """Each question gets a new answer, among words that do not matter; a quarter of the items tests it."""
    generator = np.random.default_rng(5)
    answers = generator.integers(0, len(ANSWERS), len(world.questions))
    items = []
    for question, answer in zip(world.questions, answers, strict=True):
        words = generator.permutation(len(FILLERS))
        for number in range(12):
            first, second = FILLERS[words[number]], FILLERS[words[-1 - number]]
            items.append(
                Item(
                    id=f"{question}-{number}",
                    question_id=question,
                    culture=NO_CULTURE,
                    split="identify" if number < 9 else "test",
                    prompt=f"{first} {second} {question} which ?",
                    options=ANSWERS,
                    answer=ANSWERS[answer],
                    answer_prefix=ANSWER_PREFIX,
                )
            )
    return items


def compare(folder, arms, seeds, plan_settings, learning_rate=1e-3, **settings):
    """Before and after by arm, and the plan."""
    planted = planted_model(PlantedSettings(cultures=5, questions=12, layers=2, mlp_width=256))
    bound = planted.fresh()
    layout = bound.layout
    flat = planted.flat()
    chosen = NeuronSet(
        name="planted",
        model=bound.source,
        layout_hash=layout.hash,
        method={"name": "planted"},
        sources=[],
        neurons=tuple(layout.neurons(flat)),
        scores=np.ones(len(flat)),
    )
    plan = make_plan(bound, chosen, plan_settings)
    items = new_words(planted.world)
    examples = [item for item in items if item.split == "identify"]
    tested = [item for item in items if item.split == "test"]
    comparison = Comparison(
        plan=plan,
        task=Task(TASK, examples),
        encoder=Encoder(bound),
        encoded=Encoder(bound).encode_all(examples),
        settings=TrainSettings(learning_rate=learning_rate, batch_size=16, accumulation=1, **settings),
        benchmarks={
            TASK: ChosenItems("target", "test", tested),
            FACTS: planted.world.chosen("test")[FACTS],
        },
        rescored={},
        token_budget=2048,
    )
    watching = Watching()
    before = run_before(bound, comparison, folder, watching)
    after = {}
    for arm in arms:
        after[arm] = []
        for seed in seeds:
            where = folder / arm / f"seed-{seed}"
            TrainingFolder(where).prepare(overwrite=False, resume=False, inputs=())
            after[arm].append(run_arm(bound, comparison, arm, seed, where, watching))
    again = run_before(bound, comparison, folder / "again", watching)
    assert np.array_equal(again[FACTS].p_gold, before[FACTS].p_gold)  # its weights were given back
    return before, after, plan


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """One MLP is trained."""
    return compare(tmp_path_factory.mktemp("one"), ARMS, (0,), PlanSettings(budget=0.35), max_steps=250)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """All layers are trained: `top`; or all but the planted neurons: `rows`."""
    whole = PlanSettings(budget=1, granularity="layer")
    return compare(tmp_path_factory.mktemp("all"), ("top", "rows"), (0, 1), whole, max_steps=150)


@pytest.fixture(scope="module")
def all_mlps(tmp_path_factory):
    """Both MLPs are trained, at a gentler rate: `top`; or all of them but the planted neurons: `rows`."""
    mlps = PlanSettings(budget=1, granularity="mlp")
    folder = tmp_path_factory.mktemp("mlps")
    return compare(folder, ("top", "rows"), (0, 1, 2), mlps, learning_rate=3e-4, max_steps=200)


def row(rows, **wanted):
    (found,) = [one for one in rows if all(one[name] == value for name, value in wanted.items())]
    return found


def test_top_holds_all_planted_neurons_and_bottom_none(compared):
    _, _, plan = compared
    assert [(unit["layer"], unit["chosen"]) for unit in plan.ranking] == [(0, True), (1, False)]
    assert plan.n_neurons == len(plan.neurons.neurons) == 96


def test_every_arm_learns_the_task(compared):
    before, after, _ = compared
    rows = change_rows(before, after, TASK)
    for arm in ARMS:
        gain = row(rows, arm=arm, benchmark=TASK, metric="accuracy")
        assert gain["before"] < 0.05
        assert gain["after"] > 0.9
        assert gain["p_holm"] < 0.01
    contrasts = contrast_rows(before, after, TASK)
    for arm in ("bottom", "rows"):
        apart = row(contrasts, arm=arm, against="top", benchmark=TASK, metric="accuracy")
        assert abs(apart["change"]["effect"]) < 0.08
        assert apart["p_holm"] > 0.05


def test_top_loses_the_planted_culture_and_bottom_keeps_it(compared):
    before, after, _ = compared
    rows, contrasts = change_rows(before, after, TASK), contrast_rows(before, after, TASK)
    lost = row(rows, arm="top", benchmark=FACTS, metric="accuracy")
    assert lost["before"] > 0.95
    assert lost["after"] < 0.5
    assert lost["change"]["p_value"] < 0.01
    kept = row(rows, arm="bottom", benchmark=FACTS, metric="accuracy")
    assert kept["after"] > 0.95
    apart = row(contrasts, arm="bottom", against="top", benchmark=FACTS, metric="accuracy")
    assert apart["change"]["interval"][0] > 0.3
    assert apart["p_holm"] < 0.01


def test_row_masks_over_all_mlps_keep_the_planted_culture(all_mlps):
    before, after, plan = all_mlps
    assert {(unit["layer"], unit["chosen"]) for unit in plan.ranking} == {(0, True), (1, True)}
    rows, contrasts = change_rows(before, after, TASK), contrast_rows(before, after, TASK)
    for arm in ("top", "rows"):
        assert row(rows, arm=arm, benchmark=TASK, metric="accuracy")["after"] > 0.95
    gain = row(contrasts, arm="rows", against="top", benchmark=TASK, metric="accuracy")
    assert abs(gain["change"]["effect"]) < 0.03
    lost = row(rows, arm="top", benchmark=FACTS, metric="accuracy")
    assert lost["after"] < 0.85
    assert lost["p_holm"] < 0.05
    kept = row(rows, arm="rows", benchmark=FACTS, metric="accuracy")
    assert kept["after"] > 0.95
    assert kept["p_holm"] > 0.05
    more = row(contrasts, arm="rows", against="top", benchmark=FACTS, metric="accuracy")
    assert more["change"]["interval"][0] > 0.05
    assert more["p_holm"] < 0.05


def test_row_masks_keep_the_neurons_but_not_what_they_know(compared):
    """Where only their own MLP learns, and fast, the neurons beside them outweigh the masked ones."""
    before, after, plan = compared
    rows, contrasts = change_rows(before, after, TASK), contrast_rows(before, after, TASK)
    lost = row(rows, arm="rows", benchmark=FACTS, metric="accuracy")
    assert lost["after"] < 0.7
    assert lost["change"]["p_value"] < 0.01
    against_bottom = row(contrasts, arm="rows", against="bottom", benchmark=FACTS, metric="accuracy")
    assert against_bottom["change"]["interval"][1] < 0
    assert against_bottom["p_holm"] < 0.05
    assert plan.settings.direction == "top"


def test_training_everything_but_the_neurons_keeps_more_than_training_everything(everything):
    before, after, plan = everything
    assert plan.share > 0.9
    contrasts = contrast_rows(before, after, TASK)
    gain = row(contrasts, arm="rows", against="top", benchmark=TASK, metric="accuracy")
    assert abs(gain["change"]["effect"]) < 0.03
    for metric in ("accuracy", "p_gold"):
        more = row(contrasts, arm="rows", against="top", benchmark=FACTS, metric=metric)
        # two seeds cannot show anything about others, so only the questions are asked here
        assert more["change"]["questions_p"] < 0.05
        assert more["change"]["bootstrap_interval"][0] > 0.02
    lost = row(change_rows(before, after, TASK), arm="rows", benchmark=FACTS, metric="accuracy")
    assert max(lost["by_seed"]) < -0.3  # more, and by no means all
