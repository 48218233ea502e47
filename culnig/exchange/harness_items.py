"""One line of a log of lm-evaluation-harness: an item, its choices and what the model answered."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from culnig.core.items import NO_CULTURE, Item
from culnig.core.outcomes import LABEL_SEPARATOR
from culnig.cultures.spellings import culture_keys
from culnig.errors import DataFileError, UnknownNameError

_RIGHT = ("acc", "exact_match", "em", "score")
"""Metrics that say whether a free answer is right, in the order in which they are looked for."""


@dataclass(frozen=True)
class LoggedItem:
    """One item as the harness logged it."""

    id: str
    question: str
    culture: str
    topic: str
    options: tuple[str, ...]
    probabilities: tuple[float, ...]
    gold: str
    also_right: tuple[str, ...]
    predicted: str
    is_right: bool

    @classmethod
    def read(cls, path: Path, task: str, line: Mapping[str, Any], *, by_index: bool = False) -> LoggedItem:
        """DataFileError where the line says too little; `by_index` is what `means_indices` says."""
        doc = line["doc"]
        number = int(line["doc_id"])
        common: dict[str, Any] = {
            "id": f"{task}-{number}",
            "question": str(doc.get("question_id", doc.get("id", number))),
            "culture": _culture(doc.get("culture", doc.get("country"))),
            "topic": str(doc.get("topic", doc.get("subject", ""))),
        }
        try:
            choices = _choices(line, by_index=by_index)
            if choices is None:
                return cls(**common, options=(), probabilities=(), **_free(line))
            return cls(**common, **choices)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataFileError(
                path, f"item {number} of {task!r} cannot be read: {type(error).__name__} {error}"
            ) from None

    def item(self, task: str) -> Item:
        """As an item, of which the prompt is not known."""
        if self.options:
            return Item(
                self.id, self.question, self.culture, "test", "", self.options, self.gold, self.topic,
                also_right=self.also_right,
            )  # fmt: skip
        return Item(
            self.id, self.question, self.culture, "test", "", (), self.gold, self.topic,
            accepted=(self.gold,), language="und",
        )  # fmt: skip


def _culture(name: Any) -> str:
    """The culture's key if the item names a known culture."""
    if not isinstance(name, str):
        return NO_CULTURE
    try:
        return culture_keys([name])[0]
    except UnknownNameError:
        return NO_CULTURE


def means_indices(path: Path, task: str, lines: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a target that is the text of one choice and the index of another is meant as an index.

    With labels 1 to 3 a target of 2 may be either, and the harness logs both as text. `acc` of the items
    tells; DataFileError where it does not.
    """
    fits = {False: True, True: True}
    is_open = False
    for line in lines:
        with contextlib.suppress(KeyError, TypeError, ValueError, IndexError):  # `read` says what is wrong
            if not _has_choices(line):
                continue
            texts, right = _texts(line), {}
            for by_index in fits:
                right[by_index] = _right(str(line["target"]), texts, by_index=by_index)
            if right[False] != right[True]:
                is_open = True
                for by_index in fits:
                    fits[by_index] &= _agrees(line, right[by_index])
    if is_open and fits[False] == fits[True]:
        raise DataFileError(
            path,
            f"the targets of {task!r} may be texts or indices of its choices, and acc does not tell which; "
            "log more items, or use labels that are no numbers",
        )
    return is_open and fits[True]


def _has_choices(line: Mapping[str, Any]) -> bool:
    answers = line["filtered_resps"]
    return len(answers) > 1 and all(isinstance(own, list) and len(own) == 2 for own in answers)


def _texts(line: Mapping[str, Any]) -> list[str]:
    numbers = range(len(line["filtered_resps"]))
    return [_continuation(line, number).strip().replace(LABEL_SEPARATOR, " ") for number in numbers]


def _agrees(line: Mapping[str, Any], right: Sequence[int]) -> bool:
    """Whether `acc` says of the most probable choice what follows from the right ones."""
    if "acc" not in line or len(right) != 1:
        return True
    best = int(np.argmax([float(own[0]) for own in line["filtered_resps"]]))
    return bool(float(line["acc"])) == (best in right)


def _choices(line: Mapping[str, Any], *, by_index: bool) -> dict[str, Any] | None:
    """Choices of an item with their probabilities; None where the answer is free."""
    if not _has_choices(line):
        return None
    answers = line["filtered_resps"]
    logs = [float(own[0]) for own in answers]
    written = [str(own[1]) == "True" for own in answers]
    texts = _texts(line)
    options = (
        tuple(texts) if len(set(texts)) == len(texts) and all(texts) else tuple(map(str, range(len(texts))))
    )
    right = _right(str(line["target"]), texts, by_index=by_index)
    if not _agrees(line, right):
        raise ValueError(f"target {line['target']!r} is not the choice that acc {line['acc']} means")
    return {
        "options": options,
        "probabilities": tuple(math.exp(log) for log in logs),
        "gold": options[right[0]],
        "also_right": tuple(options[index] for index in right[1:]),
        "predicted": next((options[number] for number, is_written in enumerate(written) if is_written), ""),
        "is_right": any(written[index] for index in right),
    }


def _continuation(line: Mapping[str, Any], number: int) -> str:
    arguments = line["arguments"]
    pair = arguments[f"gen_args_{number}"] if isinstance(arguments, dict) else arguments[number]
    return str(pair["arg_1"] if isinstance(pair, dict) else pair[1])


def _right(target: str, texts: Sequence[str], *, by_index: bool) -> list[int]:
    """Indices of the right choices: the target is one of the texts, an index, or a list of indices.

    With `by_index` an index comes first.
    """
    is_index = by_index and target.strip().isdecimal() and int(target) < len(texts)
    if target.strip() in texts and not is_index:
        return [texts.index(target.strip())]
    listed = json.loads(target)
    right = [int(index) for index in (listed if isinstance(listed, list) else [listed])]
    if not right or not all(0 <= index < len(texts) for index in right):
        raise ValueError(f"target {target!r} is none of the {len(texts)} choices")
    return right


def _free(line: Mapping[str, Any]) -> dict[str, Any]:
    """A free answer, right where the task's metric says so."""
    metric = next((name for name in _RIGHT if isinstance(line.get(name), int | float)), None)
    if metric is None:
        raise ValueError(
            f"its metrics ({', '.join(line.get('metrics', ())) or 'none'}) do not say whether an answer is "
            f"right; known: {', '.join(_RIGHT)}"
        )
    answer = line["filtered_resps"][0]
    text = str(answer[0] if isinstance(answer, list) and answer else answer)
    return {
        "gold": str(line["target"]) or "?",
        "also_right": (),
        "predicted": text.replace("\0", "\\0"),
        "is_right": float(line[metric]) >= 1,
    }
