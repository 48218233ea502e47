"""YAML and TOML files that people write, checked by pydantic: errors name the line and near names of keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from culnig.core.data_files import check_yaml, read_small_text, read_toml
from culnig.errors import DataFileError, did_you_mean

KeyPath = tuple[str | int, ...]
"""Keys and indices that lead to a value of a document."""
Lines = Mapping[KeyPath, int]
"""The line of each value of a document; empty for TOML."""


class Strict(BaseModel):
    """An object of a document in which every key is known."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


Checked = TypeVar("Checked", bound=BaseModel)


def read_checked(path: Path, kind: type[Checked]) -> tuple[Checked, Lines]:
    """Read and check a YAML or TOML file; DataFileError names every problem with its line."""
    document, lines = (read_toml(path), {}) if path.suffix.lower() == ".toml" else _read_yaml(path)
    try:
        return kind.model_validate(document), lines
    except ValidationError as error:
        (line, first), *further = (_problem(each, kind, lines) for each in error.errors())
        more = [f"line {number}: {text}" if number else text for number, text in further]
        raise DataFileError(path, "; ".join([first, *more]), line=line) from None


def line_of(lines: Lines, keys: KeyPath) -> int | None:
    """The line of a value, or of the nearest value around it."""
    return lines.get(_known_part(lines, keys))


def _problem(error: Any, kind: type[BaseModel], lines: Lines) -> tuple[int | None, str]:
    """Line and text of one of pydantic's errors."""
    keys: KeyPath = error["loc"]
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = f"unknown key{did_you_mean(str(keys[-1]), _keys_beside(kind, keys))}"
    shown = keys
    if lines:
        shown = _known_part(lines, keys) + (keys[-1:] if error["type"] == "missing" else ())
    text = f"{'.'.join(map(str, shown))}: {message}" if shown else message
    return line_of(lines, keys), text


def _known_part(lines: Lines, keys: KeyPath) -> KeyPath:
    """The keys that are the document's: pydantic adds names of kinds to those of unions."""
    known: KeyPath = ()
    for key in keys:
        if (*known, key) in lines:
            known = (*known, key)
    return known


def _keys_beside(kind: type[BaseModel], keys: KeyPath) -> list[str]:
    """The keys that are known in the place of an unknown one."""
    kinds = [kind]
    for key in keys[:-1]:
        inner = [
            own
            for each in kinds
            if key in each.model_fields
            for own in _kinds_in(each.model_fields[str(key)].annotation)
        ]
        tagged = [each for each in kinds if key in _tags(each)]
        kinds = inner or tagged or kinds
    return [name for each in kinds for name in each.model_fields]


def _kinds_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [own for argument in get_args(annotation) for own in _kinds_in(argument)]


def _tags(kind: type[BaseModel]) -> set[Any]:
    """Values by which a kind is told from the others of its union."""
    literals = [field.annotation for field in kind.model_fields.values()]
    return {value for each in literals if get_origin(each) is Literal for value in get_args(each)}


def _read_yaml(path: Path) -> tuple[Any, dict[KeyPath, int]]:
    """The document and the line of each of its values."""
    text = read_small_text(path)
    try:
        check_yaml(text)
        node = yaml.compose(text, yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise DataFileError(path, f"not valid YAML: {error.problem}", line=line) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise DataFileError(path, f"not valid YAML: {error}") from None
    lines: dict[KeyPath, int] = {}
    if node is not None:
        _note_lines(path, node, (), lines)
    return document, lines


def _note_lines(path: Path, node: yaml.Node, keys: KeyPath, lines: dict[KeyPath, int]) -> None:
    lines[keys] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for number, child in enumerate(node.value):
            _note_lines(path, child, (*keys, number), lines)
    elif isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            inner = (*keys, str(key.value))
            if inner in lines:
                raise DataFileError(path, f"{key.value!r} appears twice", line=key.start_mark.line + 1)
            _note_lines(path, child, inner, lines)
            lines[inner] = key.start_mark.line + 1
