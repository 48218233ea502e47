"""The cache of GGUF files: what was read from one, as a model folder that loads in a fraction of the time.

It lies in `$XDG_CACHE_HOME/culnig/gguf` (else `~/.cache/culnig/gguf`). CULNIG_CACHE names another folder,
CULNIG_CACHE=off switches it off, CULNIG_CACHE_LIMIT bounds its size. A cache that cannot be read or written
costs time and never a run.

An entry's folder is named by a hash of its key: the SHA-256 of the GGUF file and of the tokenizer files
beside it, the dtype asked for, and the versions of the packages that read it. The GGUF file's hash is
remembered for as long as path, size, inode and both times stay the same (the change time cannot be set back),
since reading gigabytes in every command takes longer than loading the entry.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from culnig.core.locks import lock
from culnig.core.sizes import parse_size
from culnig.errors import EnvironmentProblem, InputError
from culnig.models.cache_entry import (
    RECORD,
    EntryProblem,
    check_entry,
    check_loaded,
    read_record,
    read_weights,
    write_entry,
)
from culnig.provenance import file_hash

SWITCH = "CULNIG_CACHE"
LIMIT_SWITCH = "CULNIG_CACHE_LIMIT"
DEFAULT_LIMIT = "20G"
FORMAT = 1
"""Raised when entries of older versions must not be read any more."""

_PACKAGES = ("transformers", "gguf", "tokenizers")
"""They decide what is read from a GGUF file: names and configuration, dequantized values, the tokenizer."""
_BESIDE = (
    *("config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json"),
    *("vocab*", "merges.txt", "spiece.model", "chat_template*", "additional_chat_templates/*"),
)
"""Files beside a GGUF file that transformers reads with it, chiefly for the tokenizer."""
_NEW, _OLD = ".new-", ".old-"
"""Prefixes of folders that are being written and removed."""


class CacheWarning(UserWarning):
    """A model could not be kept in the cache, or an entry was damaged and is made again."""


def cached_folder(file: Path, dtype: str, *, weights: bool) -> Path | None:
    """The model folder that stands for a GGUF file, or None where there is no good one.

    Its files are compared with their checksums: all of them with `weights`, else configuration and tokenizer.
    A damaged entry is removed, with a CacheWarning.
    """
    folder = entry_folder(file, dtype)
    if folder is None:
        return None
    try:
        if not folder.is_dir():
            return None
        check_entry(folder, weights=weights)
        os.utime(folder / RECORD)  # the last use, by which entries are removed
    except EntryProblem as problem:
        discard(folder, str(problem))
        return None
    except OSError:
        return None
    return folder


def entry_folder(file: Path, dtype: str) -> Path | None:
    """The folder that an entry for the GGUF file has or would have; None where the cache cannot be used."""
    root = _root()
    if root is None:
        return None
    try:
        return root / _entry_name(root, file, dtype)
    except OSError:
        return None


def keep(file: Path, folder: Path, dtype: str, model: Any, tokenizer: Any) -> None:
    """Write what was read from a GGUF file as an entry, and remove the oldest entries beyond the limit.

    `folder` is the entry's before the file was read; nothing is kept where the file has changed since then. A
    model larger than the limit or the free space of the disk is not kept, and none while another process
    writes to the cache.
    """
    record = {"source": str(file), "dtype": dtype}
    _keep(folder, record, model, tokenizer, lambda: entry_folder(file, dtype) == folder)


def learned_folder(key: Mapping[str, Any]) -> Path | None:
    """The folder of weights that were made from what `key` holds; None where the cache cannot be used."""
    root = _root()
    if root is None:
        return None
    return root / _hash_of_key(key)


def keep_learned(folder: Path, source: str, model: Any, tokenizer: Any) -> None:
    """Keep weights that took long to make, as an entry like those of GGUF files."""
    _keep(folder, {"source": source, "dtype": "float32"}, model, tokenizer, lambda: True)


def read_learned(folder: Path, model: Any) -> bool:
    """Give a model the weights of an entry; False where there is no good one. A damaged one is removed."""
    if not folder.is_dir():
        return False
    try:
        check_entry(folder, weights=True)
        read_weights(folder, model)
        check_loaded(folder, model)
        os.utime(folder / RECORD)
    except EntryProblem as problem:
        discard(folder, str(problem))
        return False
    except OSError:
        return False
    return True


def _keep(
    folder: Path, record: dict[str, str], model: Any, tokenizer: Any, still_valid: Callable[[], bool]
) -> None:
    root = folder.parent
    try:
        n_bytes = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
        root.mkdir(parents=True, exist_ok=True)
        if n_bytes > min(size_limit(), shutil.disk_usage(root).free):
            return
        with _locked(root, wait=False) as locked:
            if locked and still_valid():
                _write(folder, record, model, tokenizer)
    except EnvironmentProblem:
        raise
    except (
        Exception
    ) as error:  # transformers and safetensors raise their own; the model is loaded all the same
        _warn(
            f"{record['source']} is not kept in the cache {root}: {error}; {SWITCH}=off switches the cache "
            "off"
        )


def discard(folder: Path, reason: str) -> None:
    """Remove an entry that cannot be used, with a CacheWarning."""
    _warn(f"the cached model {folder} is not used and made again: {reason}")
    with contextlib.suppress(OSError):
        _remove(folder)


def list_cache() -> dict[str, Any]:
    """The cache's folder (None where it is switched off), its size limit in bytes, and its entries.

    An entry has the file it was read from, dtype, bytes, the time of its last use (UTC) and its folder.
    """
    root = _root()
    entries = [_described(folder) for folder in _entries(root)]
    return {"folder": None if root is None else str(root), "limit": size_limit(), "entries": entries}


def clear_cache() -> dict[str, int]:
    """Remove all entries; the number of entries and of bytes that were removed.

    EnvironmentProblem where the folder cannot be changed.
    """
    root = _root()
    if root is None or not root.is_dir():
        return {"entries": 0, "n_bytes": 0}
    try:
        with _locked(root, wait=True):
            entries = _entries(root)
            n_bytes = sum(_size(folder) for folder in entries)
            for folder in [*entries, *_leftovers(root)]:
                _remove(folder)
            shutil.rmtree(root / "hashes", ignore_errors=True)
    except OSError as error:
        raise EnvironmentProblem(f"cannot clear the cache {root}: {error.strerror or error}") from error
    return {"entries": len(entries), "n_bytes": n_bytes}


def size_limit() -> int:
    """Most bytes of all entries; EnvironmentProblem where CULNIG_CACHE_LIMIT is not a size."""
    asked = os.environ.get(LIMIT_SWITCH, "").strip() or DEFAULT_LIMIT
    try:
        return parse_size(asked)
    except InputError as error:
        raise EnvironmentProblem(f"{LIMIT_SWITCH}: {error.args[0]}") from None


def _root() -> Path | None:
    """The folder of the entries, or None where the cache is switched off."""
    asked = os.environ.get(SWITCH, "").strip()
    if asked.lower() == "off":
        return None
    if asked:
        return Path(asked).expanduser().absolute() / "gguf"
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return base.absolute() / "culnig" / "gguf"


def _entry_name(root: Path, file: Path, dtype: str) -> str:
    key = {
        "format": FORMAT,
        "sha256": _hash_of(root, file),
        "beside": {
            str(path.relative_to(file.parent)): file_hash(path)
            for pattern in _BESIDE
            for path in sorted(file.parent.glob(pattern))
            if path.is_file()
        },
        "dtype": dtype,
    }
    return _hash_of_key(key)


def _hash_of_key(key: Mapping[str, Any]) -> str:
    """Of the key and the packages' versions."""
    whole = {**key, **{package: metadata.version(package) for package in _PACKAGES}}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32]


