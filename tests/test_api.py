"""The public Python surface: names, options of commands as keywords, and a study without the command line."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest

import culnig
from culnig.cli.main import cli
from culnig.errors import InputError, OutputExistsError
from culnig.models.settings import LoadOptions, LoadSettings
from culnig.selection.evidence import Evidence, EvidenceOptions
from tests.tiny_models import tiny_model
from tests.toy import CULTURES, toy_layout, write_toy_run

BENCHMARKS = ["everyday", "everyday-control", "country-rc"]


def test_every_public_name_is_there():
    for name in culnig.__all__:
        assert getattr(culnig, name) is not None
        assert name in dir(culnig)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'culnig' has no attribute 'scroe'"):
        culnig.scroe  # noqa: B018


def test_every_path_may_be_text():
    """But those of a plugin's own `read`, which users do not call."""
    functions = {name: own for name in culnig.__all__ if inspect.isfunction(own := getattr(culnig, name))}
    for name in set(culnig.__all__) - {"Benchmark"}:
        if inspect.isclass(kind := getattr(culnig, name)):
            public = {f"{name}.{key}": own for key, own in vars(kind).items() if not key.startswith("_")}
            functions |= {key: own for key, own in public.items() if inspect.isfunction(own)}
    only_paths = [
        (name, parameter.name)
        for name, function in functions.items()
        for parameter in inspect.signature(function).parameters.values()
        if re.search(r"\bPath\b", str(parameter.annotation)) and "str" not in str(parameter.annotation)
    ]
    assert len(functions) > 60
    assert only_paths == []


def test_importing_culnig_imports_nothing_heavy():
    code = "import sys, culnig; print(sorted({'torch', 'numpy', 'h5py'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_functions_stay_functions_when_rooms_of_like_names_are_imported():
    from culnig.evaluation import evaluate  # noqa: F401
    from culnig.reporting import page  # noqa: F401

    for name in ("compare", "demo", "evaluate", "figures", "report", "score"):
        assert inspect.isfunction(getattr(culnig, name)), name


# Options of commands are keyword arguments

COMMANDS = {
    ("score",): culnig.score,
    ("select", "general"): culnig.select_general,
    ("select", "specific"): culnig.select_specific_sets,
    ("select", "random"): culnig.select_random,
    ("select", "lape"): culnig.select_lape,
    ("select", "cape"): culnig.select_cape,
    ("select", "crispr"): culnig.select_crispr,
    ("select", "ig"): culnig.select_ig,
    ("select", "knowledge-neurons"): culnig.select_knowledge_neurons,
    ("evaluate",): culnig.evaluate,
    ("compare",): culnig.compare,
    ("report",): culnig.report,
    ("figures",): culnig.figures,
    ("cite",): culnig.cite,
    ("demo",): culnig.demo,
}
SWITCHED_OFF = {"no_control": "control", "no_exclusion": "exclusion"}
"""Flags that are the value False of another keyword argument."""
POSITIONAL = {"paths": "sources", "run": "run", "evaluations": "evaluations"}


def keywords(function):
    """Names of a function's arguments, those of its `**loading` and `**evidence` included."""
    names = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            options, defaults = {
                "loading": (LoadOptions, LoadSettings),
                "evidence": (EvidenceOptions, Evidence),
            }[name]
            names |= {option: getattr(defaults, option) for option in options.__annotations__}
        else:
            names[name] = parameter.default
    return names


def command_at(path):
    command = cli
    for name in path:
        command = command.get_command(None, name)
    return command


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_of_a_command_is_a_keyword_argument_with_the_same_default(path):
    known = keywords(COMMANDS[path])
    for option in command_at(path).params:
        if option.name in ("as_json", "help", "plain") or getattr(option, "hidden", False):
            continue
        if option.name == "culture_records":  # for all of a process: culnig.use_cultures
            assert not option.expose_value
            continue
        name = SWITCHED_OFF.get(option.name) or POSITIONAL.get(option.name, option.name)
        if name == "cultures" and name not in known:
            name = "culture"  # one set is returned where the command writes several
        assert name in known, option.name
        shown = option.to_info_dict()["default"]
        if option.required or option.name in SWITCHED_OFF or known[name] is inspect.Parameter.empty:
            continue
        expected = known[name]
        assert shown in (expected, None) or tuple(shown) == tuple(expected or ()), (
            option.name,
            shown,
            expected,
        )


# Work without the command line


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    return culnig.score(model, BENCHMARKS, tmp_path_factory.mktemp("api") / "run", per_culture=1)


