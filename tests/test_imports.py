"""Imports point one way, and what need not be imported is not.

The table below is the structure of the program: each row says what a part of `culnig` may import. Rows are in
order: a part imports only from rows above its own.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import culnig
from tests.toy import write_toy_run

PACKAGE = Path(culnig.__file__).parent

WORDS = ("neurons", "items", "outcomes", "scores", "scorer")
"""What the parts say to each other."""

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "errors": (),
    # the words, and arithmetic on plain arrays
    "neurons": ("errors",),
    "items": ("errors",),
    "outcomes": ("errors", "items"),
    "scores": ("errors",),
    "data_files": ("errors",),
    "statistics": ("errors",),
    # plain tables as HTML and as pictures
    "notebook": (),
    "plots": (),
    # the compiled arithmetic, on arrays and on tensors
    "kernel_arguments": ("errors",),
    "kernels": ("errors", "kernel_arguments"),
    "backends": ("errors", "kernel_arguments", "kernels"),
    # what a scorer sees, sums over tokens included
    "scorer": ("backends",),
    # a model whose neurons are known; plugins are reached by name, through entry points
    "bound": ("errors", "neurons"),
    "registry": ("errors",),
    # who else is at work, and who of them writes
    "processes": ("errors",),
    # one thing each: ask a model, change a model, keep tables
    "inference": ("errors", *WORDS, "bound", "registry"),
    "intervention": ("errors", *WORDS, "bound"),
    "store": ("errors", *WORDS, "notebook", "plots"),
    "importing": ("errors", *WORDS, "store"),
    # languages of short answers; only their protocol and the one that always works are imported by name
    "lemmatizers": ("errors", "data_files", "registry"),
    # what else a neuron's activations and gradients amount to
    "scorers": ("errors", "scorer"),
    # tables from stored item scores and tensors; no model
    "reduction": ("errors", *WORDS, "registry", "kernel_arguments", "kernels", "store"),
    # neurons from tables; no model
    "selection": ("errors", *WORDS, "data_files", "statistics", "notebook", "plots", "kernels", "store"),
    # tables from a model; answers from a model with neurons masked
    "extraction": ("errors", *WORDS, "kernels", "backends", "bound", "processes", "inference", "store"),
    "evaluation": (
        *("errors", *WORDS, "statistics", "notebook", "plots", "bound", "registry"),
        *("inference", "intervention", "store", "selection"),
        *("lemmatizers.base", "lemmatizers.normalised"),
    ),
    "instances": ("errors", *WORDS, "bound", "inference", "extraction", "store"),
    # a model changed for good, by a plan
    "training": (
        *("errors", *WORDS, "statistics", "bound", "inference", "store"),
        *("selection", "extraction", "evaluation"),
    ),
    # pictures and tables of all of these; of `instances` only its file
    "report": (
        *("errors", *WORDS, "statistics", "plots", "store", "reduction", "selection", "evaluation"),
        *("instances.file", "training.arms_table"),
    ),
    # before and beside a run: what it will need, whether it is right
    "planning": ("errors", *WORDS, "bound", "inference", "store", "extraction"),
    "verification": ("errors", *WORDS, "bound", "inference", "intervention", "extraction"),
    "validation": (
        *("errors", *WORDS, "statistics", "kernels", "bound", "registry"),
        *("inference", "intervention", "store", "selection", "extraction"),
    ),
    # plugins: nobody imports them, the registry finds them
    "cultures": ("errors", "data_files", "registry"),
    "benchmarks": ("errors", "items", "data_files", "registry", "cultures.records"),
    "models": ("errors", "neurons", "bound", "registry"),
    # the Python surface
    "api": ("errors", *WORDS, "bound", "registry", "store", "selection", "models.loading"),
    # the commands, which may ask everything but a plugin; loading a model is theirs alone
    "cli": (
        *("errors", *WORDS, "data_files", "statistics", "plots", "kernels", "backends", "bound", "registry"),
        *("processes", "inference", "intervention", "store", "selection", "extraction", "evaluation"),
        *("report", "instances", "training", "planning", "reduction", "verification", "importing"),
        *("validation", "models.loading", "models.embedded"),
    ),
    "__main__": ("cli",),
}

COMPILED = ("_core", "_cuda")
"""Compiled modules belong to the parts that wrap them."""
WRAPPERS = {"_core": {"kernels"}, "_cuda": {"backends"}}


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


def imported_modules(source: str) -> set[str]:
    """Modules of `culnig` that a source imports, anywhere in it, as dotted names below `culnig`."""
    tree = ast.parse(source)
    ignored = type_checking_blocks(tree)
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


def allowed(importer: str, imported: str) -> bool:
    own = part(importer)
    if imported == "" or part(imported) == own:
        return True
    if imported in COMPILED:
        return own in WRAPPERS[imported]
    return part(imported) in MAY_IMPORT[own] or imported in MAY_IMPORT[own]


def test_the_reader_of_imports_sees_every_kind_and_skips_types():
    source = """
