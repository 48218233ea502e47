"""A small comparison on the embedded model: the loss falls, the table stands, a stop costs nothing."""

from __future__ import annotations

import json
import os
from itertools import islice
from pathlib import Path

import pytest

from culnig import registry
from culnig.cli.main import run
from culnig.models import loading
from culnig.training import trainer
from culnig.training.folder import COMPLETE
from culnig.training.plan import PlanSettings, make_plan
from tests.benchmarks.small_files import write_jsonl
from tests.training.chosen import random_set
from tests.training.tasks import qnli_rows

pytestmark = pytest.mark.slow

ARMS = ("top", "random")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Training rows of our own; test rows from the published file where it is here, else of our own."""
    folder = tmp_path_factory.mktemp("data")
    write_jsonl(folder / "GLUE" / "qnli_train.jsonl", qnli_rows(6))
    published = Path(os.environ.get("CULNIG_DATA", "/none")) / "GLUE" / "qnli_validation.jsonl"
    if published.is_file():
        with published.open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in islice(file, 2)]
    else:
        rows = qnli_rows(2, first=6)
    write_jsonl(folder / "GLUE" / "qnli_validation.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def bound():
    """Loaded once for all commands; each gives the weights back, but for the last."""
    return loading.load_model("embedded", registry.adapters())


@pytest.fixture(scope="module")
def plan(bound, tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "plan.yaml"
    make_plan(bound, random_set(bound, 300), PlanSettings(budget=0.1)).write(path)
    return path


def arguments(plan, data, output, *more):
    return [
        *("train", "--model", "embedded", "--plan", str(plan), "--task", "qnli", "--data-dir", str(data)),
        *("--learning-rate", "1e-4", "--batch-size", "2", "--accumulation", "1", "--save-every", "2"),
        *("--log-every", "1", "-o", str(output), *more),
    ]


def test_two_arms_stopped_once_end_in_one_table(bound, plan, data, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "load_model", lambda *model, **options: bound)
    compared = arguments(plan, data, tmp_path / "arms", "--arms", ",".join(ARMS))
    compared += ["--benchmark", "everyday", "--culture", "Spain", "--culture", "China", "--per-culture", "1"]
    told = trainer._Reporting.on_step_end

    def stop_in_the_third_step(self, args, state, control, **more):
        told(self, args, state, control, **more)
        if state.global_step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer._Reporting, "on_step_end", stop_in_the_third_step)
    assert run(compared) == 130
    assert (tmp_path / "arms" / "top" / "seed-42" / "checkpoints" / "checkpoint-2" / COMPLETE).exists()
    monkeypatch.setattr(trainer._Reporting, "on_step_end", told)
    assert run([*compared, "--resume"]) == 0
    document = json.loads((tmp_path / "arms" / "arms.json").read_text())
    for arm in document["arms"]:
        assert arm["loss"][-1] < arm["loss"][0] - 0.5
        assert 0.09 < arm["planned"]["share"] <= 0.1
        assert arm["drift"]["moved"]["mean"] > 0 or arm["planned"]["neurons"] == 0
    assert [arm["arm"] for arm in document["arms"]] == list(ARMS)
    kinds = {(row["arm"], row["kind"]) for row in document["changes"]}
    assert kinds == {(arm, kind) for arm in ARMS for kind in ("task", "culture")}
    assert all(row["change"]["n"] in (2, 8) for row in document["changes"])

    assert run(arguments(plan, data, tmp_path / "whole")) == 0  # never stopped, the same plan and seed
    whole = json.loads((tmp_path / "whole" / "training.json").read_text())
    stopped = json.loads((tmp_path / "arms" / "top" / "seed-42" / "training.json").read_text())
    assert whole["log"] == stopped["log"]
