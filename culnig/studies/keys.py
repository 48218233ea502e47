"""Keys of a study that are keyword arguments of the public functions, with their types and defaults.

A section's settings are made from the signature of the function that its steps call, so that a new option
becomes a key automatically and every default is written only once, in the library.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, create_model

import culnig
from culnig.core.checked_documents import Strict
from culnig.models.settings import LoadOptions, LoadSettings
from culnig.selection.evidence import Evidence, EvidenceOptions
from culnig.training.settings import TrainOptions, TrainSettings

LEFT_OUT = {
    "out": "the study names its files",
    "overwrite": "a step whose settings changed is replaced",
    "resume": "an interrupted step is always continued",
    "progress": "callbacks are those of the study",
    "say": "callbacks are those of the study",
    "shard": "steps run in one process each",
    "fsdp": "steps run in one process each",
    "fsdp_offload": "steps run in one process each",
    "force": "the study looks at the disk before it starts",
}
"""Keyword arguments of the functions that are not keys, and why."""

OPTIONS: Mapping[type, type] = {
    LoadOptions: LoadSettings,
    EvidenceOptions: Evidence,
    TrainOptions: TrainSettings,
}
"""Keyword arguments that functions take as `**options`, with the settings that hold their defaults."""

_RENAMED = {"lora": "lora_rank"}
"""Keyword arguments whose default is a field of another name."""

Texts = Sequence[str]
_TYPES: Mapping[str, Any] = {
    "adapter": str | None,
    "arms": Texts,
    "benchmarks": Texts | str,
    "data_dir": str | None,
    "means": str | None,
    "model": str,
    "pools": dict[str, float],
    "published": str | None,
    "task": str,
}
"""Types of keys whose arguments may also be Python objects."""

Signature = Mapping[str, tuple[Any, Any]]


class Section(Strict):
    """An object of a study; numbers are numbers and texts are texts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    arguments: ClassVar[frozenset[str]] = frozenset()
    """Keys that are keyword arguments of the functions."""

    @property
    def given(self) -> dict[str, Any]:
        """The arguments that the file gives."""
        return {name: getattr(self, name) for name in sorted(self.model_fields_set & self.arguments)}


def keywords_of(function: str) -> dict[str, tuple[Any, Any]]:
    """Type and default of every keyword argument of a public function (`...` if it is required).

    Includes those of `**options`.
    """
    called: Callable[..., Any] = getattr(culnig, function)
    hints = typing.get_type_hints(called, localns=_names())
    keywords: dict[str, tuple[Any, Any]] = {}
    for name, parameter in inspect.signature(called).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            options = typing.get_args(hints[name])[0]
            keywords |= {key: (_type(key, hint), _default(options, key)) for key, hint in _hints(options)}
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            default = ... if parameter.default is parameter.empty else parameter.default
            keywords[name] = (_type(name, hints[name]), default)
    return keywords


def settings_of(
    name: str, functions: Sequence[str], base: type[Section], without: Collection[str] = ()
) -> type[Section]:
    """The settings of a section: the fields of `base`, and the keyword arguments of the functions.

    `without` are arguments that the study fills in.
    """
    keywords: dict[str, tuple[Any, Any]] = {}
    for function in reversed(functions):
        keywords |= keywords_of(function)
    left_out = {*LEFT_OUT, *without, *base.model_fields}
    members: dict[str, Any] = {
        key: (kind, Field(default, description=f"As in `culnig.{functions[0]}`."))
        for key, (kind, default) in keywords.items()
        if key not in left_out
    }
    made: type[Section] = create_model(name, __base__=base, __doc__=base.__doc__, **members)
    made.arguments = frozenset(members)
    return made


def _hints(options: type) -> list[tuple[str, Any]]:
    return list(typing.get_type_hints(options, localns=_names()).items())


def _type(name: str, hint: Any) -> Any:
    return _TYPES.get(name, hint)


def _default(options: type, name: str) -> Any:
    known = {field.name: field for field in (*fields(LoadSettings), *fields(OPTIONS[options]))}
    field = known[_RENAMED.get(name, name)]
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _names() -> dict[str, Any]:
    """Names that annotations use but that their modules import only for type checkers."""
    from typing_extensions import Unpack

    from culnig.selection.random import Match
    from culnig.selection.significance import Against

    return {
        "Unpack": Unpack,
        "LoadOptions": LoadOptions,
        "Match": Match,
        "Against": Against,
        "BoundModel": str,
    }
