"""Every error that culnig raises on purpose, as one tree.

CulnigError
├── InputError                an argument or input is wrong
│   ├── UnknownNameError      no model, benchmark, culture … has that name (suggests near names)
│   ├── DataFileError         a benchmark or data file is missing or malformed (line and column named)
│   ├── LabelError            an answer label is not one vocabulary entry
│   ├── TemplateError         a chat template cannot write the prompts of a benchmark
│   ├── BindingError          the model's structure does not fit an adapter
│   ├── ModelLoadError        weights or tokenizer cannot be read
│   ├── CheckError            the model failed a check that scoring relies on
│   ├── OutputExistsError     an output exists already
│   ├── StoreError            a stored file is damaged, not culnig's, or of another version
│   ├── MismatchError         two inputs do not belong together (different models or settings)
│   ├── SelectionError        a selection cannot be made from this run
│   ├── NonFiniteError        NaN or infinity among activations or gradients
│   └── TrainingError         training cannot start or continue
├── PluginError               a plugin is broken or two claim one name
└── EnvironmentProblem        this machine lacks something (package, device, disk space)
    └── AnotherStopped        another process of the launch has stopped, with a message of its own

A message says what was wrong, the value, what is allowed and what to do next. Advice that names an option is
written with `option`, `argument` or `command`: Python users read `overwrite=True` where the command line
shows `--overwrite`. The library raises; only `culnig.cli` turns these into exit codes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

_ADVICE = re.compile("\x02([^\x03]*)\x03([^\x03]*)\x03")
"""Advice inside a message: first in Python terms, then in terms of the command line."""


def option(name: str, value: object = True) -> str:
    """An option in a message: `dtype="float32"` in Python, `--dtype float32` on the command line.

    `name` is the keyword argument's name. True means a flag; False the flag that switches it off.
    """
    flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
    if value is False:
        flag = "--no-" + flag.removeprefix("--")
    spelled = flag if isinstance(value, bool) else f"{flag} {value}"
    return f"\x02{name}={value!r}\x03{spelled}\x03"


def argument(name: str) -> str:
    """The name of an option in a message: `token_budget` in Python, `--token-budget` on the command line."""
    return f"\x02{name}\x03{_FLAGS.get(name, '--' + name.replace('_', '-'))}\x03"


def command(name: str) -> str:
    """A command in a message: `culnig.select_general(...)` and `culnig-engine select general`."""
    function = _FUNCTIONS.get(name, name.replace(" ", "_"))
    return f"\x02culnig.{function}(...)\x03culnig-engine {name}\x03"


_FUNCTIONS = {"export": "export_model", "import": "import_scores", "modules": "plan_training"}
"""Commands whose function has another name."""

_FLAGS = {
    "out": "-o",
    "benchmarks": "--benchmark",
    "cultures": "--culture",
    "neuron_sets": "--neurons",
    "factors": "--factor",
    "shares": "--share",
    "pools": "--pool",
    "scorers": "--scorer",
    "conditions": "--condition",
    "figures": "--figure",
}
"""Options whose keyword argument has another name."""


def listed(names: Iterable[str], at_most: int = 4) -> str:
    """Names in a message, sorted: the first of them, and how many more there are."""
    ordered = sorted(set(names))
    more = len(ordered) - at_most
    return ", ".join(ordered[:at_most]) + (f" and {more} more" if more > 0 else "")


def _near(name: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """At most three of the known names that are near a name, the nearest first."""
    by_lower = {k.lower(): k for k in known}
    return [by_lower[k] for k in difflib.get_close_matches(name.lower(), by_lower, 3, cutoff)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The question that offers near names in a message, with the mark before it; empty without any."""
    near_names = _near(name, known)
    return f"; did you mean {' or '.join(map(repr, near_names))}?" if near_names else ""


def check_choice(name: str, value: object, allowed: Iterable[object]) -> None:
    """InputError unless the keyword argument `name` has one of the allowed values."""
    if value not in (allowed := list(allowed)):
        choices = ", ".join(str(choice) for choice in allowed if choice is not None)
        raise InputError(f"unknown {argument(name)} {value!r}; choose from {choices}")


