"""Steps are done once, again where what they depend on has changed, and to the same bits after a kill."""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import culnig
from culnig.benchmarks.choosing import read_benchmarks
from culnig.errors import DataFileError, EnvironmentProblem, InputError, OutputExistsError, UnknownNameError
from culnig.studies import outlook, outside, running
from culnig.studies.file import read_study
from culnig.studies.running import StudyWork, study
from culnig.studies.steps import steps_of
from tests.forked import Child, import_what, in_child
from tests.stored import assert_same, contents
from tests.studies.tiny_studies import STUDY, write_study

MODEL_ONE = "models:\n  one: {model: one}\n"
KILLS = int(os.environ.get("CULNIG_KILLS", "4"))
SMALL = (
    "prompt_date: 2026-01-02\n"
    + MODEL_ONE
    + """\
scoring:
  identify: {benchmarks: [everyday], cultures: [Iran, Spain, China], per_culture: 2}
selections:
  general: {method: general, control: false, exclusion: false, top_mlp: 0.2}
  specific: {method: specific, control: false, exclusion: false, cultures: [Iran, Spain], top: 0.4, z: 0.0}
evaluations:
  general: {benchmarks: [everyday], neuron_sets: [general], cultures: [Iran], per_culture: 1}
  specific: {benchmarks: [everyday], neuron_sets: [specific], cultures: [Iran, Spain], per_culture: 1}
"""
)


def states(result: Any) -> dict[str, str]:
    return {step.step: step.state for step in result.steps}


def done_again(result: Any) -> set[str]:
    return {step.step for step in result.steps if step.state == "done"}


