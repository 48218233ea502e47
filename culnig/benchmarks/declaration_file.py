"""Reads the file that declares a benchmark; errors in YAML name their line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from culnig.benchmarks.declaration import Declaration
from culnig.core.data_files import check_yaml, read_small_text, read_toml
from culnig.errors import DataFileError


def read_declaration(path: Path) -> Declaration:
    """Read and check a declaration."""
    document, lines = (read_toml(path), {}) if path.suffix.lower() == ".toml" else _read_yaml(path)
    try:
        return Declaration.model_validate(document)
    except ValidationError as error:
        (line, first), *further = (_problem(each, lines) for each in error.errors())
        more = [f"line {number}: {text}" if number else text for number, text in further]
        raise DataFileError(path, "; ".join([first, *more]), line=line) from None


KeyPath = tuple[str | int, ...]
"""Keys and indices that lead to a value of a document."""


def _problem(error: Any, lines: dict[KeyPath, int]) -> tuple[int | None, str]:
    """Line and text of one of pydantic's errors."""
    keys: KeyPath = error["loc"]
    message = error["msg"].removeprefix("Value error, ")
    text = f"{'.'.join(map(str, keys))}: {message}" if keys else message
    while keys and keys not in lines:
        keys = keys[:-1]
    return lines.get(keys), text


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
