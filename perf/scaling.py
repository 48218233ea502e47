"""Whether cost stays in proportion: to items, batches, neurons, prompt lengths; and what starting costs.

    python perf/scaling.py [--rounds 3] [--items 20000] [--batches 200]

Items and batches are taken through a tiny random model of the Llama family, so that what is not the model
shows; starting, memory over many batches and prompt lengths through the embedded model.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from measuring import Row, in_turns, quotients, show

from culnig import kernels, registry
from culnig.api import load_model
from culnig.benchmarks.base import ChosenItems
from culnig.core.items import Item, choose_items
from culnig.models.base import BoundModel
from culnig.planning.plan import benchmark_sizes
from culnig.planning.work import run_flops
from culnig.scoring.memory import peak_bytes
from culnig.scoring.run import score_run
from culnig.scoring.scoring import ScoreSettings, score_benchmark

SECTION = "scaling"


def tiny_model(folder: Path) -> BoundModel:
    """A random model of 2 layers with the embedded model's tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load_model("embedded").tokenizer
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_model(str(folder))


def many(number: int) -> list[Item]:
    """This many items of `everyday`, repeated under other names."""
    items = choose_items(registry.benchmark("everyday").read(None), split="identify")
    return [
        replace(items[place % len(items)], id=f"{place}", question_id=f"{place}") for place in range(number)
    ]


def items_row(rounds: int, n_items: int) -> Row:
    """Time per item of a large run against a run of a twentieth."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bound = tiny_model(folder / "model")

        def run(number: int) -> float:
            chosen = {"everyday": ChosenItems("target", "identify", many(number), {})}
            start = time.perf_counter()
            score_run(bound, chosen, ScoreSettings(), folder / "run", overwrite=True)
            return (time.perf_counter() - start) / number

        few = n_items // 20
        run(few)
        pairs = [(run(n_items), run(few)) for _ in range(rounds)]
    return Row.of(
        quotients(*zip(*pairs, strict=True)),
        [n_items * each for each, _ in pairs],
        section=SECTION,
        what=f"time per item, {n_items:,} items",
        against=f"{few:,} items",
        unit="x its time",
        target="<= 1.1",
    )


def neurons_row(rounds: int) -> Row:
    """Time per neuron of the scoring kernel on many neurons against a tenth."""
    n_cultures, n_tokens = 16, 64

    def work(n_neurons: int) -> float:
        pair = np.ones((2, 2, n_tokens, n_neurons), dtype=np.float32)
        sums = np.zeros((n_cultures, n_neurons))
        start = time.perf_counter()
        batch = kernels.ScoreBatch(np.ones((2, n_tokens), bool), [0.5, 0.5], [0, 1])
        kernels.score_reduce(*pair, batch, kernels.ScoreTables(sums))
        return (time.perf_counter() - start) / n_neurons

    many_neurons = 1_000_000
    pairs = [(work(many_neurons), work(many_neurons // 10)) for _ in range(rounds + 1)][1:]
    return Row.of(
        quotients(*zip(*pairs, strict=True)),
        section=SECTION,
        what="score_reduce per neuron, 1 M neurons",
        against="0.1 M neurons",
        unit="x its time",
        target="<= 1.2",
    )


def memory_row(n_batches: int) -> Row:
    """Peak memory after many batches against that after the first tenth; one item makes a batch."""
    bound = load_model("embedded")
    items = many(n_batches)
    longest = max(len(each) for each in benchmark_lengths(bound, items))
    peaks: list[int] = []
    score_benchmark(
        bound,
        items,
        "target",
        ScoreSettings(token_budget=longest),
        after_batch=lambda done, n_items: peaks.append(peak_bytes()),
    )
    return Row.of(
        [peaks[-1] / peaks[len(peaks) // 10]],
        section=SECTION,
        what=f"peak memory after {len(peaks)} batches",
        against=f"after {len(peaks) // 10}",
        unit="x its memory",
        target="<= 1.02",
    )


def benchmark_lengths(bound: BoundModel, items: Sequence[Item]) -> list[range]:
    """A range as long as each prompt."""
    sizes = benchmark_sizes(bound, {"b": ChosenItems("target", "identify", list(items), {})})
    return [range(length) for length in sizes["b"].lengths]


def work_row(rounds: int) -> Row:
    """Time per operation that `plan` counts, long prompts against short ones."""
    bound = load_model("embedded")
    items = many(200)
    lengths = [len(each) for each in benchmark_lengths(bound, items)]
    order = np.argsort(lengths, kind="stable")
    short, long = ([items[place] for place in places] for places in (order[:8], order[-8:]))

    def per_operation(of: list[Item]) -> float:
        sizes = benchmark_sizes(bound, {"b": ChosenItems("target", "identify", of, {})})
        return float(run_flops(bound, list(sizes.values())))

    took = in_turns(
        rounds, *(lambda of=of: score_benchmark(bound, of, "target", ScoreSettings()) for of in (long, short))
    )
    flops = [per_operation(long), per_operation(short)]
    return Row.of(
        quotients([each / flops[0] for each in took[0]], [each / flops[1] for each in took[1]]),
        took[0],
        section=SECTION,
        what="time per operation of `plan`, 8 longest prompts",
        against="8 shortest",
        unit="x its time",
        notes={"operations": flops},
    )


def start_row(rounds: int) -> Row:
    """Seconds of a whole `score` process with one item beyond those of loading the model."""
    with tempfile.TemporaryDirectory() as temporary:
        score = ["-m", "culnig", "score", "--model", "embedded", "--benchmark", "everyday", "--limit", "1"]
        score += ["-o", f"{temporary}/run", "--overwrite"]
        load = ["-c", "from culnig.api import load_model; load_model('embedded')"]
        took = in_turns(rounds, lambda: _process(score), lambda: _process(load))
    beyond = [one - other for one, other in zip(*took, strict=True)]
    return Row.of(
        beyond,
        took[0],
        section=SECTION,
        what="whole `score` process, one item",
        against="loading the model",
        unit="s more",
        target="<= 5.0",
    )


def _process(arguments: Sequence[str]) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)


def rows(rounds: int = 3, n_items: int = 20_000, n_batches: int = 200) -> list[Row]:
    """All rows; memory must come first, because the others would hide its peak."""
    return [
        memory_row(n_batches),
        start_row(rounds),
        work_row(rounds),
        neurons_row(rounds),
        items_row(rounds, n_items),
    ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Whether cost stays in proportion, and what starting costs.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--batches", type=int, default=200)
    asked = parser.parse_args()
    show(rows(asked.rounds, asked.items, asked.batches))


if __name__ == "__main__":
    main()
