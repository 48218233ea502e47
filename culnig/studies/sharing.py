"""Neuron sets and packs on the Hugging Face hub, through `huggingface_hub`, which manages the login.

They are data sets on the hub: a repository holds a set or a pack and its card.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from culnig.errors import EnvironmentProblem, InputError, StoreError, argument, option
from culnig.reporting.card import card
from culnig.selection.neuron_set import read_neuron_set
from culnig.store.archive import SUFFIX, is_archive, read_archive
from culnig.store.files import copy_file, make_folder
from culnig.store.output_folder import check_file, owned_file
from culnig.studies.local_paths import names_of_local_models, write_without_paths

SETS = ".neurons.json"
CARD = "README.md"
_KIND = "dataset"


def hub_push(
    source: Path | str,
    repository: str,
    *,
    title: str | None = None,
    public: bool = False,
    message: str | None = None,
) -> dict[str, Any]:
    """Push a neuron set or a pack of a study to a data set on the hub, with a card made from its records.

    `repository` is owner/name; it is made where it does not exist, private unless `public`. Returns its
    address, the commit and the card. StoreError if the file is damaged, InputError if the repository is
    there and public and `public` does not say so, EnvironmentProblem if the hub refuses.
    """
    path = Path(source)
    _check(path)
    _check_repository(repository)
    hub = _hub()
    with tempfile.TemporaryDirectory() as temporary:
        shared = _without_paths(path, Path(temporary))
        text = card(shared, title or path.name)
        operations = [
            hub.CommitOperationAdd(path.name, str(shared)),
            hub.CommitOperationAdd(CARD, text.encode()),
        ]
        try:
            client = hub.HfApi()
            client.create_repo(repository, repo_type=_KIND, private=not public, exist_ok=True)
            if not public and not client.repo_info(repository, repo_type=_KIND).private:
                raise InputError(
                    f"{repository} exists and is public, so everyone could read {path.name}; give "
                    f"{option('public')} if that is meant, or another name"
                )
            commit = client.create_commit(
                repository, operations, commit_message=message or f"Add {path.name}", repo_type=_KIND
            )
        except InputError:
            raise
        except Exception as error:  # of the network, the login or the hub: it has its own many kinds
            raise _refused(f"push to {repository}", error) from error
    return {"repository": repository, "url": str(commit.commit_url), "file": path.name, "card": text}


def hub_pull(
    repository: str,
    out: Path | str,
    *,
    file: str | None = None,
    revision: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Pull a neuron set or a pack from a data set on the hub, check it, and write it to the file `out`.

    `file` names it if the repository holds several; `revision` is a branch, tag or commit. StoreError if the
    file is damaged or not one of culnig's, InputError if there is none, or several and no `file`,
    EnvironmentProblem if the hub refuses.
    """
    _check_repository(repository)
    hub, target = _hub(), Path(out)
    check_file(target, overwrite=overwrite, inputs=())
    try:
        client = hub.HfApi()
        names = client.list_repo_files(repository, repo_type=_KIND, revision=revision)
    except Exception as error:
        raise _refused(f"read {repository}", error) from error
    shared = [name for name in names if name.endswith((SETS, SUFFIX))]
    name = _chosen(repository, shared, file)
    if not name.endswith(SUFFIX if is_archive(target) else SETS):
        ending = SUFFIX if name.endswith(SUFFIX) else SETS
        raise InputError(
            f"{argument('out')} is {str(target)!r}, but the file is {name}; give a name that ends in {ending}"
        )
    with tempfile.TemporaryDirectory() as temporary:
        try:
            pulled = client.hf_hub_download(
                repository, name, repo_type=_KIND, revision=revision, local_dir=temporary
            )
        except Exception as error:
            raise _refused(f"read {name} of {repository}", error) from error
        _check(Path(pulled))
        make_folder(target.parent)
        with owned_file(target, overwrite=overwrite, inputs=()) as path:
            copy_file(Path(pulled), path)
    return target


def _without_paths(path: Path, temporary: Path) -> Path:
    """The file to share: a copy of a neuron set that names a local model, without its path."""
    if is_archive(path):
        return path  # packed without
    copy = temporary / path.name
    return copy if write_without_paths(path, copy, names_of_local_models([path])) else path


def _check(path: Path) -> None:
    """StoreError if a file is neither a neuron set nor a whole pack."""
    if is_archive(path):
        read_archive(path)
    elif path.name.endswith(SETS):
        read_neuron_set(path)
    else:
        raise StoreError(f"{path}: neither a neuron set (*{SETS}) nor a pack of a study (*{SUFFIX})")


def _check_repository(repository: str) -> None:
    owner, slash, name = repository.partition("/")
    if not (owner and slash and name) or "/" in name:
        raise InputError(f"{repository!r} is not a repository on the hub; give owner/name")


def _chosen(repository: str, names: list[str], asked: str | None) -> str:
    listed = ", ".join(names) or "none"
    if asked is not None:
        if asked not in names:
            raise InputError(f"{repository} has no {asked!r}; neuron sets and packs there: {listed}")
        return asked
    if len(names) != 1:
        raise InputError(
            f"{repository} holds {len(names)} neuron sets and packs ({listed}); name one of them"
        )
    return names[0]


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise EnvironmentProblem("the hub needs huggingface_hub; pip install 'culnig-engine[hub]'") from error
    return huggingface_hub


def _refused(action: str, error: Exception) -> EnvironmentProblem:
    reason = " ".join(str(error).split())[:400]
    return EnvironmentProblem(
        f"cannot {action}: {type(error).__name__}: {reason}; check the name, your connection and "
        "`hf auth login`"
    )