def documents(folder: Path) -> dict[str, Any]:
    """Everything but HDF5 files and notes about steps, without measured seconds and memory."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or path.suffix == ".h5" or name.startswith("steps/"):
            continue
        found[name] = path.read_bytes()
        if path.suffix == ".json":
            document = json.loads(path.read_bytes())
            for measured in ("checksum", "hashes", "memory"):
                document.pop(measured, None)
            found[name] = document
    return found


def assert_same_study(found: Path, expected: Path) -> None:
    assert_same(contents(found), contents(expected))
    assert documents(found) == documents(expected)


def test_a_finished_study_is_left_alone(copied):
    before = {path: path.stat().st_mtime_ns for path in (copied / "out").rglob("*") if path.is_file()}
    result = study(copied / "study.yaml", copied / "out")
    assert set(states(result).values()) == {"done before"}
    assert all(step.versions["culnig-engine"] for step in result.steps)
    after = {path: path.stat().st_mtime_ns for path in (copied / "out").rglob("*") if path.is_file()}
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed <= {"hashes.json"}


def test_a_changed_selection_redoes_it_and_what_follows_from_it(copied):
    file = copied / "study.yaml"
    text = STUDY.replace("top: 0.4, z: 0.0", "top: 0.2, z: 0.0")
    file.write_text(text, encoding="utf-8")
    again = done_again(study(file, copied / "out"))
    assert again == {
        *("neurons/one/specific", "neurons/two/specific", "evaluations/one/specific", "audits/one/iran"),
        "report",
    }
    assert (copied / "out" / "study.yaml").read_text() == text


def test_a_change_that_changes_no_output_ends_where_it_is_made(copied):
    file = copied / "study.yaml"
    file.write_text(
        STUDY.replace("top: 2\n", "top: 2\n    split: identify\n"), encoding="utf-8"
    )  # the default
    assert done_again(study(file, copied / "out")) == set()
    file.write_text(STUDY.replace("random_baseline: 1", "random_baseline: 1\n    token_budget: 300"), "utf-8")
    again = done_again(study(file, copied / "out", only=["evaluations"]))
    assert again == {"evaluations/one/general", "evaluations/two/general"}


@pytest.mark.parametrize(
    "change",
    [
        lambda own: replace(own, role="control"),
        lambda own: replace(own, items=[replace(item, unit="one question") for item in own.items]),
        lambda own: replace(own, items=own.items[1:]),
    ],
    ids=["role", "questions", "items"],
)
def test_whatever_a_declaration_says_about_items_is_part_of_the_key(tmp_path, monkeypatch, change):
    """Its text, what is one question, and whether it is target or control."""
    file = read_study(write_study(tmp_path, SMALL))
    (step,) = [step for step in steps_of(file) if step.name == "scores/one/identify"]
    before = StudyWork(file, tmp_path / "out").key(step)
    assert StudyWork(file, tmp_path / "out").key(step) == before

    def read(*arguments: Any, **options: Any) -> dict[str, Any]:
        return {name: change(own) for name, own in read_benchmarks(*arguments, **options).items()}

    monkeypatch.setattr(outside, "read_benchmarks", read)
    assert StudyWork(file, tmp_path / "out").key(step) != before


def test_cultures_that_are_not_asked_for_any_more_leave_no_sets(copied):
    file = copied / "study.yaml"
    all_four, two = "specific, cultures: [China, Iran, Mexico, Spain]", "specific, cultures: [Iran, Spain]"
    text = STUDY.replace(all_four, two)
    file.write_text(text, encoding="utf-8")
    result = study(file, copied / "out", only=["neurons/one/specific", "evaluations/one/specific"])
    assert done_again(result) == {"neurons/one/specific", "evaluations/one/specific"}
    sets = sorted(path.name for path in (copied / "out/neurons/one/specific").iterdir())
    assert sets == ["Iran.neurons.json", "Spain.neurons.json"]


def test_a_record_of_someone_else_removes_nothing_outside_its_step(copied):
    """Records come in packs too."""
    record = copied / "out/steps/neurons/one/specific.json"
    mine = copied / "mine.txt"
    mine.write_text("mine", encoding="utf-8")
    document = json.loads(record.read_text(encoding="utf-8"))
    document.pop("checksum", None)
    files = {"../mine.txt": "", str(mine): "", "neurons/one/specific/../../../../mine.txt": ""}
    record.write_text(json.dumps(document | {"key": "", "files": files | document["files"]}), "utf-8")
    result = study(copied / "study.yaml", copied / "out", only=["neurons/one/specific"])
    assert done_again(result) == {"neurons/one/specific"}
    assert mine.read_text(encoding="utf-8") == "mine"


def test_a_damaged_or_missing_output_is_made_again(copied):
    out = copied / "out"
    (out / "neurons/one/random.neurons.json").write_text("{}", encoding="utf-8")
    (out / "audits/one/iran.json").unlink()
    result = study(copied / "study.yaml", out, only=["neurons", "audits"])
    assert done_again(result) == {"neurons/one/random", "audits/one/iran"}
    culnig.read_neuron_set(out / "neurons/one/random.neurons.json")


def test_only_and_from_choose_steps(copied):
    file, out = copied / "study.yaml", copied / "out"
    result = study(file, out, only=["neurons/*/general"])
    assert {name for name, state in states(result).items() if state == "done before"} == {
        *("neurons/one/general", "neurons/two/general"),
    }
    result = study(file, out, start="evaluations/two/general")
    assert {name for name, state in states(result).items() if state != "left out"} == {
        *("evaluations/two/general", "comparisons/masks", "report"),
    }
    with pytest.raises(UnknownNameError, match=r"did you mean 'neurons/one/general'"):
        study(file, out, only=["neurons/one/generl"])


def test_a_step_alone_waits_for_what_it_needs(tmp_path):
    file = write_study(tmp_path, SMALL)
    result = study(file, tmp_path / "out", only=["neurons/one/general"])
    (waiting,) = [step for step in result.steps if step.state == "waits"]
    assert waiting.reason == "scores/one/identify is missing or out of date; run it too"
    assert not result.complete


def test_a_failing_step_stops_only_what_needs_it(tmp_path, monkeypatch):
    """A model that cannot be read and data that is missing are told before; the others run."""
    monkeypatch.delenv("CULNIG_DATA", raising=False)
    text = SMALL.replace(MODEL_ONE, "models:\n  one: {model: one}\n  lost: {model: nobody/nothing}\n")
    text = text.replace(
        "evaluations:\n", "evaluations:\n  far: {benchmarks: [blend], neuron_sets: [general]}\n"
    )
    said: list[str] = []
    result = study(write_study(tmp_path, text), tmp_path / "out", say=said.append)
    failed = {step.step: step.reason for step in result.failed}
    assert set(failed) == {"scores/lost/identify", "evaluations/one/far"}
    assert "nobody/nothing" in failed["scores/lost/identify"]
    by_name = states(result)
    assert by_name["evaluations/one/general"] == by_name["neurons/one/specific"] == "done"
    assert (
        by_name["neurons/lost/general"] == by_name["evaluations/lost/general"] == by_name["report"] == "waits"
    )
    assert any(line.startswith("evaluations/one/far cannot run") for line in said)


def test_a_model_that_does_not_fit_is_told_before_and_the_rest_goes_on(tmp_path, monkeypatch):
    real = outlook.plan_of

    def too_small(planned: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        document = real(planned, *arguments, **options)
        return document | ({"options": []} if planned.bound.source.endswith("two") else {})

    monkeypatch.setattr(outlook, "plan_of", too_small)
    text = SMALL.replace(MODEL_ONE, "models:\n  one: {model: one}\n  two: {model: two}\n")
    file = write_study(tmp_path, text)
    result = study(file, tmp_path / "out", only=["scores", "neurons/*/general"])
    assert states(result)["neurons/one/general"] == "done"
    (failed,) = result.failed
    assert failed.step == "scores/two/identify"
    assert "does not fit on" in failed.reason
    assert isinstance(failed.error, EnvironmentProblem)


def test_a_disk_that_cannot_hold_the_runs_is_told_before(tmp_path, monkeypatch):
    monkeypatch.setattr(outlook, "free_space", lambda folder: 1000)
    file = write_study(tmp_path, SMALL)
    with pytest.raises(
        EnvironmentProblem, match=r"the runs of this study need about .* the disk has only 1 kB free"
    ):
        study(file, tmp_path / "out")
    assert not (tmp_path / "out" / "scores").exists()


def test_a_study_that_is_changed_while_it_runs_stops_and_keeps_what_is_done(tmp_path):
    file = write_study(tmp_path, SMALL)

    def change(line: str) -> None:
        if line == "neurons/one/general":
            file.write_text(SMALL.replace("0.2}", "0.3}"), encoding="utf-8")

    with pytest.raises(InputError, match="has changed while the study ran"):
        study(file, tmp_path / "out", say=change)
    result = study(file, tmp_path / "out", only=["scores", "neurons/one/general"])
    assert states(result)["scores/one/identify"] == "done before"
    assert states(result)["neurons/one/general"] == "done"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "cultures: [Iran, Spain], top",
            "cultures: [Iran, Spein], top",
            "line 8: selections.specific.cultures",
        ),
        ("cultures: [Iran, Spain], top", "cultures: [Iran, Greece], top", "has no items of 'Greece'"),
        ("[everyday], cultures", "[everday], cultures", "did you mean 'everyday'"),
        ("cultures: [Iran, Spain, China]", "cultures: [Iran, Atlantis]", "'Atlantis'"),
        ("neuron_sets: [general]", "neuron_sets: [specific/China]", "has no set of 'China'"),
        (
            "evaluations:\n  general: {benchmarks: [everyday], neuron_sets: [general]",
            "  wide: {method: general, control: false, exclusion: false}\nevaluations:\n"
            "  general: {benchmarks: [everyday], neuron_sets: [general, wide]",
            "the sets of neurons/one/general and neurons/one/wide have the same name",
        ),
        (
            "cultures: [Iran, Spain], per_culture: 1}",
            "cultures: [Iran], per_culture: 1, matrix: true}",
            "has a set of 'Spain', but everyday has no items of it; its items are of Iran",
        ),
    ],
)
def test_names_that_benchmarks_lack_are_told_with_their_line_before_anything_runs(tmp_path, old, new, said):
    assert old in SMALL
    file = write_study(tmp_path, SMALL.replace(old, new, 1))
    with pytest.raises(DataFileError) as caught:
        study(file, tmp_path / "out")
    assert said in str(caught.value)
    assert "line " in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_is_refused(tmp_path):
    file = write_study(tmp_path, SMALL)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="holds no study"):
        study(file, tmp_path / "out")


def test_the_date_of_prompts_is_that_of_the_first_day(tmp_path, monkeypatch):
    file = write_study(tmp_path, SMALL.replace("prompt_date: 2026-01-02\n", ""))
    days: list[str] = []
    monkeypatch.setattr(running, "call_of", lambda step, call, **options: days.append(call.prompt_date))
    for today in ("2026-03-04", "2026-03-05"):
        monkeypatch.setattr(
            running, "chosen_date", lambda given, today=today: running.date.fromisoformat(given or today)
        )
        study(file, tmp_path / "out", only=["scores"])
    assert days == ["2026-03-04", "2026-03-04"]


def test_killed_at_any_moment_and_repeated_gives_the_same_bits(tmp_path):
    """Killed after a random time, again and again; what comes through is compared, and another begun."""
    file = write_study(tmp_path, SMALL)
    expected, out, n_folders = tmp_path / "expected", tmp_path / "out-1", 1
    import_what(lambda: study(file, expected) and None)
    draw, kills = random.Random(0), 0
    while kills < KILLS:
        child = Child(lambda out=out: study(file, out) and None)
        until = time.monotonic() + draw.uniform(0.1, 1.5)
        while time.monotonic() < until and not child.ended():
            time.sleep(0.02)
        if not child.ended():
            child.kill()
            kills += 1
            child.wait()
            continue
        child.wait()
        assert_same_study(out, expected)
        n_folders += 1
        out = tmp_path / f"out-{n_folders}"
    assert in_child(lambda: study(file, out).complete)
    assert_same_study(out, expected)
