"""Runs as a whole: what is encoded, recorded and resumed."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from culnig.benchmarks.base import ChosenItems
from culnig.errors import MismatchError
from culnig.inference.encoding import Encoder
from culnig.provenance import file_hash
from culnig.scoring.run import score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.store.run import Run
from tests.stored import document_of
from tests.tiny_models import tiny_items, tiny_model

BENCHMARKS = {"toy": ChosenItems("target", "identify", tiny_items(4), {})}


def score(folder, **options):
    return score_run(tiny_model(), BENCHMARKS, ScoreSettings(token_budget=200), folder, **options)


def shared_prompts(folder, *, finished):
    """Make a run look as the first edition left it where prompts shared their prefixes."""
    path = folder / "run.json"
    record = document_of(path)
    record["settings"]["prefix_sharing"] = True
    record["versions"]["culnig-engine"] = "0.0.9"
    path.write_text(json.dumps(record), encoding="utf-8")
    if not finished:
        (folder / "scores.h5").unlink()
        return
    with h5py.File(folder / "scores.h5", "r+") as file:
        del file.attrs["run"]
    record["hashes"]["scores.h5"] = file_hash(folder / "scores.h5")
    path.write_text(json.dumps(record), encoding="utf-8")


def test_runs_made_without_prefix_sharing_are_resumed(tmp_path):
    run = score(tmp_path / "run")
    assert run.record["settings"]["prefix_sharing"] is False
    sums = run.moments("toy").sum
    assert score(tmp_path / "run", resume=True).record["settings"]["prefix_sharing"] is False
    (tmp_path / "run" / "scores.h5").unlink()
    np.testing.assert_array_equal(score(tmp_path / "run", resume=True).moments("toy").sum, sums)


def test_an_unfinished_run_whose_prompts_shared_prefixes_is_not_resumed(tmp_path):
    score(tmp_path / "run")
    shared_prompts(tmp_path / "run", finished=False)
    with pytest.raises(MismatchError) as raised:
        score(tmp_path / "run", resume=True)
    assert "cannot be resumed: its prompts shared their prefixes" in str(raised.value)
    assert "overwrite=True, or finish it with culnig-engine 0.0.9" in str(raised.value)
    assert "--overwrite" in raised.value.for_command_line()
    assert not (tmp_path / "run" / "scores.h5").exists()


def test_a_finished_run_whose_prompts_shared_prefixes_is_left_unchanged(tmp_path):
    sums = score(tmp_path / "run").moments("toy").sum
    shared_prompts(tmp_path / "run", finished=True)
    resumed = score(tmp_path / "run", resume=True)
    np.testing.assert_array_equal(resumed.moments("toy").sum, sums)
    assert Run(tmp_path / "run").record["settings"]["prefix_sharing"] is True


def test_encoded_items_are_not_encoded_again(tmp_path, monkeypatch):
    expected = score(tmp_path / "expected").moments("toy").sum
    encoded = {"toy": Encoder(tiny_model()).encode_all(BENCHMARKS["toy"].items)}
    monkeypatch.setattr(Encoder, "encode_all", lambda *arguments: pytest.fail("encoded twice"))
    run = score(tmp_path / "run", encoded=encoded)
    np.testing.assert_array_equal(run.moments("toy").sum, expected)
