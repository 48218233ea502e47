"""The same scores by other implementations, each in a process of its own: seconds, peak memory, scores.

    python perf/ways.py [--rounds 3] [--items 64]

`common` is the straightforward implementation: one prompt at a time, gradients of all weights, logits at all
positions, activations and gradients kept until the end of the pass, a Python loop over neurons into dicts, a
JSON file. `captum` is LayerGradientXActivation over the same modules and batches. `nnsight` saves activations
and gradients in a trace of the same batches. `culnig` is the command `score`, which writes a run folder.
Times begin when the model is loaded. All compute the maximum over tokens of gradient × activation of P(gold),
weighted by P(gold); the largest difference of the sums over all items is shown as a fraction of the largest
sum.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Row, machine, quotients, show, speed_row
from numpy.typing import NDArray

from culnig import registry
from culnig.api import load_model
from culnig.benchmarks.base import ChosenItems
from culnig.core.items import Item, choose_items
from culnig.core.memory import keep_freed_memory
from culnig.inference.batches import Batch, make_batches
from culnig.inference.encoding import EncodedItem, Encoder
from culnig.models.base import BoundModel
from culnig.scoring.memory import peak_bytes
from culnig.scoring.run import score_run
from culnig.scoring.scoring import ScoreSettings

Totals = NDArray[np.float64]
"""Weighted scores of all items added up, (neuron,) in the order of the layout."""

OURS = "culnig"
TARGETS = {"common": ">= 2.5", "captum": ">= 1.5", "nnsight": ">= 1.5"}


def prompts(number: int) -> tuple[str, list[Item]]:
    """All rows of this many items' questions, of BLEnD if its files are there, else of `everyday`."""
    folder = os.environ.get("CULNIG_DATA")
    if folder is None:
        name, items = "everyday", registry.benchmark("everyday").read(None)
    else:
        name, items = "blend", registry.benchmark("blend").read(Path(folder))
    return name, choose_items(items, split="identify", limit=number)


def culnig_score(bound: BoundModel, name: str, items: list[Item], folder: Path) -> Totals:
    """The command `score`."""
    keep_freed_memory()  # as the command does
    chosen = {name: ChosenItems("target", "identify", items, {})}
    run = score_run(bound, chosen, ScoreSettings(), folder / "run")
    return run.moments(name).sum.sum(0)


def common(bound: BoundModel, name: str, items: list[Item], folder: Path) -> Totals:
    """The straightforward implementation."""
    kept: dict[int, torch.Tensor] = {}

    def keep(index: int) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, output: torch.Tensor) -> None:
            output.retain_grad()
            kept[index] = output

        return hook

    handles = [linear.linear.register_forward_hook(keep(index)) for index, linear in enumerate(bound.linears)]
    scores: dict[str, list[dict[str, float]]] = {}
    for encoded in Encoder(bound).encode_all(items):
        bound.model.zero_grad()
        logits = bound.model(torch.tensor([encoded.token_ids])).logits
        p_gold = torch.softmax(logits[0, -1], -1)[encoded.gold_id]
        p_gold.backward()
        weight = float(p_gold)
        for index, linear in enumerate(bound.linears):
            output = kept[index]
            assert output.grad is not None
            best = (output * output.grad)[0].max(0).values
            key = str(index)
            if key not in scores:
                scores[key] = [{"score": 0.0, "n_items": 0.0} for _ in range(len(best))]
            for neuron in range(len(best)):
                scores[key][neuron]["score"] += float(best[neuron]) * weight
                scores[key][neuron]["n_items"] += 1
            del linear
    for handle in handles:
        handle.remove()
    bound.model.zero_grad()
    (folder / "scores.json").write_text(json.dumps(scores))
    whole = [
        np.array([neuron["score"] for neuron in scores[str(index)]]) for index in range(len(bound.linears))
    ]
    return _in_layout(bound, whole)


def captum(bound: BoundModel, name: str, items: list[Item], folder: Path) -> Totals:
    """LayerGradientXActivation over the modules, batch after batch."""
    from captum.attr import LayerGradientXActivation

    modules = [linear.linear for linear in bound.linears]
    totals = [np.zeros(0)] * len(modules)
    for batch in _batches(bound, items):
        mask = torch.from_numpy(batch.token_mask).to(bound.input_device)
        p_gold: list[torch.Tensor] = []

        def gold(embeddings: torch.Tensor, batch: Batch = batch, seen: list[torch.Tensor] = p_gold) -> Any:
            logits = bound.model(inputs_embeds=embeddings).logits
            made = _gold(batch, logits)
            seen.append(made.detach())
            return made

        embeddings = bound.model.get_input_embeddings()(batch.token_ids().to(bound.input_device)).detach()
        attributions = LayerGradientXActivation(gold, modules).attribute(embeddings.requires_grad_())
        for index, attribution in enumerate(attributions):
            totals[index] = _added(totals[index], attribution.detach(), mask, p_gold[0])
    np.save(folder / "scores.npy", np.concatenate(totals))
    return _in_layout(bound, totals)


