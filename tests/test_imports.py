"""Imports point one way, and what need not be imported is not.

The table below is the structure of the program: each row says what a part of `culnig` may import. Rows are in
order: a part imports only from rows above its own.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import culnig
from tests.toy import write_toy_run

PACKAGE = Path(culnig.__file__).parent

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("registry", "provenance"),
    ("core", "kernels"),
    ("store", "models", "inference", "benchmarks", "cultures", "lemmatizers", "scorers"),
    ("selection", "scoring", "reanalysis"),
    ("training", "evaluation", "reporting", "planning", "verification", "validation", "exchange"),
    ("api",),
    ("studies",),
    ("cli",),
    ("__main__",),
)
"""A part imports from the rows above its own."""

BESIDE: dict[str, tuple[str, ...]] = {
    "inference": ("models",),
    "store": ("scorers",),
    "benchmarks": ("cultures",),
    "evaluation": ("verification",),
    "training": ("evaluation",),
    "validation": ("evaluation", "verification"),
    "reporting": ("evaluation", "training", "validation"),
    "exchange": ("evaluation", "training"),
}
"""What a part may import from its own row."""

PLUGINS: dict[str, tuple[str, ...]] = {
    "models": ("gated_decoder", "plain_decoder"),
    "benchmarks": ("*", "base", "choosing", "drafting", "templates"),
    "scorers": ("*", "base"),
    "lemmatizers": ("*", "base", "normalised"),
    "cultures": ("*", "records", "spellings"),
}
"""What only the registry reaches, by entry points: these modules, or all but those after the star."""

COMPILED = ("_core", "_cuda")
"""Compiled modules belong to the parts that wrap them."""
WRAPPERS = {"_core": {"kernels"}, "_cuda": {"kernels"}}


def source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """Dotted name below `culnig`, empty for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in source_files()} | set(COMPILED)


def type_checking_blocks(tree: ast.AST) -> set[ast.AST]:
    """Every node under `if TYPE_CHECKING:`."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }


def names_of(node: ast.AST) -> Iterator[str]:
    """Full dotted names that one statement or call imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports hide where they point"
        assert node.module is not None
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def imported_modules(source: str, *, types: bool = False) -> set[str]:
    """Modules of `culnig` that a source imports, anywhere in it (with `types`, for annotations too)."""
    tree = ast.parse(source)
    ignored = set() if types else type_checking_blocks(tree)
    found = set()
    for node in ast.walk(tree):
        for name in names_of(node) if node not in ignored else ():
            if name.partition(".")[0] != "culnig":
                continue
            below = name.partition(".")[2]
            while below not in MODULES:  # the last part is a function or class
                below = below.rpartition(".")[0]
            found.add(below)
    return found


def part(module: str) -> str:
    return module.partition(".")[0]


def row_of(name: str) -> int:
    return next(number for number, row in enumerate(LAYERS) if name in row)


def is_plugin(module: str) -> bool:
    own, _, inner = module.partition(".")
    star, *others = PLUGINS.get(own, ("",))
    return inner not in others if star == "*" else inner in (star, *others) and inner != ""


def allowed(importer: str, imported: str) -> bool:
    own = part(importer)
    if imported == "" or part(imported) == own:
        return True
    if imported in COMPILED:
        return own in WRAPPERS[imported]
    if is_plugin(imported):
        return False
    above = row_of(part(imported)) < row_of(own)
    return above or part(imported) in BESIDE.get(own, ())


def test_the_reader_of_imports_sees_every_kind_and_skips_types():
    source = """
import culnig.errors
from culnig import registry, kernels as arithmetic
from culnig.core.neurons import Layout
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from culnig.reporting import figures
def late():
    from culnig.store.run import Run
    importlib.import_module("culnig._cuda")
class Inner:
    import culnig.selection.general
"""
    assert imported_modules(source) == {
        *("errors", "registry", "kernels", "core.neurons", "store.run", "_cuda", "selection.general")
    }


def test_every_part_has_a_row():
    parts = {part(module) for module in MODULES} - {"", *COMPILED}
    assert parts - {name for row in LAYERS for name in row} == set(), (
        "say in LAYERS where the new part stands"
    )


def test_parts_of_one_row_do_not_import_each_other_in_a_circle():
    for own, others in BESIDE.items():
        assert {row_of(other) for other in others} == {row_of(own)}
    list(TopologicalSorter(BESIDE).static_order())  # CycleError names the circle


