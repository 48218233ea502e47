"""`culnig-engine train`: a plan becomes a model, also after a kill; and users' mistakes."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from culnig import registry
from culnig.models.loading import load_model
from culnig.training import arms as running
from culnig.training.folder import COMPLETE
from culnig.training.plan_file import read_plan
from tests.cli.test_interruption import wait_for
from tests.forked_commands import forked, rank, ranks
from tests.ports import free_port, listens
from tests.tiny_models import tiny_model
from tests.tolerances import assert_values_equal, values_equal
from tests.training.chosen import random_set
from tests.training.tasks import declared_task, glue_folder

# peft asks transformers under names that transformers is about to drop
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = glue_folder(tmp_path_factory.mktemp("data"), n_train=32)
    declared_task(folder)
    return folder


@pytest.fixture(scope="module")
def plan(model_folder, tmp_path_factory):
    from culnig.cli.main import run

    folder = tmp_path_factory.mktemp("plan")
    random_set(tiny_model()).write(folder / "n.json")
    asked = (
        "modules",
        folder / "n.json",
        "--model",
        model_folder,
        "--budget",
        "0.25",
        "-o",
        folder / "plan.yaml",
    )
    assert run([str(part) for part in asked]) == 0
    return folder / "plan.yaml"


def arguments(model, plan, data, output, *more, task="qnli"):
    return [
        *("train", "--model", model, "--plan", plan, "--task", task, "--data-dir", data, "-o", output),
        *("--learning-rate", "1e-3", *more),
    ]


def test_a_trained_model_is_read_back_with_its_plan(culnig, model_folder, plan, data, tmp_path):
    output = tmp_path / "trained"
    result = culnig(*arguments(model_folder, plan, data, output, "--json"))
    assert result.code == 0, result.err
    assert result.json["n_trainable"] == read_plan(plan).n_trainable == 5760
    assert result.json["steps"] == 2  # 32 examples, 16 a step
    assert (output / "plan.yaml").read_bytes() == plan.read_bytes()
    assert not (output / "checkpoints").exists()
    before, after = load_file(model_folder / "model.safetensors"), load_file(output / "model.safetensors")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {part.parameter for part in read_plan(plan).train}
    more = ("--benchmark", "qnli", "--data-dir", data, "--limit", "4", "--json", "-o", tmp_path / "e")
    assert culnig("evaluate", "--model", output, *more).code == 0


def test_an_adapters_folder_is_a_model(culnig, model_folder, plan, data, tmp_path):
    output = tmp_path / "adapter"
    more = ("--lora", "2", "--learning-rate", "1e-2")
    result = culnig(*arguments(model_folder, plan, data, output, *more))
    assert result.code == 0, result.err
    assert not (output / "model.safetensors").exists()
    ids = torch.arange(40, 60)[None]
    read = load_model(str(output), registry.adapters())
    assert read.source == str(output)
    from peft import PeftModel

    base = load_model(str(model_folder), registry.adapters())
    with torch.no_grad():
        untrained = base.model(input_ids=ids).logits
        expected = PeftModel.from_pretrained(base.model, str(output))(input_ids=ids).logits
        found = read.model(input_ids=ids).logits
    assert_values_equal(found, expected)
    assert not values_equal(found, untrained)
    assert culnig("modules", plan, "-o", tmp_path / "x").code == 2  # a plan is no neuron set
    refused = culnig("evaluate", "--model", output, "--adapter", output, "--benchmark", "everyday", "-o", "e")
    assert (refused.code, "is an adapter itself" in refused.err) == (2, True)


def test_a_declared_task_is_learned(culnig, model_folder, plan, data, tmp_path):
    more = ("--epochs", "12", "--log-every", "6", "--json")
    task = data / "boxes.yaml"
    losses = culnig(*arguments(model_folder, plan, data, tmp_path / "t", *more, task=task)).json["log"]
    assert losses[-1]["loss"] < losses[0]["loss"] - 0.5
    rows = (tmp_path / "t" / "log.csv").read_text().splitlines()
    assert rows[0] == "step,epoch,loss,learning_rate,grad_norm"
    assert len(rows) == 1 + len(losses)


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(culnig, model_folder, plan, data, tmp_path):
    more = ("--epochs", "12", "--save-every", "3", "--log-every", "5")
    whole = culnig(*arguments(model_folder, plan, data, tmp_path / "whole", *more))
    assert whole.code == 0, whole.err
    asked = arguments(model_folder, plan, data, tmp_path / "cut", *more)
    process = forked(asked)
    wait_for(lambda: list((tmp_path / "cut").glob(f"checkpoints/*/{COMPLETE}")))
    process.kill()
    assert process.wait() is None
    assert not (tmp_path / "cut" / "training.json").exists()
    assert "add --resume to continue" in culnig(*asked).err
    other = culnig(*asked, "--resume", "--batch-size", "2")
    assert (other.code, "settings differ: settings." in other.err) == (2, True)
    assert culnig(*asked, "--resume").code == 0
    for name in ("model.safetensors", "training.json", "log.csv", "plan.yaml"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert "is finished already" in " ".join(culnig(*asked, "--resume").err.split())


def test_mistakes_are_explained(culnig, model_folder, plan, data, tmp_path):
    def refused(*asked):
        result = culnig(*asked)
        assert result.code == 2
        return result.err

    out = tmp_path / "out"
    lost = tmp_path / "empty"
    lost.mkdir()
    assert "'mrpc' has no training split here" in refused(
        *arguments(model_folder, plan, lost, out, task="mrpc")
    )
    assert "unknown benchmark 'mrcp'" in refused(*arguments(model_folder, plan, data, out, task="mrcp"))
    assert "no such file; expected a plan" in refused(*arguments(model_folder, lost / "p", data, out))
    assert "--learning-rate is 0" in refused(
        *arguments(model_folder, plan, data, out, "--learning-rate", "0")
    )
    changed = tmp_path / "changed.yaml"
    lines = plan.read_text().replace("layout_hash: ", "layout_hash: x").splitlines(keepends=True)
    assert lines[-1].startswith("checksum: ")
    changed.write_text("".join(lines))
    assert "what it holds differs" in refused(*arguments(model_folder, changed, data, out))
    changed.write_text("".join(lines[:-1]))
    assert "the plan was made for" in refused(*arguments(model_folder, changed, data, out))
    (lost / "mine.txt").write_text("keep me")
    assert "exists and is not empty" in refused(*arguments(model_folder, plan, data, lost))
    assert "is not a training of culnig" in refused(*arguments(model_folder, plan, data, lost, "--overwrite"))
    assert (lost / "mine.txt").read_text() == "keep me"
    assert not (out / "training.json").exists()


def test_a_loss_that_becomes_nan_keeps_the_checkpoint(culnig, model_folder, plan, data, tmp_path):
    more = ("--learning-rate", "1e20", "--save-every", "1", "--epochs", "3")
    result = culnig(*arguments(model_folder, plan, data, tmp_path / "out", *more))
    assert result.code == 2
    assert "so training stopped; " in result.err
    assert "Lower --learning-rate" in result.err
    assert json.loads((tmp_path / "out" / "request.json").read_text())["format"] == "culnig-training"


def arms(model, plan, data, output, *more):
    named = ("--arms", "bottom,rows", "--seeds", "2", "--epochs", "2")
    culture = ("--benchmark", "everyday", "--culture", "Spain", "--culture", "China", "--per-culture", "1")
    return [*arguments(model, plan, data, output), *named, *culture, *more]


@pytest.fixture(scope="module")
def compared(model_folder, plan, data, tmp_path_factory):
    """A finished comparison."""
    from culnig.cli.main import run

    folder = tmp_path_factory.mktemp("arms") / "arms"
    rescored = ("everyday", "everyday-control", "country-rc")
    more = [part for name in rescored for part in ("--rescore", name)]
    assert run([str(part) for part in arms(model_folder, plan, data, folder, *more)]) == 0
    return folder, more


def test_arms_start_from_the_same_model_and_end_in_one_table(compared, plan):
    folder, _ = compared
    document = json.loads((folder / "arms.json").read_text())
    assert document["seeds"] == [42, 43]
    assert [(arm["arm"], arm["seed"]) for arm in document["arms"]] == [
        (name, seed) for name in ("bottom", "rows") for seed in (42, 43)
    ]
    hashes = {
        json.loads((folder / arm["folder"] / "training.json").read_text())["model"]["weights_hash"]
        for arm in document["arms"]
    }
    assert len(hashes) == 1
    kinds = {(row["benchmark"], row["kind"]) for row in document["changes"]}
    assert kinds == {("qnli", "task"), ("everyday", "culture")}
    assert {(row["arm"], row["against"]) for row in document["contrasts"]} == {("rows", "bottom")}
    assert len((folder / "arms.csv").read_text().splitlines()) == 1 + 3 * (2 + 1) * 2
    for arm in document["arms"]:
        read = read_plan(folder / arm["folder"] / "plan.yaml")
        assert read.n_trainable == arm["n_trainable"]
        assert read.settings.keep_neurons == (arm["arm"] == "rows")
        moved = arm["drift"]["moved"]
        assert (moved["n_moved"] == 0) == (arm["arm"] == "rows")
        assert arm["drift"]["found_again"]["n_first"] >= arm["drift"]["found_again"]["shared"]
        assert len(arm["loss"]) == 2  # of the first and of the last step


def test_the_changes_are_those_that_compare_finds_between_the_folders(culnig, compared):
    folder, _ = compared
    rows = json.loads((folder / "arms.json").read_text())["changes"]
    seeds = [folder / "bottom" / f"seed-{seed}" / "evaluation" for seed in (42, 43)]
    found = culnig("compare", folder / "before", *seeds, "--json").json["comparisons"]
    for benchmark in ("qnli", "everyday"):
        (ours,) = [
            row
            for row in rows
            if (row["arm"], row["benchmark"], row["metric"]) == ("bottom", benchmark, "p_gold")
        ]
        effects = [row["change"]["p_gold"]["effect"] for row in found if row["benchmark"] == benchmark]
        assert ours["by_seed"] == pytest.approx(effects)
        assert ours["change"]["effect"] == pytest.approx(sum(effects) / 2)


@pytest.mark.slow
def test_a_stopped_comparison_resumes_and_ends_with_the_same_files(
    culnig, compared, model_folder, plan, data, tmp_path, monkeypatch
):
    folder, more = compared
    asked = arms(model_folder, plan, data, tmp_path / "arms", *more)
    real, calls = running.evaluated, []

    def stop_in_the_third(*given):
        calls.append(1)
        if len(calls) == 3:  # after the training of bottom, seed 43, before its answers
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(running, "evaluated", stop_in_the_third)
    assert culnig(*asked).code == 130
    assert not (tmp_path / "arms" / "arms.json").exists()
    monkeypatch.setattr(running, "evaluated", real)
    resumed = culnig(*asked, "--resume")
    assert resumed.code == 0, resumed.err
    assert "bottom, seed 42: finished already" in " ".join(resumed.err.split())
    ours = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    again = {path.relative_to(tmp_path / "arms") for path in (tmp_path / "arms").rglob("*") if path.is_file()}
    assert again == ours
    for name in ("arms.json", "arms.csv", "bottom/seed-43/training.json", "rows/seed-43/log.csv"):
        assert (tmp_path / "arms" / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_finished_comparison_is_left_unchanged(culnig, compared, model_folder, plan, data):
    folder, more = compared
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = culnig(*arms(model_folder, plan, data, folder, *more, "--resume"))
    assert again.code == 0, again.err
    assert "arms is finished already" in " ".join(again.err.split())
    other = culnig(*arms(model_folder, plan, data, folder, *more, "--resume", "--learning-rate", "1e-5"))
    assert other.code == 2
    assert "settings differ: settings.learning_rate is 0.001 there and 1e-05" in " ".join(other.err.split())
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_mistakes_about_arms_are_explained(culnig, model_folder, plan, data, tmp_path):
    def refused(*more):
        result = culnig(*arguments(model_folder, plan, data, tmp_path / "out", *more))
        assert result.code == 2
        return result.err

    assert "'upper' is not an arm" in refused("--arms", "top,upper")
    assert "'top' is not an arm, or is given twice" in refused("--arms", "top,top")
    assert "need --arms" in refused("--seeds", "2")
    assert "need --arms" in refused("--benchmark", "everyday")
    assert not (tmp_path / "out" / "arms.json").exists()


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(culnig, model_folder, plan, data, tmp_path):
    batch = ("--accumulation", "1", "--log-every", "1", "--epochs", "1")
    alone = culnig(*arguments(model_folder, plan, data, tmp_path / "one", *batch, "--batch-size", "8"))
    assert alone.code == 0, alone.err
    asked = arguments(model_folder, plan, data, tmp_path / "two", *batch, "--batch-size", "4", "--json")
    reports, silent = ranks(2, asked)
    assert (reports.code, silent.code, silent.out) == (0, 0, "")
    assert json.loads(reports.out)["steps"] == 4  # 32 examples, 8 a step
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    moved = {part.parameter for part in read_plan(plan).train}
    before = load_file(model_folder / "model.safetensors")
    for name, weights in first.items():
        assert torch.allclose(weights, second[name], atol=1e-5), name
        assert torch.equal(second[name], before[name]) == (name not in moved)


@pytest.mark.slow
def test_two_processes_compare_arms_and_resume(compared, model_folder, plan, data, tmp_path):
    folder, more = compared
    batch = ("--batch-size", "2", "--accumulation", "4")  # on two devices as many examples a step as on one
    asked = [str(part) for part in arms(model_folder, plan, data, tmp_path / "arms", *more, *batch)]
    assert [done.code for done in ranks(2, asked)] == [0, 0]
    ours, alone = (json.loads((path / "arms.json").read_text()) for path in (tmp_path / "arms", folder))
    for one, other in zip(ours["arms"], alone["arms"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["steps"] == other["steps"]
    for one, other in zip(ours["changes"], alone["changes"], strict=True):
        assert one["change"]["effect"] == pytest.approx(other["change"]["effect"], abs=1e-5)
    before = (tmp_path / "arms" / "arms.json").read_bytes()
    resumed = ranks(2, [*asked, "--resume"])
    assert [done.code for done in resumed] == [0, 0]
    assert not [done for done in resumed if "step" in done.err]
    assert (tmp_path / "arms" / "arms.json").read_bytes() == before
    watching = running.Watching(writes=False)
    assert running.evaluated(tiny_model(), None, tmp_path / "other", watching) == {}  # the first's work
    first, second = ranks(2, asked)
    assert (first.code, "error: " in first.err) == (2, True)
    assert "exists and is not empty" in first.err
    assert (second.code, "Traceback" in second.err) == (3, False)  # it waited for the first


@pytest.mark.slow
def test_a_process_that_comes_late_finds_its_folder_in_use_and_goes_on(model_folder, plan, data, tmp_path):
    port = free_port()
    asked = arguments(model_folder, plan, data, tmp_path / "out", "--epochs", "1", "--json")
    first = rank(0, 2, port, asked)
    try:
        wait_for(lambda: first.ended() or listens(port))
        late = rank(1, 2, port, asked).wait(180)  # the first has come as far as it can without it
        assert (late.code, late.out) == (0, "")
        done = first.wait(180)
    except BaseException:
        first.kill()
        raise
    assert done.code == 0
    assert json.loads(done.out)["steps"] == 1
