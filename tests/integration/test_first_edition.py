"""What the first edition wrote is still read, resumed and selected from, with the same numbers.

`tests/fixtures/first-edition` was written by that edition's command line. `expected.json` there holds figures
that h5py and json alone read from these files. Only the command line and documented names of `culnig` are
used here. The fixtures are copied and worked on from inside the copy, because runs record their model and
benchmarks by the paths that the commands named.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

import culnig
from culnig.cli.main import run

FIXTURES = Path(__file__).parents[1] / "fixtures" / "first-edition"
EXPECTED: dict[str, Any] = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))

MODEL = ("--model", "model", "--device", "cpu")
MEALS = ("--benchmark", "benchmarks/meals.yaml", "--benchmark", "benchmarks/meals.yaml#control")
CITIES = ("--benchmark", "benchmarks/cities.yaml")
BATCHES = ("--token-budget", "256", "--no-prefix-sharing")
SCORE = ("score", *MODEL, *MEALS, *CITIES, *BATCHES)
CULTURE = (*SCORE, "--halves", "--scorer", "crispr")
SETS = ("sets/specific-Spain.neurons.json", "sets/specific-China.neurons.json")
NEURONS = tuple(part for path in SETS for part in ("--neurons", path))
EVALUATE = (
    *("evaluate", *MODEL, "--benchmark", "benchmarks/meals.yaml", *CITIES, *BATCHES),
    *(*NEURONS, "--random-baseline", "3", "--matrix"),
)
SHARES = ("--top-mlp", "0.25", "--top-attention", "0.25", "--exclude", "0.1")
SHARE = ("--top", "0.15", "--z", "0", "--exclude", "0.05")
STABILITY = ("--stability", "--resamples", "20")
TASK = (
    *("train", *MODEL, "--plan", "training/plan.yaml", "--task", "benchmarks/meals.yaml"),
    *("--learning-rate", "1e-3", "--log-every", "1"),
)

WELCH = (*STABILITY, "--permutations", "0")
SELECTIONS: dict[str, tuple[str, ...]] = {
    "general": ("general", "runs/culture", *SHARES, "--significance"),
    "general-stability": ("general", "runs/item", *SHARES, *STABILITY),
    "specific-Spain": ("specific", "runs/item", "--culture", "Spain", *SHARE, "--fdr", "0.9", *WELCH),
    "specific-China": (
        *("specific", "runs/culture", "--culture", "China", *SHARE),
        *("--significance", "--stability"),
    ),
    "random": ("random", "runs/culture", "--like", "sets/general.neurons.json", "--seed", "3"),
    "imported": ("general", "runs/imported", *SHARES),
    "crispr-Iran": ("crispr", "runs/culture", "--culture", "Iran", "--top", "0.2"),
}
RUNS = tuple(EXPECTED["runs"])
ANSWERED = tuple(name for name in RUNS if name != "imported")


@dataclass
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


@pytest.fixture
def command(capfd) -> Callable[..., Result]:
    """Run a command in this process."""

    def call(*arguments: object) -> Result:
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture(autouse=True)
def edition(tmp_path, monkeypatch) -> Path:
    """A copy of the fixtures, which is the working directory."""
    copy = tmp_path / "edition"
    shutil.copytree(FIXTURES, copy)
    monkeypatch.chdir(copy)
    return copy


def p_gold(figures: Any) -> Any:
    """P(gold) of a JSON object or of answers, under its new or its old name."""
    if isinstance(figures, dict):
        return figures["p_gold"] if "p_gold" in figures else figures["confidence"]
    return figures.p_gold if hasattr(figures, "p_gold") else figures.confidence


def condition(name: str) -> str:
    """Name of a condition; the one without a mask was called `none`."""
    return "unmasked" if name == "none" else name


def metric(name: str) -> str:
    return "p_gold" if name == "confidence" else name


def near(value: Any, relative: float = 1e-9) -> Any:
    return pytest.approx(value, rel=relative, abs=1e-12, nan_ok=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def close(found: Any, expected: Any, tolerance: float = 1e-4) -> None:
    """Equal up to the float noise of processors, as a share of the largest value."""
    expected = np.asarray(expected, dtype=np.float64)
    largest = float(np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * largest)


def same_tables(made: Path, stored: Path, tolerance: float = 1e-4) -> None:
    """The sums and answers of two runs; the score file's format is that of version 1 in both."""
    with h5py.File(made / "scores.h5") as one, h5py.File(stored / "scores.h5") as other:
        assert set(one["benchmarks"]) == set(other["benchmarks"])
        for name, group in one["benchmarks"].items():
            expected = other["benchmarks"][name]
            for table in ("n_items", "items/correct"):
                np.testing.assert_array_equal(group[table][()], expected[table][()])
            for table in ("items/id", "items/predicted"):
                assert group[table].asstr()[()].tolist() == expected[table].asstr()[()].tolist()
            tables = ["sum", "sum_of_squares", "confidence_sum", "sum_over_cultures", "items/confidence"]
            tables += [table for table in ("first_half/sum", "scorers/crispr/sum") if table in expected]
            for table in tables:
                close(group[table][()], expected[table][()], tolerance)


