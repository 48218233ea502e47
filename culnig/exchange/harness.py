"""A masked model in lm-evaluation-harness: `lm_eval run --model culnig --model_args pretrained=M,neurons=F,factor=0`.

The harness finds the class below by the entry point `lm_eval.models`. Versions before plugins were added (0.4.13
and earlier) do not look there: `python -m culnig.exchange.harness run --model culnig …` registers it and starts
the harness's own command line.
"""  # noqa: E501 - a command

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from lm_eval.models.huggingface import HFLM

from culnig.core.neurons import Layout
from culnig.errors import InputError
from culnig.evaluation.conditions import Condition, make_conditions
from culnig.models.intervention import intervene
from culnig.models.named import loaded_model
from culnig.models.settings import LoadOptions
from culnig.selection.neuron_set import read_neuron_set

RECORD = "culnig"
"""Key of the results' `config` that says what was masked; `culnig-engine import` reads it."""


class MaskedModel(HFLM):  # type: ignore[misc]  # lm_eval has no types
    """A model as `culnig.load_model` loads it, with a neuron set masked in every request."""

    def __init__(
        self,
        pretrained: str,
        neurons: str | None = None,
        factor: float = 0.0,
        random: int | None = None,
        batch_size: int | str | None = 1,
        max_batch_size: int | None = 64,
        **options: Any,
    ) -> None:
        """`random` is the seed of a random set that matches `neurons` and is masked in their place.

        Other arguments are those of `culnig.load_model` (`dtype`, `device`, `revision` …), and `max_length`.
        """
        loading = {name: options.pop(name) for name in LoadOptions.__annotations__ if name in options}
        harness = {name: options.pop(name) for name in ("max_length", "add_bos_token") if name in options}
        if options:
            known = "pretrained, neurons, factor, random, max_length, add_bos_token"
            raise InputError(
                f"unknown model_args {', '.join(sorted(options))}; known: {known}, "
                f"{', '.join(sorted(LoadOptions.__annotations__))}"
            )
        bound = loaded_model(pretrained, **loading)
        self._condition = _condition(bound.layout, neurons, factor, random)
        self._layout_hash = bound.layout.hash
        self._source = bound.source
        super().__init__(
            bound.model,
            tokenizer=bound.tokenizer,
            batch_size=batch_size,
            max_batch_size=max_batch_size,
            **harness,
        )
        self._masking = contextlib.ExitStack()  # for as long as the model is used
        self._masking.enter_context(intervene(bound, self._condition.flat, self._condition.factor))

    def get_model_info(self) -> dict[str, Any]:
        """What the results record about the model and its mask."""
        condition = self._condition
        return {
            "model_num_parameters": self._model.num_parameters(),
            "model_dtype": self._model.dtype,
            RECORD: {
                "source": self._source,
                "layout_hash": self._layout_hash,
                "condition": condition.name,
                "factor": condition.factor,
                "n_neurons": len(condition.flat),
                "set": condition.of_set,
                "like": condition.like,
                "culture": condition.culture,
            },
        }


def _condition(layout: Layout, neurons: str | None, factor: float, random: int | None) -> Condition:
    """The condition as `evaluate` would name it."""
    if neurons is None:
        if random is not None:
            raise InputError("random draws sets that match `neurons`; give neurons=FILE as well")
        return make_conditions((), layout)[0]
    if isinstance(factor, bool) or not isinstance(factor, int | float):
        raise InputError(f"factor is {factor!r}; give a number: 0 suppresses, 2 enhances")
    chosen = read_neuron_set(Path(str(neurons)))
    n_random, seed = (0, 0) if random is None else (1, random)
    conditions = make_conditions([chosen], layout, factor=factor, n_random=n_random, seed=seed)
    return conditions[-1]


def register() -> None:
    """Make the model known to a harness that does not look for plugins."""
    from lm_eval.api.registry import model_registry, register_model

    if "culnig" not in model_registry:
        register_model("culnig")(MaskedModel)


def main() -> None:
    """Start the harness's command line with the model registered."""
    from lm_eval.__main__ import cli_evaluate

    register()
    cli_evaluate()


if __name__ == "__main__":
    main()
