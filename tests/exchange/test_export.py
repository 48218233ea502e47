from __future__ import annotations

import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import culnig
from culnig.core.neurons import MLP_GATE, MLP_UP, QUERY, Neuron
from culnig.errors import EnvironmentProblem, InputError, MismatchError, OutputExistsError
from culnig.models import loading
from culnig.models.intervention import Scale, SetTo, intervene
from tests.exchange.exported import exported_difference, logits, plain_logits, save, some_of_each_segment
from tests.family_proof import bind
from tests.forked import Child
from tests.tiny_gguf import write_gguf
from tests.tiny_models import byte_tokenizer, tiny_model
from tests.training.chosen import neuron_set, random_set

FAMILIES = (
    "gemma3_text",  # norms of queries and keys
    "gpt2",  # transposed weights
    "llama4_text",  # experts that are given all tokens
    "mixtral",  # experts are tensors of their own in the checkpoint
    "phi3",  # fused projections
    "qwen2",  # biases
)
"""Those that `tests/models/test_families.py`, which proves a family of each structure, leaves out."""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_an_exported_model_equals_a_masked_one(family, factor):
    bound = bind(family).bound
    assert bound is not None
    difference = exported_difference(bound, factor)
    assert difference is not None
    assert difference < 1e-5


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return save(tiny_model(), tmp_path_factory.mktemp("llama") / "model")


def test_nothing_but_the_neurons_rows_changes(llama, tmp_path):
    bound = tiny_model()
    chosen = neuron_set(bound, [Neuron(MLP_GATE, 1, 7), Neuron(QUERY, 2, 3)])
    out = culnig.export_model(llama, chosen, tmp_path / "out", factor=0.5)
    names = {"model.layers.1.mlp.gate_proj.weight": 7, "model.layers.2.self_attn.q_proj.weight": 3}
    with (
        safe_open(llama / "model.safetensors", "pt") as before,
        safe_open(out / "model.safetensors", "pt") as now,
    ):
        assert set(before.keys()) == set(now.keys())
        for name in before.keys():  # noqa: SIM118 - not a dictionary
            expected = before.get_tensor(name)
            if name in names:
                expected[names[name]] *= 0.5
            assert torch.equal(now.get_tensor(name), expected), name
    for name in ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"):
        assert (out / name).read_bytes() == (llama / name).read_bytes()


def test_a_norm_of_a_zero_row_stays_exact(tmp_path):
    bound = tiny_model("qwen3")  # a norm of each head's queries and keys
    head = neuron_set(bound, [Neuron(QUERY, 0, index) for index in range(8)])
    out = culnig.export_model(save(bound, tmp_path / "model"), head, tmp_path / "out")
    with intervene(bound, head):
        torch.testing.assert_close(plain_logits(out), logits(bound.model), rtol=1e-5, atol=1e-5)


def test_the_model_is_not_loaded_and_memory_stays_below_a_shard(tmp_path, monkeypatch):
    sizes = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 6, "vocab_size": 300}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=8, num_key_value_heads=8))
    model.save_pretrained(tmp_path / "model", max_shard_size="15MB")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    shards = sorted((tmp_path / "model").glob("*.safetensors"))
    assert len(shards) > 5
    n_bytes = sum(path.stat().st_size for path in shards)
    bound = culnig.load_model(tmp_path / "model")
    chosen = random_set(bound, n=200)
    del bound, model
    monkeypatch.setattr(loading, "load_model", None)  # a call would fail

    def work() -> tuple[int, int]:
        culnig.export_model(tmp_path / "model", chosen, tmp_path / "warm")  # imports, and what torch keeps
        Path("/proc/self/clear_refs").write_text("5")
        before = _peak()
        culnig.export_model(tmp_path / "model", chosen, tmp_path / "out")
        return before, _peak()

    before, after = Child(work).wait()
    assert after - before < 12 << 20 < n_bytes / 5
    assert sorted(path.name for path in (tmp_path / "out").glob("*.safetensors")) == [p.name for p in shards]
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    neuron = chosen.neurons[0]
    rows = {MLP_GATE: again.model.layers[neuron.layer].mlp.gate_proj.weight}
    if neuron.module in rows:
        assert not rows[neuron.module][neuron.index].any()


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) << 10


