"""Everything that culnig writes, in the smallest form: a call for every command and option with an output.

The calls share one folder of inputs, made by `make_inputs`. They change settings of culnig to be quick, so
they run in forked processes only.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import torch
from matplotlib.figure import Figure

import culnig
from culnig import api, registry
from culnig.benchmarks.base import ChosenItems
from culnig.core.neurons import MLP_GATE
from culnig.reporting.make import figures, report
from culnig.scoring import keepers
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.selection.neuron_set import NeuronSet
from culnig.store import writer
from culnig.studies import outlook, snakemake
from culnig.studies.outlook import Need
from culnig.validation import training
from culnig.validation import validate as validation
from culnig.validation.methods import CONTRIBUTION, JUDGED, Method
from culnig.validation.planted import planted_model
from culnig.validation.settings import PlantedSettings
from tests.exchange.logs import choice_line, probabilities, write_log
from tests.forked import import_what
from tests.reanalysis.released import document, written
from tests.tiny_models import tiny_items, tiny_model
from tests.training.chosen import neuron_set, random_set
from tests.training.runs import plan_of
from tests.training.tasks import glue_folder

SET, OTHER, GATES = "general.neurons.json", "other.neurons.json", "gates.neurons.json"
SCORERS = ("crispr", "integrated-gradients", "mean-activation", "positive-tokens")
PLANTED = {"cultures": 3, "questions": 2, "neurons_per_culture": 2, "layers": 2, "mlp_width": 16}
ROLES = {"everyday": "target", "everyday-control": "control", "country-rc": "exclusion"}
FEW = {"top": 0.3, "percentile": 50.0}


class Writer(NamedTuple):
    """A call that writes."""

    run: Callable[..., Any]
    """Called with the folder of inputs, the output, and options."""
    options: tuple[str, ...]
    """The options of the command line whose output it is."""
    reads: tuple[str, ...] = ()
    """What it reads in the folder of inputs."""
    out: str = "out"
    """Where the output is: a folder, or a file in one."""
    resumes: bool = False
    beside_others: bool = False
    """Whether the output is files in a folder that may hold others."""
    locked: str = ""
    """What is locked, if it is not the output itself."""
    refuses_others: bool = False
    """Whether it refuses a folder that holds files of others, whatever its options."""


def _items(first: int, last: int) -> dict[str, ChosenItems]:
    return {"toy": ChosenItems("target", "identify", tiny_items(last)[first:], {})}


def _score(out: Path, first: int = 0, last: int = 4, scorers: tuple[str, ...] = (), **options: Any) -> None:
    keepers.PART_BYTES, writer.CHECKPOINT_SECONDS, writer._WRITING_SHARE = 1, 0.0, 1e9
    own = tuple(registry.scorer(name) for name in scorers)
    settings = RunSettings(level="item", halves=True, scorers=own)
    items = _items(first, last)
    score_run(tiny_model(), items, ScoreSettings(token_budget=200), out, run_settings=settings, **options)


def score(inputs: Path, out: Path, **options: Any) -> None:
    _score(out, **options)


def evaluate(inputs: Path, out: Path, **options: Any) -> None:
    culnig.evaluate(tiny_model(), _items(0, 4), inputs / SET, out, random_baseline=1, **options)


def train(inputs: Path, out: Path, **options: Any) -> None:
    culnig.train(
        *(tiny_model(), inputs / "plan.yaml", "qnli", out),
        **{"data_dir": inputs / "data", "max_steps": 2, "save_every": 1, **options},
    )


def train_arms(inputs: Path, out: Path, **options: Any) -> None:
    culnig.compare_arms(
        *(tiny_model(), inputs / "plan.yaml", "qnli", ("top", "bottom"), out),
        **{"data_dir": inputs / "data", "max_steps": 1, "limit": 2, **options},
    )


def select_general(inputs: Path, out: Path, **options: Any) -> None:
    roles = {"exclusion": False, "control": False}
    culnig.select_general(inputs / "run", top_mlp=0.1, out=out, **roles, **options)


def select_specific(inputs: Path, out: Path, **options: Any) -> None:
    chosen = {"top": 0.5, "z": 0.0, "exclusion": False, "control": False}
    culnig.select_specific(inputs / "run", "Iran", out=out, **chosen, **options)


def select_specific_sets(inputs: Path, out: Path, **options: Any) -> None:
    chosen = {"top": 0.5, "z": 0.0, "exclusion": False, "control": False}
    culnig.select_specific_sets(inputs / "run", ("Iran", "Spain"), out=out, **chosen, **options)


def instances(inputs: Path, out: Path, **options: Any) -> None:
    few = {"cultures": ("Iran",), "per_culture": 1}
    culnig.instances(tiny_model(), "everyday", inputs / SET, out, **few, **options)


def validate(inputs: Path, out: Path, **options: Any) -> None:
    training.BASE_STEPS, training.planting_steps = 1, lambda settings: 1
    validation.METHODS = (Method(CONTRIBUTION), JUDGED, Method("mean-activation"))
    culnig.validate(out=out, **PLANTED, **options)


def demo(inputs: Path, out: Path, **options: Any) -> None:
    def read(benchmarks: Any, *arguments: Any, **named: Any) -> dict[str, ChosenItems]:
        if isinstance(benchmarks, dict):
            return benchmarks
        names = (benchmarks,) if isinstance(benchmarks, str) else benchmarks
        return {name: ChosenItems(ROLES[name], "identify", tiny_items(2), {}) for name in names}

    api.load_model = lambda *source, **loading: tiny_model()
    api.read_benchmarks = sys.modules["culnig.evaluation.evaluate"].read_benchmarks = read
    api._QUICK = api._DemoSize(identify=1, test=1, country_items=1, n_random=1)
    draw_nothing()
    culnig.demo(out, quick=True, **options)


def draw_nothing() -> None:
    """Leave out the drawing of figures, which takes longer than all the rest."""
    Figure.savefig = lambda figure, path, **options: Path(path).write_bytes(b"a picture" * 1000)


def overlap(inputs: Path, out: Path, **options: Any) -> None:
    draw_nothing()
    culnig.neurons_overlap([inputs / SET, inputs / OTHER], run=inputs / "run", figure=out, **options)


def plan_nothing() -> None:
    """Leave out what a plan traces, which takes longer than all the rest of a study."""
    outlook.need_of = snakemake.need_of = lambda *arguments: Need()


def export(inputs: Path, out: Path, **options: Any) -> None:
    plan_nothing()
    culnig.export_study(inputs / "study.yaml", out, **options)


def study(inputs: Path, out: Path, **options: Any) -> None:
    """Continues by itself, whatever `options` say; a step that fails raises its error."""
    plan_nothing()
    result = culnig.study(inputs / "study.yaml", out)
    for step in result.failed:
        raise step.error or AssertionError(step.reason)


def unpack(inputs: Path, out: Path, **options: Any) -> None:
    """Never replaces other files, and writes its own again, whatever `options` say."""
    culnig.unpack_study(inputs / "study.culnig.zip", out)


def pull(inputs: Path, out: Path, **options: Any) -> None:
    class Hub:
        def list_repo_files(self, *arguments: Any, **named: Any) -> list[str]:
            return [SET]

        def hf_hub_download(self, *arguments: Any, local_dir: str, **named: Any) -> str:
            return str(shutil.copy(inputs / SET, local_dir))

    huggingface_hub.HfApi = Hub
    culnig.hub_pull("owner/name", out, **options)


def draw(inputs: Path, out: Path, **options: Any) -> None:
    draw_nothing()
    figures(inputs / SET, out, figures=("layers",), format="svg", **options)


WRITERS: dict[str, Writer] = {
    "score": Writer(score, ("score --output",), resumes=True),
    "reduce": Writer(
        lambda i, out, **o: culnig.reduce(i / "run", out, level="item", **o), ("reduce --output",), ("run",)
    ),
    "merge": Writer(
        lambda i, out, **o: culnig.merge([i / "run", i / "run2"], out, **o),
        ("merge --output",),
        ("run", "run2"),
    ),
    "import": Writer(
        lambda i, out, **o: culnig.import_scores([i / "max.json"], out, model_name="m", **o),
        ("import --output",),
        ("max.json",),
    ),
    "import logs": Writer(
        lambda i, out, **o: culnig.import_evaluation([i / "log"], out, **o), ("import --output",), ("log",)
    ),
    "evaluate": Writer(evaluate, ("evaluate --output",), (SET,), resumes=True),
    "train": Writer(train, ("train --output",), ("plan.yaml", "data"), resumes=True),
    "train arms": Writer(train_arms, ("train --output",), ("plan.yaml", "data"), resumes=True),
    "validate": Writer(validate, ("validate --output",)),
    "demo": Writer(demo, ("demo --output",), beside_others=True, locked="out/run"),
    "select": Writer(select_general, ("select general --output",), ("run",), "out/a.neurons.json"),
    "select specific": Writer(select_specific, ("select specific --output",), ("run",), "out/a.neurons.json"),
    "select several": Writer(
        select_specific_sets, ("select specific --output",), ("run",), beside_others=True
    ),
    "select random": Writer(
        lambda i, out, **o: culnig.select_random(i / "run", i / SET, out=out, **o),
        ("select random --output",),
        ("run", SET),
        "out/a.neurons.json",
    ),
    "select lape": Writer(
        lambda i, out, **o: culnig.select_lape(i / "scorers", out=out, **FEW, **o),
        ("select lape --output", "select cape --output"),
        ("scorers",),
        beside_others=True,
    ),
    "select crispr": Writer(
        lambda i, out, **o: culnig.select_crispr(i / "scorers", top=0.1, out=out, **o),
        ("select crispr --output",),
        ("scorers",),
        "out/a.neurons.json",
    ),
    "select ig": Writer(
        lambda i, out, **o: culnig.select_ig(i / "scorers", top=0.1, out=out, **o),
        ("select ig --output",),
        ("scorers",),
        "out/a.neurons.json",
    ),
    "select knowledge-neurons": Writer(
        lambda i, out, **o: culnig.select_knowledge_neurons(i / "scorers", threshold=0.1, out=out, **o),
        ("select knowledge-neurons --output",),
        ("scorers",),
        beside_others=True,
    ),
    **{
        f"neurons {name}": Writer(
            lambda i, out, function=function, **o: function([i / SET, i / OTHER], out, **o),
            (f"neurons {name} --output",),
            (SET, OTHER),
            "out/a.neurons.json",
        )
        for name, function in (
            ("union", culnig.neurons_union),
            ("intersect", culnig.neurons_intersect),
            ("minus", culnig.neurons_minus),
        )
    },
    "convert": Writer(
        lambda i, out, **o: culnig.neurons_convert(i / SET, "csv", out, **o),
        ("neurons convert --output",),
        (SET,),
        "out/x.csv",
    ),
    "convert to lape": Writer(
        lambda i, out, **o: culnig.neurons_convert(i / GATES, "lape", out, run=i / "run", **o),
        ("neurons convert --output",),
        (GATES, "run"),
        "out/x.pth",
    ),
    "overlap": Writer(
        overlap,
        ("neurons overlap --figure",),
        (SET, OTHER, "run"),
        "out/overlap.png",
    ),
    "export": Writer(
        lambda i, out, **o: culnig.export_model(tiny_model(), i / SET, out, **o),
        ("export --output",),
        (SET,),
    ),
    "modules": Writer(
        lambda i, out, **o: culnig.plan_training(i / SET, tiny_model(), out, budget=0.3, **o),
        ("modules --output",),
        (SET,),
        "out/plan.yaml",
    ),
    "benchmarks new": Writer(
        lambda i, out, **o: culnig.benchmarks_new(i / "tea.csv", out, culture="Spain", **o),
        ("benchmarks new --output",),
        ("tea.csv",),
        "out/tea.yaml",
    ),
    "instances": Writer(instances, ("instances --output",), (SET,), "out/instances.h5"),
    "study": Writer(study, ("study run --output",), resumes=True),
    "study export": Writer(export, ("study run --output",), ("study.yaml",), "out/study.smk"),
    "study pack": Writer(
        lambda i, out, **o: culnig.pack_study(i / "studied", out, **o),
        ("study pack --output",),
        out="out/study.culnig.zip",
    ),
    "study unpack": Writer(unpack, ("study unpack --output",), ("study.culnig.zip",), refuses_others=True),
    "hub pull": Writer(pull, ("hub pull --output",), out="out/a.neurons.json"),
    "report": Writer(
        lambda i, out, **o: report([i / "run", i / SET], out, **o),
        ("report --output",),
        ("run", SET),
        "out/report.html",
    ),
    "tables": Writer(
        lambda i, out, **o: report([i / SET], out.parent / "report.html", tables=out, **o),
        ("report --tables",),
        (SET,),
        "out/tables",
        beside_others=True,
    ),
    "cite": Writer(
        lambda i, out, **o: culnig.cite([i / "run", i / SET], out, **o),
        ("cite --output",),
        ("run", SET),
        beside_others=True,
    ),
    "figures": Writer(
        draw,
        ("figures --output",),
        (SET,),
        beside_others=True,
    ),
}


STUDY = """\
prompt_date: 2026-01-02
models:
  tiny: {model: model}
