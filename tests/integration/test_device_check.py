"""perf/device.py, the check for machines with a GPU, on the CPU with tiny shapes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.forked import in_child

PERF = Path(__file__).parents[2] / "perf"


@pytest.fixture(scope="module")
def device() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PERF)
        import device

        yield device


@pytest.fixture(scope="module")
def document(device: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("device")

    def check() -> int:
        sys.argv = ["device.py", "--out", str(folder), "--dry"]
        code: int = device.main()
        return code

    code = in_child(check)
    document: dict[str, Any] = json.loads((folder / "device.json").read_text())
    assert code == 0, {name: results.get("error") for name, results in document["sections"].items()}
    return document


def test_every_section_has_every_key(device: Any, document: dict[str, Any]) -> None:
    assert document["dry"] is True
    assert document["machine"]["torch"]
    assert list(document["sections"]) == list(device.KEYS)
    for name, keys in device.KEYS.items():
        assert set(document["sections"][name]) == {*keys, "seconds"}, name


def test_what_the_sections_find(document: dict[str, Any]) -> None:
    sections = document["sections"]
    assert sections["bits"]["cases"] > 90
    assert sections["bits"]["different"] == []
    assert sections["bits"]["non_finite"]["bfloat16"] == [3, 1, 3, 7]
    assert len(sections["bandwidth"]["kernels"]) == 18
    timed = {
        name: way["items_per_second"]
        for name, way in sections["scoring"]["ways"].items()
        if "skipped" not in way
    }
    assert min(timed.values()) > 0
    assert len(timed) >= 5
    assert 30 < sections["scoring"]["prompts"]["mean_tokens"] < 130
    assert sections["repeat"]["same_bits"] is True
    assert sections["command"]["same_bits"] is True
    assert sections["command"]["exit_codes"]["resumed"] == 0


def test_a_section_that_fails_is_told_and_loses_nothing(
    device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def section_of(name: str) -> Any:
        def section(dry: bool, folder: Path) -> dict[str, Any]:
            if name == "bits":
                raise MemoryError("no room")
            return dict.fromkeys(device.KEYS[name])

        return section

    monkeypatch.setattr(device, "section_of", section_of)
    monkeypatch.setattr(sys, "argv", ["device.py", "--out", str(tmp_path), "--dry", "bits", "repeat"])
    assert device.main() == 1
    sections = json.loads((tmp_path / "device.json").read_text())["sections"]
    assert sections["bits"]["error"] == "MemoryError: no room"
    assert set(sections["repeat"]) == {*device.KEYS["repeat"], "seconds"}


def test_later_sections_are_skipped_once_the_time_is_over(
    device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["device.py", "--out", str(tmp_path), "--dry", "--minutes", "0", "bits"])
    assert device.main() == 1
    error = json.loads((tmp_path / "device.json").read_text())["sections"]["bits"]["error"]
    assert error == "not begun: 0.0 minutes were over"
