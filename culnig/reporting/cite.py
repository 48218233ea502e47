"""What a study must cite: program, methods, data sets and models as BibTeX, with the licences of all.

Runs, evaluations, sets and trainings record what they used; `data/references.toml` has the publications. A
declared benchmark or hub model that it does not have gets an entry that says what to complete.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from culnig import registry
from culnig.core.data_files import own_data, read_toml
from culnig.errors import CulnigError, StoreError
from culnig.models.embedded import EMBEDDED, model_name
from culnig.models.embedded import LICENCE as LICENCE_OF_EMBEDDED
from culnig.provenance import RECORDED_PACKAGES
from culnig.reporting.methods import data_table, methods_text
from culnig.reporting.sources import Source, Sources, is_source, read_sources
from culnig.reporting.tables import latex_text
from culnig.store.files import write_text
from culnig.store.output_folder import owned_files

PROGRAM = "culnig-engine"
METHODS_FILE, REFERENCES_FILE, LICENCES_FILE = "methods.txt", "references.bib", "LICENCES.md"
_COMPLETE = "complete this entry"
_CARD = "not recorded; see the model's card"
_DEPTH = 3
"""How deep in a folder of a study its outputs lie."""

Entry = Mapping[str, str]


@dataclass(frozen=True)
class Used:
    """Something that a study used, with its licence."""

    kind: str
    """program, library, model or data."""
    name: str
    licence: str


@dataclass(frozen=True)
class Citation:
    """What to cite, with licences."""

    methods: str
    """A paragraph on what was computed; empty where no scores, sets or evaluations are among the sources."""
    entries: Mapping[str, Entry]
    """Fields of each BibTeX entry by its key; `kind` is its type."""
    used: Sequence[Used]

    @property
    def incomplete(self) -> list[str]:
        """Keys of the entries that must be completed by hand."""
        return [key for key, entry in self.entries.items() if entry.get("note", "").endswith(_COMPLETE)]

    @property
    def bibtex(self) -> str:
        """The entries as BibTeX."""
        return "\n".join(_bibtex(key, entry) for key, entry in self.entries.items())

    @property
    def licences(self) -> str:
        """The licences as a Markdown page."""
        rows = [f"| {work.kind} | {_cell(work.name)} | {_cell(work.licence)} |" for work in self.used]
        head = [
            "# Licences of what this study used",
            "",
            "Read the terms before you redistribute data or weights: this page repeats what was recorded.",
            "",
            "| | name | licence |",
            "|---|---|---|",
        ]
        return "\n".join([*head, *rows, ""])

    def write(self, folder: Path, *, overwrite: bool = False, inputs: Sequence[Any] = ()) -> None:
        """Write methods.txt, references.bib and LICENCES.md into a folder."""
        texts = {
            METHODS_FILE: self.methods + "\n",
            REFERENCES_FILE: self.bibtex,
            LICENCES_FILE: self.licences,
        }
        with owned_files(folder, list(texts), overwrite=overwrite, inputs=inputs) as paths:
            for path, text in zip(paths, texts.values(), strict=True):
                write_text(path, text)


def cite(
    sources: Source | Sequence[Source], out: Path | str | None = None, *, overwrite: bool = False
) -> Citation:
    """List what a study must cite: the program, its methods, data sets, models and libraries.

    `sources` are runs, evaluations, neuron sets, instances and arms, opened or as paths, or folders of
    studies. With `out`, writes methods.txt, references.bib and LICENCES.md into that folder. StoreError for a
    folder without any of these.
    """
    several = sources if isinstance(sources, Sequence) and not isinstance(sources, str) else [sources]
    opened = read_sources([path for source in several for path in _outputs(source)])
    names = _names(opened)
    used = [Used("program", _versioned(PROGRAM, names.versions), "MIT")]
    used += [Used("library", _versioned(name, names.versions), _licence_of(name)) for name in names.libraries]
    used += [Used("model", model_name(name), licence_of_model(name)) for name in names.models]
    used += [Used("data", str(row[0]), str(row[2])) for row in data_table(opened).rows]
    citation = Citation(methods_text(opened), _entries(names), used)
    if out is not None:
        citation.write(Path(out), overwrite=overwrite, inputs=several)
    return citation


def licence_of_model(name: str) -> str:
    """The licence of a model, if it is known."""
    return LICENCE_OF_EMBEDDED if name == EMBEDDED else _CARD


def _outputs(source: Source) -> Iterator[Source]:
    """A source itself, or everything in the folder of a study."""
    if not isinstance(source, Path | str) or not Path(source).is_dir() or is_source(Path(source)):
        yield source
        return
    paths = [path for path in _below(Path(source), _DEPTH) if is_source(path)]
    if not paths:
        raise StoreError(
            f"{source}: neither a run, an evaluation or a comparison of arms, nor a folder that holds any"
        )
    yield from paths


def _below(folder: Path, depth: int) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        yield path
        if depth > 1 and path.is_dir() and not path.is_symlink() and not is_source(path):
            yield from _below(path, depth - 1)


@dataclass(frozen=True)
class _Names:
    """Names of everything that the sources used, each once."""

    models: list[str]
    methods: list[str]
    benchmarks: list[str]
    versions: dict[str, str]

    @property
    def libraries(self) -> list[str]:
        return [name for name in RECORDED_PACKAGES if name != PROGRAM and name in self.versions]


def _names(sources: Sources) -> _Names:
    methods, benchmarks, versions = list[str](), list[str](), dict[str, str]()
    for run in sources.runs:
        methods += ["general", *run.record["settings"].get("scorers", [])]
        benchmarks += run.benchmarks
        versions |= run.record.get("versions", {})
    for evaluation in sources.evaluations:
        benchmarks += evaluation.benchmarks
        versions |= evaluation.results.get("versions", {})
    for document in sources.arms:
        benchmarks += [str(document["task"]), *(str(row["benchmark"]) for row in document["changes"])]
        versions |= document.get("versions", {})
    methods += [str(neurons.method.get("name", "")) for neurons in sources.neuron_sets]
    return _Names(sources.models, list(dict.fromkeys(methods)), list(dict.fromkeys(benchmarks)), versions)


def _entries(names: _Names) -> dict[str, Entry]:
    """The BibTeX entries of everything that is named, the program first."""
    document = read_toml(own_data("references.toml"))
    works: dict[str, dict[str, Any]] = document["works"]
    entries: dict[str, Entry] = {"culnig_engine": _program(names.versions.get(PROGRAM))}
    kinds = ((names.methods, "methods"), (names.benchmarks, "benchmarks"), (names.models, "models"))
    for own, kind in (*kinds, (names.libraries, "software")):
        for name in own:
            keys = document[kind].get(name)
            if keys is None:
                entries |= _unlisted(kind, name)
            for key in keys or ():
                entries[key] = {field: str(value) for field, value in works[key].items()}
    return entries


def _program(version: str | None) -> Entry:
    return {
        "kind": "misc",
        "author": "{The culnig-engine developers}",
        "title": "culnig-engine: the neurons of a language model that carry cultural understanding",
        "note": f"Version {version or metadata.version(PROGRAM)}",
    }


def _unlisted(kind: str, name: str) -> dict[str, Entry]:
    """An entry for a benchmark or model without a known publication; none for methods."""
    if kind == "benchmarks":
        with contextlib.suppress(CulnigError):
            if about := registry.benchmark(name.removesuffix(registry.CONTROL_OF_DECLARATION)).about:
                paper = str(about.get("paper", ""))
                eprint = re.search(r"arXiv[ :](\d{4}\.\d{4,5})", paper)
                year = re.search(r"\b(19|20)\d\d\b", paper)
                known = {"year": year[0]} if year else {}
                known |= {"eprint": eprint[1]} if eprint else {}
                return {_key(name): _open_entry(f"The data set {name}", paper, known)}
        return {_key(name): _open_entry(f"The data set {name}", "a declaration or plugin of yours")}
    if kind == "models":
        is_hub_name = name.count("/") == 1 and not Path(name).exists()
        url = {"howpublished": f"https://huggingface.co/{name}"} if is_hub_name else {}
        return {_key(name): _open_entry(f"The model {name}", "see the model's card", url)}
    return {}


def _open_entry(title: str, note: str, fields: Entry | None = None) -> Entry:
    return {"kind": "misc", "title": title, **(fields or {}), "note": f"{note}; {_COMPLETE}"}


def _key(name: str) -> str:
    """A name as a BibTeX key."""
    return re.sub(r"[^\w-]+", "-", name, flags=re.ASCII).strip("-") or "unnamed"


def _bibtex(key: str, entry: Entry) -> str:
    fields = {name: value for name, value in entry.items() if name != "kind"}
    if "eprint" in fields:
        fields["archiveprefix"] = "arXiv"
    lines = [f"  {name} = {{{_field(name, value)}}}," for name, value in fields.items()]
    return "\n".join([f"@{entry['kind']}{{{key},", *lines, "}", ""])


def _field(name: str, value: str) -> str:
    """A value as TeX: the braces around a group stay, those around a title keep its capitals."""
    if value.startswith("{") and value.endswith("}"):
        return f"{{{latex_text(value[1:-1])}}}"
    return f"{{{latex_text(value)}}}" if name == "title" else latex_text(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _versioned(package: str, versions: Mapping[str, str]) -> str:
    return f"{package} {versions[package]}" if package in versions else package


def _licence_of(package: str) -> str:
    """The licence that an installed package states: an SPDX expression, a name, or a classifier."""
    try:
        stated = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return "not installed here; see the package"
    plain = next((stated[key] for key in ("License-Expression", "License") if stated[key]), "")
    if plain and len(plain) <= 100 and "\n" not in plain.strip():
        return str(plain.strip())
    named = [
        each.rpartition(" :: ")[2] for each in stated.get_all("Classifier") or () if "License ::" in each
    ]
    return ", ".join(named) or "see the package"