scoring:
  identify: {benchmarks: everyday, cultures: [Iran], per_culture: 1}
selections:
  general: {method: general, control: false, exclusion: false, top_mlp: 0.2}
"""


def _make_study(folder: Path) -> None:
    bound = tiny_model()
    bound.model.save_pretrained(folder / "model")
    bound.tokenizer.save_pretrained(folder / "model")
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    study(folder, folder / "studied")
    culnig.pack_study(folder / "studied", folder / "study.culnig.zip")


def _gates() -> NeuronSet:
    bound = tiny_model()
    return neuron_set(bound, [neuron for neuron in random_set(bound).neurons if neuron.module == MLP_GATE])


def make_inputs(folder: Path) -> None:
    """Make what the calls read, and import and train here what each of them would again."""
    import_what(lambda: _make(folder))
    registry.cultures()
    registry.entries()
    threads, steps = torch.get_num_threads(), (training.BASE_STEPS, training.planting_steps)
    torch.set_num_threads(1)  # children of a process with threads of OpenMP would wait for them
    training.BASE_STEPS, training.planting_steps = 1, lambda settings: 1
    try:
        planted_model(PlantedSettings(**PLANTED))
        with tempfile.TemporaryDirectory() as temporary:
            tiny_model().model.save_pretrained(temporary)
    finally:
        training.BASE_STEPS, training.planting_steps = steps
        torch.set_num_threads(threads)


def _make(folder: Path) -> None:
    (folder / "tea.csv").write_text("question,a,b,answer\nTea?,yes,no,B\n", encoding="utf-8")
    random_set(tiny_model()).write(folder / SET)
    random_set(tiny_model(), seed=1).write(folder / OTHER)
    plan_of(tiny_model()).write(folder / "plan.yaml")
    glue_folder(folder / "data", n_train=8)
    written(folder / "max.json", document("blend", 0, 10))
    write_log(folder / "log", {"drinks": [choice_line(0, probabilities(0.5, 0.2, 0.1), 0)]})
    _gates().write(folder / GATES)
    _score(folder / "run")
    _score(folder / "run2", 4, 7)
    _score(folder / "scorers", scorers=SCORERS)
    _make_study(folder)
