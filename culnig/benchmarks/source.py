"""Published data: a folder with its files, or a data set on the hub, which the package datasets reads.

The hub's client keeps what it has downloaded in its cache, so the second reading needs no network. Every
reading names the commit that was read; a run records it beside the hashes of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from culnig.benchmarks.rows import Row, check_columns, file_rows
from culnig.errors import DataFileError, EnvironmentProblem, argument

HUB_ADVICE = (
    f"or name the folder of the data with {argument('data_dir')} or CULNIG_DATA (see docs/benchmarks.md)"
)


@dataclass(frozen=True)
class Source:
    """Location of a published data set: in the user's data folder, otherwise on the hub."""

    folder: str
    """Its folder inside the data folder."""
    file_names: tuple[str, ...]
    """Possible file names, of which the first existing one is read; `*` is allowed."""
    columns: tuple[str, ...]
    """Columns to read, with the same names in the file and on the hub."""
    hub: str
    hub_config: str | None = None
    hub_split: str = "test"

    def path(self, data_dir: Path) -> Path:
        """The file; DataFileError names the missing path."""
        folder = data_dir / self.folder
        for name in self.file_names:
            if paths := sorted(folder.glob(name)):
                return paths[0]
        raise DataFileError(
            folder / self.file_names[0],
            f"no such file; put the data of {self.hub} there, or name the parent folder of {self.folder}/ as "
            f"{argument('data_dir')} or CULNIG_DATA",
        )

    def files(self, data_dir: Path | None) -> list[Path]:
        """A list of the file; empty if the hub is read."""
        return [] if data_dir is None else [self.path(data_dir)]

    def rows(self, data_dir: Path | None, commits: dict[str, str] | None = None) -> Iterator[Row]:
        """All rows in file order; `commits` as for `hub_rows`."""
        if data_dir is None:
            return hub_rows(self.hub, self.hub_config, self.hub_split, self.columns, commits=commits)
        return file_rows(self.path(data_dir), self.columns)


def hub_rows(
    name: str,
    config: str | None,
    split: str,
    columns: Sequence[str],
    *,
    revision: str | None = None,
    commits: dict[str, str] | None = None,
) -> Iterator[Row]:
    """Rows of a data set on the hub, numbered from 1; needs the package datasets and a network or cache.

    The commit that is read goes into `commits`, under `hub/` and the name. DataFileError for a configuration,
    split or column that the set lacks, and for a cache that holds another commit than `revision`.
    """
    try:
        import datasets
    except ModuleNotFoundError:
        raise EnvironmentProblem(
            f"reading {name} needs the package datasets (`pip install culnig-engine[hub]`), {HUB_ADVICE}"
        ) from None
    source = f"{name} ({config}, {split})" if config else f"{name} ({split})"
    try:
        builder = datasets.load_dataset_builder(name, config, revision=revision)
        builder.download_and_prepare()
        rows = builder.as_dataset(split=split)
    except (ValueError, KeyError) as error:  # an unknown configuration or split
        raise DataFileError(source, f"the hub's client says: {error}") from None
    except Exception as error:  # the hub client passes on any error of its transport
        raise _unreadable(name, config, revision, error) from error
    commit = str(builder.hash)
    if revision and _COMMIT.fullmatch(revision) and _COMMIT.fullmatch(commit) and commit != revision:
        problem = f"the cache holds the commit {commit}, but the revision {revision} is asked for"
        raise EnvironmentProblem(f"{source}: {problem}; read it once with a network, or declare that commit")
    if commits is not None:
        commits[f"hub/{name}"] = commit
    check_columns(source, columns, rows.column_names, line=None)
    for number, values in enumerate(rows, start=1):
        yield Row(source, number, values)


_COMMIT = re.compile(r"[0-9a-f]{40}")


def _unreadable(name: str, config: str | None, revision: str | None, error: Exception) -> EnvironmentProblem:
    """The error for a set that the hub's client cannot read, with the way to get it."""
    texts = ""
    cause: BaseException | None = error
    while cause is not None:
        texts += f"{type(cause).__name__} {cause} "
        cause = cause.__cause__
    if "gated" in texts.casefold():
        return EnvironmentProblem(
            f"{name} is a gated data set: accept its terms on https://huggingface.co/datasets/{name}, log in "
            f"with `hf auth login`, {HUB_ADVICE}"
        )
    arguments = [repr(name), *([repr(config)] if config else []), *([f"{revision=}"] if revision else [])]
    fetch = f"datasets.load_dataset({', '.join(arguments)})"
    return EnvironmentProblem(
        f"cannot read {name} from the hub: {error}; check the connection, or run `{fetch}` where there "
        f"is one and copy the cache (HF_HOME), {HUB_ADVICE}"
    )