import culnig.errors
from culnig import registry, kernels as arithmetic
from culnig.neurons import Layout
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from culnig.report import figures
def late():
    from culnig.store.run import Run
    importlib.import_module("culnig._cuda")
class Inner:
    import culnig.selection.general
"""
    assert imported_modules(source) == {
        *("errors", "registry", "kernels", "neurons", "store.run", "_cuda", "selection.general")
    }


def test_every_part_has_a_row():
    parts = {part(module) for module in MODULES} - {"", *COMPILED}
    assert parts - set(MAY_IMPORT) == set(), "say in MAY_IMPORT what the new part may import"


def test_rows_point_only_upwards():
    rows = list(MAY_IMPORT)
    for row, targets in MAY_IMPORT.items():
        below = [target for target in targets if rows.index(part(target)) >= rows.index(row)]
        assert below == [], f"{row} may not import from rows below its own"


def test_nobody_may_import_a_plugin_but_the_named_exceptions():
    plugins = {"models", "benchmarks", "cultures", "lemmatizers", "scorers"}
    granted = {
        (row, target)
        for row, targets in MAY_IMPORT.items()
        for target in targets
        if part(target) in plugins and part(target) != row
    }
    assert granted == {
        ("cli", "models.loading"),
        ("cli", "models.embedded"),
        ("api", "models.loading"),
        ("benchmarks", "cultures.records"),
        ("evaluation", "lemmatizers.base"),
        ("evaluation", "lemmatizers.normalised"),
    }


def test_evaluation_does_not_know_extraction():
    assert "extraction" not in MAY_IMPORT["evaluation"]
    assert "evaluation" not in MAY_IMPORT["extraction"]


@pytest.mark.parametrize("path", source_files(), ids=lambda path: module_name(path) or "culnig")
def test_imports_point_one_way(path):
    importer = module_name(path)
    imported = imported_modules(path.read_text(encoding="utf-8"))
    if importer == "":
        assert imported == set()
        return
    wrong = sorted(name for name in imported if not allowed(importer, name))
    assert wrong == [], f"culnig.{importer} may not import culnig.{', culnig.'.join(wrong)}"


def test_no_module_imports_itself_in_a_circle():
    graph = {
        module_name(path): imported_modules(path.read_text(encoding="utf-8")) - {module_name(path)}
        for path in source_files()
    }
    order = list(TopologicalSorter(graph).static_order())  # CycleError names the circle
    assert set(order) == MODULES | {""}


# What a command imports

HEAVY = ("torch", "transformers", "matplotlib", "datasets", "tokenizers", "pandas")

RUN_AND_TELL = f"""
import json, sys
from culnig.cli.main import run
code = run(sys.argv[1:])
loaded = [name for name in {HEAVY!r} if name in sys.modules]
print(json.dumps([code, loaded]), file=sys.stderr)
"""


def loaded_by(*arguments: object) -> list[str]:
    """Heavy packages that a command has imported when it is done."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_AND_TELL, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    code, loaded = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    return loaded


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["score", "--help"],
        ["select", "--help"],
        ["select", "general", "--help"],
        ["evaluate", "--help"],
        ["compare", "--help"],
        ["modules", "--help"],
        ["train", "--help"],
        ["instances", "--help"],
        ["report", "--help"],
        ["figures", "--help"],
        ["plan", "--help"],
        ["verify", "--help"],
        ["validate", "--help"],
        ["inspect", "--help"],
        ["neurons", "--help"],
        ["neurons", "convert", "--help"],
        ["import", "--help"],
        ["audit", "--help"],
        ["list", "benchmarks"],
        ["list", "cultures"],
        ["list", "models"],
    ],
    ids=" ".join,
)
def test_help_and_lists_start_light(arguments):
    assert loaded_by(*arguments) == []


def test_a_real_selection_starts_light(tmp_path):
    run = write_toy_run(tmp_path / "run").folder
    chosen = tmp_path / "general.neurons.json"
    assert loaded_by("select", "general", run, "--top-mlp", "0.1", "-o", chosen) == []
    assert loaded_by("select", "random", run, "--like", chosen, "-o", tmp_path / "random.json") == []
    assert loaded_by("neurons", "diff", chosen, tmp_path / "random.json") == []
    assert loaded_by("neurons", "overlap", chosen, tmp_path / "random.json", "--run", run) == []
    assert loaded_by("inspect", run) == []
    assert loaded_by("inspect", chosen) == []
    assert loaded_by("report", run, chosen, "-o", tmp_path / "report.html") == []
