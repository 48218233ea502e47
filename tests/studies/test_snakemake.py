"""A study as a Snakefile: one rule for each step, and Snakemake's run is the local one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import culnig
from culnig.errors import OutputExistsError
from culnig.studies.file import read_study
from culnig.studies.steps import steps_of
from tests.studies.test_running import SMALL, assert_same_study
from tests.studies.tiny_studies import write_study

SNAKEMAKE = os.environ.get("CULNIG_SNAKEMAKE") or shutil.which("snakemake")


def exported(folder: Path, **machine: object) -> str:
    out = folder / "Snakefile"
    culnig.export_study(folder / "study.yaml", out, overwrite=True, **machine)
    return out.read_text(encoding="utf-8")


def test_every_step_is_a_rule_that_waits_for_what_it_needs(tmp_path):
    file = write_study(tmp_path, SMALL)
    text = exported(tmp_path)
    steps = steps_of(read_study(file))
    rules = re.findall(r"^rule (step_\w+):$", text, re.MULTILINE)
    assert len(set(rules)) == len(rules) == len(steps)
    for step in steps:
        (rule,) = re.findall(rf'rule \w+:(?:(?!\nrule ).)*step="{step.name}",', text, re.DOTALL)
        inputs = rule[rule.rindex("rule ") :].partition("output:")[0]
        assert set(re.findall(r"steps/marks/([^\"]+)", inputs)) == set(step.needs)
    assert f'"{file.absolute()}"' in text
    assert "gpu=" not in text


def test_rules_ask_for_what_the_plan_says(tmp_path):
    file = write_study(tmp_path, SMALL)
    text = exported(tmp_path, device_memory="80G", tflops=1e-6)
    told: list[tuple[str, int, int]] = []
    plan = culnig.plan_study(
        *(file, tmp_path / "out"),
        device_memory="80G",
        tflops=1e-6,
        progress=lambda *step: told.append(step),
    )
    assert [done for _, done, _ in told] == list(range(len(plan["steps"]) + 1))
    seconds = {row["step"]: row["seconds"] for row in plan["steps"]}
    runtimes = [int(number) for number in re.findall(r"runtime=(\d+)", text)]
    with_model = [name for name, value in seconds.items() if value is not None]
    assert len(runtimes) == text.count("gpu=1") == len(with_model) == 3
    assert max(runtimes) == -(-3 * max(seconds[name] for name in with_model) // 60)
    assert text.count("retries: 2") == len(plan["steps"])


def test_an_existing_file_is_not_replaced_by_itself(tmp_path):
    file = write_study(tmp_path, SMALL)
    exported(tmp_path)
    with pytest.raises(OutputExistsError):
        culnig.export_study(file, tmp_path / "Snakefile")


@pytest.mark.slow
@pytest.mark.skipif(not SNAKEMAKE, reason="snakemake is not installed (CULNIG_SNAKEMAKE names it)")
def test_snakemakes_run_is_the_local_one(tmp_path):
    short = "".join(line for line in SMALL.splitlines(keepends=True) if not line.startswith("  specific"))
    file = write_study(tmp_path, short)
    expected, out = tmp_path / "expected", tmp_path / "out"
    assert culnig.study(file, expected).complete
    exported(tmp_path)
    command = f"{sys.executable} -m culnig"

    def snakemake() -> str:
        done = subprocess.run(
            [
                *(str(SNAKEMAKE), "--cores", "1", "--snakefile", str(tmp_path / "Snakefile")),
                *("--directory", str(tmp_path), "--config", "folder=out", f"command={command}"),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(culnig.__file__).parents[1])},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stderr

    snakemake()
    assert_same_study(out, expected)
    assert "Nothing to be done" in snakemake()
    (out / "report.html").unlink()
    assert "2 of 2 steps" in (said := snakemake()), said
    assert_same_study(out, expected)