# Reading


@pytest.mark.parametrize("name", RUNS)
def test_a_run_opens_with_its_numbers(name):
    expected = EXPECTED["runs"][name]
    stored = culnig.open_run(Path("runs", name))
    assert (stored.model, stored.level) == (expected["model"], expected["level"])
    assert stored.layout.n_neurons == expected["n_neurons"]
    assert set(stored.benchmarks) == set(expected["benchmarks"])
    for benchmark, figures in expected["benchmarks"].items():
        about, moments = stored.benchmarks[benchmark], stored.moments(benchmark)
        assert (about.role, about.split) == (figures["role"], figures["split"])
        assert list(moments.cultures) == figures["cultures"]
        assert moments.n_items.tolist() == figures["n_items"]
        assert moments.sum.sum(axis=1).tolist() == near(figures["sum"])
        index, value = figures["largest"]
        assert moments.sum.flat[index] == near(value)
        assert stored.total(benchmark).sum() == near(figures["total"])


@pytest.mark.parametrize("name", ANSWERED)
def test_a_run_has_its_answers_and_counts(name):
    stored = culnig.open_run(Path("runs", name))
    for benchmark, figures in EXPECTED["runs"][name]["benchmarks"].items():
        moments, answers = stored.moments(benchmark), stored.outcomes(benchmark)
        assert moments.sum_of_squares.sum(axis=1).tolist() == near(figures["sum_of_squares"])
        assert moments.positive_count.sum() == figures["positive_count"]
        assert answers.correct.mean() == near(figures["accuracy"])
        assert p_gold(answers).mean() == near(figures["p_gold"])
        assert answers.n_tokens.sum() == figures["n_tokens"]
        assert (answers.id[0], answers.predicted[-1]) == (figures["first_item"], figures["last_predicted"])


def test_item_scores_and_tensors_have_their_numbers():
    items, tokens = culnig.open_run("runs/item"), culnig.open_run("runs/token")
    for benchmark, figures in EXPECTED["runs"]["item"]["benchmarks"].items():
        scores = items.item_scores(benchmark)
        assert list(scores.shape) == figures["item_scores"]["shape"]
        assert scores.sum(dtype=np.float64) == near(figures["item_scores"]["sum"])
    for benchmark, figures in EXPECTED["runs"]["token"]["benchmarks"].items():
        (part,) = tokens.tensor_parts(benchmark)
        with tokens.open_tensors(part) as stored:
            pair = stored.pair(tokens.layout.segment("mlp.gate_proj", 1))
        activation, gradient = (np.asarray(values, dtype=np.float64) for values in pair)
        expected = figures["gate_of_layer_1"]
        assert list(activation.shape) == expected["shape"]
        assert activation.sum() == near(expected["activation"])
        assert (activation * gradient).sum() == near(expected["product"])


@pytest.mark.parametrize("name", RUNS)
def test_inspect_shows_and_verifies_a_run(command, name):
    shown = command("inspect", f"runs/{name}", "--json").json
    assert shown["complete"]
    for row in shown["benchmarks"]:
        figures = EXPECTED["runs"][name]["benchmarks"][row["benchmark"]]
        assert row["n"] == sum(figures["n_items"])
        if name in ANSWERED:
            assert row["accuracy"] == near(figures["accuracy"])
            assert p_gold(row) == near(figures["p_gold"])
    assert command("inspect", f"runs/{name}").code == 0
    assert command("inspect", f"runs/{name}", "--verify").code == 0


