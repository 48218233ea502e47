"""Sections `scoring`, `repeat` and `command` of the device check: whole runs of a random model."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from measuring import in_turns
from scoring import bare
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast
from ways import captum

from culnig import open_run, registry
from culnig.benchmarks.base import ChosenItems
from culnig.core.items import Item
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, make_batches
from culnig.inference.encoding import EncodedItem, Encoder
from culnig.kernels import choice
from culnig.kernels.base import BackendFallbackWarning
from culnig.models.base import BoundModel, bind_model
from culnig.planning.plan import planned_memory
from culnig.planning.work import BenchmarkSize, run_flops
from culnig.scoring.run import score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.store.run import Run

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    shape: dict[str, int]
    """The model of `scoring` and `repeat`."""
    small: dict[str, int]
    """The model of `command`, which is saved and loaded."""
    n_prompts: int
    mean_tokens: int
    budgets: tuple[int, ...]
    n_captum: int
    n_repeat: int
    n_command: int
    rounds: int
    matmul: int


def llama(
    vocabulary: int, width: int, mlp: int, layers: int, heads: int, key_value_heads: int
) -> dict[str, int]:
    """The sizes of a Llama, by the names of its configuration."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
    }


WHOLE = Size(
    shape=llama(128_256, 4096, 14_336, 32, 32, 8),
    small=llama(8192, 1024, 3584, 8, 8, 4),
    n_prompts=400,
    mean_tokens=128,
    budgets=(DEFAULT_TOKEN_BUDGET, 16_384),
    n_captum=64,
    n_repeat=100,
    n_command=400,
    rounds=2,
    matmul=8192,
)
DRY = Size(
    shape=llama(2048, 32, 48, 2, 2, 1),
    small=llama(2048, 32, 48, 2, 2, 1),
    n_prompts=6,
    mean_tokens=40,
    budgets=(256, 1024),
    n_captum=2,
    n_repeat=4,
    n_command=120,
    rounds=1,
    matmul=64,
)


# Model and prompts


@functools.cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Trained on the built-in questions."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["<pad>", "<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator((item.prompt for item in questions()), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=trained, pad_token="<pad>", eos_token="<end>")
    fast.chat_template = TEMPLATE
    return fast


@functools.cache
def questions() -> list[Item]:
    """The built-in items."""
    return [item for item in registry.benchmark("everyday").read(None) if item.split == "identify"]


def random_model(shape: dict[str, int], device: str) -> Any:
    """A Llama with random weights: bfloat16 on a GPU."""
    torch.manual_seed(0)
    config = LlamaConfig(
        **shape, max_position_embeddings=4096, pad_token_id=0, bos_token_id=None, eos_token_id=1
    )
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    with torch.device(device):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.eval()


@functools.cache
def bound_model(dry: bool) -> BoundModel:
    """The model of `scoring` and `repeat`."""
    model = random_model((DRY if dry else WHOLE).shape, "cpu" if dry else "cuda")
    return bind_model("random-llama", model, tokenizer(), registry.adapters())


def prompts(n: int, mean_tokens: int) -> list[Item]:
    """Built-in questions after some of their neighbours' text, of `mean_tokens` tokens on average."""
    random = np.random.default_rng(0)
    own = tokenizer()
    made = []
    for number in range(n):
        item = questions()[number * 7 % len(questions())]
        wanted = max(8.0, random.normal(mean_tokens, mean_tokens / 4))
        tokens = own.encode(item.prompt)
        before = iter(questions()[number % 97 :] * 2)
        context: list[int] = []
        while len(context) + len(tokens) + 16 < wanted:  # 16: the chat template
            context += own.encode(next(before).prompt)
        context = context[: max(0, int(wanted) - len(tokens) - 16)]
        made.append(replace(item, id=f"{number}-{item.id}", prompt=own.decode(context) + item.prompt))
    return made


# Sections


