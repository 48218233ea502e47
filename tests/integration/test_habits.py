"""What the repository promises outside its code: one version, checks of a commit, how to cite, workflows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import culnig

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def document(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def metadata() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile."""
    lines = re.search(rf"^{re.escape(target)}:.*\n((?:\t.*\n)*)", text("Makefile"), flags=re.MULTILINE)
    assert lines is not None, f"the Makefile has no target {target!r}"
    return [line.strip() for line in lines[1].replace("\\\n", " ").splitlines()]


# One version


def test_there_is_one_version():
    version = metadata()["project"]["version"]
    assert document(ROOT / "CITATION.cff")["version"] == version
    newest = re.search(r"^## (\d\S*)", text("CHANGELOG.md"), flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == version
    assert f"version = {{{version}}}" in text("README.md")


def test_the_program_asks_its_installed_metadata():
    assert not re.search(r'__version__ = "', text("culnig/__init__.py"))
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", culnig.__version__)


# How to cite


def test_the_citation_has_what_the_format_requires():
    citation = document(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["license"] == metadata()["project"]["license"]
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == [
        "Yamamoto",
        "Kumon",
        "Bollegala",
        "Yanaka",
    ]
    for word in (paper["title"], *(author["family-names"] for author in paper["authors"])):
        assert word in text("README.md")


# A commit's checks


def test_pre_commit_runs_what_make_lint_runs():
    (local,) = document(ROOT / ".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    hooks = [hook["entry"] for hook in local["hooks"]]
    unquoted = [re.sub(r'^bash -c "(.*)"$', r"\1", hook) for hook in hooks]
    assert unquoted == [
        command.replace("$(BIN)", ".venv/bin").replace("$$", "$") for command in recipe("lint")
    ]
    assert all(hook["pass_filenames"] is False for hook in local["hooks"])


# Forms


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_forms_for_issues_ask_for_something(path):
    form = document(path)
    assert {"name", "description", "body"} <= set(form)
    identifiers = [field["id"] for field in form["body"]]
    assert len(set(identifiers)) == len(identifiers) > 0
    for field in form["body"]:
        assert field["type"] in ("input", "textarea", "dropdown", "checkboxes")
        assert field["attributes"]["label"]


def test_updates_of_dependencies_cover_actions_and_packages():
    updates = document(GITHUB / "dependabot.yml")["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"github-actions", "pip"}


# Workflows


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


def triggers(workflow: dict[Any, Any]) -> dict[str, Any]:
    """`on`, which YAML 1.1 takes for true."""
    return dict(workflow.get("on", workflow.get(True)))


SCHEMAS = {
    **dict.fromkeys(WORKFLOWS, "github-workflows"),
    **dict.fromkeys(FORMS, "github-issue-forms"),
    GITHUB / "ISSUE_TEMPLATE" / "config.yml": "github-issue-config",
    GITHUB / "dependabot.yml": "dependabot",
    ROOT / "CITATION.cff": "citation-file-format",
}
"""Files that other programs read, and the schema of each."""


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_files_of_other_programs_fit_their_schemas(path):
    """The schemas come with check-jsonschema, so nothing is fetched."""
    reason = "check-jsonschema is not installed; `make test` installs it"
    checker = pytest.importorskip("check_jsonschema", reason=reason)
    with pytest.raises(SystemExit) as stopped:
        checker.main(["--builtin-schema", f"vendor.{SCHEMAS[path]}", str(path)])
    assert stopped.value.code in (0, None)


def targets(workflow: dict[str, Any]) -> set[str]:
    """Targets of the Makefile that a workflow calls, by name or as `target` of its matrix."""
    called = {
        target
        for step in steps(workflow)
        for target in re.findall(r"\bmake ([a-z][\w-]*)", step.get("run", ""))
    }
    for job in workflow["jobs"].values():
        rows = job.get("strategy", {}).get("matrix", {}).get("include", [])
        called |= {row["target"] for row in rows if "target" in row}
    return called


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_targets_that_exist(path):
    called = targets(document(path))
    assert called
    for target in called:
        assert recipe(target)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_read_only_and_name_fixed_versions(path):
    workflow = document(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 360
    for step in steps(workflow):
        if "uses" in step:
            assert re.search(r"@v\d+(\.\d+)*$", step["uses"]), step["uses"]
        assert "${{ github.event" not in step.get("run", ""), "text of strangers would be run"


def test_the_workflows_run_what_a_change_must_pass():
    own = set(re.findall(r"^make ([\w-]+)", text(".ci/run"), flags=re.MULTILINE))
    assert own
    assert own <= {target for path in WORKFLOWS for target in targets(document(path))}


def test_the_tests_run_on_three_systems_with_the_oldest_and_the_newest_python():
    matrix = document(GITHUB / "workflows" / "tests.yml")["jobs"]["test"]["strategy"]["matrix"]["include"]
    systems = {row["system"].partition("-")[0] for row in matrix}
    assert systems == {"ubuntu", "macos", "windows"}
    oldest = metadata()["project"]["requires-python"].removeprefix(">=")
    built = metadata()["tool"]["cibuildwheel"]["build"]
    newest = max(int(minor) for minor in re.findall(r"cp3(\d+)-", " ".join(built)))
    for system in systems:
        own = {row["python"] for row in matrix if row["system"].startswith(system)}
        assert {oldest, f"3.{newest}"} <= own
    assert {row["packages"] for row in matrix} == {"oldest", "pinned", "newest"}


def test_every_week_the_newest_packages_are_tried():
    workflow = document(GITHUB / "workflows" / "weekly.yml")
    assert triggers(workflow)["schedule"]
    assert {"test-newest", "audit"} <= targets(workflow)


def test_wheels_are_built_for_every_python_that_the_metadata_names():
    built = metadata()["tool"]["cibuildwheel"]["build"]
    named = re.findall(r"Python :: 3\.(\d+)", " ".join(metadata()["project"]["classifiers"]))
    assert built == [f"cp3{minor}-*" for minor in named]
    assert metadata()["project"]["requires-python"] == f">=3.{min(map(int, named))}"
