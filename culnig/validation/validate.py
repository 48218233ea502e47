"""The whole validation: train, check that the sets carry the facts, score, and judge every method.

It uses the same pipeline as a user: `score_run` writes items to a run folder, from which tables and
selections are made. Only the first wording of each question is used to find neurons.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from culnig import registry
from culnig.core.progress import Progress, Say, no_progress, say_nothing
from culnig.core.text import file_name
from culnig.errors import StoreError
from culnig.provenance import versions
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.store.files import make_folder, read_json, remove, whole_files, write_json
from culnig.store.output_folder import OutputFolder
from culnig.store.output_kind import OutputKind
from culnig.store.record import RUN_CONTENTS
from culnig.store.run import Run
from culnig.validation.effects import Effects, measure_effects
from culnig.validation.judging import MethodResult, judge
from culnig.validation.methods import CONTRIBUTION, METHODS, RANDOM
from culnig.validation.planted import PlantedModel
from culnig.validation.settings import PlantedSettings
from culnig.validation.targets import Target
from culnig.validation.worlds import INVENTED, WorldKind, world_kind

FORMAT = "culnig-validation"
FORMAT_VERSION = 1
RESULTS_FILE = "results.json"
REQUEST_FILE = "request.json"


@dataclass(frozen=True)
class Validation:
    """Results of a validation."""

    kind: WorldKind
    planted: PlantedModel
    effects: Effects
    results: tuple[MethodResult, ...]
    targets: tuple[Target, ...]

    @property
    def holds(self) -> bool:
        """Whether all targets hold."""
        return all(target.holds for target in self.targets)

    def document(self) -> dict[str, Any]:
        """All figures, the contents of results.json."""
        settings = self.planted.settings
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "world": self.kind.name,
            "settings": asdict(settings),
            "n_planted": settings.n_planted,
            "effects": asdict(self.effects),
            "methods": [_row(result) for result in self.results],
            "targets": [{**asdict(target), "holds": target.holds} for target in self.targets],
            "holds": self.holds,
            "versions": versions(),
        }


def _row(result: MethodResult) -> dict[str, Any]:
    return {
        "method": result.method.name,
        **asdict(result.method),
        "general": asdict(result.general),
        "specific": asdict(result.specific),
        "by_culture": {culture: asdict(own) for culture, own in result.by_culture.items()},
    }


def validate(
    *,
    world: str = INVENTED,
    seed: int = 0,
    cultures: int | None = None,
    questions: int | None = None,
    neurons_per_culture: int | None = None,
    layers: int | None = None,
    mlp_width: int | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress = no_progress,
    say: Say = say_nothing,
) -> Validation:
    """Make a model whose culture neurons are known and see which methods find them.

    `world` names one of `worlds.WORLDS`. The sizes are fields of its settings, by default the world's own.
    `out` is a folder to write the model, planted sets, runs and results to. `holds` of the result tells
    whether every target of the world is reached. InputError for an unknown world, and for a size that it does
    not have.
    """
    sizes = {
        "cultures": cultures,
        "questions": questions,
        "neurons_per_culture": neurons_per_culture,
        "layers": layers,
        "mlp_width": mlp_width,
    }
    kind = world_kind(world)
    settings = kind.sized(seed=seed, **sizes)
    with tempfile.TemporaryDirectory(prefix="culnig-validate-") as temporary:
        folder = Path(temporary) if out is None else Path(out)
        with contextlib.closing(
            OutputFolder.open(folder, VALIDATION, _request(kind, settings), overwrite=overwrite)
        ):
            say(f"world {kind.name}: {kind.summary}")
            validation = run_validation(settings, folder, progress, kind)
            if out is not None:
                write_outputs(validation, folder)
    return validation


def run_validation(
    settings: PlantedSettings, folder: Path, progress: Progress = no_progress, kind: WorldKind | None = None
) -> Validation:
    """Validate in an empty folder, which keeps the runs (`OutputFolder.open` empties an earlier one)."""
    kind = kind or world_kind(INVENTED)
    planted = kind.build(settings, progress)
    effects = measure_effects(planted)
    names = [name for name in dict.fromkeys(method.statistic for method in METHODS) if name != RANDOM]
    scorers = tuple(registry.scorer(name) for name in names if name != CONTRIBUTION)
    run = score_run(
        *(planted.bound, planted.world.scored(), ScoreSettings(), folder / "run"),
        run_settings=RunSettings(scorers=scorers),
    )
    runs = {name: Run(run.folder, name) for name in names}
    results = tuple(judge(method, runs, planted.truth, settings.seed) for method in METHODS)
    return Validation(kind, planted, effects, results, kind.targets(effects, results))


def _read_results(folder: Path) -> dict[str, Any]:
    mark = REQUEST_FILE if (folder / REQUEST_FILE).exists() else RESULTS_FILE
    document = read_json(folder / mark, "a validation")
    if document.get("format") != FORMAT:
        raise StoreError(f"{folder}: format is {document.get('format')!r}, expected {FORMAT!r}")
    return document


def _request(kind: WorldKind, settings: PlantedSettings) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "world": kind.name,
        "settings": asdict(settings),
    }


VALIDATION = OutputKind(
    "a validation",
    _read_results,
    lambda folder: not (folder / REQUEST_FILE).exists(),
    marks=(REQUEST_FILE, RESULTS_FILE),
    contents=(
        "run/run.json",
        *(f"run/{name}" for name in RUN_CONTENTS),
        *(f"model/{name}" for name in ("*config.json", "model*.safetensors*", "tokenizer*", "*.jinja")),
        "planted/*.neurons.json",
    ),
)


def write_outputs(validation: Validation, folder: Path) -> None:
    """Add model, planted sets and figures to the run in `folder`; results.json is written last."""
    planted = validation.planted
    make_folder(folder / "model")
    with whole_files(folder / "model") as temporary:
        planted.write_model(temporary)
    for name, chosen in planted.sets.items():
        chosen.write(folder / "planted" / f"{file_name(name.replace(' ', '-'))}.neurons.json")
    write_json(folder / RESULTS_FILE, validation.document())
    remove(folder / REQUEST_FILE)