def scoring(dry: bool, folder: Path) -> dict[str, Any]:
    """`score_run` and other ways over the same prompts, in turns."""
    size, bound = DRY if dry else WHOLE, bound_model(dry)
    items = prompts(size.n_prompts, size.mean_tokens)
    encoded = Encoder(bound).encode_all(items)
    lengths = np.array([len(each.token_ids) for each in encoded])
    flops = run_flops(bound, [BenchmarkSize.of(encoded)])
    matmul = matmul_tflops(size.matmul, bound.input_device)
    works = ways(bound, items, encoded, size, folder)
    seconds = in_turns(size.rounds, *works.values(), before=lambda: synchronise(bound))
    timed: dict[str, Any] = {}
    for name, took in zip(works, seconds, strict=True):
        median = statistics.median(took)
        n = size.n_captum if name.startswith("captum") else len(items)
        timed[name] = {
            "seconds": [round(each, 3) for each in took],
            "items_per_second": round(n / median, 2),
            "of_matmul": round(flops * n / len(items) / median / 1e12 / matmul, 3),
        }
    if not any(name.startswith("captum") for name in works):
        timed["captum"] = {"skipped": "captum is not installed"}
    return {
        "model": {**size.shape, "dtype": str(bound.model.dtype), "neurons": bound.layout.n_neurons},
        "prompts": {
            "n": len(items),
            "mean_tokens": round(float(lengths.mean()), 1),
            "longest": int(lengths.max()),
        },
        "rounds": size.rounds,
        "matmul_tflops": round(matmul, 2),
        "ways": timed,
        "host": {str(budget): host_work(bound, items, encoded, budget, folder) for budget in size.budgets},
        "memory": {str(budget): memory(bound, items, encoded, budget, folder) for budget in size.budgets},
    }


def ways(
    bound: BoundModel, items: list[Item], encoded: list[EncodedItem], size: Size, folder: Path
) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    made: dict[str, Callable[[], object]] = {}
    for budget in size.budgets:
        batches = make_batches(encoded, budget)
        made[f"bare passes, {budget} tokens"] = lambda batches=batches: bare(bound, batches)  # type: ignore[misc]
        made[f"score_run, {budget} tokens"] = lambda budget=budget: score(bound, items, budget, folder)  # type: ignore[misc]
    made["score_run, eager torch"] = lambda: by_eager_torch(bound, items, size.budgets[0], folder)
    if importlib.util.find_spec("captum") is not None:
        made[f"captum, {size.n_captum} prompts"] = lambda: captum(bound, "", items[: size.n_captum], folder)
    return made


def score(bound: BoundModel, items: list[Item], budget: int, folder: Path) -> Run:
    """A whole run into a folder."""
    chosen = {"questions": ChosenItems("target", "identify", items, {})}
    settings = ScoreSettings(token_budget=budget)
    run = score_run(bound, chosen, settings, folder / "run", overwrite=True)
    synchronise(bound)
    return run


def by_eager_torch(bound: BoundModel, items: list[Item], budget: int, folder: Path) -> None:
    """The same without the compiled CUDA kernels."""
    with mock.patch.object(choice, "cuda_module", return_value=None), warnings.catch_warnings():
        warnings.simplefilter("ignore", BackendFallbackWarning)
        score(bound, items, budget, folder)


def synchronise(bound: BoundModel) -> None:
    """Wait for the device."""
    if bound.input_device.type == "cuda":
        torch.cuda.synchronize()


def matmul_tflops(n: int, device: torch.device) -> float:
    """10¹² operations per second of a square product in the model's format: the ceiling of the passes."""
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    left, right = torch.randn(2, n, n, device=device, dtype=dtype)
    took = []
    for _ in range(6):
        if device.type == "cuda":
            torch.cuda.synchronize()
        begun = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - begun)
    return 2 * n**3 / statistics.median(took[1:]) / 1e12


