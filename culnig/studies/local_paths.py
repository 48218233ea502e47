"""What is shared does not tell where a model was on the disk: of its path, only the last part is kept.

Results record the path that a local model was loaded from, such as /home/NAME/models/one, beside the hash of
its weights. Copies for others have `one` in its place, wherever the path stands. The files of the study stay
as they are.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from culnig.core.data_files import read_small_text
from culnig.evaluation.instances.file import copy_with_record
from culnig.reporting.tables import latex_text
from culnig.store.files import CHECKSUM, write_json, write_text
from culnig.training.plan_file import read_plan

_BEFORE = r"(?:(?<![\w.-])|(?<=\\[nrt]))"
"""What may stand before a path: no part of another one, but the end of a line, also where that is escaped."""


def names_of_local_models(files: Iterable[Path], study: Path | None = None) -> dict[str, str]:
    """A name for each path of a model that JSON files record, or that a study gives.

    It is the last part of the path, with a number where several models have the same.
    """
    documents = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    paths = dict.fromkeys(path for document in documents for path in _recorded(document))
    if study is not None:
        document = yaml.safe_load(read_small_text(study))  # it was checked when the study ran
        paths |= dict.fromkeys(_given(document["models"]))
    names: dict[str, str] = {}
    for path in paths:
        name = PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name
        n_alike = sum(other.rpartition("-")[0] == name or other == name for other in names.values())
        names[path] = f"{name}-{n_alike + 1}" if n_alike else name
    return names


def write_without_paths(path: Path, target: Path, names: Mapping[str, str]) -> bool:
    """Write a copy of a file with the names in place of the paths; False if it holds none of them.

    JSON, plans, studies, reports, tables and instances are looked at; no other files of a study name models.
    """
    if path.suffix == ".json":
        return _write_json(path, target, names)
    if path.suffix == ".h5":
        in_record = path.parent.parent.name == "instances"  # answers of an evaluation name no model
        return in_record and copy_with_record(path, target, lambda record: _renamed(record, names))
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml" and text.startswith("format: culnig-plan"):
        plan = read_plan(path)
        if plan.model not in names:
            return False
        neurons = replace(
            plan.neurons, model=names[plan.model], sources=_renamed(plan.neurons.sources, names)
        )
        replace(plan, model=names[plan.model], neurons=neurons).write(target)
        return True
    changed = _renamed(text, {form: name for given, name in names.items() for form in _forms(given)})
    if changed != text:
        write_text(target, changed)
    return bool(changed != text)


def _write_json(path: Path, target: Path, names: Mapping[str, str]) -> bool:
    document = json.loads(path.read_text(encoding="utf-8"))
    changed = _renamed(document, names)
    if changed == document:
        return False
    changed.pop(CHECKSUM, None)
    write_json(target, changed)
    return True


def _recorded(value: Any) -> Iterator[str]:
    """The paths of models in a document: `"model": PATH` and `"model": {"source": PATH}`."""
    if isinstance(value, list):
        for inner in value:
            yield from _recorded(inner)
    if isinstance(value, dict):
        for key, inner in value.items():
            model = inner.get("source") if key == "model" and isinstance(inner, dict) else inner
            if key == "model" and isinstance(model, str) and _is_local(model):
                yield model
            yield from _recorded(inner)


def _given(value: Any) -> Iterator[str]:
    """The paths among the texts of a study's models: models, adapters."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _given(inner)
    elif isinstance(value, str) and _is_local(value):
        yield value


def _is_local(source: str) -> bool:
    return PurePosixPath(source).is_absolute() or PureWindowsPath(source).is_absolute()


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A value with names in place of paths, the longest path first: one may begin another."""
    if isinstance(value, dict):
        return {key: _renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    if isinstance(value, str):
        for path in sorted(names, key=len, reverse=True):
            name = names[path].replace("\\", r"\\")
            value = re.sub(rf"{_BEFORE}{re.escape(path)}(?![\w-])", name, value)
    return value


def _forms(path: str) -> set[str]:
    """How a path may be written in a page, a table or YAML, and in a table inside a page."""
    plain = path, latex_text(path)
    quoted = {
        json.dumps(text, ensure_ascii=ascii_only)[1:-1] for text in plain for ascii_only in (True, False)
    }
    in_page = {html.escape(text) for text in plain}
    in_page |= {text.replace("&#x27;", "&#39;").replace("&quot;", "&#34;") for text in in_page}
    in_script = set(quoted)
    for character in "&<>'":
        in_script = {text.replace(character, f"\\u{ord(character):04x}") for text in in_script}
    return {*plain, *quoted, *in_page, *in_script}