def test_only_base_classes_of_plugins_are_imported_by_name():
    assert is_plugin("benchmarks.blend")
    assert is_plugin("models.gated_decoder")
    assert not is_plugin("benchmarks.base")
    assert not is_plugin("models.loading")
    assert not is_plugin("store.run")


@pytest.mark.parametrize("path", source_files(), ids=lambda path: module_name(path) or "culnig")
def test_imports_point_one_way(path):
    importer = module_name(path)
    imported = imported_modules(path.read_text(encoding="utf-8"))
    if importer == "":
        assert imported == set()
        return
    wrong = sorted(name for name in imported if not allowed(importer, name))
    assert wrong == [], f"culnig.{importer} may not import culnig.{', culnig.'.join(wrong)}"


def test_no_module_imports_itself_in_a_circle_not_even_for_types():
    graph = {
        module_name(path): imported_modules(path.read_text(encoding="utf-8"), types=True)
        - {module_name(path)}
        for path in source_files()
        if module_name(path)
    }
    order = list(TopologicalSorter(graph).static_order())  # CycleError names the circle
    assert set(order) >= MODULES - {"", *COMPILED}


# What a command imports

HEAVY = ("torch", "transformers", "matplotlib", "datasets", "tokenizers", "pandas")

RUN_AND_TELL = f"""
import json, os, sys
import h5py, numpy, pydantic, scipy.stats  # what many need, and none of the heavy ones
from culnig.cli.main import run
for arguments in json.loads(sys.argv[1]):
    if os.fork() == 0:
        try:
            code = run(arguments)
            loaded = [name for name in {HEAVY!r} if name in sys.modules]
            print("told", json.dumps([code, loaded]), file=sys.stderr, flush=True)
        finally:
            os._exit(0)
    os.wait()
"""
"""Runs commands, each in a process forked from one that has run none."""


def loaded_by(*commands: Sequence[object]) -> list[list[str]]:
    """Heavy packages that each command has imported when it is done."""
    asked = json.dumps([[str(argument) for argument in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", RUN_AND_TELL, asked], capture_output=True, text=True, check=True
    )
    told = [json.loads(line[5:]) for line in done.stderr.splitlines() if line.startswith("told ")]
    assert [code for code, _ in told] == [0] * len(commands), done.stderr
    return [loaded for _, loaded in told]


LIGHT = tuple(
    line.split()
    for line in (
        "--help",
        "--version",
        "score --help",
        "select --help",
        "select general --help",
        "evaluate --help",
        "compare --help",
        "modules --help",
        "train --help",
        "instances --help",
        "report --help",
        "figures --help",
        "cite --help",
        "plan --help",
        "verify --help",
        "validate --help",
        "leaderboard --help",
        "inspect --help",
        "neurons --help",
        "neurons convert --help",
        "study --help",
        "study run --help",
        "study --init small",
        "hub push --help",
        "import --help",
        "audit --help",
        "ask --help",
        "export --help",
        "list benchmarks",
        "list cultures",
        "list models",
        "cache list",
        "benchmarks new --help",
    )
)


def test_help_and_lists_start_light():
    loaded = loaded_by(*LIGHT)
    assert {" ".join(command): own for command, own in zip(LIGHT, loaded, strict=True) if own} == {}


def test_a_real_selection_starts_light(tmp_path):
    run = write_toy_run(tmp_path / "run").folder
    chosen, drawn = tmp_path / "general.neurons.json", tmp_path / "random.json"
    study = tmp_path / "study"
    study.mkdir()
    (study / "study.json").write_text("{}", encoding="utf-8")
    (study / "study.yaml").write_text("models: {one: {model: /home/me/one}}", encoding="utf-8")
    commands: list[list[object]] = [
        ["select", "general", run, "--top-mlp", "0.1", "-o", chosen],
        ["select", "random", run, "--like", chosen, "-o", drawn],
        ["neurons", "diff", chosen, drawn],
        ["neurons", "overlap", chosen, drawn, "--run", run],
        ["inspect", run],
        ["inspect", chosen],
        ["report", run, chosen, "-o", tmp_path / "report.html"],
        ["cite", run, chosen],
        ["study", "pack", study, "-o", tmp_path / "study.culnig.zip"],
    ]
    assert loaded_by(*commands) == [[]] * len(commands)
