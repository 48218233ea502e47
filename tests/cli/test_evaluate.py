"""evaluate and compare from the command line: resume, matrix, doses, mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from culnig.evaluation.parts import EvaluationParts
from culnig.selection.neuron_set import NeuronSet
from culnig.store.run import Run
from tests.cli.test_interruption import wait_for
from tests.forked_commands import forked
from tests.stored import document_of
from tests.tiny_models import tiny_model
from tests.tolerances import assert_probabilities_equal

CULTURES = ("China", "Mexico", "Spain")


@pytest.fixture(scope="module")
def sets(run_folder, tmp_path_factory):
    """A general set and one for each of three cultures, of neurons at any place."""
    folder = tmp_path_factory.mktemp("sets")
    run = Run(run_folder)
    generator = np.random.default_rng(0)
    files = {}
    for name in ("general", *CULTURES):
        flat = generator.choice(run.layout.pool("all"), 20, replace=False)
        method = {"name": "by hand"} if name == "general" else {"name": "by hand", "culture": name}
        chosen = NeuronSet(
            name=name,
            model="toy",
            layout_hash=run.layout.hash,
            method=method,
            sources=[],
            neurons=tuple(run.layout.neurons(flat)),
            scores=np.arange(20.0, 0, -1),
        )
        files[name] = folder / f"{name}.json"
        chosen.write(files[name])
    return files


def arguments(model, output, *more, benchmarks=("everyday",), cultures=("China", "Spain")):
    named = [part for name in benchmarks for part in ("--benchmark", name)]
    named += [part for name in cultures for part in ("--culture", name)]
    return ["evaluate", "--model", model, *named, "--per-culture", "2", "-o", output, *more]


def same_files(first, second):
    for name in ("results.json", "items.h5"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
        assert not (second / "parts").exists()
    assert sorted(path.name for path in second.iterdir()) == ["items.h5", "results.json"]


BENCHMARKS = ("everyday", "country-rc")


@pytest.fixture(scope="module")
def whole(model_folder, sets, tmp_path_factory):
    """An evaluation that was never interrupted."""
    from culnig.cli.main import run

    folder = tmp_path_factory.mktemp("whole") / "evaluation"
    asked = arguments(
        model_folder,
        folder,
        *("--neurons", sets["general"], "--random-baseline", 2),
        benchmarks=BENCHMARKS,
    )
    assert run([str(argument) for argument in asked]) == 0
    return folder


@pytest.mark.parametrize("stopped_at", [0, 3, 7])
def test_interrupted_in_any_condition_it_resumes_to_the_same_files(
    culnig, whole, model_folder, sets, tmp_path, monkeypatch, stopped_at
):
    folder = tmp_path / "evaluation"
    asked = arguments(
        model_folder, folder, *("--neurons", sets["general"], "--random-baseline", 2), benchmarks=BENCHMARKS
    )
    save, saved = EvaluationParts.save, []

    def interrupt(self, benchmark, condition, outcomes):
        if len(saved) == stopped_at:
            raise KeyboardInterrupt
        saved.append((benchmark, condition))
        save(self, benchmark, condition, outcomes)

    monkeypatch.setattr(EvaluationParts, "save", interrupt)
    assert culnig(*asked).code == 130
    assert len(list(folder.glob("parts/*.h5"))) == stopped_at
    shown = culnig("inspect", folder)
    assert shown.code == 2
    assert "--resume" in shown.err
    refused = culnig(*asked)
    assert refused.code == 2
    assert "add --resume to continue" in refused.err
    monkeypatch.setattr(EvaluationParts, "save", save)
    assert culnig(*asked, "--resume").code == 0
    same_files(whole, folder)
    again = culnig(*asked, "--resume", "--json")  # nothing is left to do
    assert again.json["rows"] == document_of(whole / "results.json")["rows"]


def test_a_killed_evaluation_resumes_to_the_same_files(culnig, whole, model_folder, sets, tmp_path):
    folder = tmp_path / "evaluation"
    asked = arguments(
        model_folder, folder, *("--neurons", sets["general"], "--random-baseline", 2), benchmarks=BENCHMARKS
    )
    process = forked(asked)
    try:
        wait_for(lambda: list(folder.glob("parts/*.h5")), seconds=240)
    finally:
        process.kill()
        assert process.wait() is None
    assert culnig(*asked, "--resume").code == 0
    same_files(whole, folder)


def test_resume_needs_the_same_request(culnig, model_folder, sets, whole):
    other = arguments(model_folder, whole, "--neurons", sets["general"], "--resume", benchmarks=BENCHMARKS)
    refused = culnig(*other)
    assert refused.code == 2
    assert "cannot be resumed because the settings differ" in refused.err
    assert culnig(*other, "--overwrite").code == 2


def test_prompts_that_are_not_shared_give_the_same_table(culnig, whole, model_folder, sets, tmp_path):
    done = culnig(
        *arguments(
            model_folder,
            tmp_path / "evaluation",
            *("--neurons", sets["general"], "--random-baseline", 2, "--no-prefix-sharing", "--json"),
            benchmarks=BENCHMARKS,
        )
    )
    for row, other in zip(done.json["rows"], document_of(whole / "results.json")["rows"], strict=True):
        assert (row["condition"], row["accuracy"]) == (other["condition"], other["accuracy"])
        assert_probabilities_equal(row["p_gold"], other["p_gold"])


def test_the_parts_of_the_accuracy_lost_are_in_every_row(whole):
    for row in document_of(whole / "results.json")["rows"]:
        if row["condition"] == "unmasked":
            assert row["loss"] is None
            continue
        parts = [row["loss"][part]["items"] for part in ("accuracy", "format", "knowledge")]
        assert parts[0] == parts[1] + parts[2]
        assert row["loss"]["accuracy"]["effect"] == pytest.approx(-row["change"]["accuracy"]["effect"])


def test_a_matrix_masks_each_culture_and_evaluates_all(culnig, model_folder, sets, tmp_path):
    named = [part for name in CULTURES for part in ("--neurons", sets[name])]
    output = tmp_path / "matrix"
    done = culnig(*arguments(model_folder, output, *named, "--matrix", cultures=CULTURES))
    assert done.code == 0, done.err
    assert "rows masked, columns evaluated" in done.out
    assert "Related cultures change by" in done.out  # Spain and Mexico are related
    shown = culnig("inspect", output)
    assert "rows masked, columns evaluated" in shown.out
    matrices = document_of(output / "results.json")["matrix"]
    assert [matrix["metric"] for matrix in matrices] == ["accuracy", "option_accuracy", "p_gold"]
    for matrix in matrices:
        assert matrix["masked"] == matrix["evaluated"] == list(CULTURES)
        assert np.shape(matrix["change"]) == np.shape(matrix["rank"]) == (3, 3)
        assert matrix["n_items"] == [2, 2, 2]
        assert 1 / 6 <= matrix["dominance_p"] <= 1


def test_the_culture_of_a_set_can_be_said(culnig, model_folder, sets, tmp_path):
    done = culnig(
        *arguments(
            model_folder,
            tmp_path / "matrix",
            *("--neurons", f"Iran={sets['general']}", "--neurons", sets["Spain"], "--matrix", "--json"),
            cultures=("China", "Iran", "Spain"),
        )
    )
    assert done.json["matrix"][0]["masked"] == ["Iran", "Spain"]
    assert done.json["matrix"][0]["evaluated"] == ["Iran", "Spain", "China"]


def test_a_dose_series_has_effect_and_damage(culnig, model_folder, sets, tmp_path):
    done = culnig(
        *arguments(
            model_folder,
            tmp_path / "dose",
            *("--neurons", sets["general"], "--dose", "--share", "1", "--share", "0.5", "--json"),
        )
    )
    factors = (0, 0.25, 0.5, 1.5, 2)
    p_gold = [dose for dose in done.json["dose"] if dose["metric"] == "p_gold"]
    assert [(dose["factor"], dose["share"]) for dose in p_gold] == [
        (factor, share) for share in (1, 0.5) for factor in factors
    ]
    assert [dose["n_neurons"] for dose in p_gold] == [20] * 5 + [10] * 5
    for dose in p_gold:
        assert dose["damage"] is None
        (row,) = [row for row in done.json["rows"] if row["condition"] == dose["condition"]]
        change = row["change"]["p_gold"]["effect"]
        assert dose["effect"] == pytest.approx(change if dose["factor"] > 1 else -change)
    table = culnig("inspect", tmp_path / "dose").out
    assert "Dose and response in P(gold)" in table


@pytest.fixture(scope="module")
def item_run(model_folder, tmp_path_factory):
    """A run that keeps its prompts."""
    from culnig.cli.main import run

    folder = tmp_path_factory.mktemp("item") / "run"
    asked = ["score", "--model", str(model_folder), "--benchmark", "everyday", "--culture", "Spain"]
    assert run([*asked, "--per-culture", "3", "--level", "item", "-o", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("mask", ["mean", "resample"])
def test_neurons_are_replaced_by_what_they_did_in_a_run(
    culnig, whole, model_folder, sets, item_run, tmp_path, mask
):
    output = tmp_path / "masked"
    named = ("--neurons", sets["general"], "--random-baseline", 1, "--mask", mask, "--means", item_run)
    done = culnig(*arguments(model_folder, output, *named, "--json"))
    assert done.code == 0, done.err
    rows = {row["condition"]: row for row in done.json["rows"]}
    name = f"general ({mask})"
    assert list(rows) == ["unmasked", name, f"random 0 like {name}"]
    assert [row["mask"] for row in rows.values()] == ["scale", mask, mask]
    assert rows[name]["change"]["p_gold"]["effect"] != 0
    document = document_of(output / "results.json")
    assert document["settings"]["means"] == {"run": Run(item_run).run_id, "prompts": 3}
    assert mask in culnig("inspect", output).out
    assert name in culnig("compare", output).out
    beside = culnig("compare", whole, output, "--condition", name, "--against", "general", "--json").json
    (row,) = beside["comparisons"]
    assert (row["against"], row["condition"]) == ("evaluation: general", f"masked: {name}")
    page = tmp_path / "report.html"
    assert culnig("report", output, "-o", page).code == 0
    assert name in page.read_text()
    again = culnig(*arguments(model_folder, output, *named, "--resume"))
    assert again.code == 0
    zero = culnig(*arguments(model_folder, output, "--neurons", sets["general"], "--resume"))
    assert zero.code == 2
    assert "cannot be resumed" in zero.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--mask", "mean"], "need --means RUN"),
        (["--means", "item_run"], "other masks do not take it"),
        (["--mask", "mean", "--means", "item_run", "--factor", "0.5"], "cannot be combined with"),
        (["--mask", "resample", "--means", "item_run", "--dose"], "cannot be combined with"),
        (["--mask", "mean", "--means", "run_folder"], "level 'culture', which keeps no prompts"),
        (["--mask", "mean", "--means", "missing"], "no such run"),
    ],
)
def test_an_impossible_replacement_is_reported_before_anything_is_computed(
    culnig, model_folder, sets, item_run, run_folder, tmp_path, more, message
):
    folders = {"item_run": item_run, "run_folder": run_folder, "missing": tmp_path / "missing"}
    named = [folders.get(argument, argument) for argument in more]
    output = tmp_path / "evaluation"
    refused = culnig(*arguments(model_folder, output, "--neurons", sets["general"], *named))
    assert refused.code == 2
    assert message in refused.err
    assert not output.exists()


def test_means_of_another_model_are_refused(culnig, sets, item_run, tmp_path):
    other = tiny_model(seed=1)
    other.model.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    output = tmp_path / "evaluation"
    refused = culnig(
        *arguments(tmp_path / "other", output, "--neurons", sets["general"], "--mask", "mean"),
        *("--means", item_run),
    )
    assert refused.code == 2
    assert "layout or weights differ from those of" in refused.err
    assert not output.exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--matrix"], "needs sets to mask"),
        (["--neurons", "general", "--matrix"], "at least two cultures"),
        (["--neurons", "Mexico", "--neurons", "Spain", "--matrix"], "no items in the"),
        (["--neurons", "China", "--neurons", "Spain", "--matrix", "--dose"], "compares one dose"),
        (["--neurons", "general", "--share", "2"], "not within (0, 1]"),
        (["--neurons", "Atlantis=x.json"], "Atlantis"),
        (["--neurons", "missing.json"], "no such file"),
    ],
)
def test_impossible_evaluations_are_refused_before_anything_is_computed(
    culnig, model_folder, sets, tmp_path, more, message
):
    named = [
        sets.get(argument, argument) if option == "--neurons" else argument
        for option, argument in zip(["", *more], more, strict=False)
    ]
    refused = culnig(*arguments(model_folder, tmp_path / "evaluation", *named))
    assert refused.code == 2
    assert message in refused.err
    assert not (tmp_path / "evaluation").exists()


def test_a_culture_without_test_items_is_named(culnig, model_folder, sets, tmp_path):
    output = tmp_path / "evaluation"
    named = ("--neurons", sets["general"])
    refused = culnig(
        *arguments(model_folder, output, *named, benchmarks=("country-rc",), cultures=("Assam",))
    )
    assert refused.code == 2
    assert "has no items of Assam in split 'test'" in refused.err
    assert not output.exists()


def test_a_set_of_another_model_is_refused_before_anything_is_computed(culnig, sets, tmp_path):
    other = tiny_model("qwen3")
    other.model.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    output = tmp_path / "evaluation"
    refused = culnig(*arguments(tmp_path / "other", output, "--neurons", sets["general"]))
    assert refused.code == 2
    assert "neuron set 'general' was made for 'toy'" in refused.err
    assert not output.exists()


def test_one_item_has_a_table_a_comparison_and_a_report(culnig, model_folder, sets, tmp_path):
    output = tmp_path / "evaluation"
    named = ("--neurons", sets["general"], "--random-baseline", 2, "--limit", 1)
    done = culnig(*arguments(model_folder, output, *named, cultures=("Spain",)))
    assert done.code == 0, done.err
    rows = json.loads(
        (output / "results.json").read_text(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON")
    )["rows"]
    assert {row["n"] for row in rows} == {1}
    change = rows[1]["change"]["p_gold"]
    assert change["interval"] == [None, None]
    assert change["p_value"] == 1
    assert culnig("compare", output).code == 0
    assert culnig("report", output, "-o", tmp_path / "report.html").code == 0


# compare


def test_compare_tests_the_sets_of_an_evaluation_without_the_model(culnig, whole):
    done = culnig("compare", whole, "--json")
    assert done.code == 0, done.err
    rows = done.json["comparisons"]
    assert [(row["benchmark"], row["condition"]) for row in rows] == [
        ("everyday", "general"),
        ("country-rc", "general"),
    ]
    for row in rows:
        assert row["p_value"] <= row["p_holm"] <= 1
        assert row["against_random"]["p_gold"]["n_random"] == 2
    table = culnig("compare", whole).out
    assert "McNemar" in table
    assert "rank p" in table
    assert "The rank p of 2 random sets is never below 0.333" in table


def test_compare_pairs_two_evaluations(culnig, whole, model_folder, sets, tmp_path):
    other = tmp_path / "enhanced"
    done = culnig(
        *arguments(
            model_folder, other, "--neurons", sets["general"], "--factor", "2", benchmarks=("everyday",)
        )
    )
    assert done.code == 0, done.err
    rows = culnig("compare", whole, other, "--json").json["comparisons"]
    assert [row["condition"] for row in rows] == ["enhanced: unmasked", "enhanced: general"]
    assert rows[0]["change"]["p_gold"]["effect"] == 0
    assert rows[1]["change"]["p_gold"]["effect"] != 0
    one = culnig("compare", whole, other, "--condition", "general", "--against", "unmasked", "--json").json
    assert [row["against"] for row in one["comparisons"]] == ["evaluation: unmasked"]


def test_compare_says_what_is_wrong(culnig, whole, tmp_path):
    assert culnig("compare").code == 2
    missing = culnig("compare", tmp_path / "nothing")
    assert missing.code == 2
    assert "no such file" in missing.err
    unknown = culnig("compare", whole, "--condition", "generl")
    assert unknown.code == 2
    assert "did you mean 'general'" in unknown.err


def test_an_evaluation_of_an_earlier_version_is_still_read(culnig, whole, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    (old / "items.h5").write_bytes((whole / "items.h5").read_bytes())
    document = document_of(whole / "results.json")
    new = ("of_set", "share", "culture", "log_probability", "calibration_error", "loss", "mcnemar", "p_holm")
    for row in document["rows"]:
        for key in new:
            del row[key]
        for changes in (row["change"], row["against_random"]):
            for change in (changes or {}).values():
                for key in ("standard_error", "effect_size", "detectable", "bootstrap_p"):
                    change.pop(key, None)
    (old / "results.json").write_text(json.dumps(document))
    assert culnig("inspect", old).code == 0
    assert len(culnig("compare", old, "--json").json["comparisons"]) == 2
