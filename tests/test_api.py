"""The documented Python surface."""

from __future__ import annotations

import subprocess
import sys

import pytest

import culnig


def test_every_public_name_is_there():
    for name in culnig.__all__:
        assert getattr(culnig, name) is not None
        assert name in dir(culnig)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'culnig' has no attribute 'scroe'"):
        culnig.scroe  # noqa: B018


def test_importing_culnig_imports_nothing_heavy():
    code = "import sys, culnig; print(sorted({'torch', 'numpy', 'h5py'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_load_a_model_open_its_run_and_mask_a_set(tmp_path):
    import torch

    from culnig.cli.main import run
    from tests.cli.conftest import score_arguments
    from tests.tiny_models import tiny_model

    saved = tiny_model()
    saved.model.save_pretrained(tmp_path / "model")
    saved.tokenizer.save_pretrained(tmp_path / "model")
    assert run(score_arguments(tmp_path / "model", tmp_path / "run")) == 0
    neurons_file = tmp_path / "general.json"
    assert run(["select", "general", str(tmp_path / "run"), "--top-mlp", ".1", "-o", str(neurons_file)]) == 0

    stored = culnig.open_run(tmp_path / "run")
    scores = stored.moments("everyday").culture_scores
    assert scores.shape == (16, stored.layout.n_neurons)
    bound = culnig.load_model(str(tmp_path / "model"))
    tokens = torch.tensor([[7, 8, 9]])
    bare = bound.model(input_ids=tokens).logits
    with culnig.intervene(bound, culnig.read_neuron_set(neurons_file), factor=0):
        assert not torch.equal(bound.model(input_ids=tokens).logits, bare)
    assert torch.equal(bound.model(input_ids=tokens).logits, bare)
