"""The whole validation: train, check that the sets carry the facts, score, and judge every method.

It uses the same pipeline as a user: `score_run` writes items to a run folder, from which tables and
selections are made. Only the first wording of each question is used to find neurons.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from culnig import registry
from culnig.core.progress import Progress, Say, no_progress, say_nothing
from culnig.core.text import file_name
from culnig.errors import InputError
from culnig.provenance import versions
from culnig.scorers.base import Scorer
from culnig.scoring.culture_swap import OTHER_CULTURES, Baseline
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.store.files import make_folder, remove, whole_file, whole_files, write_json
from culnig.store.output_folder import OutputFolder
from culnig.store.run import Run
from culnig.validation.costs import Cost, measure_cost, n_passes
from culnig.validation.effects import Effects, measure_effects
from culnig.validation.finding import SCORER, draw_finding, find_in
from culnig.validation.judging import MethodResult, judge
from culnig.validation.knowledge import is_flattered
from culnig.validation.methods import CONTRIBUTION, METHODS, RANDOM
from culnig.validation.planted import PlantedModel
from culnig.validation.settings import Settings
from culnig.validation.stored import (
    FORMAT,
    FORMAT_VERSION,
    PICTURE,
    REQUEST_FILE,
    RESULTS_FILE,
    RUN_FOLDER,
    SWAPPED_RUN_FOLDER,
    VALIDATION,
)
from culnig.validation.targets import Target
from culnig.validation.world import FACTS
from culnig.validation.worlds import INVENTED, WorldKind, world_kind


@dataclass(frozen=True)
class Validation:
    """Results of a validation."""

    kind: WorldKind
    planted: PlantedModel
    effects: Effects
    results: tuple[MethodResult, ...]
    targets: tuple[Target, ...]
    costs: dict[str, Cost] = field(default_factory=dict)
    """By statistic."""
    finding: dict[str, Any] | None = None
    """What the selected neurons do (`finding`), in a world whose neurons are not known."""

    @property
    def holds(self) -> bool:
        """Whether all targets hold."""
        return all(target.holds for target in self.targets)

    def flattered(self, result: MethodResult) -> bool:
        """Whether a method scores higher than what the model knows can account for."""
        return is_flattered(result, self.effects.known_share, self.effects.chance)

    def document(self) -> dict[str, Any]:
        """All figures, the contents of results.json."""
        settings = self.planted.settings
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "world": self.kind.name,
            "settings": asdict(settings),
            "n_planted": len(self.planted.flat()),
            "before": self.planted.before,
            "effects": asdict(self.effects),
            "known_share": self.effects.known_share,
            "methods": [{**_row(result), "flattered": self.flattered(result)} for result in self.results],
            "costs": {statistic: asdict(cost) for statistic, cost in self.costs.items()},
            "finding": self.finding,
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
    experts: int | None = None,
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
        "experts": experts,
    }
    kind = world_kind(world)
    settings = kind.sized(seed=seed, **sizes)
    with tempfile.TemporaryDirectory(prefix="culnig-validate-") as temporary:
        folder = Path(temporary) if out is None else Path(out)
        with contextlib.closing(OutputFolder.reserve(folder, VALIDATION, overwrite=overwrite)) as output:
            say(f"world {kind.name}: {kind.summary}")
            planted = kind.build(settings, progress, say)  # fails where the embedded model is missing
            output.begin(VALIDATION, _request(kind, settings))
            validation = run_validation(planted, folder, progress, kind, say)
            if out is not None:
                write_outputs(validation, folder)
    return validation


def run_validation(
    planted: PlantedModel,
    folder: Path,
    progress: Progress = no_progress,
    kind: WorldKind | None = None,
    say: Say = say_nothing,
) -> Validation:
    """Judge methods on a planted model, in an empty folder, which keeps the runs."""
    kind = kind or world_kind(INVENTED)
    effects = measure_effects(planted)
    truth = planted.truth
    scorers = {CONTRIBUTION: None, SCORER: registry.scorer(SCORER)} if truth is None else _scorers(kind)
    run = _scored(planted, folder / RUN_FOLDER, scorers)
    if truth is None:
        finding = find_in(planted, run, folder / "evaluation", progress)
        return Validation(kind, planted, effects, (), kind.targets(effects, ()), finding=finding)
    runs = {name: Run(run.folder, name) for name in scorers} | _swapped(planted, folder, scorers, say)
    methods = [method for method in METHODS if method.source in (*runs, RANDOM)]
    results = tuple(judge(method, runs, truth, planted.settings.seed) for method in methods)
    facts = planted.world.scored()[FACTS].items[: kind.n_timed]
    costs = {name: measure_cost(planted.bound, facts, scorer) for name, scorer in scorers.items()}
    return Validation(kind, planted, effects, results, kind.targets(effects, results), costs)


def _scored(
    planted: PlantedModel,
    folder: Path,
    scorers: Mapping[str, Scorer | None],
    baseline: Baseline | None = None,
) -> Run:
    settings = RunSettings(scorers=tuple(each for each in scorers.values() if each), baseline=baseline)
    chosen = planted.world.scored()
    return score_run(planted.bound, chosen, ScoreSettings(), folder, run_settings=settings)


def _swapped(
    planted: PlantedModel, folder: Path, scorers: Mapping[str, Scorer | None], say: Say
) -> dict[str, Run]:
    """Runs that count activations from the other cultures', by source; none where prompts do not line up."""
    methods = [method for method in METHODS if method.baseline and method.statistic in scorers]
    if not methods:
        return {}
    asked = {method.statistic: scorers[method.statistic] for method in methods}
    try:
        run = _scored(planted, folder / SWAPPED_RUN_FOLDER, asked, OTHER_CULTURES)
    except InputError as error:
        say(f"no rows of {OTHER_CULTURES}: {error}")
        return {}
    return {method.source: Run(run.folder, method.statistic) for method in methods}


def _scorers(kind: WorldKind) -> dict[str, Scorer | None]:
    """The scorers of all methods that the world has the passes for, by name; None for the default score."""
    names = [name for name in dict.fromkeys(method.statistic for method in METHODS) if name != RANDOM]
    scorers = {name: None if name == CONTRIBUTION else registry.scorer(name) for name in names}
    most = kind.most_passes
    return {
        name: scorer
        for name, scorer in scorers.items()
        if scorer is None or most is None or n_passes((scorer,)) <= most
    }


def _request(kind: WorldKind, settings: Settings) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "world": kind.name,
        "settings": asdict(settings),
    }


def write_outputs(validation: Validation, folder: Path) -> None:
    """Add model, planted sets and figures to the run in `folder`; results.json is written last."""
    planted = validation.planted
    make_folder(folder / "model")
    with whole_files(folder / "model") as temporary:
        planted.write_model(temporary)
    for name, chosen in {**planted.sets, **planted.decoys}.items():
        chosen.write(folder / "planted" / f"{file_name(name.replace(' ', '-'))}.neurons.json")
    if validation.finding is not None:
        with whole_file(folder / PICTURE) as temporary:
            draw_finding(validation.finding, temporary)
    write_json(folder / RESULTS_FILE, validation.document())
    remove(folder / REQUEST_FILE)
