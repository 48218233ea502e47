"""Values inside cells: `options.text` names a key of a dictionary, or that key of every dictionary of a list.

Published sets also keep lists and dictionaries as text, in JSON or as Python writes them; such a text is read
where a list or dictionary is needed, and nowhere else.
"""

from __future__ import annotations

import ast
import json
import re
import reprlib
import string
from collections.abc import Mapping, Sequence
from typing import Any

from culnig.benchmarks.cells import CellError
from culnig.errors import did_you_mean

_LONGEST = 100_000
"""Characters of a list or dictionary kept as text; longer cells are no options."""
_DEEPEST = 50
"""Most brackets that are open at once in such a text."""
_DEFAULT_DICTIONARY = re.compile(r"\s*(?:defaultdict\([^{]*,|OrderedDict\()\s*(\{.*\})\s*\)\s*", re.DOTALL)
"""How Python writes dictionaries with a default, as in GlobalOpinionQA."""


def value_at(values: Mapping[str, Any], column: str) -> Any:
    """The value that a column names: a column's own name comes first, otherwise a dot leads inside.

    None for a column that is not there; CellError for a key that is not inside.
    """
    if column in values or "." not in column:
        return values.get(column)
    name, _, keys = column.partition(".")
    return _inside(values.get(name), keys)


def _inside(value: Any, keys: str) -> Any:
    value = plain(value)
    key, _, inner = keys.partition(".")
    if isinstance(value, Mapping):
        if keys in value:
            return value[keys]
        if key not in value:
            near = did_you_mean(key, map(str, value))
            raise CellError(f"no {key!r} inside{near}; inside: {', '.join(map(str, value)) or 'nothing'}")
        return _inside(value[key], inner) if inner else value[key]
    if isinstance(value, list):
        if key.isdecimal():
            if int(key) >= len(value):
                raise CellError(f"no entry {key} in a list of {len(value)}; the first is 0")
            return _inside(value[int(key)], inner) if inner else value[int(key)]
        return [_inside(entry, keys) for entry in value]
    raise CellError(f"no {key!r} inside {reprlib.repr(value)}; it is neither a list nor a dictionary")


def plain(value: Any) -> Any:
    """The list or dictionary that a text holds; any other value as it is."""
    if not isinstance(value, str):
        return value
    if match := _DEFAULT_DICTIONARY.fullmatch(value):
        value = match[1]
    text = value.strip()
    if not text or text[0] + text[-1] not in ("[]", "{}", "()") or len(text) > _LONGEST:
        return value
    if _depth(text) > _DEEPEST:
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            parsed = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return list(parsed) if isinstance(parsed, tuple) else parsed
    return value


def _depth(text: str) -> int:
    deepest = depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def entries(value: Any, separator: str | None = None) -> list[Any] | None:
    """The entries of a list, a dictionary with labels, a text of either, or a text with separators.

    None for anything else. CellError for a dictionary whose keys are no labels: their order means nothing.
    """
    if separator is not None:
        return value.split(separator) if isinstance(value, str) else None
    value = plain(value)
    if isinstance(value, Mapping):
        keys = list(map(str, value))
        by_key = dict(zip(keys, value.values(), strict=True))
        for labels in _labels(len(keys)):
            if sorted(keys) == sorted(labels):
                return [by_key[label] for label in labels]
        raise CellError(f"a dictionary with the keys {', '.join(keys)}; keys of options are A, B … or 1, 2 …")
    return value if isinstance(value, list) else None


def _labels(n: int) -> list[Sequence[str]]:
    letters = string.ascii_uppercase[:n]
    numbers = [[str(number) for number in range(start, start + n)] for start in (0, 1)]
    return [list(letters), list(letters.lower()), *numbers]