def check_at_least(name: str, value: float | None, least: float) -> None:
    """InputError if the keyword argument `name` is given and below `least`."""
    if value is not None and value < least:
        raise InputError(f"{argument(name)} is {value}; at least {least} is allowed")


MOST_LISTED = 24
"""Most known names that a message lists in place of the near ones."""


class CulnigError(Exception):
    """Base class of all errors that culnig raises on purpose. The message gives advice in Python terms."""

    def __str__(self) -> str:
        return _ADVICE.sub(r"\1", super().__str__())

    def for_command_line(self) -> str:
        """The message with advice in terms of command-line options."""
        return _ADVICE.sub(r"\2", super().__str__())


class InputError(CulnigError):
    """An argument or input is wrong."""


class UnknownNameError(InputError):
    """A name is not registered."""

    def __init__(
        self, kind: str, name: str, known: Iterable[str], next_step: str = "", *, also: Iterable[str] = ()
    ) -> None:
        """`also` are further names that may be meant; with them, the three nearest are always offered."""
        known = sorted(known)
        names = {*also, *known}
        near_names = _near(name, sorted(names), 0.6 if len(names) == len(known) else 0.0)
        parts = [f"unknown {kind} {name!r}"]
        if near_names:
            parts.append(f"did you mean {' or '.join(repr(n) for n in near_names)}?")
        if len(known) <= MOST_LISTED or not near_names:
            parts.append(f"known: {', '.join(known) or 'none'}")
        else:
            parts.append(f"{len(known)} are known")
        if next_step:
            parts.append(next_step)
        super().__init__("; ".join(parts))
        self.name = name
        self.near_names = near_names


class DataFileError(InputError):
    """A data file is missing or malformed."""

    def __init__(
        self, path: Path | str, problem: str, *, line: int | None = None, column: str | None = None
    ) -> None:
        where = str(path)
        if line is not None:
            where += f", line {line}"
        if column is not None:
            where += f", column {column!r}"
        super().__init__(f"{where}: {problem}")
        self.path, self.line, self.column = Path(path), line, column


class LabelError(InputError):
    """An answer label is not exactly one vocabulary entry at the answer position."""


class TemplateError(InputError):
    """The model's chat template cannot write a benchmark's prompts, or would write others."""


class BindingError(InputError):
    """The model's structure does not fit the adapter that was tried."""


class ModelLoadError(InputError):
    """Weights or tokenizer cannot be read."""


class CheckError(InputError):
    """A model failed a check that scores and masks rely on."""


class OutputExistsError(InputError):
    """The output exists already, and replacing it was not requested."""


class StoreError(InputError):
    """A stored file is damaged, incomplete, not culnig's, or of another version."""


class MismatchError(InputError):
    """Two inputs do not belong together."""


class SelectionError(InputError):
    """A selection cannot be made from this run with these settings."""


class NonFiniteError(InputError):
    """NaN or infinity among the activations or gradients of real tokens."""

    def __init__(
        self,
        count: int,
        item: int,
        token: int,
        neuron: int,
        *,
        values: str = "products of gradient and activation",
        where: str = "",
    ) -> None:
        self.count, self.item, self.token, self.neuron = count, item, token, neuron
        self.where = where
        of_module = f" of {where}" if where else ""
        super().__init__(
            f"{count} {values}{of_module} are NaN or infinite, the first at item {item}, token {token}, "
            f"neuron {neuron}; scores made from them would be meaningless. Load the model with "
            f"{option('dtype', 'float32')} and check its weights"
        )


class TrainingError(InputError):
    """Training cannot start or continue: no rows to train on, or a loss that is not a number."""


class PluginError(CulnigError):
    """A plugin is broken, or two plugins claim one name."""


class EnvironmentProblem(CulnigError):
    """This machine lacks something: a package, a device, disk space."""


class AnotherStopped(EnvironmentProblem):
    """Another process of the launch has stopped. The command line leaves the message to that process."""

    def __init__(self, of: int) -> None:
        super().__init__(
            f"another of the {of} processes has stopped, so this one stops too; see the message of that "
            "process"
        )
