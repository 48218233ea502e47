"""A stand-in for the package datasets: a hub with commits, a cache, and a network that can be cut."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class Table(list):
    """Rows with their columns, as a loaded data set has them."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        super().__init__(rows)
        self.column_names = list(rows[0])


class HubStandIn:
    """Set as `sys.modules["datasets"]`; what it does follows datasets 5.2 where the tests look.

    Offline the client reads the newest commit in its cache, whatever revision is asked for.
    """

    def __init__(self) -> None:
        self.commits: dict[str, list[tuple[str, dict[tuple[str | None, str], list[dict[str, Any]]]]]] = {}
        self.cache: dict[str, tuple[str, dict[tuple[str | None, str], list[dict[str, Any]]]]] = {}
        self.online = True
        self.gated: set[str] = set()
        self.downloads: list[str] = []

    def publish(self, name: str, commit: str, **splits: list[dict[str, Any]]) -> None:
        """A new commit of a set without configurations."""
        self.publish_configs(name, commit, {(None, split): rows for split, rows in splits.items()})

    def publish_configs(self, name: str, commit: str, tables: dict) -> None:
        """A new commit, with rows by (configuration, split)."""
        self.commits.setdefault(name, []).append((commit, tables))

    def load_dataset_builder(self, name: str, config: str | None = None, *, revision: str | None = None):
        if self.online:
            if name in self.gated:
                raise FileNotFoundError(f"Dataset '{name}' is a gated dataset on the Hub.")
            known = dict(self.commits[name])
            commit = revision if revision in known else self.commits[name][-1][0]
            version = (commit, known[commit])
        elif name in self.cache:
            version = self.cache[name]
        else:
            raise ConnectionError(f"Couldn't reach '{name}' on the Hub (OfflineModeIsEnabled)")
        configs = sorted({str(of) for of, _ in version[1]})
        if config is not None and config not in configs:
            raise ValueError(f"BuilderConfig '{config}' not found. Available: {configs}")
        return SimpleNamespace(
            hash=version[0],
            download_and_prepare=lambda: self._download(name, version),
            as_dataset=lambda split: self._table(version[1], config, split),
        )

    def _download(self, name: str, version: Any) -> None:
        if self.cache.get(name) != version:
            self.cache[name] = version
            self.downloads.append(f"{name}@{version[0]}")

    @staticmethod
    def _table(tables: dict, config: str | None, split: str) -> Table:
        if (config, split) not in tables:
            raise ValueError(f'Unknown split "{split}". Should be one of {[s for _, s in tables]}.')
        return Table(tables[config, split])
