"""What was asked, compared: two requests belong together only where the model read the same prompts.

A record of prompts (`culnig.inference.encoding.Encoder.record`) has a hash of all token ids, the date that
prompts show and the hash of the chat template. Records of earlier versions have none, so only what both
sides have is compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from culnig.errors import option

PROMPTS = "prompts"
"""Key of the prompts in the record of a benchmark or of a task."""

_CONDITIONS = ("date", "template")
"""What two benchmarks of different items have in common if they were asked in the same way."""


def without_prompts(record: Any) -> Any:
    """A record without its prompts, at any depth."""
    if not isinstance(record, Mapping):
        return record
    return {key: without_prompts(value) for key, value in record.items() if key != PROMPTS}


def differing_entries(
    first: Any, second: Any, *, same_items: bool = True, same_model: bool = True
) -> list[str]:
    """The entries of two records of prompts that must agree and do not: `date`, `template` or `hash`.

    `hash` only where neither date nor template explains it, and only for the same items; of different models
    only `date`. Empty where a record is missing.
    """
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return []
    differing = [name for name in _CONDITIONS[: None if same_model else 1] if _differ(first, second, name)]
    if not differing and same_items and same_model and _differ(first, second, "hash"):
        differing.append("hash")
    return differing


def _differ(first: Mapping[str, Any], second: Mapping[str, Any], name: str) -> bool:
    if name != "template" and None in (first.get(name), second.get(name)):
        return False  # a benchmark whose prompts show no date was asked on no particular day
    return bool(first.get(name) != second.get(name))


def reason(first: Any, second: Any, *, same_items: bool, same_model: bool = True) -> str | None:
    """Why two records of prompts do not belong together, in words; None if they do."""
    differing = differing_entries(first, second, same_items=same_items, same_model=same_model)
    if "date" in differing:
        return (
            f"the prompts of one show the date {first['date']}, those of the other {second['date']}; "
            f"{date_advice(first['date'])}"
        )
    if "template" in differing:
        return "their prompts were written by different chat templates; use the same model and tokenizer"
    if differing:
        return (
            "the token ids of their prompts differ, though the chat template is the same: the tokenizer or "
            "the items changed"
        )
    return None


def date_advice(day: str) -> str:
    """How to ask with the date of an earlier day."""
    return f"give the day of the first with {option('prompt_date', day)}"


def prompts_of(record: Mapping[str, Any], benchmark: str) -> dict[str, Any] | None:
    """What a run or an evaluation recorded about the prompts of a benchmark; None if it did not."""
    own = record.get("benchmarks", {}).get(benchmark)
    prompts = own.get(PROMPTS) if isinstance(own, dict) else None
    return prompts if isinstance(prompts, dict) else None


def as_recorded(record: dict[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """A request without the prompts of benchmarks for which the output that it continues has none.

    An earlier version began that output. What it asked is not known, so the output must not claim to know.
    """
    begun = stored.get("benchmarks") or {}
    benchmarks = {
        name: without_prompts(own) if name in begun and prompts_of(stored, name) is None else own
        for name, own in record["benchmarks"].items()
    }
    return {**record, "benchmarks": benchmarks}


def joined(records: Sequence[Any]) -> dict[str, Any] | None:
    """The prompts of a benchmark that several runs share out; None if one of them has no record."""
    if not records or not all(isinstance(record, Mapping) for record in records):
        return None
    if len(records) == 1:
        return dict(records[0])
    hashes = [record.get("hash") for record in records]
    digest = None if None in hashes else hashlib.sha256("".join(map(str, hashes)).encode()).hexdigest()
    dates = (record.get("date") for record in records)
    return {**records[0], "hash": digest, "date": next((day for day in dates if day is not None), None)}