@pytest.mark.parametrize("name", ["item", "token"])
def test_inspect_names_the_items_that_raise_a_neuron(command, name):
    for neuron in command("inspect", f"runs/{name}", "--top", 2, "--json").json["neurons"]:
        assert neuron["items"]


def test_unfinished_folders_say_so(command):
    shown = command("inspect", "runs/unfinished", "--json").json
    assert not shown["complete"]
    for refused in (
        command("select", "general", "runs/unfinished", "-o", "x.neurons.json"),
        command("inspect", "evaluations/unfinished"),
    ):
        assert refused.code == 2
        assert "--resume" in refused.err


@pytest.mark.parametrize("file", list(EXPECTED["sets"]))
def test_a_neuron_set_opens_with_its_numbers(command, file):
    expected = EXPECTED["sets"][file]
    stored = culnig.read_neuron_set(Path("sets", file))
    assert (stored.name, stored.model) == (expected["name"], expected["model"])
    assert (stored.method["name"], len(stored.neurons)) == (expected["method"], expected["n"])
    first = [[neuron.module, neuron.layer, neuron.index] for neuron in stored.neurons[:3]]
    assert first == expected["first"]
    sums = {"score": stored.scores.sum()} | {name: one.sum() for name, one in stored.columns.items()}
    assert sums == near(expected["sums"])
    assert command("inspect", f"sets/{file}", "--json").json["n_neurons"] == expected["n"]


def test_an_evaluation_opens_with_its_numbers(command):
    expected = EXPECTED["evaluation"]
    stored = culnig.open_evaluation("evaluations/finished")
    found = {
        f"{benchmark} / {condition(name)}": [int(answers.correct.sum()), float(p_gold(answers).sum())]
        for (benchmark, name), answers in stored.answers.items()
    }
    assert found == {key: near(values) for key, values in expected["answers"].items()}
    shown = command("inspect", "evaluations/finished", "--json").json
    check_rows(shown, relative=1e-9)
    assert command("inspect", "evaluations/finished").code == 0


def check_rows(results: dict[str, Any], relative: float, merged: str | None = None) -> None:
    """Rows and matrix of an evaluation against the frozen ones.

    `merged` is a benchmark whose rows an earlier version took for questions of their own, so its p differ.
    """
    for row, expected in zip(results["rows"], EXPECTED["evaluation"]["rows"], strict=True):
        assert (row["benchmark"], condition(row["condition"])) == (
            expected["benchmark"],
            expected["condition"],
        )
        assert p_gold(row) == near(expected["p_gold"], relative)
        for name in ("n", "accuracy", "option_accuracy", "option_mass", "calibration_error"):
            assert row[name] == near(expected[name], relative), name
        if merged is not None and row["benchmark"] == merged:
            assert row["n_questions"] < row["n"] / 2  # three cultures of two wordings each
            continue
        for name in ("p_value",) if merged else ("p_value", "p_holm"):
            assert (row[name] is None) == (expected[name] is None)
            assert row[name] is None or row[name] == near(expected[name], max(relative, 1e-6))
    for one, expected in zip(results["matrix"], EXPECTED["evaluation"]["matrix"], strict=True):
        assert metric(one["metric"]) == expected["metric"]
        assert (one["masked"], one["evaluated"]) == (expected["masked"], expected["evaluated"])
        np.testing.assert_allclose(one["change"], expected["change"], rtol=0, atol=1e-4)
        assert one["dominance"] == pytest.approx(expected["dominance"], abs=1e-4)
        assert one["dominance_p"] == near(expected["dominance_p"], relative)


def test_compare_reads_an_evaluation(command):
    rows = command("compare", "evaluations/finished", "--json").json["comparisons"]
    expected = {(row["benchmark"], row["condition"]): row for row in EXPECTED["evaluation"]["rows"]}
    assert len(rows) == 4  # two sets, two benchmarks
    for row in rows:
        assert row["p_value"] == near(expected[row["benchmark"], row["condition"]]["p_value"], 1e-6)
        assert row["p_holm"] == near(expected[row["benchmark"], row["condition"]]["p_holm"], 1e-6)
    assert command("compare", "evaluations/finished", "evaluations/finished").code == 0


