"""A finished study in one file: settings, neuron sets, tables, answers, the report; not weights or scores.

Scores and trained weights can take gigabytes and are left out; `run.json` and `training.json` describe them.
Of paths of local models only the last part is packed. `report` reads a pack just like the folders in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from culnig.errors import InputError, OutputExistsError, StoreError, argument, option
from culnig.store.archive import SUFFIX, archive_names, is_archive, read_archive, write_archive
from culnig.store.files import is_leftover, make_folder, remove_if_empty
from culnig.store.inside import check_no_owner
from culnig.store.output_folder import check_file, locked_folder, owned_file
from culnig.studies.local_paths import names_of_local_models, write_without_paths
from culnig.studies.records import HASHES, STEPS, STUDY_COPY, STUDY_FILE

PACKED = (
    STUDY_FILE,
    STUDY_COPY,
    "report.html",
    "tables/*",
    "neurons/*.neurons.json",
    "scores/*/run.json",
    "evaluations/*/results.json",
    "evaluations/*/items.h5",
    "instances/*.h5",
    "audits/*.json",
    "comparisons/*.json",
    "plans/*.yaml",
    *(f"trainings/*/{name}" for name in ("arms.json", "arms.csv", "training.json", "log.csv", "plan.yaml")),
    *("trainings/*/before/results.json", "trainings/*/before/items.h5"),
    *("trainings/*/evaluation/results.json", "trainings/*/evaluation/items.h5"),
    f"{STEPS}/*.json",
)
"""Patterns of the files of a study's folder that are packed; `*` stands for folders too."""
_LEFT_OUT = (f"{STEPS}/{HASHES}",)


def pack_study(folder: Path | str, out: Path | str, *, overwrite: bool = False) -> dict[str, str]:
    """Pack a study's folder, without scores and weights, into the archive `out` (NAME.culnig.zip).

    Returns the SHA-256 of each file by its name. StoreError if the folder holds no study, InputError for
    another ending of the name, OutputExistsError if the file exists. The same folder gives the same bytes.
    """
    folder, out = Path(folder), Path(out)
    if not (folder / STUDY_FILE).is_file():
        raise StoreError(f"{folder}: no study (no {STUDY_FILE}); give the folder of a study")
    check_file(out, overwrite=overwrite, inputs=(folder / STUDY_COPY,))
    if not is_archive(out):
        raise InputError(f"{argument('out')} is {str(out)!r}; give a name that ends in {SUFFIX}")
    names = packed_names(folder)
    with (
        owned_file(out, overwrite=overwrite, inputs=(folder / STUDY_COPY,)) as path,
        tempfile.TemporaryDirectory() as temporary,
    ):
        return write_archive(path, folder, names, _without_paths(folder, names, Path(temporary)))


def _without_paths(folder: Path, names: Sequence[str], temporary: Path) -> dict[str, Path]:
    """Copies of the files that hold paths of local models, without these."""
    study = folder / STUDY_COPY
    models = names_of_local_models(
        (folder / name for name in names if name.endswith(".json")), study if study.exists() else None
    )
    copies = {}
    for name in names if models else ():
        copy = temporary / name
        make_folder(copy.parent)
        if write_without_paths(folder / name, copy, models):
            copies[name] = copy
    return copies


def packed_names(folder: Path) -> list[str]:
    """The files of a study's folder that are packed."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    names = [path.relative_to(folder).as_posix() for path in files if not is_leftover(path)]
    return [
        name
        for name in names
        if name not in _LEFT_OUT and any(fnmatchcase(name, pattern) for pattern in PACKED)
    ]


def unpack_study(
    archive: Path | str, out: Path | str | None = None, *, verify: bool = False
) -> dict[str, Any]:
    """Unpack a study into the folder `out`; with `verify` and no folder, only check its checksums.

    Every file is checked before any is written. StoreError if the archive is damaged or names files outside
    the folder; OutputExistsError if the folder is in use.
    """
    path = Path(archive)
    if out is None:
        if not verify:
            raise InputError(f"give a folder with {argument('out')}, or {option('verify')} to check the pack")
        return {"pack": str(path), "folder": None, "files": read_archive(path)}
    folder = Path(out)
    check_no_owner(folder)
    names = archive_names(path)
    if folder.exists() and (not folder.is_dir() or _holds_more(folder, names)):
        problem = "is a file" if folder.is_file() else "exists and holds other files than the pack"
        raise OutputExistsError(f"{folder} {problem}; give another folder with {argument('out')}")
    with locked_folder(folder):
        try:
            files = read_archive(path, folder)
        except StoreError:
            remove_if_empty(folder)
            raise
    return {"pack": str(path), "folder": str(folder), "files": files}


def _holds_more(folder: Path, files: Collection[str]) -> bool:
    """Whether a folder holds files that an interrupted unpacking of this pack did not leave."""
    inner = [path for path in folder.rglob("*") if not path.is_dir() and not is_leftover(path)]
    return any(path.relative_to(folder).as_posix() not in files for path in inner)