def host_work(
    bound: BoundModel, items: list[Item], encoded: list[EncodedItem], budget: int, folder: Path
) -> dict[str, Any]:
    """Synchronisations, copies and launches per batch, as torch's profiler sees them."""
    n = max(1, len(items) // 8)
    n_batches = len(make_batches(encoded[:n], budget))
    activities = [torch.profiler.ProfilerActivity.CPU]
    if bound.input_device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        score(bound, items[:n], budget, folder)
    counts = {"synchronisations": 0, "copies": 0, "launches": 0}
    for event in profile.key_averages():
        if re.match(r"cuda(Stream|Device|Event)Synchronize|cudaMemcpy$", event.key):
            counts["synchronisations"] += event.count
        elif event.key.startswith("cudaMemcpy"):
            counts["copies"] += event.count
        elif "LaunchKernel" in event.key:
            counts["launches"] += event.count
    per_batch = {f"{name}_per_batch": round(count / n_batches, 1) for name, count in counts.items()}
    return {"batches": n_batches, "modules": len(bound.linears), **per_batch}


def memory(
    bound: BoundModel, items: list[Item], encoded: list[EncodedItem], budget: int, folder: Path
) -> dict[str, Any]:
    """Peak bytes on the device against those planned; only the plan without a device."""
    on_device = bound.input_device.type == "cuda"
    sizes = {"questions": BenchmarkSize.of(encoded)}
    planned = planned_memory(bound, sizes, token_budget=budget, on_device=on_device).peak
    if not on_device:
        return {"planned": planned, "measured": None, "measured_of_planned": None}
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    score(bound, items, budget, folder)
    peak = torch.cuda.max_memory_allocated()
    return {"planned": planned, "measured": peak, "measured_of_planned": round(peak / planned, 3)}


def repeat(dry: bool, folder: Path) -> dict[str, Any]:
    """Two equal runs in one process."""
    size, bound = DRY if dry else WHOLE, bound_model(dry)
    items = prompts(size.n_repeat, size.mean_tokens)
    sums = [score(bound, items, size.budgets[0], folder).moments("questions").sum for _ in range(2)]
    return compared(*sums)


def compared(first: Any, second: Any) -> dict[str, Any]:
    """Whether two tables have the same bits, and their largest difference in units of the largest sum."""
    difference = float(np.abs(first - second).max() / np.abs(first).max())
    return {"same_bits": first.tobytes() == second.tobytes(), "largest_relative_difference": difference}


# The command


def command(dry: bool, folder: Path) -> dict[str, Any]:
    """`score` whole; then interrupted once some portions are done, and resumed."""
    size = DRY if dry else WHOLE
    saved = folder / "model"
    shutil.rmtree(saved, ignore_errors=True)
    random_model(size.small, "cpu").to(torch.float32 if dry else torch.bfloat16).save_pretrained(saved)
    tokenizer().save_pretrained(saved)
    asked = ["score", "--model", str(saved), "--benchmark", "everyday", "--limit", str(size.n_command)]
    asked += ["--token-budget", "512", "--device", "cpu" if dry else "cuda"]
    whole, stopped = folder / "whole", folder / "stopped"
    for path in (whole, stopped):
        shutil.rmtree(path, ignore_errors=True)
    codes = {"whole": Command([*asked, "-o", str(whole)], folder).wait()}
    interrupted = Command([*asked, "-o", str(stopped)], folder)
    parts = interrupted.interrupt_after(lambda: len(list(stopped.glob("parts/*.h5"))))
    codes["interrupted"] = interrupted.wait()
    codes["resumed"] = Command([*asked, "-o", str(stopped), "--resume"], folder).wait()
    if codes["whole"] or codes["resumed"] or codes["interrupted"] not in (0, 130):
        raise RuntimeError(f"exit codes {codes}: {(folder / 'command.log').read_text()[-2000:]}")
    sums = [open_run(path).moments("everyday").sum for path in (whole, stopped)]
    shutil.rmtree(saved)
    return {
        "interrupted": codes["interrupted"] == 130,  # 0: it was done before the signal came
        "exit_codes": codes,
        "parts_when_interrupted": parts,
        "same_bits": compared(*sums)["same_bits"],
    }


class Command:
    """culnig-engine in a process of its own: forked where torch has not touched a GPU yet, which is quick."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self._log = folder / "command.log"
        if torch.cuda.is_initialized() or "cuda" in arguments:
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
            with self._log.open("a") as log:
                started = subprocess.Popen(
                    [sys.executable, "-m", "culnig", *arguments], stdout=log, stderr=log, env=environment
                )
            self._pid = started.pid
            self._process: subprocess.Popen[bytes] | None = started
        else:
            self._process = None
            self._pid = os.fork()
            if self._pid == 0:
                self._run(arguments)

    def _run(self, arguments: list[str]) -> None:
        code = 3
        with contextlib.suppress(BaseException), self._log.open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            torch.set_num_threads(1)  # the threads of the parent do not come along
            from culnig.cli.main import run

            code = run(arguments)
        os._exit(code)

    def interrupt_after(self, n_parts: Callable[[], int]) -> int:
        """Send Ctrl-C when the first part is there; how many there were."""
        while self._runs():
            if found := n_parts():
                os.kill(self._pid, signal.SIGINT)
                return found
            time.sleep(0.005)
        return n_parts()

    def _runs(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        ended = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return ended is None

    def wait(self) -> int:
        """The exit code."""
        if self._process is not None:
            return self._process.wait()
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