def test_a_study_needs_no_command_line(model, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("culnig.cli")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "culnig.cli", None)
    tasks, lines = {}, []

    def progress(task, done, total):
        assert tasks.get(task, 0) <= done <= total
        tasks[task] = done

    run = culnig.score(
        *(model, BENCHMARKS, tmp_path / "run"),
        per_culture=2,
        level="item",
        scorers=["positive-tokens", "crispr"],
        progress=progress,
        say=lines.append,
    )
    assert tasks == {"score everyday": 32, "score everyday-control": 32, "score country-rc": 16}
    assert any(line.startswith("disk: up to") for line in lines)
    general = culnig.select_general(run, top_mlp=0.1, significance=True, out=tmp_path / "general.json")
    sets = culnig.select_specific_sets(run, ["China", "Mexico"], top=0.3, z=1, exclusion=False)
    assert list(sets) == ["China", "Mexico"]
    assert (
        culnig.select_specific(run, "China", top=0.3, z=1, exclusion=False).neurons == sets["China"].neurons
    )
    drawn = culnig.select_random(run, general, seed=3)
    assert len(drawn.neurons) == len(general.neurons)
    assert set(culnig.select_lape(run, ["China"], top=0.5)) == set(
        culnig.select_cape(run, ["China"], top=0.5)
    )
    assert culnig.select_crispr(run, "China", top=0.1).method["culture"] == "China"
    assert set(culnig.select_knowledge_neurons(run)) == set(run.benchmarks["everyday"].cultures)
    evaluation = culnig.evaluate(
        *(model, "everyday", [general, *sets.values()], tmp_path / "evaluation"),
        cultures=["China", "Mexico"],
        per_culture=1,
        random_baseline=2,
        matrix=True,
        progress=progress,
    )
    assert tasks["evaluate everyday, 10 conditions"] == 20
    rows = culnig.compare(evaluation)
    assert {row["condition"] for row in rows} == {"general", *(f"specific {name}" for name in sets)}
    page = culnig.report([run, evaluation, general], tmp_path / "report.html", tables=tmp_path / "tables")
    assert (tmp_path / "report.html").stat().st_size > 0
    assert page.tables
    files = culnig.figures([general], tmp_path / "figures", format="svg")
    assert files["layers"].is_file()


def test_a_model_by_name_is_loaded_with_its_options(model, tmp_path):
    model.model.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    bound = culnig.load_model(tmp_path / "model", dtype="bfloat16")
    assert str(bound.model.dtype) == "torch.bfloat16"
    run = culnig.score(str(tmp_path / "model"), "everyday", tmp_path / "run", limit=1, dtype="bfloat16")
    assert run.record["model"]["dtype"] == "bfloat16"
    assert run.record["memory"]["planned"]["weights"] > 0
    with pytest.raises(InputError, match="is loaded already, so dtype would have no effect; leave it out"):
        culnig.score(bound, "everyday", tmp_path / "again", dtype="float32")


def test_a_set_masks_a_model(run, model):
    import torch

    scores = run.moments("everyday").culture_scores
    assert scores.shape == (16, run.layout.n_neurons)
    neurons = culnig.select_general(run, top_mlp=0.1)
    tokens = torch.tensor([[7, 8, 9]])
    bare = model.model(input_ids=tokens).logits
    with culnig.intervene(model, neurons, factor=0):
        assert not torch.equal(model.model(input_ids=tokens).logits, bare)
    assert torch.equal(model.model(input_ids=tokens).logits, bare)


def test_a_benchmark_of_ones_own_needs_no_plugin(model, tmp_path):
    class Own(culnig.Benchmark):
        name, role, summary = "own", "target", "two questions"

        def read(self, data_dir):
            for number, answer in enumerate("AB"):
                yield culnig.Item(
                    f"q{number}", f"q{number}", "China", "identify", "Which?", ("A", "B"), answer
                )

    run = culnig.score(model, Own(), tmp_path / "run")
    assert run.benchmarks["own"].n_items == 2
    items = {"chosen": culnig.ChosenItems("target", "identify", list(Own().read(None))[:1])}
    assert culnig.score(model, items, tmp_path / "one").benchmarks["chosen"].n_items == 1


# What a Python user can do wrong


