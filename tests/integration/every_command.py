"""The work of every command by `import culnig` alone, in a process where `culnig.cli` cannot be imported.

Run with an empty folder. Prints one JSON document: for each command "ok", or how it failed.
"""

from __future__ import annotations

import importlib.abc
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

NO_COMMAND_LINE = "the command line is not for the library"


class _NoCommandLine(importlib.abc.MetaPathFinder):
    """Refuses `culnig.cli` and everything in it, and click, which only the command line needs."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.split(".")[:2] == ["culnig", "cli"] or name == "click":
            raise ImportError(NO_COMMAND_LINE)


sys.meta_path.insert(0, _NoCommandLine())

import culnig  # noqa: E402 - the hook comes first
from culnig import api  # noqa: E402
from culnig.validation import training  # noqa: E402
from tests.exchange.logs import choice_line, probabilities, write_log  # noqa: E402
from tests.reanalysis.released import document, written  # noqa: E402
from tests.tiny_gguf import write_gguf  # noqa: E402
from tests.tiny_models import tiny_model  # noqa: E402
from tests.training.tasks import glue_folder  # noqa: E402

FOLDER = Path(sys.argv[1])
MODEL = str(FOLDER / "model")
os.environ["CULNIG_CACHE"] = str(FOLDER / "cache")
FEW: dict[str, Any] = {"cultures": ("Spain", "China", "Iran"), "per_culture": 2}
ROLES = ("everyday", "everyday-control", "country-rc")

WORK: dict[str, Callable[[], None]] = {}


def command(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(work: Callable[[], None]) -> Callable[[], None]:
        WORK[name] = work
        return work

    return register


@command("list models")
def list_models() -> None:
    assert culnig.list_models()["adapters"]


@command("list benchmarks")
def list_benchmarks() -> None:
    assert {"everyday", "blend"} <= {row["benchmark"] for row in culnig.list_benchmarks()}
    assert culnig.check_benchmark("everyday")["cultures"]


@command("list cultures")
def list_cultures() -> None:
    assert "Mexico" in {row["culture"] for row in culnig.list_cultures(language="es")}


@command("list scorers")
def list_scorers() -> None:
    assert "crispr" in {row["scorer"] for row in culnig.list_scorers()}


@command("list plugins")
def list_plugins() -> None:
    assert {row["state"] for row in culnig.list_plugins()} == {"ok"}


@command("cache list")
def list_cache() -> None:
    culnig.load_model(write_gguf(FOLDER / "tiny.gguf"))
    assert [entry["source"] for entry in culnig.list_cache()["entries"]] == [str(FOLDER / "tiny.gguf")]


@command("cache clear")
def clear_cache() -> None:
    culnig.load_model(write_gguf(FOLDER / "tiny.gguf"))
    assert culnig.clear_cache()["entries"] == 1
    assert culnig.list_cache()["entries"] == []


@command("plan")
def plan() -> None:
    assert culnig.plan(MODEL, "everyday", device_memory="24G", **FEW)["fits"]


@command("verify")
def verify() -> None:
    assert culnig.verify(culnig.load_model(MODEL, dtype="float32"))["passed"]


@command("score")
def score() -> None:
    calls: list[tuple[str, int, int]] = []
    run = culnig.score(
        *(MODEL, ROLES, FOLDER / "run"),
        level="item",
        scorers=("crispr", "integrated-gradients", "mean-activation", "positive-tokens"),
        progress=lambda *step: calls.append(step),
        **FEW,
    )
    assert run.folder == FOLDER / "run"
    assert calls[-1][1] == calls[-1][2]
    for shard in ("1/2", "2/2"):
        culnig.score(MODEL, "everyday", FOLDER / f"shard-{shard[0]}", shard=shard, **FEW)


@command("reduce")
def reduce() -> None:
    assert culnig.reduce(FOLDER / "run", FOLDER / "half", half=1).benchmarks["everyday"].n_items == 3


@command("merge")
def merge() -> None:
    merged = culnig.merge([FOLDER / "shard-1", FOLDER / "shard-2"], FOLDER / "merged")
    assert merged.benchmarks["everyday"].n_items == 6


@command("import")
def import_scores() -> None:
    file = written(FOLDER / "blend_max_scores.json", document("blend", 0, 10))
    assert culnig.import_scores([file], FOLDER / "imported", model_name="theirs").model == "theirs"
    log = write_log(FOLDER / "log", {"drinks": [choice_line(0, probabilities(0.5, 0.2, 0.1), 0)]})
    assert culnig.import_evaluation(log, FOLDER / "imported-log").benchmarks == ["drinks"]


@command("select general")
def select_general() -> None:
    chosen = culnig.select_general(FOLDER / "run", top_mlp=0.1, out=FOLDER / "general.json")
    chosen.write(FOLDER / "general.neurons.json")
    assert len(chosen.neurons) > 2


@command("select specific")
def select_specific() -> None:
    chosen = culnig.select_specific(FOLDER / "run", "Iran", top=0.5, z=0.0, out=FOLDER / "iran.json")
    assert chosen.method["culture"] == "Iran"


@command("select random")
def select_random() -> None:
    random = culnig.select_random(FOLDER / "run", FOLDER / "general.json", out=FOLDER / "random.json")
    assert len(random.neurons) == len(culnig.read_neuron_set(FOLDER / "general.json").neurons)


@command("select lape")
def select_lape() -> None:
    assert set(culnig.select_lape(FOLDER / "run", top=0.3, percentile=50.0)) == set(FEW["cultures"])


@command("select cape")
def select_cape() -> None:
    assert list(culnig.select_cape(FOLDER / "run", ("Iran",), top=0.3, percentile=50.0)) == ["Iran"]


@command("select crispr")
def select_crispr() -> None:
    assert culnig.select_crispr(FOLDER / "run", top=0.1).neurons


@command("select ig")
def select_ig() -> None:
    assert culnig.select_ig(FOLDER / "run", top=0.1).neurons


@command("select knowledge-neurons")
def select_knowledge_neurons() -> None:
    chosen = culnig.select_knowledge_neurons(FOLDER / "run", threshold=0.1, shared=0.5)
    assert set(chosen) == set(FEW["cultures"])


def _two_sets() -> list[Path]:
    return [FOLDER / "general.json", FOLDER / "random.json"]


@command("neurons union")
def neurons_union() -> None:
    joined = culnig.neurons_union(_two_sets(), FOLDER / "union.json")
    assert len(culnig.read_neuron_set(FOLDER / "union.json").neurons) == len(joined.neurons)


@command("neurons intersect")
def neurons_intersect() -> None:
    assert not culnig.neurons_intersect(_two_sets()).neurons


@command("neurons minus")
def neurons_minus() -> None:
    assert len(culnig.neurons_minus([FOLDER / "union.json", FOLDER / "random.json"]).neurons) > 2


@command("neurons diff")
def neurons_diff() -> None:
    assert not culnig.neurons_diff(_two_sets()).both


@command("neurons overlap")
def neurons_overlap() -> None:
    found = culnig.neurons_overlap(_two_sets(), run=FOLDER / "run", figure=FOLDER / "overlap.png")
    assert found["pairs"][0]["shared"] == 0
    assert (FOLDER / "overlap.png").exists()


@command("neurons compare")
def neurons_compare() -> None:
    runs = (FOLDER / "run", FOLDER / "run")
    compared = culnig.neurons_compare(*_two_sets(), runs=runs)
    assert compared["same_layout"]["shared"] == 0
    assert compared["depth"]["n_layers"] == [3, 3]


@command("neurons convert")
def neurons_convert() -> None:
    culnig.neurons_convert(FOLDER / "general.json", "csv", FOLDER / "general.csv")
    assert (FOLDER / "general.csv").read_text().startswith("module,layer,index,score")


@command("inspect")
def inspect() -> None:
    kinds = {culnig.inspect(path)["kind"] for path in (FOLDER / "run", FOLDER / "general.json")}
    assert kinds == {"run", "neurons"}
    assert culnig.inspect(FOLDER / "run", verify=True)["verified"]
    assert len(culnig.inspect(FOLDER / "run", top=3)["neurons"]) == 3


@command("audit")
def audit() -> None:
    general = culnig.read_neuron_set(FOLDER / "general.json")
    result = culnig.audit(general, MODEL, "everyday", cultures=("Iran",), per_culture=1, top=2)
    assert [row["group"] for row in result["neurons"]] == ["top", "top", "random", "random"]


@command("evaluate")
def evaluate() -> None:
    for name, sets in (("evaluation", FOLDER / "general.json"), ("other", FOLDER / "random.json")):
        result = culnig.evaluate(MODEL, "everyday", sets, FOLDER / name, random_baseline=1, **FEW)
        assert [row["benchmark"] for row in result.rows] == ["everyday"] * 3


@command("compare")
def compare() -> None:
    rows = culnig.compare(FOLDER / "evaluation", FOLDER / "other")
    assert rows[0]["benchmark"] == "everyday"


@command("instances")
def instances() -> None:
    result = culnig.instances(MODEL, "everyday", FOLDER / "general.json", FOLDER / "instances.h5", **FEW)
    assert result["control"] == "everyday-control"


@command("benchmarks new")
def benchmarks_new() -> None:
    (FOLDER / "tea.csv").write_text("question,a,b,answer\nTea?,yes,no,B\n", encoding="utf-8")
    culnig.benchmarks_new(FOLDER / "tea.csv", FOLDER / "tea.yaml", culture="Spain")
    assert culnig.check_benchmark(FOLDER / "tea.yaml")["n"] == 1


@command("ask")
def ask() -> None:
    result = culnig.ask(MODEL, "What is eaten there?", FOLDER / "general.json", max_new_tokens=2)
    assert result.conditions[0] == "unmasked"


@command("export")
def export_model() -> None:
    culnig.export_model(MODEL, FOLDER / "general.json", FOLDER / "exported")
    assert culnig.load_model(FOLDER / "exported").layout.n_layers == 3


@command("modules")
def modules() -> None:
    planned = culnig.plan_training(FOLDER / "general.json", out=FOLDER / "plan.yaml", budget=0.25)
    assert planned.n_trainable > 0


@command("train")
def train() -> None:
    data: dict[str, Any] = {"data_dir": str(glue_folder(FOLDER / "data", n_train=8)), "max_steps": 1}
    trained = culnig.train(MODEL, FOLDER / "plan.yaml", "qnli", FOLDER / "trained", **data)
    assert trained["steps"] == 1
    assert culnig.load_model(FOLDER / "trained").layout.n_layers == 3
    compared = culnig.compare_arms(
        *(MODEL, FOLDER / "plan.yaml", "qnli", ("top", "rows"), FOLDER / "arms"), **data, limit=2
    )
    assert [arm["arm"] for arm in compared["arms"]] == ["top", "rows"]


@command("report")
def report() -> None:
    sources = [FOLDER / name for name in ("run", "evaluation", "general.json", "instances.h5", "arms")]
    culnig.report(sources, FOLDER / "report.html")
    assert "<html" in (FOLDER / "report.html").read_text()[:200]


@command("cite")
def cite() -> None:
    citation = culnig.cite([FOLDER / "run", FOLDER / "general.json"])
    assert "culnig_engine" in citation.bibtex


@command("figures")
def figures() -> None:
    made = culnig.figures([FOLDER / "general.json"], FOLDER / "figures", figures=("layers",), format="png")
    assert all(path.exists() for path in made.values())


@command("validate")
def validate() -> None:
    sizes = {"cultures": 3, "questions": 2, "neurons_per_culture": 2, "layers": 2, "mlp_width": 16}
    with mock.patch.multiple(training, BASE_STEPS=3, PLANTING_STEPS=3):
        assert culnig.validate(out=FOLDER / "validation", **sizes).document()["n_planted"] == 8


@command("leaderboard")
def leaderboard() -> None:
    worlds = {row["world"] for row in culnig.leaderboard(FOLDER / "validation")["rows"]}
    assert worlds == {"invented"}


@command("study run")
def study() -> None:
    text = (
        "models: {tiny: {model: model}}\nscoring: {a: {benchmarks: everyday, cultures: [Iran], limit: 2}}\n"
    )
    (FOLDER / "study.yaml").write_text(text, encoding="utf-8")
    rows = culnig.plan_study(FOLDER / "study.yaml", FOLDER / "study")["steps"]
    assert [row["step"] for row in rows] == ["scores/tiny/a", "report"]
    culnig.export_study(FOLDER / "study.yaml", FOLDER / "Snakefile")
    assert culnig.study(FOLDER / "study.yaml", FOLDER / "study").complete
    assert culnig.study_example("small").startswith("#")
    assert "models" in culnig.study_schema()["properties"]


@command("study pack")
def pack_study() -> None:
    assert "report.html" in culnig.pack_study(FOLDER / "study", FOLDER / "study.culnig.zip")


@command("study unpack")
def unpack_study() -> None:
    culnig.unpack_study(FOLDER / "study.culnig.zip", FOLDER / "unpacked")
    assert (FOLDER / "unpacked" / "report.html").exists()


@command("hub push")
def hub_push() -> None:
    client = mock.Mock()
    with mock.patch("huggingface_hub.HfApi", return_value=client):
        pushed = culnig.hub_push(FOLDER / "general.neurons.json", "owner/name")
    assert "## Limits" in pushed["card"]
    client.create_commit.assert_called_once()


@command("hub pull")
def hub_pull() -> None:
    client = mock.Mock()
    client.list_repo_files.return_value = ["general.neurons.json"]
    client.hf_hub_download.return_value = str(FOLDER / "general.neurons.json")
    with mock.patch("huggingface_hub.HfApi", return_value=client):
        assert culnig.hub_pull("owner/name", FOLDER / "pulled.neurons.json").exists()


@command("demo")
def demo() -> None:
    # of the tiny model: tests/cli/test_embedded.py runs it on the embedded one
    with mock.patch.object(api, "load_model", return_value=tiny_model()):
        culnig.demo(FOLDER / "demo", quick=True)
    assert (FOLDER / "demo" / "report.html").exists()


def main() -> None:
    model = tiny_model()
    model.model.save_pretrained(MODEL)
    model.tokenizer.save_pretrained(MODEL)
    outcomes = {}
    for name, work in WORK.items():
        try:
            work()
        except Exception:
            outcomes[name] = traceback.format_exc()
        else:
            outcomes[name] = "ok"
    assert not {name for name in sys.modules if name.split(".")[:2] == ["culnig", "cli"]}
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