def nnsight(bound: BoundModel, name: str, items: list[Item], folder: Path) -> Totals:
    """Activations and gradients saved in a trace, batch after batch."""
    from nnsight import NNsight

    traced = NNsight(bound.model)
    names = {module: name for name, module in bound.model.named_modules()}
    paths = [names[linear.linear] for linear in bound.linears]
    totals = [np.zeros(0)] * len(paths)
    for batch in _batches(bound, items):
        mask = torch.from_numpy(batch.token_mask)
        embeddings = bound.model.get_input_embeddings()(batch.token_ids()).detach()
        activations, gradients, p_gold = _traced(traced, paths, batch, embeddings.requires_grad_())
        for index in range(len(paths)):
            product = activations[index].detach() * gradients[index]
            totals[index] = _added(totals[index], product, mask, p_gold)
    np.save(folder / "scores.npy", np.concatenate(totals))
    return _in_layout(bound, totals)


def _traced(traced: Any, paths: list[str], batch: Batch, embeddings: torch.Tensor) -> Any:
    import nnsight

    activations: list[Any] = []
    gradients: list[Any] = []
    with traced.trace(inputs_embeds=embeddings):
        activations = nnsight.save([])
        gradients = nnsight.save([])
        for index in paths:
            activations.append(traced.get(index).output)
        p_gold = nnsight.save(_gold(batch, traced.output.logits))
        with p_gold.sum().backward():
            for activation in reversed(activations):
                gradients.append(activation.grad)
    return activations, gradients[::-1], p_gold.detach()


def _batches(bound: BoundModel, items: list[Item]) -> Iterator[Batch]:
    encoded: list[EncodedItem] = Encoder(bound).encode_all(items)
    yield from make_batches(encoded)


def _gold(batch: Batch, logits: torch.Tensor) -> torch.Tensor:
    rows = torch.arange(len(batch.items))
    last = logits[rows, torch.from_numpy(batch.lengths - 1)]
    gold = torch.tensor([encoded.gold_id for encoded in batch.items], device=logits.device)
    return last.softmax(-1)[rows, gold]


def _added(total: Totals, contributions: torch.Tensor, mask: torch.Tensor, p_gold: torch.Tensor) -> Totals:
    best = contributions.masked_fill(~mask[:, :, None], -torch.inf).amax(1)
    weighted: Totals = (best.double() * p_gold.double()[:, None]).sum(0).cpu().numpy()
    return weighted if not total.size else total + weighted


def _in_layout(bound: BoundModel, whole: list[Totals]) -> Totals:
    totals = np.zeros(bound.layout.n_neurons)
    for linear, values in zip(bound.linears, whole, strict=True):
        for own in linear.slices:
            totals[own.segment.columns] = own.take(torch.from_numpy(values)).numpy()
    return totals


WAYS: dict[str, Callable[[BoundModel, str, list[Item], Path], Totals]] = {
    OURS: culnig_score,
    "common": common,
    "captum": captum,
    "nnsight": nnsight,
}


def work(way: str, n_items: int, output: Path) -> None:
    """Run one implementation in this process and print seconds and peak memory."""
    bound = load_model("embedded")
    name, items = prompts(n_items)
    if way in ("captum", "nnsight"):
        for parameter in bound.model.parameters():
            parameter.requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        totals = WAYS[way](bound, name, items, Path(folder))
        seconds = time.perf_counter() - start
    np.save(output, totals)
    print(json.dumps({"seconds": seconds, "peak": peak_bytes()}))


def _measured(way: str, n_items: int, folder: Path) -> dict[str, Any]:
    output = folder / f"{way}.npy"
    command = [sys.executable, __file__, "--way", way, "--items", str(n_items), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows(rounds: int = 3, n_items: int = 64) -> tuple[list[Row], dict[str, str]]:
    """Time and memory against each other way, and which are skipped and why."""
    there = [way for way in WAYS if way in (OURS, "common") or importlib.util.find_spec(way) is not None]
    skipped = {way: f"{way} is not installed" for way in WAYS if way not in there}
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in there}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for _ in range(rounds):
            for way in there:
                found[way].append(_measured(way, n_items, folder))
        totals = {way: np.load(folder / f"{way}.npy") for way in there}
    made = []
    for way in there[1:]:
        seconds = {each: [one["seconds"] for one in found[each]] for each in (OURS, way)}
        peaks = {each: [one["peak"] for one in found[each]] for each in (OURS, way)}
        difference = np.abs(totals[way] - totals[OURS]).max() / np.abs(totals[OURS]).max()
        against = {"section": "score", "what": f"score, {n_items} prompts", "against": way}
        made.append(
            speed_row(
                seconds[OURS],
                seconds[way],
                target=TARGETS[way],
                notes={"largest difference of the sums": float(difference)},
                **against,
            )
        )
        made.append(
            Row.of(
                quotients(peaks[OURS], peaks[way]),
                unit="x its memory",
                target="" if way == "common" else "<= 1.0",  # one prompt at a time takes little
                notes={"ours, MB": max(peaks[OURS]) / 1e6, "theirs, MB": max(peaks[way]) / 1e6},
                **against,
            )
        )
    return made, skipped


def main() -> None:
    """Measure and print the table, or go one way."""
    parser = argparse.ArgumentParser(description="The same scores made in other ways.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--way", choices=list(WAYS), help="go this way once, in this process")
    parser.add_argument("--output", type=Path, default=Path(os.devnull))
    asked = parser.parse_args()
    if asked.way:
        work(asked.way, asked.items, asked.output)
        return
    made, skipped = rows(asked.rounds, asked.items)
    show(made, str(machine()))
    for row in made:
        print(row.what, "/", row.against, row.notes)
    for way, reason in skipped.items():
        print(f"{way} was skipped: {reason}")


if __name__ == "__main__":
    main()
