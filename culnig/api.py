"""The public functions that combine several packages; `culnig` exports them with those of single packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from culnig import registry
from culnig.benchmarks.choosing import BenchmarkChoice, read_benchmarks, without_too_long
from culnig.core.items import SplitChoice
from culnig.core.neurons import parse_layers
from culnig.core.processes import Processes, launched, parse_shard
from culnig.core.progress import Progress, Say, Task, no_progress, say_nothing
from culnig.errors import InputError, argument, check_at_least, check_choice, option
from culnig.evaluation.evaluate import evaluate
from culnig.inference.encoding import Encoder
from culnig.inference.templates import chosen_date
from culnig.kernels import AGGREGATORS
from culnig.models.named import loaded_model
from culnig.scorers.base import GRADIENT_ACTIVATION, RELEASED_CODE
from culnig.scoring.culture_swap import Baseline
from culnig.scoring.levels import LEVELS, Level, StoredTensors
from culnig.selection.select import PAPER, select_general
from culnig.store.compression import COMPRESSIONS, Compression
from culnig.store.item_scores import SCORE_TYPES, ScoreType
from culnig.store.output_folder import check_modes
from culnig.store.record import RUN
from culnig.store.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from culnig.evaluation.stored import Evaluation
    from culnig.models.base import BoundModel
    from culnig.models.settings import LoadOptions
    from culnig.planning.work import BenchmarkSize
    from culnig.scoring.run import RunSettings
    from culnig.selection.neuron_set import NeuronSet


def load_model(source: str | Path, **loading: Unpack[LoadOptions]) -> BoundModel:
    """Load and bind a model: hub name, folder, .gguf file, or `embedded`.

    `dtype` is auto (the checkpoint's own), float32, float16 or bfloat16; `device` auto, cpu, cuda or cuda:N;
    `device_map` spreads the layers over all devices; `attention` names transformers' implementation;
    `quantize` is 4bit or 8bit; `adapter` the folder of a PEFT adapter to merge; `revision` a branch, tag or
    commit on the hub; `trust_remote_code` runs code that ships with the model. With `fsdp` each process of
    torchrun holds a part of the weights, with `fsdp_offload` in memory of the host; all processes then make
    the same calls (docs/models.md).

    InputError, BindingError or ModelLoadError if the model cannot be used, EnvironmentProblem if a
    device or package is missing.
    """
    return loaded_model(source, spreads=True, **loading)


def open_run(folder: Path | str, scorer: str | None = None) -> Run:
    """Open a finished run folder, with the scores of another scorer where `scorer` names one.

    StoreError if the folder holds no finished run or is damaged.
    """
    return Run(folder, scorer)


def score(
    model: str | Path | BoundModel,
    benchmarks: BenchmarkChoice,
    out: Path | str,
    *,
    data_dir: Path | str | None = None,
    split: SplitChoice = "identify",
    cultures: Sequence[str] = (),
    limit: int | None = None,
    per_culture: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    token_budget: int | None = None,
    aggregator: str = "max",
    scorers: Sequence[str] = (),
    compat: Literal["paper"] | None = None,
    level: Level = "culture",
    score_type: ScoreType = "float32",
    halves: bool = False,
    baseline: Baseline | None = None,
    modules: Sequence[str] = (),
    layers: str | Sequence[int] = (),
    items: Sequence[str] = (),
    compression: Compression = "default",
    force: bool = False,
    gradient_checkpointing: bool = False,
    skip_too_long: bool = False,
    prompt_date: date | str | None = None,
    check: bool = True,
    shard: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = no_progress,
    say: Say = say_nothing,
    **loading: Unpack[LoadOptions],
) -> Run:
    """Score every neuron of a model over benchmarks, per culture, into the run folder `out`, and open it.

    Items are chosen as in `read_benchmarks`, a model given by name is loaded as in `load_model`, and
    `RunSettings` lists what is stored. `modules`, `layers` and `items` choose the tensors of level `token`,
    `force` writes even if the disk looks too small. `scorers` names further scorers for the same pass,
    `compat="paper"` adds the one of the paper's released code. `baseline="other-cultures"` counts activations
    from their mean over the other cultures of a question. `skip_too_long` skips items that are longer
    than the model allows; `prompt_date` (YYYY-MM-DD, by default today) is the date in prompts of chat
    templates that write one.

    The quick checks of `culnig.verify` come first, on the ends of two prompts (one second for the embedded
    model); a model that fails one is refused with CheckError. `check=False` leaves them out; `run.json`
    records either.

    `token_budget` limits the tokens of a batch, padding included. Its default is that of a resumed run, else
    what fits into the free memory of a CUDA device, 16,384 at most, and 2,048 on a CPU and for shards.

    `resume` continues an interrupted run. The processes of torchrun share the work; `shard="2/8"` scores the
    second of eight shards, which `culnig.merge` joins, and returns None. OutputExistsError if the folder is
    in use, MismatchError if it holds another run, EnvironmentProblem if memory or disk is too small.
    """
    from culnig.planning.budget import run_budget
    from culnig.planning.disk import announce_disk, disk_need
    from culnig.planning.expectation import announce_time
    from culnig.planning.work import BenchmarkSize
    from culnig.scoring.run import score_portions
    from culnig.scoring.scoring import ScoreSettings
    from culnig.scoring.texts import check_chosen
    from culnig.store.inside import check_inputs
    from culnig.store.warnings import run_warnings
    from culnig.verification.quick import check_model

    check_choice("aggregator", aggregator, AGGREGATORS)
    check_at_least("token_budget", token_budget, 1)
    check_modes("a run", resume=resume, overwrite=overwrite)
    removed = RUN.files(Path(out)) if overwrite else ()
    check_inputs(Path(out), removed, (model, benchmarks, data_dir), overwrite=overwrite)
    settings = _run_settings(
        *(level, score_type, halves, compression, gradient_checkpointing, baseline),
        *(scorers, compat, StoredTensors(tuple(modules), _layers(layers), tuple(items))),
    )
    day, processes = chosen_date(prompt_date), _processes(shard, spreads=loading.get("fsdp", False))
    asked = (benchmarks, data_dir, split, cultures, limit, per_culture)
    chosen = read_benchmarks(*asked, sample=sample, seed=seed, say=say)
    check_chosen(chosen, settings.scorers, settings.baseline, is_spread=loading.get("fsdp", False))
    bound = loaded_model(model, say, spreads=True, **loading)
    encoder, skipped = Encoder(bound, day), dict[str, int]()
    if skip_too_long:
        chosen, skipped = without_too_long(chosen, encoder.fitting, bound.max_tokens, say)
    say(f"{bound.layout.n_neurons:,} neurons in {bound.layout.n_layers} layers ({bound.adapter})")
    encoded = {name: encoder.encode_all(own.items) for name, own in chosen.items()}
    sizes = {name: BenchmarkSize.of(benchmark_items) for name, benchmark_items in encoded.items()}
    token_budget = run_budget(token_budget, bound, sizes, settings, Path(out), processes, say, resume=resume)
    announce_disk(say, Path(out), disk_need(bound, chosen, sizes, settings, token_budget), force=force)
    done = None
    if (processes.is_first or bound.sharding is not None) and not (resume and RUN.is_finished(Path(out))):
        done = check_model(bound, [each for own in encoded.values() for each in own[:2]], say, check=check)
        announce_time(say, bound, list(sizes.values()), token_budget, processes)
    tasks = {name: Task(progress, f"score {name}", len(own.items)) for name, own in chosen.items()}
    score_portions(
        bound,
        chosen,
        ScoreSettings(aggregator, token_budget),
        Path(out),
        processes,
        run_settings=settings,
        encoder=encoder,
        encoded=encoded,
        resume=resume,
        overwrite=overwrite,
        skipped=skipped,
        planned_memory=_planned_memory(model, bound, sizes, settings, token_budget, loading.get("quantize")),
        check=done,
        progress=lambda name, n_items: tasks[name].advance(n_items),
    )
    if processes.is_shard:
        return None  # type: ignore[return-value]  # a share of a run is not a run yet
    run = Run(out)
    for warning in run_warnings(run) if processes.is_first else ():
        say(f"Warning: {warning}")
    return run


def _processes(shard: str | None, *, spreads: bool) -> Processes:
    """The processes that share the run; InputError for a shard of a model that is spread over processes."""
    if shard is not None and spreads:
        raise InputError(
            f"{argument('fsdp')} and {argument('shard')} exclude each other: the processes of torchrun "
            f"share one run; leave out {argument('shard')}"
        )
    return launched() if shard is None else parse_shard(shard)


def _planned_memory(
    model: str | Path | BoundModel,
    bound: BoundModel,
    sizes: Mapping[str, BenchmarkSize],
    settings: RunSettings,
    token_budget: int,
    quantize: str | None,
) -> dict[str, Any] | None:
    """The memory that a plan expects, recorded beside the measured peak of a model that was loaded for it."""
    from culnig.planning.plan import planned_memory

    if bound.skeleton is None or bound.sharding is not None or not isinstance(model, str | Path):
        return None
    return planned_memory(
        bound.skeleton,
        sizes,
        token_budget=token_budget,
        on_device=bound.model.device.type != "cpu",
        quantize=quantize,
        checkpointing=settings.gradient_checkpointing,
        n_scorers=1 + len(settings.scorers),
    ).record()


def _layers(layers: str | Sequence[int]) -> tuple[int, ...]:
    return (parse_layers(layers) if layers else ()) if isinstance(layers, str) else tuple(layers)


def _run_settings(
    level: Level,
    score_type: ScoreType,
    halves: bool,
    compression: Compression,
    gradient_checkpointing: bool,
    baseline: Baseline | None,
    scorers: Sequence[str],
    compat: str | None,
    tensors: StoredTensors,
) -> RunSettings:
    """The settings of the run; InputError for options that cannot be combined."""
    from culnig.scoring.run import RunSettings

    check_choice("compat", compat, (None, PAPER))
    check_choice("level", level, LEVELS)
    check_choice("score_type", score_type, SCORE_TYPES)
    check_choice("compression", compression, COMPRESSIONS)
    if tensors != StoredTensors() and level != "token":
        raise InputError(
            f"{argument('modules')}, {argument('layers')} and {argument('items')} choose what "
            f"{option('level', 'token')} stores; level {level!r} stores all. For fewer items use "
            f"{argument('cultures')}, {argument('limit')}, {argument('per_culture')} or {argument('sample')}"
        )
    if score_type != "float32" and level != "item":
        raise InputError(f"{argument('score_type')} needs {option('level', 'item')}")
    names = dict.fromkeys([*scorers, *([RELEASED_CODE] if compat else [])])
    return RunSettings(
        level=level,
        score_type=score_type,
        tensors=tensors,
        scorers=tuple(registry.scorer(name) for name in names if name != GRADIENT_ACTIVATION),
        halves=halves,
        compression=compression,
        gradient_checkpointing=gradient_checkpointing,
        baseline=baseline,
    )


@dataclass(frozen=True)
class Demo:
    """The results of the demo."""

    run: Run
    neurons: NeuronSet
    evaluation: Evaluation
    files: dict[str, Path]
    """Path of each output by its kind: scores, neurons, evaluation, picture, report."""


@dataclass(frozen=True)
class _DemoSize:
    """Sizes of the demo."""

    identify: int
    """Everyday items of each of the 16 cultures for identifying neurons."""
    test: int
    """Everyday test items of each culture for testing the masks."""
    country_items: int
    """Country-reading items of each of the 8 cultures."""
    n_random: int
    """Random baselines."""


_FULL = _DemoSize(identify=10, test=8, country_items=8, n_random=4)
_QUICK = _DemoSize(identify=1, test=1, country_items=1, n_random=2)


def demo(
    out: Path | str = "culnig-demo",
    *,
    quick: bool = False,
    overwrite: bool = False,
    progress: Progress = no_progress,
    say: Say = say_nothing,
) -> Demo:
    """Run the whole pipeline on the embedded model: score, select, mask, evaluate, report.

    `quick` uses few items: it shows that everything works, but finds little.
    """
    from culnig.evaluation.folder import prepare_evaluation_folder
    from culnig.models.embedded import LICENCE, NAME, embedded_model_file
    from culnig.reporting.make import report
    from culnig.reporting.overview import overview_figure
    from culnig.store.output_folder import check_file, owned_file

    embedded_model_file()  # says what is missing before anything is made
    size, out = _QUICK if quick else _FULL, Path(out)
    files = {
        "scores": out / "run",
        "neurons": out / "general.neurons.json",
        "evaluation": out / "evaluation",
        "picture": out / "overview.png",
        "report": out / "report.html",
    }
    prepare_evaluation_folder(files["evaluation"], overwrite=overwrite, inputs=())
    for name in ("neurons", "picture", "report"):
        check_file(files[name], overwrite=overwrite, inputs=())
    say(f"loading the embedded model ({NAME}, {LICENCE}); the questions are ours (MIT)")
    model = load_model("embedded", dtype="float32", device="cpu")
    items = read_benchmarks(("everyday", "everyday-control"), split="identify", per_culture=size.identify)
    items |= read_benchmarks("country-rc", split="identify", per_culture=size.country_items)
    run = score(model, items, files["scores"], overwrite=overwrite, progress=progress)
    neurons = select_general(run, out=files["neurons"], overwrite=overwrite)
    evaluation = evaluate(
        model,
        "everyday",
        neurons,
        files["evaluation"],
        per_culture=size.test,
        factors=0.0,
        random_baseline=size.n_random,
        overwrite=overwrite,
        progress=progress,
        say=say,
    )
    with owned_file(files["picture"], overwrite=overwrite, inputs=()):
        overview_figure(files["picture"], neurons, run.layout, evaluation.rows, "everyday")
    title = "culnig-engine demo: SmolLM2-135M-Instruct"
    shown = [files[name] for name in ("scores", "evaluation", "neurons")]
    report(shown, files["report"], title=title, overwrite=overwrite)
    return Demo(run, neurons, evaluation, files)