# Means


def mean_values(n: int) -> np.ndarray:
    return np.linspace(-0.5, 0.5, n)


@pytest.mark.parametrize("family", ["qwen2", "gpt2", "llama"])
def test_means_go_into_biases(family, tmp_path, monkeypatch):
    bound = tiny_model(family)
    modules = {"qwen2": [QUERY], "gpt2": ["mlp.fc_in", QUERY], "llama": [QUERY, MLP_GATE, MLP_UP]}[family]
    chosen = neuron_set(bound, [Neuron(module, 1, index) for module in modules for index in (2, 5)])
    flat = np.sort(chosen.flat(bound.layout))
    values = mean_values(len(flat))
    give_means(monkeypatch, values)
    folder = save(bound, tmp_path / "model")
    out = culnig.export_model(folder, chosen, tmp_path / "out", mask="mean", means="run")
    with intervene(bound, SetTo(flat, values)):
        torch.testing.assert_close(plain_logits(out), logits(bound.model), rtol=1e-4, atol=1e-5)
    config = json.loads((out / "config.json").read_text())
    if family == "llama":
        assert config["attention_bias"] is config["mlp_bias"] is True


def give_means(monkeypatch: pytest.MonkeyPatch, values: np.ndarray) -> None:
    """Means without a run: that they are those of `evaluate` is shown below."""
    from culnig.exchange import export

    class Run:
        run_id = "a run"

    monkeypatch.setattr(export, "run_with_prompts", lambda means: Run() if means else None)
    monkeypatch.setattr(export, "_means", lambda *given: values)


def test_means_are_those_of_a_run(tmp_path):
    folder = save(tiny_model(), tmp_path / "model")
    run = culnig.score(folder, "everyday", tmp_path / "run", level="item", cultures=("Iran",), per_culture=2)
    bound = culnig.load_model(folder)
    chosen = neuron_set(bound, [Neuron(QUERY, 1, 2), Neuron(MLP_GATE, 2, 3)])
    out = culnig.export_model(folder, chosen, tmp_path / "out", mask="mean", means=run)
    seen: dict[str, list[torch.Tensor]] = {"q": [], "gate": []}
    layers = bound.model.model.layers
    handles = [
        layers[1].self_attn.q_proj.register_forward_hook(lambda m, i, o: seen["q"].append(o[0, :, 2])),
        layers[2].mlp.gate_proj.register_forward_hook(lambda m, i, o: seen["gate"].append(o[0, :, 3])),
    ]
    for part in run.item_parts("everyday"):
        for row in range(part.prompts.n_items):
            with torch.no_grad():
                bound.model(input_ids=torch.from_numpy(part.prompts.tokens(row).astype(np.int64))[None])
    for handle in handles:
        handle.remove()
    exported = AutoModelForCausalLM.from_pretrained(out)
    biases = (
        exported.model.layers[1].self_attn.q_proj.bias[2],
        exported.model.layers[2].mlp.gate_proj.bias[3],
    )
    for bias, values in zip(biases, seen.values(), strict=True):
        torch.testing.assert_close(bias.detach(), torch.cat(values).mean(), rtol=1e-4, atol=1e-5)


def test_means_in_added_biases_are_rounded_once_and_said(tmp_path, monkeypatch):
    bound = tiny_model(dtype=torch.float16)
    chosen = neuron_set(bound, [Neuron(QUERY, 0, 1)])
    folder = save(bound, tmp_path / "model")
    give_means(monkeypatch, np.array([0.1]))
    out = culnig.export_model(folder, chosen, tmp_path / "out", mask="mean", means="run")
    error = abs(float(np.float16(0.1)) - 0.1) / 0.1
    assert json.loads((out / "export.json").read_text())["largest_rounding"] == pytest.approx(error)
    give_means(monkeypatch, np.array([1e5]))
    with pytest.raises(InputError, match=r"q_proj\.bias: .* a mean, is too large for float16"):
        culnig.export_model(folder, chosen, tmp_path / "large", mask="mean", means="run")
    assert not (tmp_path / "large").exists()


