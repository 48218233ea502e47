"""Files of every format version are read, or refused by name: as docs/stability.md says.

`test_first_edition.py` and `store/test_old_versions.py` compare the numbers in files of earlier versions.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

import culnig
from culnig.errors import CulnigError
from culnig.evaluation.instances.file import read_instances
from culnig.training.arms_table import read_arms
from culnig.training.folder import read_training
from culnig.training.plan_file import read_plan
from culnig.validation.stored import read_validation

ROOT = Path(__file__).parents[2]
FIRST = ROOT / "tests" / "fixtures" / "first-edition"


def read_items(run: Path) -> object:
    return culnig.open_run(run).item_scores("meals")


def read_tensors(run: Path) -> object:
    stored = culnig.open_run(run)
    with stored.open_tensors(stored.tensor_parts("meals")[0]) as part:
        return part.pair(stored.layout.segments[0])


KINDS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "culnig-run": ("runs/culture", "run.json", culnig.open_run),
    "culnig-items": ("runs/item", "items/part-meals-000-000000.h5", read_items),
    "culnig-tensors": ("runs/token", "tensors/part-meals-000-000000.h5", read_tensors),
    "culnig-neurons": ("sets/general.neurons.json", "", culnig.read_neuron_set),
    "culnig-evaluation": ("evaluations/finished", "results.json", culnig.open_evaluation),
    "culnig-instances": ("training/instances.h5", "", read_instances),
    "culnig-plan": ("training/plan.yaml", "", read_plan),
    "culnig-training": ("training/finished", "training.json", read_training),
    "culnig-arms": ("training/arms", "arms.json", read_arms),
}
"""Of each format: what the first edition wrote, the file in it that names the format, and its reader."""


def table() -> dict[str, tuple[int, list[int]]]:
    """Version now and versions read of each format, as the page says."""
    page = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(culnig-\w+)` \| (\d+) \| ([\d, ]+) \|", page, flags=re.MULTILINE)
    return {name: (int(now), [int(one) for one in read.split(",")]) for name, now, read in rows}


def formats() -> dict[str, int]:
    """Every format that a source names, with the version beside it."""
    written: dict[str, int] = {}
    for path in sorted((ROOT / "culnig").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for prefix, name in re.findall(r'^(\w*)FORMAT = "(culnig-\w+)"$', text, flags=re.MULTILINE):
            version = re.search(rf"^{prefix}FORMAT_VERSION = (\d+)$", text, flags=re.MULTILINE)
            written[name] = int(version[1]) if version else 0
    return written


def test_the_page_lists_every_format_with_its_version():
    written = formats()
    del written["culnig-leaderboard"]  # printed, not stored
    del written["culnig-export"]  # of a model folder, for people: culnig does not read it
    assert written.pop("culnig-arms") == 0  # it has the version of arms_table.py
    assert written == {name: now for name, (now, _) in table().items() if name != "culnig-arms"}


def set_version(path: Path, version: int) -> None:
    """Let a file say another version, with a checksum that fits."""
    if path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            file.attrs["format_version"] = version
        return
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        path.write_text(re.sub(r"(?m)^format_version: \d+$", f"format_version: {version}", text))
        return
    document: dict[str, Any] = {**json.loads(text), "format_version": version}
    document.pop("checksum", None)
    path.write_text(json.dumps(document), encoding="utf-8")


@pytest.fixture
def copied(tmp_path) -> Callable[[str], Path]:
    def copy(name: str) -> Path:
        source, target = FIRST / name, tmp_path / Path(name).name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        return target

    return copy


@pytest.mark.parametrize("kind", KINDS)
def test_version_1_is_read_and_a_later_one_refused_by_name(kind, copied):
    source, named, read = KINDS[kind]
    path = copied(source)
    assert 1 in table()[kind][1]
    read(path)
    later = table()[kind][0] + 1
    set_version(path / named if named else path, later)
    with pytest.raises(CulnigError, match=rf"format version {later}, this culnig reads {table()[kind][0]}"):
        read(path)


@pytest.mark.parametrize("version", [1, 3, None])
def test_validations_of_other_versions_are_refused_by_name(version, tmp_path):
    document = {"format": "culnig-validation", "format_version": version}
    (tmp_path / "results.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(CulnigError, match=f"format version {version}, this culnig reads 2"):
        read_validation(tmp_path)
