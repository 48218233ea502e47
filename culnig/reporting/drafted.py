"""Writes a first declaration of a benchmark from its data file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from culnig.benchmarks.drafting import Draft, draft
from culnig.errors import InputError, argument
from culnig.store.files import write_text
from culnig.store.output_folder import check_file, owned_file

Ask = Callable[[str, str, Sequence[str]], Any]
"""Asks for one thing that cannot be seen: its name, why, and the columns; None leaves it open."""


def benchmarks_new(
    source: Path | str,
    out: Path | str,
    *,
    name: str | None = None,
    question: str | None = None,
    options: Sequence[str] = (),
    answer: str | None = None,
    answer_is: str | None = None,
    answer_starts_at: int | None = None,
    culture: str | None = None,
    overwrite: bool = False,
    ask: Ask | None = None,
) -> str:
    """Write a first declaration of the data file `source` to `out` (YAML), and return its text.

    `question`, `options`, `answer` and `culture` name columns, where they cannot be seen; `culture` may also
    be the culture of all rows. `answer_is` is letter, number or text. `ask` is called for what is still
    missing; without it, InputError lists that.
    """
    path, out = Path(source), Path(out)
    check_file(out, overwrite=overwrite, inputs=[path])
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise InputError(f"{out}: a declaration ends in .yaml; give such a file with {argument('out')}")
    known: dict[str, Any] = {
        "name": name,
        "question": question,
        "options": tuple(options),
        "answer": answer,
        "answer_is": answer_is,
        "answer_starts_at": answer_starts_at,
        "culture": culture,
    }
    made = draft(path, known)
    while made.unknown and ask is not None:
        missing, why = next(iter(made.unknown.items()))
        value = ask(missing, why, made.columns)
        if value is None:
            break
        known[missing] = value
        made = draft(path, known)
    _refuse_unknown(path, made)
    made.document["data"] = Path(os.path.relpath(path.resolve(), out.resolve().parent)).as_posix()
    with owned_file(out, overwrite=overwrite, inputs=[path]) as declaration:
        write_text(declaration, made.text())
    return made.text()


def _refuse_unknown(path: Path, made: Draft) -> None:
    if made.unknown:
        problems = "; ".join(f"{argument(name)} ({why})" for name, why in made.unknown.items())
        raise InputError(f"{path}: cannot see {problems}; give them. Columns: {', '.join(made.columns)}")
