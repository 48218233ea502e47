"""Options of `score` about what is stored: what they choose, what they refuse, what they take on the disk."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections import namedtuple
from pathlib import Path

import h5py
import pytest

from culnig.store import files
from culnig.store.run import Run
from tests.stored import assert_same, contents, leftovers


def arguments(model, output, *more):
    return ["score", "--model", model, "--benchmark", "everyday", "--limit", "3", "-o", output, *more]


def stored_bytes(folder):
    """Bytes of all data of item scores and tensors, unpacked."""
    sizes = []
    for path in folder.glob("*s/part-*.h5"):
        with h5py.File(path) as file:
            file.visititems(lambda name, member: sizes.append(getattr(member, "nbytes", 0)))
    return sum(sizes)


def said_need(err):
    number, unit = re.search(r"^disk: up to ([\d.]+) (kB|MB|GB)$", err, re.MULTILINE).groups()
    return float(number) * {"kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


@pytest.mark.parametrize(("level", "there"), [("culture", None), ("item", "items"), ("token", "tensors")])
def test_a_level_says_what_it_takes_and_writes_it(culnig, model_folder, tmp_path, level, there):
    done = culnig(*arguments(model_folder, tmp_path / "run", "--level", level, "--compression", "none"))
    assert done.code == 0, done.err
    folders = {path.name for path in (tmp_path / "run").iterdir() if path.is_dir()}
    assert folders == ({there} if there else set())
    need = said_need(done.err)
    assert need * 1.01 >= stored_bytes(tmp_path / "run")
    assert level == "culture" or need < 2 * stored_bytes(tmp_path / "run") + 1e6
    assert leftovers(tmp_path / "run") == []


def test_chosen_modules_layers_and_items(culnig, model_folder, tmp_path):
    ids = list(Run(score(culnig, model_folder, tmp_path / "all")).outcomes("everyday").id)
    chosen = ("--modules", "gate_proj", "--modules", "self_attn.k_proj", "--layers", "0,2", "--items", ids[1])
    done = culnig(*arguments(model_folder, tmp_path / "run", "--level", "token", *chosen))
    assert done.code == 0, done.err
    run = Run(tmp_path / "run")
    (part,) = run.tensor_parts("everyday")
    assert part.prompts.item.tolist() == [1]
    found = [(segment.layer, segment.module) for segment in run.stored_segments("everyday")]
    assert found == [(n, m) for n in (0, 2) for m in ("self_attn.k_proj", "mlp.gate_proj")]
    assert run.moments("everyday").n_items.sum() == 3, "all items are scored"


def score(culnig, model_folder, folder, *more):
    done = culnig(*arguments(model_folder, folder, *more))
    assert done.code == 0, done.err
    return folder


def test_float16_scores_take_less(culnig, model_folder, tmp_path):
    wide = score(culnig, model_folder, tmp_path / "wide", "--level", "item")
    narrow = score(culnig, model_folder, tmp_path / "narrow", "--level", "item", "--score-type", "float16")
    n_scores = 3 * Run(wide).layout.n_neurons
    assert stored_bytes(wide) - stored_bytes(narrow) == 2 * n_scores - 3 * 4, "and three scales"


@pytest.mark.parametrize("level", ["item", "token"])
def test_packing_changes_sizes_and_no_bit(culnig, model_folder, tmp_path, level):
    ways = {
        way: score(culnig, model_folder, tmp_path / way, "--level", level, "--compression", way)
        for way in ("none", "fast", "default")
    }
    for way in ("fast", "default"):
        assert_same(contents(ways[way]), contents(ways["none"]))
    sizes = {way: (folder / "scores.h5").stat().st_size for way, folder in ways.items()}
    assert sizes["default"] < sizes["none"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--modules", "gate_proj"], "choose what --level token stores"),
        (["--level", "item", "--layers", "1"], "level 'item' stores all"),
        (["--items", "x*"], "use --culture, --limit or --per-culture|For fewer items"),
        (["--score-type", "float16"], "--score-type needs --level item"),
        (["--level", "token", "--score-type", "float16"], "--score-type needs --level item"),
        (
            ["--level", "token", "--layers", "3-1"],
            "'3-1' is neither a layer nor a range; give layers such as 0-3,7",
        ),
        (["--level", "token", "--layers", "0,x"], "'x' is neither a layer nor a range"),
        (["--level", "token", "--layers", "99"], "no layer 99"),
        (["--level", "token", "--modules", "gate"], "no module gate; this model has self_attn.q_proj"),
        (["--level", "token", "--items", "nobody"], "no item has the id nobody"),
        (["--level", "all"], "'culture', 'item', 'token'"),
        (["--compression", "gzip"], "'none', 'fast', 'default'"),
        (["--shard", "3/2"], "I/N with I from 1 to N"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_do_not_fit_are_refused_before_anything_is_written(
    culnig, model_folder, tmp_path, options, message
):
    done = culnig(*arguments(model_folder, tmp_path / "run", *options))
    assert done.code == 2
    assert re.search(message, " ".join(done.err.split())), done.err
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_resumed_at_another_level(culnig, model_folder, tmp_path):
    score(culnig, model_folder, tmp_path / "run")
    done = culnig(*arguments(model_folder, tmp_path / "run", "--level", "item", "--resume"))
    assert done.code == 2
    assert "settings.level is 'culture' there and 'item' in this request" in done.err


# The disk


def test_a_disk_that_is_too_small_is_refused_unless_forced(culnig, model_folder, tmp_path, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda place: Usage(10**9, 10**9 - 1000, 1000))
    refused = culnig(*arguments(model_folder, tmp_path / "run", "--level", "item"))
    assert refused.code == 3
    assert "disk: up to" in refused.err
    assert re.search(
        r"needs about .* GB and the disk has 0\.00 GB free; free some, store less .*--force", refused.err
    )
    assert not (tmp_path / "run").exists()
    forced = culnig(*arguments(model_folder, tmp_path / "run", "--level", "item", "--force"))
    assert forced.code == 0, forced.err


FULL = """
    import resource, sys
    from pathlib import Path
    from culnig.cli.main import run

    model, folder = sys.argv[1:]
    for level, room in (("culture", 4_000), ("item", 8_000), ("item", 25_000), ("token", 400_000)):
        command = ["score", "--model", model, "--benchmark", "everyday", "--limit", "3", "--level", level]
        command += ["-o", f"{folder}/{level}-{room}"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        print(level, room, run(command), flush=True)
"""


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_with_our_error_and_the_run_goes_on_later(culnig, model_folder, tmp_path):
    """A real limit, at every level, to the end of the interpreter: HDF5 must not bring it down."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(model_folder), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "culture 4000 3",
        "item 8000 3",
        "item 25000 3",
        "token 400000 3",
    ]
    assert done.stderr.count("error: no space to write") == 4
    assert "Traceback" not in done.stderr
    whole = {}
    for folder in sorted(tmp_path.iterdir()):
        level = folder.name.partition("-")[0]
        assert list(folder.rglob("*.tmp")) == []
        assert not (folder / "scores.h5").exists()
        assert culnig(*arguments(model_folder, folder, "--level", level, "--resume")).code == 0
        if level not in whole:
            whole[level] = contents(
                score(culnig, model_folder, tmp_path / f"whole {level}", "--level", level)
            )
        found, expected = contents(folder), whole[level]
        assert list(found) == list(expected)