def test_compare_reads_the_evaluations_of_a_training(command):
    arms = ("training/arms/before", "training/arms/top/seed-42/evaluation")
    rows = command("compare", *arms, "--json").json["comparisons"]
    frozen = {
        (row["benchmark"], row["metric"]): row for row in EXPECTED["training"]["arms"] if row["arm"] == "top"
    }
    assert {row["benchmark"] for row in rows} == {"meals", "cities"}
    for row in rows:
        expected = frozen[row["benchmark"], "accuracy"]
        assert row["change"]["accuracy"]["effect"] == near(expected["after"] - expected["before"])


def test_report_shows_everything(command):
    sources = (
        *("runs/item", "runs/culture", "sets/general.neurons.json", *SETS),
        *("evaluations/finished", "training/instances.h5", "training/arms"),
    )
    made = command("report", *sources, "-o", "report.html", "--json").json
    assert made["neurons_listed"] > 0
    page = Path("report.html").read_text(encoding="utf-8")
    for name in ("specific Spain", "specific China", "general", "meals", "cities"):
        assert name in page
    assert "no evaluation" not in page.lower()


# Going on


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_finds_the_stored_neurons(command, name):
    assert command("select", *SELECTIONS[name], "-o", "again.neurons.json").code == 0
    again = culnig.read_neuron_set("again.neurons.json")
    stored = culnig.read_neuron_set(f"sets/{name}.neurons.json")
    assert again.neurons == stored.neurons
    assert again.scores == near(stored.scores)
    assert set(again.columns) == set(stored.columns)
    for column, values in stored.columns.items():
        assert again.columns[column] == near(values, 1e-6), column


@pytest.mark.parametrize("name", ["item", "token"])
def test_reduce_makes_a_run_again(command, name):
    assert command("reduce", f"runs/{name}", "-o", "again").code == 0
    same_tables(Path("again"), Path("runs", name), tolerance=1e-6)


def test_reduce_adds_up_tokens_in_another_way(command):
    """Σ over the items of P(gold) × Σ over the tokens of activation × gradient, computed here."""
    assert command("reduce", "runs/token", "--aggregator", "sum", "-o", "added").code == 0
    stored, added = culnig.open_run("runs/token"), culnig.open_run("added")
    segment = stored.layout.segment("mlp.gate_proj", 1)
    with (
        h5py.File("runs/token/tensors/part-meals-000-000000.h5") as file,
        h5py.File(stored.scores_file) as scores,
    ):
        pair = [
            file["layers/1/mlp.gate_proj"][name][()].astype(np.float64) for name in ("activation", "gradient")
        ]
        confidence = scores["benchmarks/meals/items/confidence"][()][file["item"][()]]
        of_items = np.add.reduceat(pair[0] * pair[1], file["offsets"][()][:-1], axis=0)
    close(added.total("meals")[segment.columns], confidence @ of_items, 1e-5)


def test_an_unfinished_run_is_finished_as_it_would_have_been(command):
    """It had both halves of the first benchmark and a batch of the second."""
    begun = EXPECTED["unfinished run"]
    assert begun == {"meals-000": [3, 3], "meals-001": [3, 3], "meals-control-000": [1, 2]}
    resumed = command(*CULTURE, "-o", "runs/unfinished", "--resume")
    assert resumed.code == 0, resumed.err
    same_tables(Path("runs/unfinished"), Path("runs/culture"))
    assert not Path("runs/unfinished/parts").exists()
    assert command("inspect", "runs/unfinished", "--verify").code == 0