def _hash_of(root: Path, file: Path) -> str:
    """SHA-256 of a file, remembered until the file changes."""
    file = file.resolve()
    status = file.stat()
    state = [str(file), status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
    memory = root / "hashes" / (hashlib.sha256(str(file).encode()).hexdigest()[:32] + ".json")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        remembered = json.loads(memory.read_text(encoding="utf-8"))
        if remembered["state"] == state:
            return str(remembered["sha256"])
    digest = file_hash(file)
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=memory.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as written:
            json.dump({"state": state, "sha256": digest}, written)
        Path(temporary).replace(memory)
    return digest


def _write(folder: Path, record: dict[str, str], model: Any, tokenizer: Any) -> None:
    root = folder.parent
    for leftover in _leftovers(root):  # of processes that were killed; the lock says that none is at work
        shutil.rmtree(leftover, ignore_errors=True)
    if folder.is_dir():  # another process was first
        return
    temporary = Path(tempfile.mkdtemp(prefix=_NEW, dir=root))
    try:
        write_entry(temporary, model, tokenizer, record)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    entries = sorted(_entries(root), key=_last_use)
    while len(entries) > 1 and sum(map(_size, entries)) > size_limit():
        _remove(entries.pop(0))


@contextlib.contextmanager
def _locked(root: Path, *, wait: bool) -> Iterator[bool]:
    """Keep other processes from changing the cache; False if one is doing so and `wait` is not asked for."""
    unlock = lock(root, wait=wait)
    try:
        yield unlock is not None
    finally:
        if unlock is not None:
            unlock()


def _remove(folder: Path) -> None:
    """Remove a folder; no process sees a half of it."""
    doomed = Path(tempfile.mkdtemp(prefix=_OLD, dir=folder.parent))
    folder.rename(doomed / folder.name)
    shutil.rmtree(doomed, ignore_errors=True)


def _entries(root: Path | None) -> list[Path]:
    if root is None or not root.is_dir():
        return []
    return sorted(path.parent for path in root.glob(f"[!.]*/{RECORD}"))


def _leftovers(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.name.startswith((_NEW, _OLD))]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _last_use(folder: Path) -> float:
    return (folder / RECORD).stat().st_mtime


def _described(folder: Path) -> dict[str, Any]:
    try:
        record = read_record(folder)
    except EntryProblem:
        record = {}
    used = datetime.fromtimestamp(_last_use(folder), tz=timezone.utc)
    return {
        "source": record.get("source"),
        "dtype": record.get("dtype"),
        "n_bytes": _size(folder),
        "last_use": used.isoformat(timespec="seconds"),
        "folder": str(folder),
    }


def _warn(text: str) -> None:
    warnings.warn(text, CacheWarning, stacklevel=3)
