"""Answers by the likelihood of option text: which option is chosen, and the share of each.

The model is given each option's text after the prompt, and the option with the highest log-probability is its
answer: summed over the text's tokens (`none`), or divided by the text's bytes in UTF-8 (`bytes`), because a
sum favours short options. Shares are the softmax of what is compared. Log-probabilities per byte are first
multiplied by the mean number of bytes of the item's options, so that options of one length have the same
shares with either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Item, Normalization
from culnig.core.outcomes import Outcomes, alignment, n_bytes, similarity


def compared(
    log_probabilities: NDArray[np.float64], options: Sequence[str], normalization: Normalization
) -> NDArray[np.float64]:
    """What decides between the options, (option,), from their summed log-probabilities, (option,)."""
    if normalization == "none":
        return log_probabilities
    sizes = np.array([n_bytes(text) for text in options], dtype=np.float64)
    return np.asarray(log_probabilities / sizes * sizes.mean())


def shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax, (option,)."""
    powers = np.exp(values - values.max())
    return np.asarray(powers / powers.sum())


def settle(items: Mapping[int, Item], outcomes: Outcomes) -> None:
    """Write the answers that follow from `log_probabilities`, for items by their index in `outcomes`.

    P(gold) is the share of the gold option, and option probabilities are the shares.
    """
    for number, item in items.items():
        assert item.likelihood is not None
        n_options = len(item.options)
        own = compared(outcomes.log_probabilities[number, :n_options], item.options, item.likelihood)
        of_options = shares(own)
        chosen = item.options[int(own.argmax())]
        outcomes.predicted[number] = chosen
        outcomes.correct[number] = chosen in item.right
        outcomes.p_gold[number] = of_options[item.options.index(item.answer)]
        outcomes.option_probabilities[number, :n_options] = of_options
        if item.distribution:
            outcomes.similarity[number] = similarity(item.distribution, of_options)
        if item.ordinal:
            outcomes.alignment[number] = alignment(item.options, item.answer, chosen)
