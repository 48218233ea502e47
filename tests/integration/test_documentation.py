"""The documentation is true: its marked blocks run, generated pages are fresh, links lead somewhere.

A fenced block after the line `<!-- run -->` is run here, in the order of its page and in one folder per page,
with a tiny model in place of the embedded one. Shell blocks hold `culnig-engine` commands only.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import culnig
from culnig.cli.main import run
from tests.cli.conftest import model_folder  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"<!-- run -->\n+```(\w+)\n(.*?)```", re.DOTALL)


def blocks_of(page: Path) -> list[tuple[str, str]]:
    """Language and text of the blocks that are run."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def commands_of(block: str) -> list[list[str]]:
    """The arguments of each `culnig-engine` command of a shell block."""
    lines = [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]
    commands = [line for line in lines if line]
    assert all(line[0] == "culnig-engine" for line in commands), block
    return [line[1:] for line in commands]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=lambda page: page.name)
def test_marked_blocks_run(page, model_folder, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for language, block in blocks_of(page):
        if language == "python":
            exec(compile(block.replace('"embedded"', repr(str(model_folder))), str(page), "exec"), names)
            continue
        assert language == "sh", f"{page.name}: a block in {language} cannot be run"
        for arguments in commands_of(block):
            arguments = [str(model_folder) if word == "embedded" else word for word in arguments]
            assert run(arguments) == 0, (page.name, arguments)


def test_readme_and_first_study_have_blocks_in_both_languages():
    for page in (ROOT / "README.md", ROOT / "docs" / "first-study.md"):
        assert {language for language, _ in blocks_of(page)} == {"sh", "python"}, page.name


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> Path:
    """The generated pages, from a process of their own: click remembers the options of earlier calls."""
    folder = tmp_path_factory.mktemp("generated")
    subprocess.run([sys.executable, str(ROOT / "docs" / "generate.py"), str(folder)], check=True)
    return folder


@pytest.mark.parametrize("page", ["cli.md", "api.md"])
def test_generated_pages_are_fresh(page, generated):
    assert (ROOT / "docs" / page).read_text() == (generated / page).read_text(), "run `make docs`"


def test_the_api_page_lists_every_public_name_once():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^## culnig\.(\w+)$", text, flags=re.MULTILINE)
    assert listed == [name for name in culnig.__all__ if name != "__version__"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_have_targets(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
