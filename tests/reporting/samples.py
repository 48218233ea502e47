"""Inputs of a report without a model: a run, sets, an evaluation, instances, arms; with hostile texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from culnig.core.items import Item
from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout
from culnig.evaluation.conditions import Condition
from culnig.evaluation.dose import dose_table
from culnig.evaluation.folder import write_evaluation
from culnig.evaluation.instances.file import write_instances
from culnig.evaluation.instances.scores import InstanceScores
from culnig.evaluation.matrix import selectivity
from culnig.evaluation.results import result_rows
from culnig.reporting.sources import Sources, read_sources
from culnig.selection.neuron_set import NeuronSet
from culnig.store import schema
from culnig.store.data_parts import PartName, Prompts
from culnig.store.files import make_folder, write_json
from culnig.store.item_scores import ItemScoresWriter
from culnig.store.writer import Portion, PortionState, RunWriter
from culnig.training.arms_table import change_rows, contrast_rows
from tests.toy import answered, items, neuron_set, toy_layout
from tests.validation.test_leaderboard import document as validation
from tests.validation.test_leaderboard import method

CULTURES = ("China", "Iran", "<b>Spain</b>", "West Java")
SCRIPT = '</script><script>window.stolen = "yes"</script><img src=x onerror="window.stolen=1">'
HOSTILE = [
    SCRIPT,
    " \"quotes\" & 'more'",
    " 🍜🏺",
    " ما هو الطعام المفضل؟",
    " 你最喜欢的食物",
    " {{ 7*7 }}",
    " word" * 420,
]
"""Tokens of the first question: markup, quotes, emoji, Arabic, Chinese, template syntax, 2,100 letters."""
PLAIN = ["What", " do", " people", " eat", " at", " noon", "?"]
QUESTIONS = 6
STABILITY = {
    "n_questions": 6,
    "agreement": [
        {"kind": "bootstrap", "n_pairs": 9, "jaccard": 0.4, "lowest": 0.2, "highest": 0.6, "by_chance": 0.1}
    ],
    "selected": 5,
    "selected_stable": 2,
    "level": 0.8,
    "is_rule": False,
}
SIGNIFICANCE = {
    "test": "permutation of questions",
    "against": "control",
    "null": "target and control are exchangeable",
    "fdr": 0.05,
    "selected": 5,
    "selected_significant": 0,
    "tested": 100,
    "tested_significant": 0,
    "is_rule": False,
    "n_questions": 6,
    "least_p": 0.03,
}


class Sample(NamedTuple):
    """Paths of the inputs."""

    run: Path
    sets: list[Path]
    evaluation: Path
    instances: Path
    arms: Path
    validation: Path

    @property
    def paths(self) -> list[Path]:
        return [self.run, *self.sets, self.evaluation, self.instances, self.arms, self.validation]

    def sources(self) -> Sources:
        return read_sources(self.paths)


def write_sample(folder: Path) -> Sample:
    layout = toy_layout()
    asked = items(CULTURES, QUESTIONS)
    run = _write_run(folder / "run", layout, asked)
    sets = []
    for number, culture in enumerate(CULTURES):
        own = neuron_set(layout, range(8 + number, 14 + number), f"specific {culture}")
        own = replace(own, method={"name": "specific", "culture": culture, "z": 0.5, "stability": STABILITY})
        own.write(folder / f"specific-{number}.json")
        sets.append(folder / f"specific-{number}.json")
    general = replace(
        neuron_set(layout, [8, 0, 40, 5, 70], "general <i>"),
        method={
            "name": "general",
            "top_mlp": 0.01,
            "stability": STABILITY,
            "significance": [SIGNIFICANCE],
        },
        sources=[{"benchmarks": {"target": "toy-target", "exclusion": "toy-exclusion"}}],
        columns={"q_value": np.linspace(0.001, 0.2, 5)},
    )
    general.write(folder / "general.json")
    evaluation = _write_evaluation(folder / "evaluation", layout, general, asked)
    scores = np.random.default_rng(3).normal(size=(len(asked), 5))
    write_instances(
        folder / "instances.h5",
        InstanceScores(tuple(asked), general.flat(layout), scores, np.abs(scores) / 2),
        layout,
        {"neuron_set": {"name": general.name}, "benchmarks": {"toy-target": {}}, "model": {"source": "toy"}},
    )
    return Sample(
        run,
        [folder / "general.json", *sets],
        evaluation,
        folder / "instances.h5",
        write_arms(folder / "arms", asked),
        write_validation(folder / "validation"),
    )


def write_validation(folder: Path) -> Path:
    make_folder(folder)
    write_json(folder / "results.json", validation(0, [method("log-odds", 0.8, 0.3)]))
    return folder


def _write_run(folder: Path, layout: Layout, asked: list[Item]) -> Path:
    """Scores are drawn; the Arabic token of the first question raises neuron 8 most."""
    record = {
        "model": {"source": "toy"},
        "settings": {"aggregator": "max", "level": "item", "score_type": "float32"},
        "benchmarks": {"toy-target": {"role": "target", "files": {"toy.csv": "0"}}},
        "versions": {"culnig-engine": "0.1.0"},
        "complete": False,
    }
    writer = RunWriter.open(folder, record, layout)
    words = [HOSTILE] + [PLAIN] * (len(asked) - 1)
    vocabulary = list(dict.fromkeys(word for those in words for word in those))
    prompts = Prompts.of(
        range(len(asked)),
        [[vocabulary.index(word) for word in those] for those in words],
        vocabulary.__getitem__,
    )
    scores = np.random.default_rng(1).normal(size=(len(asked), layout.n_neurons)).astype(np.float32)
    peaks = np.random.default_rng(2).integers(0, len(PLAIN), scores.shape).astype(np.int32)
    scores[0, 8], peaks[0, 8] = 50.0, 3
    portion = Portion("toy-target", 0, 1, 1)
    path = writer.data_file(schema.ITEMS_FOLDER, portion, 0)
    part = ItemScoresWriter(path, PartName(writer.run_id, "toy-target", 0, 0), prompts, layout.n_neurons)
    part.write(0, scores, peaks)
    part.close()
    outcomes = answered(asked, [True] * len(asked))
    table = CultureMoments.zeros(CULTURES, layout.n_neurons)
    for row, item in enumerate(asked):
        culture = CULTURES.index(item.culture)
        table.n_items[culture] += 1
        table.sum[culture] += 0.5 * scores[row]
        table.sum_of_squares[culture] += (0.5 * scores[row]) ** 2
        table.positive_count[culture] += scores[row] > 0
    writer.save_part(portion, "target", "identify", PortionState(table, outcomes, np.arange(len(asked)), 1))
    writer.finish({"toy-target": 1})
    return folder


def _write_evaluation(folder: Path, layout: Layout, general: NeuronSet, asked: list[Item]) -> Path:
    """General under two factors with baselines, and a set for each of two cultures."""
    nobody = np.empty(0, dtype=np.int64)
    own = np.array([1, 2, 3])
    conditions = [Condition("unmasked", 1.0, nobody)]
    for factor in (0.0, 0.5):
        name = f"{general.name} × {factor:g}"
        conditions.append(Condition(name, factor, general.flat(layout), of_set=general.name))
        conditions += [
            Condition(f"random {seed} like {name}", factor, own, like=name, of_set=general.name)
            for seed in range(2)
        ]
    conditions += [
        Condition(f"specific {name}", 0.0, own, of_set=f"specific {name}", culture=name)
        for name in CULTURES[:2]
    ]
    generator = np.random.default_rng(5)
    answers = {}
    for benchmark, those in (("toy-target", asked), ("toy-damage", items(["none"], 8))):
        for condition in conditions:
            right = generator.random(len(those)) < (0.4 if condition.of_set else 0.9)
            answers[benchmark, condition.name] = answered(those, right, 0.1 + 0.4 * right)
    rows = result_rows(answers, ["toy-target", "toy-damage"], conditions)
    masks = {name: f"specific {name}" for name in CULTURES[:2]}
    record = {
        "model": {"source": "toy", "weights_hash": "7" * 64},
        "settings": {"factor": [0.0, 0.5], "random_baseline": 2},
        "benchmarks": {"toy-target": {"split": "identify"}, "toy-damage": {"split": "test"}},
        "matrix": [
            selectivity(answers, ["toy-target"], masks, {}, metric=metric).document()
            for metric in ("accuracy", "p_gold")
        ],
        "dose": [vars(dose) for dose in dose_table(rows, ["toy-target"])],
    }
    write_evaluation(folder, record, rows, answers, conditions)
    return folder


def write_arms(folder: Path, asked: list[Item]) -> Path:
    """Two arms with two seeds: both learn the task, the first loses culture, and its neurons move."""
    generator = np.random.default_rng(7)
    benchmarks = {"qnli": items(["none"], 40), "toy <i>target": asked}

    def answers(shares):
        return {
            name: answered(those, right := generator.random(len(those)) < shares[name], 0.1 + 0.4 * right)
            for name, those in benchmarks.items()
        }

    before = answers({"qnli": 0.5, "toy <i>target": 0.8})
    after = {
        "top": [answers({"qnli": 0.9, "toy <i>target": 0.3}) for _ in range(2)],
        "bottom": [answers({"qnli": 0.9, "toy <i>target": 0.8}) for _ in range(2)],
    }
    moved = {"n_neurons": 5, "n_moved": 4, "mean": 0.01, "others_mean": 0.002}
    document = {
        "format": "culnig-arms",
        "format_version": 1,
        "model": {"source": "toy", "weights_hash": "7" * 64},
        "task": "qnli",
        "seeds": [42, 43],
        "arms": [
            {
                "arm": arm,
                "seed": seed,
                "n_trainable": 1000,
                "steps": 20,
                "loss": [2.0, 0.5],
                "planned": {"n_trainable": 1000, "share": 0.25, "neurons": 5},
                "drift": {"moved": moved, "found_again": {"shared": 3, "n_first": 5} if seed == 42 else None},
                "settings": {"learning_rate": 3e-5},
            }
            for arm in after
            for seed in (42, 43)
        ],
        "changes": change_rows(before, after, "qnli"),
        "contrasts": contrast_rows(before, after, "qnli"),
        "asked": {"benchmarks": {"qnli": {"files": {"qnli_train.jsonl": "0"}}}},
    }
    make_folder(folder)
    write_json(folder / "arms.json", document)
    return folder