def test_a_mean_is_refused_where_no_bias_can_be(tmp_path, monkeypatch):
    bound = tiny_model("phi3")
    give_means(monkeypatch, np.ones(1))
    chosen = neuron_set(bound, [Neuron(MLP_GATE, 0, 0)])
    with pytest.raises(InputError, match=r"gate_up_proj cannot have a bias in a Phi3ForCausalLM"):
        culnig.export_model(save(bound, tmp_path / "model"), chosen, tmp_path / "out", mask="mean", means="r")
    assert not (tmp_path / "out").exists()


# Sources, and what is written beside the weights


def test_a_loaded_model_is_saved_with_its_mask(tmp_path):
    bound = tiny_model("gpt2")
    chosen = some_of_each_segment(bound)
    out = culnig.export_model(bound, chosen, tmp_path / "out", factor=2)
    with intervene(bound, chosen, 2.0):
        torch.testing.assert_close(plain_logits(out), logits(bound.model), rtol=1e-5, atol=1e-5)
    assert AutoTokenizer.from_pretrained(out).chat_template == bound.tokenizer.chat_template


def test_a_neuron_in_two_sets_counts_once(llama, tmp_path):
    bound = tiny_model()
    first, second = Neuron(MLP_GATE, 0, 1), Neuron(MLP_GATE, 0, 2)
    sets = [neuron_set(bound, [first]), neuron_set(bound, [first, second])]
    out = culnig.export_model(llama, sets, tmp_path / "out", factor=2)
    with intervene(bound, Scale(sets[1], 2.0)):
        torch.testing.assert_close(plain_logits(out), logits(bound.model), rtol=1e-5, atol=1e-5)


def test_half_precision_is_rounded_once_and_said(tmp_path):
    bound = tiny_model(dtype=torch.bfloat16)
    chosen = random_set(bound)
    folder, lines = save(bound, tmp_path / "model"), []
    culnig.export_model(folder, chosen, tmp_path / "doubled", factor=2, say=lines.append)
    assert lines == []  # exact
    out = culnig.export_model(folder, chosen, tmp_path / "tripled", factor=1.1, say=lines.append)
    assert "rounded" in lines[0]
    record = json.loads((out / "export.json").read_text())
    assert 0 < record["largest_rounding"] <= 2**-8
    assert "rounded" in (out / "README.md").read_text()