@pytest.mark.parametrize("name", ["a/b", "", ".", "..", "tea\0", "\ud800"])
def test_a_name_that_would_be_several_groups_of_a_file_is_refused(model, tmp_path, name):
    item = culnig.Item("q", "q", "China", "identify", "Which?", ("A", "B"), "A")
    with pytest.raises(InputError, match="cannot be stored under its name; give it one without /"):
        culnig.score(model, {name: culnig.ChosenItems("target", "identify", [item])}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_benchmark_is_refused(model, tmp_path):
    with pytest.raises(InputError, match="no benchmark is given; give benchmarks"):
        culnig.score(model, (), tmp_path / "run")
    with pytest.raises(InputError, match="no benchmark is given"):
        culnig.evaluate(model, (), (), tmp_path / "evaluation")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "train"}, "unknown split 'train'; choose from identify, test, all"),
        ({"per_culture": 0}, "per_culture is 0; at least 1 is allowed"),
        ({"token_budget": 0}, "token_budget is 0; at least 1"),
        ({"aggregator": "median"}, "unknown aggregator 'median'; choose from max"),
        ({"level": "neuron"}, "unknown level 'neuron'; choose from culture, item, token"),
        ({"score_type": "float16"}, "score_type needs level='item'"),
        ({"modules": ["gate_proj"]}, "modules, layers and items choose what level='token' stores"),
        ({"compression": "zip"}, "unknown compression 'zip'"),
        ({"compat": "author"}, "unknown compat 'author'; choose from paper"),
        ({"resume": True, "overwrite": True}, "resume=True continues a run, overwrite=True replaces it"),
        ({"shard": "3/2"}, "I/N with I from 1 to N"),
    ],
)
def test_score_refuses_impossible_options(model, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        culnig.score(model, "everyday", tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("sets", "options", "message"),
    [
        ([], {"random_baseline": 2}, "random_baseline needs sets to mask: give neuron_sets"),
        ([], {"matrix": True}, "matrix needs sets to mask"),
        ([], {"mask": "zero"}, "unknown mask 'zero'; choose from scale, mean, resample"),
        (
            [],
            {"mask": "mean", "factors": 0},
            "mask='mean' replaces activations; it cannot be combined with factors or dose",
        ),
        (["x.json"], {"mask": "mean"}, "need means='RUN'"),
        (["x.json"], {"matrix": True, "factors": (0, 2)}, "give one factors and one shares"),
        (["x.json"], {"baseline_match": "layer"}, "unknown baseline_match 'layer'"),
        ({"Atlantis": "x.json"}, {}, "unknown culture 'Atlantis'"),
    ],
)
def test_evaluate_refuses_impossible_options(model, tmp_path, sets, options, message):
    with pytest.raises(InputError, match=message):
        culnig.evaluate(model, "everyday", sets, tmp_path / "evaluation", **options)
    assert not (tmp_path / "evaluation").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "author"}, "unknown preset 'author'"),
        ({"preset": "paper", "top_mlp": 0.01}, "preset already sets top_mlp"),
        ({"pools": {"mlp": 0.1}, "top_attention": 0.1}, "pools already sets top_attention"),
        ({"compat": "paper", "scorer": "crispr"}, "compat='paper' names a scorer; leave out scorer"),
        ({"leave_out": "culture"}, "unknown leave_out 'culture'; choose from wording, topic, question"),
        ({"resamples": 0}, "resamples is 0; at least 1"),
    ],
)
def test_select_refuses_impossible_options(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        culnig.select_general(write_toy_run(tmp_path / "run"), **options)


def test_outputs_are_kept_and_the_advice_is_pythons(tmp_path):
    run = write_toy_run(tmp_path / "run")
    culnig.select_general(run, out=tmp_path / "x.json")
    with pytest.raises(OutputExistsError, match=r"x\.json exists; add "):
        culnig.select_general(run, out=tmp_path / "x.json")
    culnig.select_general(run, out=tmp_path / "x.json", overwrite=True)
    sets = culnig.select_specific_sets(run, ["China", "Iran"], top=0.5, out=tmp_path / "sets")
    assert {path.name for path in (tmp_path / "sets").iterdir()} == {
        "China.neurons.json",
        "Iran.neurons.json",
    }
    assert culnig.read_neuron_set(tmp_path / "sets" / "Iran.neurons.json").neurons == sets["Iran"].neurons
    with pytest.raises(InputError, match="select_specific_sets"):
        culnig.select_specific(run, "all")


def test_objects_print_as_one_line(tmp_path, model):
    run = write_toy_run(tmp_path / "run", CULTURES)
    chosen = culnig.select_general(run, top_mlp=0.1)
    assert repr(chosen) == f"<NeuronSet general: {len(chosen.neurons)} neurons of toy>"
    assert toy_layout().hash == chosen.layout_hash
    evaluation = culnig.evaluate(model, "everyday", (), tmp_path / "evaluation", limit=3)
    assert repr(evaluation) == (
        f"<Evaluation {tmp_path / 'evaluation'}: {model.source}, everyday, 3 items, 1 conditions>"
    )


def test_the_unmasked_condition_is_found_by_its_former_name(model, tmp_path, run):
    neurons = culnig.select_general(run, top_mlp=0.1)
    evaluation = culnig.evaluate(model, "everyday", neurons, tmp_path / "evaluation", limit=3)
    assert culnig.compare(evaluation, against="none") == culnig.compare(evaluation, against="unmasked")
    assert len(evaluation.to_pandas("everyday", "none")) == 3
