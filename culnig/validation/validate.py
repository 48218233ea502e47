"""The whole validation: train, check that the sets carry the facts, score, and judge every method.

It uses the same pipeline as a user: `score_run` writes items to a run folder, from which tables and
selections are made. Only the first wording of each question is used to find neurons.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from culnig import registry
from culnig.core.progress import Progress, Say, Task, no_progress, say_nothing
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
from culnig.validation.methods import (
    CONTRIBUTION,
    JUDGED,
    METHODS,
    RANDOM,
    MethodResult,
    Truth,
    judge,
)
from culnig.validation.planted import BASE, PLANTING, PlantedModel, planted_model
from culnig.validation.settings import PlantedSettings
from culnig.validation.training import BASE_STEPS, planting_steps
from culnig.validation.world import GENERAL_FACTS

FORMAT = "culnig-validation"
FORMAT_VERSION = 1
RESULTS_FILE = "results.json"
REQUEST_FILE = "request.json"

KNOWN = 0.95
POINTS = 0.05
"""Accuracy that may remain above chance under a mask, and that a mask may cost other cultures."""
GENERAL_AP = 0.9
SPECIFIC_AP = 0.6


@dataclass(frozen=True)
class Target:
    """A condition that must hold."""

    name: str
    value: float
    limit: float
    at_least: bool
    """Whether the value must reach the limit; otherwise it must not exceed it."""

    @property
    def holds(self) -> bool:
        """Whether the condition holds."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True)
class Validation:
    """Results of a validation."""

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
    seed: int = 0,
    cultures: int = 8,
    questions: int = 24,
    neurons_per_culture: int = 16,
    layers: int = 4,
    mlp_width: int = 256,
    experts: int = 1,
    out: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress = no_progress,
    say: Say = say_nothing,
) -> Validation:
    """Train a tiny model with planted culture neurons and see which methods find them; about a minute.

    The sizes are the fields of `PlantedSettings`. `out` is a folder to write the model, planted sets, runs
    and results to. `holds` of the result tells whether the method reaches every target.
    """
    settings = PlantedSettings(seed, cultures, questions, neurons_per_culture, layers, mlp_width, experts)
    with tempfile.TemporaryDirectory(prefix="culnig-validate-") as temporary:
        folder = Path(temporary) if out is None else Path(out)
        with contextlib.closing(
            OutputFolder.open(folder, VALIDATION, _request(settings), overwrite=overwrite)
        ):
            say(
                f"planting {settings.n_planted:,} of {layers * mlp_width:,} MLP neurons: "
                f"{neurons_per_culture} for each of {cultures} cultures and as many for all"
            )
            tasks = {
                stage: Task(progress, stage, steps)
                for stage, steps in ((BASE, BASE_STEPS), (PLANTING, planting_steps(settings)))
            }
            validation = run_validation(settings, folder, lambda stage, steps: tasks[stage].advance(steps))
            if out is not None:
                write_outputs(validation, folder)
    return validation


def run_validation(
    settings: PlantedSettings,
    folder: Path,
    progress: Callable[[str, int], None] = lambda stage, steps: None,
) -> Validation:
    """Validate in an empty folder, which keeps the runs (`OutputFolder.open` empties an earlier one)."""
    planted = planted_model(settings, progress)
    effects = measure_effects(planted)
    benchmarks = {
        name: chosen for name, chosen in planted.world.chosen("identify").items() if name != GENERAL_FACTS
    }
    names = [name for name in dict.fromkeys(method.statistic for method in METHODS) if name != RANDOM]
    scorers = tuple(registry.scorer(name) for name in names if name != CONTRIBUTION)
    run = score_run(
        planted.bound, benchmarks, ScoreSettings(), folder / "run", run_settings=RunSettings(scorers=scorers)
    )
    runs = {name: Run(run.folder, name) for name in names}
    layout = planted.bound.layout
    cultures = planted.world.cultures
    truth = Truth(planted.flat(), {culture: planted.sets[culture].flat(layout) for culture in cultures})
    results = tuple(judge(method, runs, truth, settings.seed) for method in METHODS)
    return Validation(planted, effects, results, _targets(effects, results))


def _targets(effects: Effects, results: tuple[MethodResult, ...]) -> tuple[Target, ...]:
    by_method = {result.method: result for result in results}
    general = by_method[JUDGED].general.average_precision
    specific = by_method[JUDGED].specific.average_precision
    # the judged method ranks by the difference, as in the paper, so compare only with methods that do too
    compared = [
        result for result in results if result.method.statistic != CONTRIBUTION and not result.method.margin
    ]
    best_general = max(result.general.average_precision for result in compared)
    best_specific = max(result.specific.average_precision for result in compared)
    at_chance = effects.chance + POINTS
    return (
        Target("share of planted facts known", effects.known_share, KNOWN, True),
        Target("highest accuracy with own set masked", effects.worst_own, at_chance, False),
        Target("highest accuracy with shared set masked", effects.worst_shared, at_chance, False),
        Target("largest loss of others by a culture's set", effects.worst_other, POINTS, False),
        Target(f"AP of all planted, {JUDGED.name}", general, GENERAL_AP, True),
        Target(f"mean AP of a culture's, {JUDGED.name}", specific, SPECIFIC_AP, True),
        Target("AP of all planted, lead over the best other scorer", general - best_general, 0.0, True),
        Target(
            "mean AP of a culture's, lead over the best other scorer", specific - best_specific, 0.0, True
        ),
    )


def _read_results(folder: Path) -> dict[str, Any]:
    mark = REQUEST_FILE if (folder / REQUEST_FILE).exists() else RESULTS_FILE
    document = read_json(folder / mark, "a validation")
    if document.get("format") != FORMAT:
        raise StoreError(f"{folder}: format is {document.get('format')!r}, expected {FORMAT!r}")
    return document


def _request(settings: PlantedSettings) -> dict[str, Any]:
    return {"format": FORMAT, "format_version": FORMAT_VERSION, "settings": asdict(settings)}


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
