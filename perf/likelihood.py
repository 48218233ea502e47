"""Log-probabilities of option texts beside lm-evaluation-harness: `python perf/likelihood.py`.

Needs the package lm_eval beside this one. The embedded model reads the same prompts and options through both,
as plain text and with its chat template; ours once with whole prompts and once with shared ones. The harness
moves white space from the end of a prompt to the options; what that adds to its numbers (the newline after a
chat template) is measured with it and taken off.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from lm_eval.models.huggingface import HFLM

import culnig
from culnig.core.items import Item
from culnig.evaluation.conditions import UNMASKED, Condition
from culnig.evaluation.runner import run_conditions
from culnig.evaluation.sharing import Sharing
from culnig.inference.prompts import PromptWriter
from culnig.models.base import BoundModel

QUESTIONS = (
    ("The capital of France is", ("Paris", "Lyon", "the city of Marseille"), " "),
    ("At a Japanese New Year people eat", ("mochi", "paella", "hot dogs with mustard"), " "),
    ("Question: Which side do people drive on in Kenya?\nAnswer:", ("left", "right"), " "),
    ("In Iran the new year begins in", ("spring", "winter", "the middle of autumn"), " "),
    ("Étienne prend au petit-déjeuner", ("un café au lait", "une bière", "des œufs brouillés"), " "),
    ("名古屋の名物は", ("味噌カツ", "たこ焼き"), ""),
)
ITEMS = [
    Item(
        *(f"i{n}", f"q{n}", "general", "test", prompt, options, options[0]),
        answer_prefix=space,
        likelihood="none",
    )
    for n, (prompt, options, space) in enumerate(QUESTIONS)
]


class Request(NamedTuple):
    """What the harness is asked: a context and its continuation."""

    args: tuple[str, str]


def of_harness(bound: BoundModel) -> list[float]:
    """Log-probability of every option, item by item, without that of white space before it."""
    harness: Any = HFLM(pretrained=bound.model, tokenizer=bound.tokenizer, batch_size=4)
    writer = PromptWriter(bound.tokenizer)
    values = []
    for item in ITEMS:
        text = writer.write(item)
        prompt = text.rstrip(" ")
        pairs = [Request((prompt, text[len(prompt) :] + option)) for option in item.options]
        bare = prompt.rstrip()
        border = 0.0
        if bare != prompt:
            ((border, _),) = harness.loglikelihood([Request((bare, prompt[len(bare) :]))], disable_tqdm=True)
        values += [value - border for value, _ in harness.loglikelihood(pairs, disable_tqdm=True)]
    return values


def of_ours(bound: BoundModel, *, shared: bool) -> list[float]:
    """The same as an evaluation computes them."""
    unmasked = Condition(UNMASKED, 1.0, np.empty(0, dtype=np.int64))
    sharing = {"texts": Sharing(shared=shared)}
    outcomes = run_conditions(bound, {"texts": ITEMS}, [unmasked], sharing=sharing)["texts", UNMASKED]
    table = outcomes.log_probabilities
    return table[~np.isnan(table)].tolist()


def main() -> None:
    """Compare and print."""
    bound = culnig.load_model("embedded", dtype="float32", device="cpu")
    template = bound.tokenizer.chat_template
    for kind, own in (("plain text", None), ("chat template", template)):
        bound.tokenizer.chat_template = own
        expected = np.array(of_harness(bound))
        for shared in (False, True):
            largest = float(np.abs(np.array(of_ours(bound, shared=shared)) - expected).max())
            prompts = "shared" if shared else "whole"
            print(
                f"{kind}, {prompts} prompts: {len(expected)} options, log P from {expected.min():.1f} to "
                f"{expected.max():.2f}, largest difference {largest:.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