def test_names_without_the_models_prefix_are_known(tmp_path):
    from safetensors.torch import load_file, save_file

    bound = tiny_model("gpt2")
    folder = save(bound, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    published = {name.removeprefix("transformer."): value for name, value in weights.items()}
    save_file(published, folder / "model.safetensors", {"format": "pt"})
    chosen = some_of_each_segment(bound)
    out = culnig.export_model(folder, chosen, tmp_path / "out")
    with intervene(bound, chosen):
        torch.testing.assert_close(plain_logits(out), logits(bound.model), rtol=1e-5, atol=1e-5)


def test_the_card_says_where_it_comes_from(llama, tmp_path):
    (llama / "README.md").write_text("---\nlicense: apache-2.0\nmodel-index: x\n---\n# Theirs\n")
    try:
        chosen = random_set(tiny_model())
        out = culnig.export_model(llama, chosen, tmp_path / "out")
    finally:
        (llama / "README.md").unlink()
    card = (out / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "# model with 20 neurons suppressed" in card
    assert "| by hand | 20 | by hand |" in card
    assert str(tmp_path) not in card + (out / "export.json").read_text()


def test_overwrite_removes_only_what_was_exported(llama, tmp_path):
    chosen, out = random_set(tiny_model()), tmp_path / "out"
    culnig.export_model(llama, chosen, out)
    (out / "my notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="exists and is not empty"):
        culnig.export_model(llama, chosen, out)
    culnig.export_model(llama, chosen, out, factor=2, overwrite=True)
    assert json.loads((out / "export.json").read_text())["factor"] == 2
    assert (out / "my notes.txt").read_text() == "mine"


# Bad input


def test_another_models_set_is_refused(llama, tmp_path):
    with pytest.raises(MismatchError, match="was made for"):
        culnig.export_model(llama, random_set(tiny_model("gpt2")), tmp_path / "out")


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), "0", None, True])
def test_a_factor_is_a_finite_number(llama, tmp_path, factor):
    with pytest.raises(InputError, match=r"factor is .*; give a finite number"):
        culnig.export_model(llama, random_set(tiny_model()), tmp_path / "out", factor=factor)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": "mean"}, "together: the means"),
        ({"means": "run"}, "together: the means"),
        ({"mask": "resample"}, "unknown mask 'resample'"),
        ({"dtype": "bfloat16"}, "number format of the checkpoint"),
        ({"quantize": "4bit"}, "packs weights, in which a factor cannot be exact"),
    ],
)
def test_options_that_do_not_go_together(llama, tmp_path, options: dict[str, Any], message):
    with pytest.raises(InputError, match=message):
        culnig.export_model(llama, random_set(tiny_model()), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_declares_quantized_weights_is_refused(llama, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in llama.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="declares quantized weights"):
        culnig.export_model(folder, random_set(tiny_model()), tmp_path / "out")


def test_packed_weights_are_refused_by_name(tmp_path):
    from safetensors.torch import load_file, save_file

    bound = tiny_model()
    folder = save(bound, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.gate_proj.weight"
    weights[name] = weights[name].to(torch.float8_e4m3fn)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    chosen = neuron_set(bound, [Neuron(MLP_GATE, 0, 0)])
    with pytest.raises(InputError, match=rf"{name} \(F8_E4M3\); a factor cannot be exact"):
        culnig.export_model(folder, chosen, tmp_path / "out")


def test_a_factor_beyond_the_number_format_is_refused(tmp_path):
    bound = tiny_model(dtype=torch.float16)
    chosen, folder = random_set(bound), save(bound, tmp_path / "model")
    with pytest.raises(InputError, match="too large for float16"):
        culnig.export_model(folder, chosen, tmp_path / "new", factor=1e6)
    assert not (tmp_path / "new").exists()
    out = culnig.export_model(folder, chosen, tmp_path / "out", factor=2)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InputError, match="too large for float16"):
        culnig.export_model(folder, chosen, out, factor=1e6, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


# GGUF


def test_gguf_needs_the_converter(llama, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match=r"gguf=True needs convert_hf_to_gguf\.py of llama\.cpp"):
        culnig.export_model(llama, random_set(tiny_model()), tmp_path / "out", gguf=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("works", [True, False])
def test_gguf_is_written_by_the_converter(llama, tmp_path, monkeypatch, works):
    converter = tmp_path / "convert_hf_to_gguf.py"
    converter.write_text(
        "import pathlib, sys\n"
        "assert pathlib.Path(sys.argv[1], 'model.safetensors').is_file()\n"
        "assert sys.argv[sys.argv.index('--outtype') + 1] == 'f32'\n"
        + (
            "pathlib.Path(sys.argv[sys.argv.index('--outfile') + 1]).write_bytes(b'GGUF')\n"
            if works
            else "sys.exit('unknown architecture')\n"
        )
    )
    converter.chmod(converter.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    chosen = random_set(tiny_model())
    if works:
        out = culnig.export_model(llama, chosen, tmp_path / "out", gguf=True)
        assert (out / "model.gguf").read_bytes() == b"GGUF"
        return
    out = tmp_path / "out"
    with pytest.raises(EnvironmentProblem, match=r"out is complete, but .*: unknown architecture"):
        culnig.export_model(llama, chosen, out, gguf=True)
    assert not (out / "model.gguf").exists()
    with pytest.raises(OutputExistsError, match="add overwrite=True"):
        culnig.export_model(llama, chosen, out)
    AutoModelForCausalLM.from_pretrained(out)


def test_an_exported_gguf_file_names_its_models_class(tmp_path):
    file = write_gguf(tmp_path / "tiny.gguf")
    chosen = random_set(culnig.load_model(file))
    out = culnig.export_model(file, chosen, tmp_path / "out")
    assert json.loads((out / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]


CONVERTER = os.environ.get("CULNIG_GGUF_CONVERTER") or shutil.which("convert_hf_to_gguf.py")


@pytest.mark.slow
@pytest.mark.skipif(
    not (CONVERTER and importlib.util.find_spec("sentencepiece")),
    reason="convert_hf_to_gguf.py of llama.cpp (CULNIG_GGUF_CONVERTER names it) or sentencepiece is missing",
)
def test_the_embedded_model_goes_to_gguf_and_back(tmp_path, monkeypatch):
    from tests.embedded import embedded_model

    bound = embedded_model()
    chosen = random_set(bound, n=300)
    monkeypatch.setenv("PATH", str(Path(str(CONVERTER)).parent), prepend=os.pathsep)
    out = culnig.export_model("embedded", chosen, tmp_path / "out", dtype="float32", gguf=True)
    back = culnig.load_model(out / "model.gguf", dtype="float32", device="cpu")
    exported = AutoModelForCausalLM.from_pretrained(out).state_dict()
    for name, weights in back.model.state_dict().items():
        assert torch.equal(weights, exported[name]), name
    ids = torch.tensor([bound.tokenizer("What do people in Mexico eat for breakfast?")["input_ids"]])
    assert back.tokenizer("What do people in Mexico eat for breakfast?")["input_ids"] == ids[0].tolist()
    with torch.no_grad():
        given = back.model(input_ids=ids).logits
        with intervene(bound, chosen):
            masked = bound.model(input_ids=ids).logits
    torch.testing.assert_close(given, masked, rtol=1e-4, atol=1e-4)


# The embedded model, without culnig

WITHOUT_CULNIG = """
import importlib.abc, json, sys
class NoCulnig(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "culnig":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoCulnig())
sys.path.append(sys.argv[2])
import torch
from transformers import pipeline
torch.set_num_threads(1)
writer = pipeline("text-generation", model=sys.argv[1])
messages = [{"role": "user", "content": "What is a typical breakfast in Mexico?"}]
asked = writer.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
ids = writer.tokenizer(asked, return_tensors="pt", add_special_tokens=False).input_ids
with torch.no_grad():
    last = writer.model(input_ids=ids).logits[0, -1].float()
written = writer(messages, max_new_tokens=4, do_sample=False)[0]["generated_text"][-1]["content"]
print(json.dumps({"ids": ids[0].tolist(), "logits": last.tolist(), "written": written}))
"""


@pytest.mark.slow
def test_the_embedded_model_runs_without_culnig(tmp_path):
    from tests.embedded import embedded_model

    bound = embedded_model()
    chosen = random_set(bound, n=300)
    out = culnig.export_model("embedded", chosen, tmp_path / "out", dtype="float32")
    packages = sysconfig.get_paths()["purelib"]
    # -S leaves out site-packages and its .pth files: an installed culnig cannot be found
    done = subprocess.run(
        [sys.executable, "-S", "-c", WITHOUT_CULNIG, str(out), packages],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    with torch.no_grad(), intervene(bound, chosen):
        masked = bound.model(input_ids=torch.tensor([told["ids"]]), use_cache=False).logits[0, -1]
    torch.testing.assert_close(torch.tensor(told["logits"]), masked.float(), rtol=1e-3, atol=1e-3)
    assert told["written"]
