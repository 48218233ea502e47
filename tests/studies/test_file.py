"""The file of a study: mistakes are told with their line, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import culnig
from culnig.errors import DataFileError
from culnig.models.settings import LoadOptions
from culnig.studies import file as sections
from culnig.studies.file import read_study, study_schema
from culnig.studies.keys import LEFT_OUT, keywords_of
from culnig.studies.steps import steps_of
from tests.studies.tiny_studies import STUDY

OF_A_MODEL = {"model", *LoadOptions.__annotations__}
SECTIONS: dict[str, tuple[Any, set[str]]] = {
    "load_model": (sections.Model, {"source"}),
    "score": (sections.Scoring, OF_A_MODEL),
    "select_general": (sections.General, set()),
    "select_specific_sets": (sections.Specific, set()),
    "select_random": (sections.Random, set()),
    "select_lape": (sections.Lape, set()),
    "select_cape": (sections.Cape, set()),
    "select_crispr": (sections.Crispr, set()),
    "select_ig": (sections.Ig, set()),
    "select_knowledge_neurons": (sections.Knowledge, set()),
    "neurons_union": (sections.Combination, {"sets"}),
    "evaluate": (sections.Evaluation, OF_A_MODEL),
    "instances": (sections.Instances, OF_A_MODEL),
    "audit": (sections.Audit, OF_A_MODEL),
    "plan_training": (sections.TrainingPlan, {"neurons", *OF_A_MODEL}),
    "train": (sections.PlannedTraining, OF_A_MODEL),
    "compare_arms": (sections.PlannedTraining, OF_A_MODEL),
    "compare": (sections.EvaluationsCompared, set()),
    "neurons_compare": (sections.NeuronsCompared, {"first", "second", "runs"}),
    "report": (sections.Report, {"sources"}),
}
"""The section whose entries call a function, and the arguments that other parts of the study fill in."""


@pytest.mark.parametrize("function", SECTIONS)
def test_every_option_of_a_function_is_a_key(function):
    section, elsewhere = SECTIONS[function]
    assert set(keywords_of(function)) - set(section.model_fields) == (
        set(keywords_of(function)) & {*LEFT_OUT, *elsewhere}
    )


@pytest.mark.parametrize("function", SECTIONS)
def test_defaults_are_those_of_the_function(function):
    section, _ = SECTIONS[function]
    known = keywords_of(function)
    own = {
        name: field for name, field in section.model_fields.items() if name in section.arguments & set(known)
    }
    assert {name: field.default for name, field in own.items()} == {name: known[name][1] for name in own}


def problem(tmp_path, old: str, new: str, text: str = STUDY) -> str:
    """What is said of a study with a mistake, found while it is read or its steps are made."""
    assert old in text
    path = tmp_path / "study.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataFileError) as caught:
        steps_of(read_study(path))
    assert "study.yaml" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "benchmarks: [everyday,",
            "benchmark: [everyday,",
            "scoring.identify.benchmarks: Field required",
        ),
        (
            "per_culture: 2",
            "per_cultur: 2",
            "line 9: scoring.identify.per_cultur: unknown key; did you",
        ),
        ("top_mlp: 0.1", "top_mpl: 0.1", "selections.general.top_mpl: unknown key; did you mean 'top_mlp'"),
        (
            "per_culture: 2",
            "per_culture: yes",
            "line 9: scoring.identify.per_culture: Input should be",
        ),
        ("method: random", "method: chance", "line 13: selections.random: Input tag 'chance'"),
        ("like: general", "like: generl", "no selection of 'one' named 'generl'; did you mean 'general'?"),
        ("models: [one]", "models: [onee]", "no model 'onee'; did you mean 'one'?; there are: one, two"),
        ("  general: {method: general,", "  General: {method: general,", "String should match pattern"),
        ("method: random", "method: specific", "unknown key"),
        ("  random: {method", "  general: {method", "line 13: 'general' appears twice"),
        ("neurons: specific/Iran", "neurons: specific", "but one set is needed; write specific/CULTURE"),
        ("neurons: specific/Iran", "neurons: general/Iran", "'general' is one set for all cultures"),
        ("arms: [top]", "seeds: 2", "seeds needs arms, such as [top, bottom]"),
        ("one/general, two/general]", "one/general]", "line 50: comparisons.models.of"),
        ("  two: {model: two}\n", "", "no model 'two'"),
        ("models:\n  one", "modelle:\n  one", "line 2: modelle: unknown key; did you mean 'models'?"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_near_names(tmp_path, old, new, said):
    assert said in problem(tmp_path, old, new)


def test_selections_that_need_each_other_are_refused(tmp_path):
    circle = "random: {method: union, of: [general, other]}\n  other: {method: minus, of: [random, general]}"
    said = problem(tmp_path, "random: {method: random, like: general}", circle)
    assert "neurons/one/random needs neurons/one/other needs neurons/one/random" in said


def test_two_steps_that_would_write_one_file_are_refused(tmp_path):
    twin = "general.neurons.json: {method: lape}"
    said = problem(tmp_path, "random: {method: random, like: general}", twin)
    assert "two steps would write neurons/one/general.neurons.json" in said
    assert "line 13" in said


def test_the_run_must_be_named_where_there_are_several(tmp_path):
    second = "  second: {benchmarks: everyday}\nselections:"
    assert "name the run of 'one' to use (`run`)" in problem(tmp_path, "selections:", second)


def test_steps_come_after_those_that_they_need(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY, encoding="utf-8")
    steps = steps_of(read_study(path))
    for number, step in enumerate(steps):
        assert set(step.needs) <= {earlier.name for earlier in steps[:number]}
    assert steps[-1].name == "report"
    assert len({step.name for step in steps}) == len(steps) == 18


def test_the_schema_names_every_section_and_method():
    schema = study_schema()
    assert set(schema["properties"]) == set(sections.Study.model_fields)
    methods = next(iter(schema["properties"]["selections"]["patternProperties"].values()))
    methods = methods["discriminator"]["mapping"]
    assert set(methods) == {
        *("general", "specific", "random", "lape", "cape", "crispr", "ig", "knowledge-neurons"),
        *("union", "intersect", "minus"),
    }
    assert schema["$defs"]["Scoring"]["properties"]["split"]["default"] == "identify"


@pytest.mark.parametrize("example", ["small", "paper"])
def test_the_examples_are_studies(tmp_path, example):
    text = culnig.study_example(example)
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    functions = {step.function for step in steps_of(read_study(path))}
    assert {"score", "select_general", "select_specific_sets", "evaluate", "instances", "audit"} <= functions
    assert {"compare_arms", "neurons_compare", "report"} <= functions
    assert set(yaml.safe_load(text)) <= set(sections.Study.model_fields)


def test_the_study_of_the_documentation_is_one(tmp_path):
    page = (Path(culnig.__file__).parents[1] / "docs" / "studies.md").read_text(encoding="utf-8")
    path = tmp_path / "study.yaml"
    path.write_text(page.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    assert [step.name for step in steps_of(read_study(path))][-2:] == ["evaluations/small/masks", "report"]
