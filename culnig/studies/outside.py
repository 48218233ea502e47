"""What steps read from outside the study: models and the items of benchmarks, as hashes of their contents.

A model on the hub is identified only by its name and revision: give a commit if it must not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.benchmarks.choosing import read_benchmarks
from culnig.core.data_files import data_path, own_data
from culnig.models.embedded import embedded_model_file
from culnig.models.source import EMBEDDED
from culnig.provenance import items_hash
from culnig.registry import CONTROL_OF_DECLARATION, DECLARATION_SUFFIXES
from culnig.reporting.published import PAPER
from culnig.studies.file import StudyFile
from culnig.studies.hashes import ContentHashes, digest
from culnig.studies.keys import keywords_of
from culnig.studies.steps import Step

if TYPE_CHECKING:
    from culnig.planning.request import PlannedModel

ITEMS = ("data_dir", "split", "cultures", "limit", "per_culture", "sample", "seed")
"""Arguments that choose items."""


class Outside:
    """Models and benchmarks of a study; each is read once."""

    def __init__(self, file: StudyFile, hashes: ContentHashes) -> None:
        self._file = file
        self._hashes = hashes
        self._items: dict[str, dict[str, ChosenItems]] = {}
        self._digests: dict[str, dict[str, str]] = {}
        self._tasks: dict[tuple[str, str | None], str] = {}
        self.plans: dict[str, Mapping[str, Any]] = {}
        self.planned: dict[str, PlannedModel] = {}
        """Plans by what was asked, and models without weights by their name (`culnig.studies.outlook`)."""

    def model(self, name: str) -> tuple[str, dict[str, Any]]:
        """Name or path of a model, and how it is loaded; paths are from the study's folder."""
        entry = self._file.study.models[name]
        loading = entry.given
        if loading.get("adapter"):
            loading["adapter"] = str(data_path(self._file.path.absolute(), loading["adapter"]))
        path = self._file.folder / entry.model
        return (str(path) if entry.model != EMBEDDED and path.exists() else entry.model), loading

    def arguments(self, step: Step) -> dict[str, Any]:
        """The settings of a step, with paths from the study's folder and dates as text."""
        settings = {key: _plain(value) for key, value in step.settings.items()}
        for key in ("benchmarks", "rescore", "task"):
            if key in settings:
                settings[key] = self._benchmarks(settings[key])
        if settings.get("data_dir"):
            settings["data_dir"] = data_path(self._file.path.absolute(), settings["data_dir"])
        published = settings.get("published")
        if published and published != PAPER:
            settings["published"] = data_path(self._file.path.absolute(), published)
        return settings

    def _benchmarks(self, names: Any) -> Any:
        if not isinstance(names, str):
            return [self._benchmarks(name) for name in names]
        path, mark, _ = names.partition(CONTROL_OF_DECLARATION)
        if Path(path).suffix.lower() in DECLARATION_SUFFIXES and (self._file.folder / path).exists():
            return f"{self._file.folder / path}{mark}"
        return names

    def items(self, step: Step) -> dict[str, ChosenItems]:
        """The items that a step gives to the model; errors as for `read_benchmarks`."""
        arguments = self.arguments(step)
        if step.function == "compare_arms":
            return self._of_arms(step, arguments)
        if "benchmarks" not in arguments:
            return {}
        names = arguments["benchmarks"]
        if step.function == "instances":
            names = [names] if isinstance(names, str) else list(names)
            control = arguments.get("control", True)
            control_name = registry.benchmark(names[0]).control if control is True else control
            names += [control_name] if control_name else []
        return self._read(names, step, arguments)

    def _of_arms(self, step: Step, arguments: Mapping[str, Any]) -> dict[str, ChosenItems]:
        """The items that arms are evaluated on: the task, of all cultures, and the benchmarks."""
        if step.name not in self._items:
            chosen = dict(self._read((arguments["task"],), step, arguments, cultures=(), per_culture=None))
            if arguments.get("benchmarks"):
                chosen |= self._read(arguments["benchmarks"], step, arguments)
            self._items[step.name] = chosen
        return self._items[step.name]

    def _read(
        self, names: Any, step: Step, arguments: Mapping[str, Any], **changed: Any
    ) -> dict[str, ChosenItems]:
        """The items of benchmarks, chosen by a step's arguments; each choice is read once."""
        known = keywords_of(step.function)
        asked = {key: arguments.get(key, known[key][1]) for key in ITEMS} | changed
        key = digest([names, asked])
        if key not in self._items:
            self._items[key] = read_benchmarks(names, **asked)
        return self._items[key]

    def contents(self, step: Step) -> dict[str, Any]:
        """Hashes of the model and the items of a step."""
        read: dict[str, Any] = {}
        if step.model is not None:
            read["model"] = self._model_content(step.model)
        items = self.items(step)
        if items:
            read["items"] = self._digest_of(items)
        if step.settings.get("rescore"):
            arguments = self.arguments(step)
            rescored = self._read(arguments["rescore"], step, arguments, split="identify")
            read["rescored"] = self._digest_of(rescored)
        if step.settings.get("published"):
            published = self.arguments(step)["published"]
            path = own_data("paper.toml") if published == PAPER else published
            read["published"] = self._hashes.of_path(path)
        if "task" in step.settings:
            arguments = self.arguments(step)
            read["task"] = self._digest_of_task(arguments["task"], arguments.get("data_dir"))
        return read

    def _digest_of_task(self, task: str, folder: Path | str | None) -> str:
        """Hash of everything that can be trained on; the data of a task is read once."""
        key = task, None if folder is None else str(folder)
        if key not in self._tasks:
            items = registry.benchmark(task).read_training(None if folder is None else Path(folder))
            self._tasks[key] = items_hash(items)
        return self._tasks[key]

    def _digest_of(self, items: Mapping[str, ChosenItems]) -> dict[str, str]:
        key = str(id(items))
        if key not in self._digests:
            self._digests[key] = {name: _content_of(own) for name, own in items.items()}
        return self._digests[key]

    def _model_content(self, name: str) -> Any:
        source, loading = self.model(name)
        path = embedded_model_file() if source == EMBEDDED else Path(source)
        weights = self._hashes.of_path(path) if path.exists() else source
        adapter = loading.get("adapter")
        return [
            weights,
            loading if adapter is None else {**loading, "adapter": self._hashes.of_path(Path(adapter))},
        ]


def _content_of(chosen: ChosenItems) -> str:
    """Hash of everything about chosen items that decides results: `items_hash` leaves some of it out."""
    units = [item.unit for item in chosen.items]
    return digest([items_hash(chosen.items), units, chosen.role, chosen.split, chosen.sample])


def _plain(value: Any) -> Any:
    """Values of YAML as the functions take them."""
    return value.isoformat() if hasattr(value, "isoformat") else value
