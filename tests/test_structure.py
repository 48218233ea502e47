"""Sizes and names: what keeps the source readable is checked, not hoped for."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import culnig
from tests.conftest import SLOWEST, TOGETHER

PACKAGE = Path(culnig.__file__).parent
ROOT = PACKAGE.parent

LONGEST_FILE = 350
LONGEST_FUNCTION = 60

NOT_NAMES = {
    "those",
    "found",
    "how",
    "one",
    "what",
    "there",
    "others",
    "wanted",
    "these",
    "it",
    "place",
    "places",
}
"""Pronouns and fillers: a name says what it holds. `index`, `offset` or `path` in place of `place`."""


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, without decorators (a command's options), signature and docstring."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:] or body
    return (function.end_lineno or 0) - body[0].lineno + 1


def bound_names(path: Path) -> Iterator[tuple[str, int]]:
    """Names that a source assigns, loops over, imports as or takes as arguments, with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno


def named(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", sources(), ids=named)
def test_files_and_functions_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    long = {f.name: lines_of(f) for f in functions(path) if lines_of(f) > LONGEST_FUNCTION}
    assert long == {}


@pytest.mark.parametrize("path", sources(), ids=named)
def test_names_say_what_they_hold(path):
    assert [f"line {line}: {name}" for name, line in bound_names(path) if name in NOT_NAMES] == []


def test_the_measure_of_a_function_counts_its_body(tmp_path):
    source = tmp_path / "source.py"
    source.write_text('def f(\n    a,\n    b,\n):\n    """Doc\n\n    more."""\n    a += b\n    return a\n')
    assert [lines_of(function) for function in functions(source)] == [2]


def test_every_test_file_has_its_room():
    """tests/ mirrors culnig/: a folder of tests is a part of the package, or says that it is not."""
    parts = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    folders = {path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")}
    folders = {folder for folder in folders if not folder.endswith(".py")}
    assert folders - parts == {"integration", "examples"}


def test_compiled_sources_are_formatted_and_short():
    listed = subprocess.run(
        ["git", "ls-files", "csrc/*.h", "csrc/*.cpp", "csrc/*.cu"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.split()
    assert len(listed) > 10
    long = {name: n for name in listed if (n := len((ROOT / name).read_text().splitlines())) > 250}
    assert long == {}


# Who reads HDF5

HDF5_READERS = ("store/tables.py", "store/members.py")
"""The only sources that read values of HDF5 files: with checks of links, claims, shapes, kinds and damage."""
_READS = {"read_direct", "asstr", "visititems", "visit", "iter_chunks", "read_direct_chunk"}
_FILES = {"file", "group", "root", "benchmarks", "source", "dataset"}
"""Names of HDF5 objects in sources that open HDF5 files."""


def reads_of_hdf5(source: str) -> Iterator[tuple[int, str]]:
    """Whole arrays and members of HDF5 files that are read without the checks, with their lines."""
    tree = ast.parse(source)
    assigned = {id(node.value) for node in ast.walk(tree) if _is_subscript(node, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _READS:
            yield node.lineno, ast.unparse(node)
        if not _is_subscript(node, ast.Load) or id(node) in assigned:
            continue
        is_whole = ast.unparse(node.slice) in ("...", "()", ":")
        if is_whole or (isinstance(node.value, ast.Name) and node.value.id in _FILES):
            yield node.lineno, ast.unparse(node)


def _is_subscript(node: ast.AST, context: type[ast.expr_context]) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.ctx, context)


@pytest.mark.parametrize("path", sources(), ids=named)
def test_only_checked_readers_read_hdf5(path):
    source = path.read_text(encoding="utf-8")
    if named(path) in HDF5_READERS or not re.search(r"\bh5py\b|open_hdf5|open_scores", source):
        return
    assert list(reads_of_hdf5(source)) == [], "read with culnig.store.tables"


def test_the_search_for_readers_sees_every_kind():
    source = (
        "x = file['a'][:]; y = group['a/b'][()]; dataset.read_direct(y); z = other[...]; file['a'].asstr()"
    )
    assert len({text for _, text in reads_of_hdf5(source)}) == 7
    assert list(reads_of_hdf5("file['a'] = 3; file['a'][...] = 3; group.attrs['a'] = rows[0:3]")) == []


# Who writes files

WRITERS = ("store/files.py", "store/hdf5.py")
"""The only sources that create, rename or remove files of an output."""
EXEMPT: dict[str, str] = {
    "core/locks.py": "the hidden file of a lock",
    "models/cache.py": "the cache of GGUF files, which is no output: entries are renamed whole into it",
    "models/cache_entry.py": "an entry of the cache, in a folder that nobody else knows yet",
    "store/archive.py": "a zip file and its entries, in the file of `whole_file`",
    "store/tensors.py": "opens a file of `whole_hdf5` a second time, to write beside HDF5",
    "cli/streams.py": "opens the null device where a stream is closed",
}
SAVERS: dict[str, str] = {
    "training/train.py": "save_pretrained, into the folder that `whole_files` moves",
    "validation/planted.py": "save_pretrained, into the folder that `whole_files` moves",
    "training/trainer.py": "save_file, into a checkpoint that counts once it is marked",
    "core/plot_style.py": "savefig, to the path of `whole_file`",
    "selection/formats.py": "torch.save, to the file of `write_with`",
}
"""Libraries write by themselves; they get a temporary path of `store.files`."""
CHANGES = {
    *("rename", "renames", "rmtree", "unlink", "rmdir", "remove_tree", "touch", "symlink_to", "hardlink_to"),
    *("write_bytes", "mkdir", "makedirs", "mkstemp", "mkdtemp", "NamedTemporaryFile", "copyfile", "copytree"),
    *("copy2", "move", "link", "symlink", "truncate", "savez", "tofile", "savetxt"),
}
LIBRARIES = {"save_pretrained", "save_file", "savefig", "to_csv", "to_json"}


def changes_of_files(source: str) -> Iterator[tuple[int, str]]:
    """Calls that create, rename or remove files, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        text = ast.unparse(node.func)
        name = text.rpartition(".")[2]
        modes = [*node.args, *(word.value for word in node.keywords if word.arg in ("mode", "flags"))]
        words = [str(mode.value) for mode in modes if isinstance(mode, ast.Constant)]
        writes = any(re.fullmatch(r"[rwxab+t]{1,4}", word) and set(word) & set("wxa+") for word in words)
        if (
            (name in ("open", "fdopen", "FileIO", "File", "ZipFile") and writes)
            or (text == "os.open" and any("O_WRONLY" in ast.unparse(mode) for mode in modes))
            or (text in ("os.open",) and any("O_RDWR" in ast.unparse(mode) for mode in modes))
            or (name in CHANGES and "." in text)
            or (name == "replace" and len(node.args) == 1 and not node.keywords and text != "replace")
            or text in ("os.replace", "os.remove", "np.save", "torch.save")
            or (name == "write_text" and "." in text)
            or name in LIBRARIES
        ):
            yield node.lineno, text


@pytest.mark.parametrize("path", sources(), ids=named)
def test_only_the_store_writes_files(path):
    if named(path) in WRITERS or named(path) in EXEMPT:
        return
    calls = list(changes_of_files(path.read_text(encoding="utf-8")))
    if named(path) in SAVERS:
        calls = [call for call in calls if call[1].rpartition(".")[2] not in (*LIBRARIES, "save")]
    assert calls == [], "write with culnig.store.files, in an output of culnig.store.output_folder"


def test_the_search_for_writers_sees_every_kind():
    source = """
open(path, "w"); path.open("wb"); h5py.File(path, "r+"); os.open(path, os.O_WRONLY | os.O_CREAT)
os.replace(a, b); temporary.replace(path); shutil.rmtree(path); path.write_text(text); path.unlink()
model.save_pretrained(path); torch.save(model, path); open(path, mode="a"); tempfile.mkstemp()
"""
    assert len(list(changes_of_files(source))) == 13
    harmless = 'open(path); path.open("rb"); h5py.File(path, "r"); text.replace("a", "b"); replace(item, a=1)'
    assert list(changes_of_files(harmless)) == []


def test_the_exceptions_still_write():
    for name in (*EXEMPT, *SAVERS):
        assert list(changes_of_files((PACKAGE / name).read_text(encoding="utf-8"))), name


def test_files_that_tests_are_ordered_by_exist():
    for file in (*SLOWEST, *TOGETHER, *TOGETHER.values()):
        assert (ROOT / "tests" / file).is_file(), f"tests/conftest.py names {file}"