def test_what_was_scored_before_is_not_scored_again(command, monkeypatch):
    """Other sums in a finished part end up in the run: the part was taken as it was."""
    with h5py.File("runs/unfinished/parts/meals-000.h5", "r+") as file:
        table = file["benchmarks/meals/sum"]
        table[...] = table[()] + 1
        n_changed = table.shape[1]
    assert command(*CULTURE, "-o", "runs/unfinished", "--resume").code == 0
    made, stored = (culnig.open_run(Path("runs", name)) for name in ("unfinished", "culture"))
    added = made.moments("meals").sum - stored.moments("meals").sum
    assert added.shape[1] == n_changed
    np.testing.assert_allclose(added, 1, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (CULTURE, "runs/culture"),
        ((*SCORE, "--level", "item"), "runs/item"),
        (
            ("score", *MODEL, *MEALS, *BATCHES, "--level", "token", "--per-culture", "1"),
            "runs/token",
        ),
        (("score", *MODEL, *MEALS), "runs/shared-prefixes"),
        (EVALUATE, "evaluations/finished"),
        ((*TASK, "--epochs", "2"), "training/finished"),
        ((*TASK, "--arms", "top,random", *CITIES), "training/arms"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_resuming_what_is_finished_changes_nothing(command, arguments, folder):
    """But for what `run.json` says of versions and memory, which belong to the last command."""
    before = contents(Path(folder))
    resumed = command(*arguments, "-o", folder, "--resume")
    assert resumed.code == 0, resumed.err
    after = contents(Path(folder))
    records = [json.loads(files.pop("run.json", b"{}")) for files in (before, after)]
    assert after == before
    for section in ("model", "settings", "benchmarks", "complete", "hashes", "data_files"):
        assert records[1].get(section) == records[0].get(section), section


def test_another_request_does_not_resume(command):
    for arguments, folder in ((SCORE, "runs/unfinished"), (EVALUATE[:-1], "evaluations/unfinished")):
        before = contents(Path(folder))
        refused = command(*arguments, "-o", folder, "--resume")
        assert refused.code == 2
        assert "settings differ" in refused.err or "cannot be resumed" in refused.err
        assert contents(Path(folder)) == before


def test_an_unfinished_evaluation_is_finished_as_it_would_have_been(command):
    """It had both benchmarks without a mask and with the first set; those answers are kept."""
    of_parts = [[name, state] for name in ("meals", "cities") for state in ("unmasked", "specific Spain")]
    assert EXPECTED["unfinished evaluation"] == of_parts
    with h5py.File("evaluations/unfinished/parts/000-0000.h5") as file:
        kept = file["items/confidence"][()]
    resumed = command(*EVALUATE, "-o", "evaluations/unfinished", "--resume", "--json")
    assert resumed.code == 0, resumed.err
    check_rows(resumed.json, relative=1e-4, merged="meals")
    assert not Path("evaluations/unfinished/parts").exists()
    made = culnig.open_evaluation("evaluations/unfinished")
    (unmasked,) = [name for name in made.conditions if condition(name) == "unmasked"]
    np.testing.assert_array_equal(p_gold(made.answers["meals", unmasked]), kept)
    assert command("compare", "evaluations/finished", "evaluations/unfinished").code == 0


def test_the_models_are_read(command):
    layout = culnig.load_model("model").layout
    assert layout.hash == culnig.open_run("runs/culture").layout.hash
    assert culnig.load_model("training/finished").layout.hash == layout.hash


def test_a_plan_is_made_again(command):
    made = command("modules", "sets/general.neurons.json", "--budget", "0.3", "-o", "plan.yaml")
    assert made.code == 0, made.err
    plan, stored = (yaml.safe_load(Path(path).read_text()) for path in ("plan.yaml", "training/plan.yaml"))
    for section in ("settings", "n_trainable", "ranking", "peft", "train", "freeze"):
        assert plan[section] == stored[section], section


def test_a_training_is_read_with_its_numbers(command):
    expected = EXPECTED["training"]["finished"]
    shown = command(*TASK, "--epochs", "2", "-o", "training/finished", "--resume", "--json").json
    assert (shown["steps"], shown["n_trainable"]) == (expected["steps"], expected["n_trainable"])
    assert [row["loss"] for row in shown["log"]] == expected["losses"]


def test_arms_are_read_with_their_numbers(command):
    arguments = (*TASK, "--arms", "top,random", *CITIES, "-o", "training/arms", "--resume", "--json")
    rows = command(*arguments).json["changes"]
    for row, expected in zip(rows, EXPECTED["training"]["arms"], strict=True):
        for name in ("arm", "benchmark"):
            assert row[name] == expected[name]
        assert metric(row["metric"]) == expected["metric"]
        for name in ("before", "after"):
            assert row[name] == near(expected[name], 1e-6)
        assert row["change"]["p_value"] == near(expected["p_value"], 1e-6)


def test_instances_are_scored_alike(command):
    arguments = ("--control", "benchmarks/meals.yaml#control", "--neurons", SETS[0])
    made = command(
        *("instances", *MODEL, "--benchmark", "benchmarks/meals.yaml", *arguments, "-o", "again.h5")
    )
    assert made.code == 0, made.err
    with h5py.File("again.h5") as again, h5py.File("training/instances.h5") as stored:
        for name in ("raw", "control"):
            close(again[name][()], stored[name][()])
        assert float(stored["raw"][()].sum()) == near(EXPECTED["training"]["instances"]["raw"])
